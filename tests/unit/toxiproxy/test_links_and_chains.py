"""How toxics attach to a live connection, and back-pressure: contract sections 7 and 8."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from vault_harness.local.toxiproxy.server.stage import CHUNK

if TYPE_CHECKING:
    from tests.unit.toxiproxy.conftest import Bench


def test_added_at_the_end_of_the_chain(bench: Bench) -> None:
    """The toxic before it hands on what it holds."""
    bench.start(bench.toxic("latency", latency=1000))
    bench.send(b"held")
    bench.link.add(bench.toxic("limit_data", bytes=100))
    assert bench.dest.chunks == [b"held"]


def test_what_queues_behind_stays_queued(bench: Bench) -> None:
    """Only the current chunk is handed on early."""
    bench.start(bench.toxic("latency", latency=1000))
    bench.send(b"first", b"second")
    bench.link.add(bench.toxic("noop"))
    assert bench.dest.chunks == [b"first"]
    bench.pass_time(1.001)
    assert bench.dest.chunks == [b"first", b"second"]


def test_removal_hands_on_everything(bench: Bench) -> None:
    """It comes before what the toxic in front holds."""
    first, second = bench.toxic("latency", latency=500), bench.toxic("latency", latency=500)
    bench.start(first, second)
    bench.send(b"a", b"b")
    bench.pass_time(0.6)
    bench.send(b"c", b"d")
    bench.link.remove(second)
    # The second toxic held a and b. The first held c, and starts again with d.
    assert bench.dest.chunks == [b"a", b"b", b"c"]
    bench.pass_time(0.501)
    assert bench.dest.chunks == [b"a", b"b", b"c", b"d"]


def test_an_update_acts_on_what_queues(bench: Bench) -> None:
    """The new values count from a chunk's arrival."""
    toxic = bench.toxic("latency", latency=1000)
    bench.start(toxic)
    bench.send(b"a", b"b")
    bench.pass_time(0.2)
    toxic.change({"latency": 300, "jitter": 0}, 1.0)
    bench.link.update(toxic)
    assert bench.dest.chunks == [b"a"]
    bench.pass_time(0.101)
    assert bench.dest.chunks == [b"a", b"b"]


def test_a_losing_roll_lets_everything_pass(bench: Bench) -> None:
    """An update rolls again."""
    toxic = bench.toxic("timeout", toxicity=0.0)
    bench.start(toxic)
    bench.send(b"passes")
    toxic.change({"timeout": 0}, 1.0)
    bench.link.update(toxic)
    bench.send(b"vanishes")
    assert bench.dest.chunks == [b"passes"]
    assert not bench.closed


def test_removing_a_timeout_closes(bench: Bench) -> None:
    """Toxics in front send nothing more."""
    front, toxic = bench.toxic("latency", latency=1000), bench.toxic("timeout", toxicity=0.0)
    bench.start(front, toxic)
    bench.send(b"held in front")
    bench.link.remove(toxic)
    assert bench.closed
    bench.send(b"late")
    bench.pass_time(5)
    assert bench.dest.chunks == []


def test_a_limit_closes_behind_what_is_delayed(bench: Bench) -> None:
    """Later toxics deliver first."""
    bench.start(bench.toxic("limit_data", bytes=2), bench.toxic("latency", latency=100))
    bench.send(b"abc")
    assert not bench.closed
    bench.pass_time(0.101)
    assert bench.dest.chunks == [b"ab"]
    assert bench.closed


def test_a_toxic_added_after_the_end_changes_nothing(bench: Bench) -> None:
    bench.start()
    bench.dest.room = 2
    bench.send(b"abcd")
    bench.finish()
    bench.link.add(bench.toxic("timeout"))
    bench.dest.room = None
    bench.poll()
    assert bench.dest.received == b"abcd"
    assert bench.closed


def test_a_full_destination_pauses_the_source(bench: Bench) -> None:
    bench.start()
    bench.dest.room = 10
    bench.send(*[bytes(8)] * 10)
    assert len(bench.source.inbox) == 8
    assert bench.link.source.received == 16
    bench.dest.room = None
    bench.poll()
    assert bench.source.inbox == []
    assert bench.dest.received == bytes(80)


@pytest.mark.parametrize(
    ("kind", "values", "held"),
    [
        ("bandwidth", {"rate": 0}, 1),
        ("bandwidth", {"rate": 1}, 1),
        ("latency", {"latency": 60_000}, 1025),
        ("slicer", {"average_size": 1, "delay": 1_000_000}, 1),
        ("reset_peer", {"timeout": 60_000}, 1),
    ],
)
def test_a_busy_toxic_pauses_the_source(
    bench: Bench, kind: str, values: dict[str, int], held: int
) -> None:
    """Latency holds 1024 chunks, by the contract."""
    bench.start(bench.toxic(kind, 1.0, None, **values))
    bench.send(*[bytes(CHUNK)] * 1100)
    assert held <= bench.link.source.received // CHUNK <= held + 1


def test_a_chunk_is_no_longer_than_upstream_s(bench: Bench) -> None:
    """Nothing else waits long."""
    bench.start()
    bench.send(bytes(100_000))
    assert max(map(len, bench.dest.chunks)) == CHUNK


def test_toxics_can_go_while_the_destination_is_full(bench: Bench) -> None:
    """They hand everything to the writer, in order."""
    toxics = [bench.toxic("latency", latency=10), bench.toxic("bandwidth", rate=1000)]
    bench.start(*toxics)
    bench.dest.room = 0
    pieces = [bytes([number]) * 100 for number in range(50)]
    bench.send(*pieces)
    bench.pass_time(1)
    for toxic in toxics:
        bench.link.remove(toxic)
    assert bench.link.stages == {}
    bench.dest.room = None
    bench.poll()
    bench.pass_time(1)
    assert bench.dest.received == b"".join(pieces)


def test_the_source_is_paused_when_a_toxic_with_room_goes(bench: Bench) -> None:
    toxic = bench.toxic("latency", latency=10)
    bench.start(toxic)
    bench.dest.room = 0
    bench.send(bytes(100))
    bench.pass_time(0.011)
    bench.link.remove(toxic)
    bench.send(*[bytes(100)] * 50)
    assert bench.link.source.received == 100
    bench.dest.room = None
    bench.poll()
    assert bench.dest.received == bytes(5100)


def test_a_toxic_added_while_the_destination_is_full_gets_its_turn(bench: Bench) -> None:
    bench.start()
    bench.dest.room = 1
    bench.send(b"ab", b"cd")
    bench.link.add(bench.toxic("latency", latency=100))
    bench.dest.room = None
    bench.poll()
    assert bench.dest.received == b"ab"
    bench.pass_time(0.101)
    assert bench.dest.received == b"abcd"


def test_nothing_passes_behind_a_limit_that_was_reached(bench: Bench) -> None:
    """Its toxic may be removed before all is written."""
    front, limit = bench.toxic("latency", latency=10), bench.toxic("limit_data", bytes=3)
    bench.start(front, limit)
    bench.dest.room = 0
    bench.send(b"abcd", b"efgh")
    bench.pass_time(0.011)
    bench.link.remove(limit)
    bench.send(b"ijkl")
    bench.pass_time(1)
    bench.dest.room = None
    bench.pass_time(1)
    assert bench.dest.received == b"abc"
    assert bench.closed


def test_toxics_that_do_nothing_act_once_they_are_changed(bench: Bench) -> None:
    """They act in their place."""
    quiet = [bench.toxic("latency"), bench.toxic("slow_close"), bench.toxic("timeout", 0.0)]
    bench.start(quiet[0], bench.toxic("limit_data", bytes=6), quiet[1], quiet[2])
    bench.send(b"abc")
    assert bench.dest.chunks == [b"abc"]
    quiet[0].change({"latency": 100, "jitter": 0}, 1.0)
    bench.link.update(quiet[0])
    bench.send(b"def", b"ghi")
    bench.pass_time(0.09)
    quiet[1].change({"delay": 100}, 1.0)
    bench.link.update(quiet[1])
    bench.pass_time(0.02)
    assert bench.dest.received == b"abcdef"
    assert bench.open
    bench.pass_time(0.1)
    assert bench.closed


def test_a_broken_destination_ends_it(bench: Bench) -> None:
    """No pending call is left."""
    bench.start(bench.toxic("latency", latency=100), bench.toxic("bandwidth", rate=1))
    bench.send(bytes(5000), bytes(5000))
    bench.dest.gone = True
    bench.pass_time(1)
    assert bench.closed
    assert bench.end == "upstream closed"
    assert bench.clock.waiting() == 0
    assert bench.clock.readers == {}
