"""What each toxic does to chunks exactly, with a clock that the test moves."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from vault_harness.local.toxiproxy.server.toxics import TOXICS

if TYPE_CHECKING:
    from tests.unit.toxiproxy.conftest import Bench
    from vault_harness.local.toxiproxy.server.stage import Stage


@pytest.mark.parametrize("toxic", TOXICS.values(), ids=list(TOXICS))
def test_every_toxic_says_what_its_attributes_mean(toxic: type[Stage]) -> None:
    assert "Attributes" in (toxic.__doc__ or "")
    assert [name for name in toxic.fields if f"{name}:" not in (toxic.__doc__ or "")] == []


def test_without_toxics_chunks_pass_at_once(bench: Bench) -> None:
    bench.start()
    bench.send(b"one", b"two")
    assert bench.dest.chunks == [b"one", b"two"]
    bench.finish()
    assert bench.closed
    assert bench.end == "client closed"


def test_latency_is_counted_from_arrival(bench: Bench) -> None:
    """Delays overlap."""
    bench.start(bench.toxic("latency", latency=100))
    bench.send(b"one")
    bench.pass_time(0.06)
    bench.send(b"two")
    bench.pass_time(0.0399)
    assert bench.dest.chunks == []
    bench.pass_time(0.001)
    assert bench.dest.chunks == [b"one"]
    bench.pass_time(0.06)
    assert bench.dest.chunks == [b"one", b"two"]


def test_two_latencies_add_up(bench: Bench) -> None:
    """The time stamp moves with the chunk."""
    bench.start(bench.toxic("latency", latency=100), bench.toxic("latency", latency=50))
    bench.send(b"x")
    bench.pass_time(0.149)
    assert bench.dest.chunks == []
    bench.pass_time(0.002)
    assert bench.dest.chunks == [b"x"]


def test_jitter_is_drawn_for_each_chunk(bench: Bench) -> None:
    bench.start(bench.toxic("latency", latency=100, jitter=50))
    delays = set()
    for _ in range(50):
        bench.send(b"x")
        start, count = bench.clock.time, len(bench.dest.chunks)
        while len(bench.dest.chunks) == count:
            bench.pass_time(0.001)
        delays.add(round((bench.clock.time - start) * 1000))
    assert min(delays) >= 50
    assert max(delays) <= 150
    assert len(delays) > 10


def test_negative_latency_is_none(bench: Bench) -> None:
    bench.start(bench.toxic("latency", latency=-5, jitter=-5))
    bench.send(b"x")
    assert bench.dest.chunks == [b"x"]


def test_bandwidth_sends_parts_every_tenth_of_a_second(bench: Bench) -> None:
    bench.start(bench.toxic("bandwidth", rate=100))
    bench.send(bytes(25_000))
    for sent in (0, 10_000, 20_000):
        assert len(bench.dest.received) == sent
        bench.pass_time(0.1 if sent < 20_000 else 0.0501)
    assert len(bench.dest.received) == 25_000


def test_bandwidth_is_exact_in_the_long_run(bench: Bench) -> None:
    """Some chunks are too short for a timer."""
    bench.start(bench.toxic("bandwidth", rate=2000))
    bench.send(*[bytes(100)] * 20_000)
    bench.pass_time(0.5)
    assert 980_000 <= len(bench.dest.received) <= 1_020_000
    bench.pass_time(0.51)
    assert len(bench.dest.received) == 2_000_000


def test_bandwidth_earns_nothing_while_idle(bench: Bench) -> None:
    bench.start(bench.toxic("bandwidth", rate=100))
    bench.send(bytes(1000))
    bench.pass_time(60)
    bench.send(bytes(10_000))
    bench.pass_time(0.09)
    assert len(bench.dest.received) == 1000
    bench.pass_time(0.02)
    assert len(bench.dest.received) == 11_000


def test_timeout_counts_from_the_last_chunk(bench: Bench) -> None:
    bench.start(bench.toxic("timeout", name="it", timeout=100))
    for _ in range(5):
        bench.pass_time(0.09)
        bench.send(b"x")
    bench.pass_time(0.099)
    assert bench.open
    bench.pass_time(0.002)
    assert bench.closed
    assert bench.dest.chunks == []
    assert bench.end == "closed by toxic it"


def test_slicer_makes_as_many_pieces_as_there_are_bytes(bench: Bench) -> None:
    bench.start(bench.toxic("slicer", average_size=1))
    bench.send(bytes(range(24)))
    assert bench.dest.chunks == [bytes([number]) for number in range(24)]


def test_slicer_delays_after_each_piece(bench: Bench) -> None:
    """The next chunk waits after the last piece."""
    bench.start(bench.toxic("slicer", average_size=2, delay=10_000))
    bench.send(b"abcd", b"e")
    assert bench.dest.chunks == [b"ab"]
    bench.pass_time(0.011)
    assert bench.dest.chunks == [b"ab", b"cd"]
    bench.pass_time(0.008)
    assert bench.dest.chunks == [b"ab", b"cd"]
    bench.pass_time(0.002)
    assert bench.dest.chunks == [b"ab", b"cd", b"e"]


def test_slicer_delays_shorter_than_a_timer_are_polled_for(bench: Bench) -> None:
    bench.start(bench.toxic("slicer", average_size=1, delay=200))
    bench.send(bytes(10))
    bench.pass_time(0.0011)
    assert 4 <= len(bench.dest.chunks) <= 7


@pytest.mark.parametrize("average", [1024, 2000])
def test_slicer_pieces_are_of_the_average_size(bench: Bench, average: int) -> None:
    """480 kB with 1024 plus or minus 512 give 240 to 720 pieces, as upstream requires."""
    bench.start(bench.toxic("slicer", average_size=average, size_variation=512))
    data = bytes(range(240)) * 2000
    bench.send(data)
    assert bench.dest.received == data
    assert max(map(len, bench.dest.chunks)) <= average + 512
    if average == 1024:
        assert 240 <= len(bench.dest.chunks) <= 720


def test_limit_data_cuts_and_closes(bench: Bench) -> None:
    bench.start(bench.toxic("limit_data", name="it", bytes=5))
    bench.send(b"abc", b"def", b"ghi")
    assert bench.dest.received == b"abcde"
    assert bench.closed
    assert bench.end == "closed by toxic it"
    assert list(bench.toxics) == ["it"]


def test_slow_close_waits_only_at_the_end(bench: Bench) -> None:
    bench.start(bench.toxic("slow_close", delay=100))
    bench.send(b"data")
    bench.finish()
    assert bench.dest.chunks == [b"data"]
    bench.pass_time(0.09)
    assert bench.open
    bench.pass_time(0.02)
    assert bench.closed


def test_reset_peer_waits_for_the_first_chunk(bench: Bench) -> None:
    """Its timeout follows."""
    bench.start(bench.toxic("reset_peer", name="it", timeout=100))
    bench.pass_time(60)
    assert bench.open
    bench.send(b"dropped")
    bench.pass_time(0.09)
    assert bench.open
    bench.pass_time(0.02)
    assert bench.closed
    assert bench.dest.chunks == []
    assert bench.end == "reset by toxic it"


@pytest.mark.parametrize("ended", [False, True])
def test_a_removed_reset_peer_lets_go(bench: Bench, ended: bool) -> None:
    """It releases the end that it held back, too."""
    toxic = bench.toxic("reset_peer", timeout=60_000)
    bench.start(toxic)
    if ended:
        bench.finish()
    else:
        bench.send(b"dropped")
    bench.link.remove(toxic)
    assert bench.closed == ended
    if not ended:
        bench.send(b"alive")
        assert bench.dest.chunks == [b"alive"]
    assert bench.clock.waiting() == 0
