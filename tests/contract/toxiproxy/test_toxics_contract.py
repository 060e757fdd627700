"""What each toxic does to real sockets: contract section 9, in upstream's tolerances."""

from __future__ import annotations

import socket
import threading
import time
from typing import TYPE_CHECKING

import pytest

from vault_harness.toxiproxy import (
    Bandwidth,
    Latency,
    LimitData,
    Noop,
    ResetPeer,
    Slicer,
    SlowClose,
    Stream,
    Timeout,
)

if TYPE_CHECKING:
    from tests.contract.toxiproxy.conftest import Clock, Lab, Pair, Wire


def _ends(pair: Pair, stream: Stream) -> tuple[socket.socket, socket.socket]:
    """Sender and receiver of a direction."""
    return (pair.client, pair.server) if stream == "upstream" else (pair.server, pair.client)


class TestNoop:
    """It passes everything on."""

    def test_data_and_end_pass(self, lab: Lab, wire: type[Wire]) -> None:
        """Both directions."""
        pair = lab.pair()
        pair.proxy.add(Noop())
        pair.proxy.add(Noop(), stream="upstream")
        wire.echo(pair.server)
        pair.client.sendall(b"hello")
        assert wire.read(pair.client, 5) == b"hello"


class TestLatency:
    """Every chunk is late by as much."""

    @pytest.mark.parametrize(
        ("up", "down"),
        [
            ((100, 0), None),
            (None, (100, 0)),
            ((60, 0), (60, 0)),
            ((0, 0), (0, 0)),
            ((100, 20), (20, 5)),
            ((20, 5), (100, 20)),
        ],
    )
    def test_directions_add_up(
        self,
        lab: Lab,
        clock: Clock,
        wire: type[Wire],
        up: tuple[int, int] | None,
        down: tuple[int, int] | None,
    ) -> None:
        """Plus or minus the jitter of both."""
        pair = lab.pair()
        wire.echo(pair.server)
        streams: list[tuple[Stream, tuple[int, int] | None]] = [
            ("upstream", up),
            ("downstream", down),
        ]
        total = jitter = 0
        for stream, values in streams:
            if values is not None:
                total, jitter = total + values[0], jitter + values[1]
                pair.proxy.add(Latency(latency=values[0], jitter=values[1]), stream=stream)

        def action() -> None:
            pair.client.sendall(b"ping")
            assert wire.read(pair.client, 4) == b"ping"

        clock.takes(total, action, tolerance=20 + jitter, early=2 + jitter)

    def test_two_in_a_row_add_up(self, lab: Lab, clock: Clock, wire: type[Wire]) -> None:
        """100 and 100 are 200."""
        pair = lab.pair()
        pair.proxy.add(Latency(latency=100), name="one")
        pair.proxy.add(Latency(latency=100), name="two")

        def action() -> None:
            pair.server.sendall(b"x")
            assert wire.read(pair.client, 1) == b"x"

        clock.takes(200, action)

    def test_chunks_overlap(self, lab: Lab, clock: Clock, wire: type[Wire]) -> None:
        """What is sent 50 ms later arrives 50 ms later, not a whole delay later."""
        pair = lab.pair()
        pair.proxy.add(Latency(latency=150))

        def action() -> None:
            for _ in range(3):
                pair.server.sendall(b"x")
                time.sleep(0.05)
            assert wire.read(pair.client, 3) == b"xxx"

        clock.takes(250, action, tolerance=20)

    def test_throughput_is_not_limited(self, lab: Lab, wire: type[Wire]) -> None:
        """20 MB take a fraction of what one chunk after the other would."""
        pair = lab.pair()
        pair.proxy.add(Latency(latency=100))
        data = bytes(20_000_000)
        thread = threading.Thread(target=pair.server.sendall, args=(data,))
        start = time.perf_counter()
        thread.start()
        assert len(wire.read(pair.client, len(data))) == len(data)
        thread.join()
        assert time.perf_counter() - start < 20_000_000 / 32768 * 0.1 / 4

    def test_the_end_alone_is_not_delayed(self, lab: Lab, clock: Clock, wire: type[Wire]) -> None:
        """With nothing pending."""
        pair = lab.pair()
        pair.proxy.add(Latency(latency=5000))
        pair.server.close()
        clock.takes(0, lambda: wire.end(pair.client), tolerance=500)

    def test_jitter_spreads(self, lab: Lab, wire: type[Wire]) -> None:
        """It never leaves its bounds, and is not always the same."""
        pair = lab.pair()
        pair.proxy.add(Latency(latency=40, jitter=30))
        times = []
        for _ in range(15):
            start = time.perf_counter()
            pair.server.sendall(b"x")
            wire.read(pair.client, 1)
            times.append((time.perf_counter() - start) * 1000)
        assert min(times) >= 40 - 30 - 2
        assert max(times) - min(times) > 5


class TestBandwidth:
    """Kilobytes of 1000 bytes a second.

    Each try has a connection of its own: the real server takes what one chunk was late by off the
    next one's time, so that after a late one a connection is early.
    """

    @pytest.mark.parametrize("stream", ["upstream", "downstream"])
    def test_the_rate_holds(self, lab: Lab, clock: Clock, wire: type[Wire], stream: Stream) -> None:
        """200 kB at 1000 kB/s take 200 ms."""
        upstream = lab.upstream()
        proxy = lab.proxy(upstream.address)
        proxy.add(Bandwidth(rate=1000), stream=stream)
        data = bytes(range(256)) * 782
        seen = []

        def action() -> None:
            sender, receiver = _ends(lab.join(proxy, upstream), stream)
            thread = threading.Thread(target=sender.sendall, args=(data[:200_000],))
            thread.start()
            seen.append(wire.read(receiver, 200_000))
            thread.join()

        clock.takes(200, action, early=12)
        assert seen[-1] == data[:200_000]

    def test_long_chunks_go_out_in_parts(self, lab: Lab, clock: Clock, wire: type[Wire]) -> None:
        """A tenth of a second's worth every 100 ms."""
        upstream = lab.upstream()
        proxy = lab.proxy(upstream.address)
        proxy.add(Bandwidth(rate=100))

        def receive(size: int) -> None:
            pair = lab.join(proxy, upstream)
            pair.server.sendall(bytes(25_000))
            assert len(wire.read(pair.client, size)) == size

        clock.takes(100, lambda: receive(10_000), tolerance=90, early=12)
        clock.takes(250, lambda: receive(25_000), tolerance=20, early=12)

    def test_rate_zero_keeps_what_it_holds(self, lab: Lab, wire: type[Wire]) -> None:
        """Nothing passes, the connection stays, and raising the rate delivers everything."""
        pair = lab.pair()
        toxic = pair.proxy.add(Bandwidth(rate=0))
        pair.server.sendall(b"kept")
        assert wire.silent(pair.client, 0.3)
        toxic.update(rate=1000)
        assert wire.read(pair.client, 4) == b"kept"
        toxic.update(rate=0)
        pair.server.sendall(b"kept too")
        assert wire.silent(pair.client)
        toxic.remove()
        assert wire.read(pair.client, 8) == b"kept too"

    def test_data_comes_before_the_end(self, lab: Lab, clock: Clock, wire: type[Wire]) -> None:
        """All of it, at the rate."""
        upstream = lab.upstream()
        proxy = lab.proxy(upstream.address)
        proxy.add(Bandwidth(rate=10))

        def action() -> None:
            pair = lab.join(proxy, upstream)
            pair.server.sendall(bytes(2000))
            pair.server.close()
            assert len(wire.read_all(pair.client)) == 2000

        clock.takes(200, action, tolerance=20, early=12)

    def test_with_latency_in_front(self, lab: Lab, clock: Clock, wire: type[Wire]) -> None:
        """First late, then slow."""
        upstream = lab.upstream()
        proxy = lab.proxy(upstream.address)
        proxy.add(Latency(latency=100))
        proxy.add(Bandwidth(rate=1000))

        def action() -> None:
            pair = lab.join(proxy, upstream)
            pair.server.sendall(bytes(100_000))
            assert len(wire.read(pair.client, 100_000)) == 100_000

        clock.takes(200, action, tolerance=30, early=12)


class TestSlowClose:
    """The end is late."""

    def test_only_the_end_of_its_direction(self, lab: Lab, clock: Clock, wire: type[Wire]) -> None:
        """Data is not late, and the other direction's end is not either."""
        upstream = lab.upstream()
        proxy = lab.proxy(upstream.address)
        proxy.add(SlowClose(delay=150))

        def data_comes() -> None:
            pair = lab.join(proxy, upstream)
            pair.server.sendall(b"data")
            pair.server.close()
            assert wire.read(pair.client, 4) == b"data"

        def server_closes() -> None:
            pair = lab.join(proxy, upstream)
            pair.server.close()
            assert wire.end(pair.client) == "eof"

        def client_closes() -> None:
            pair = lab.join(proxy, upstream)
            pair.client.close()
            wire.end(pair.server)

        clock.takes(0, data_comes, tolerance=100)
        clock.takes(150, server_closes)
        clock.takes(0, client_closes, tolerance=100)

    def test_an_update_starts_the_wait_afresh_and_removal_ends_it(
        self, lab: Lab, clock: Clock, wire: type[Wire]
    ) -> None:
        """During the wait."""
        pair = lab.pair()
        toxic = pair.proxy.add(SlowClose(delay=60_000))
        pair.server.close()
        assert wire.silent(pair.client)
        toxic.update(delay=50_000)
        assert wire.silent(pair.client)
        toxic.remove()
        clock.takes(0, lambda: wire.end(pair.client), tolerance=500)


class TestTimeout:
    """A black hole, with or without an end."""

    def test_it_closes_when_nothing_comes(self, lab: Lab, clock: Clock, wire: type[Wire]) -> None:
        """Counted from the opening of the connection; both sides see it."""
        upstream = lab.upstream()
        proxy = lab.proxy(upstream.address)
        proxy.add(Timeout(timeout=150), stream="upstream")

        def action() -> None:
            pair = lab.join(proxy, upstream)
            assert wire.end(pair.client) == "eof"
            assert wire.end(pair.server) == "eof"

        clock.takes(150, action)

    def test_each_chunk_starts_it_anew(self, lab: Lab, wire: type[Wire]) -> None:
        """It is an idle timer: 200 ms do not pass between bytes that come every 60 ms."""
        for _ in range(5):
            pair = lab.pair()
            pair.proxy.add(Timeout(timeout=200), stream="upstream")
            start = last = time.perf_counter()
            gaps = []
            for _ in range(6):
                pair.client.sendall(b"x")
                gaps.append(time.perf_counter() - last)
                last = time.perf_counter()
                time.sleep(0.06)
            assert wire.end(pair.client) == "eof"
            if max(gaps) < 0.15:
                assert time.perf_counter() - start >= 5 * 0.06 + 0.195
                return
        pytest.skip("this machine is too busy to send a byte every 60 ms")

    def test_it_drops_one_way_only(self, lab: Lab, wire: type[Wire]) -> None:
        """Requests vanish, and what the server pushes arrives."""
        pair = lab.pair()
        pair.proxy.add(Timeout(timeout=0), stream="upstream")
        pair.client.sendall(b"vanishes")
        assert wire.silent(pair.server)
        pair.server.sendall(b"arrives")
        assert wire.read(pair.client, 7) == b"arrives"

    def test_what_is_in_flight_when_it_is_added_is_delivered(
        self, lab: Lab, wire: type[Wire]
    ) -> None:
        """It drops only what comes later."""
        pair = lab.pair()
        pair.proxy.add(Latency(latency=60_000))
        pair.server.sendall(b"in flight")
        assert wire.silent(pair.client)
        toxic = pair.proxy.add(Timeout(timeout=0))
        assert wire.read(pair.client, 9) == b"in flight"
        toxic.update(toxicity=0.0)

    @pytest.mark.parametrize("how", ["remove", "reset"])
    @pytest.mark.parametrize("toxicity", [0.0, 1.0])
    def test_removal_closes(self, lab: Lab, wire: type[Wire], how: str, toxicity: float) -> None:
        """Even connections that it never acted on."""
        pair = lab.pair()
        toxic = pair.proxy.add(Timeout(timeout=0), toxicity=toxicity)
        if how == "remove":
            toxic.remove()
        else:
            lab.toxiproxy.reset()
        assert wire.end(pair.client) == "eof"
        assert wire.end(pair.server) == "eof"

    def test_toxicity_zero_lifts_it_without_closing(self, lab: Lab, wire: type[Wire]) -> None:
        """What was dropped stays lost, what comes later arrives."""
        pair = lab.pair()
        toxic = pair.proxy.add(Timeout(timeout=0))
        pair.server.sendall(b"lost")
        assert wire.silent(pair.client)
        toxic.update(toxicity=0.0)
        pair.server.sendall(b"found")
        assert wire.read(pair.client, 5) == b"found"

    def test_the_source_s_end_closes_at_once(
        self, lab: Lab, clock: Clock, wire: type[Wire]
    ) -> None:
        """There is nothing to wait for."""
        pair = lab.pair()
        pair.proxy.add(Timeout(timeout=60_000))
        pair.server.close()
        clock.takes(0, lambda: wire.end(pair.client), tolerance=500)


class TestResetPeer:
    """RST, as a real socket sees it."""

    @pytest.mark.parametrize("stream", ["upstream", "downstream"])
    @pytest.mark.parametrize("timeout", [0, 100])
    def test_the_first_chunk_resets_both_peers(
        self, lab: Lab, clock: Clock, wire: type[Wire], stream: Stream, timeout: int
    ) -> None:
        """After the timeout; the chunk is dropped."""
        upstream = lab.upstream()
        proxy = lab.proxy(upstream.address)
        proxy.add(ResetPeer(timeout=timeout), stream=stream)

        def action() -> None:
            pair = lab.join(proxy, upstream)
            sender, receiver = _ends(pair, stream)
            sender.sendall(b"dropped")
            assert wire.end(sender) == "reset"
            with pytest.raises(ConnectionResetError):
                receiver.recv(10)

        clock.takes(timeout, action, tolerance=30)

    def test_a_reset_is_followed_by_the_end(self, lab: Lab, wire: type[Wire]) -> None:
        """The next read after the error."""
        upstream = lab.upstream()
        proxy = lab.proxy(upstream.address)
        proxy.add(ResetPeer(timeout=0), stream="upstream")
        pair = lab.join(proxy, upstream)
        pair.client.sendall(b"x")
        assert wire.end(pair.client) == "reset"
        assert pair.client.recv(1) == b""

    def test_an_older_connection_just_ends(self, lab: Lab, wire: type[Wire]) -> None:
        """RST is decided when a connection opens."""
        pair = lab.pair()
        pair.server.sendall(b"opened")
        assert wire.read(pair.client, 6) == b"opened"
        pair.proxy.add(ResetPeer(timeout=0))
        pair.server.sendall(b"x")
        assert wire.end(pair.client) == "eof"

    @pytest.mark.parametrize("how", ["toxicity 0", "removed"])
    def test_every_later_close_is_a_reset(self, lab: Lab, wire: type[Wire], how: str) -> None:
        """Of a connection that opened under it, whether or not it acts."""
        upstream = lab.upstream()
        proxy = lab.proxy(upstream.address)
        toxic = proxy.add(ResetPeer(timeout=0), toxicity=0.0 if how == "toxicity 0" else 1.0)
        pair = lab.join(proxy, upstream)
        lab.join(proxy, upstream)  # one after the other: the first one's toxics are set up by now
        if how == "removed":
            toxic.remove()
        pair.server.sendall(b"data")
        assert wire.read(pair.client, 4) == b"data"
        pair.server.close()
        assert wire.end(pair.client) == "reset"

    def test_an_idle_connection_is_never_reset(self, lab: Lab, wire: type[Wire]) -> None:
        """It waits for the first chunk."""
        upstream = lab.upstream()
        proxy = lab.proxy(upstream.address)
        proxy.add(ResetPeer(timeout=0))
        pair = lab.join(proxy, upstream)
        assert wire.silent(pair.client, 0.3)


class TestSlicer:
    """Small pieces."""

    def test_pieces_are_sent_one_by_one(self, lab: Lab, clock: Clock) -> None:
        """24 bytes one at a time, 5000 microseconds after each but before none."""
        pair = lab.pair()
        pair.proxy.add(Slicer(average_size=1, delay=5000))
        sizes: list[int] = []

        def action() -> None:
            sizes.clear()
            pair.server.sendall(bytes(range(24)))
            while sum(sizes) < 24:
                sizes.append(len(pair.client.recv(100)))

        clock.takes(23 * 5, action, tolerance=40, early=5)
        assert len(sizes) > 12

    def test_sizes_stay_within_the_variation(self, lab: Lab, wire: type[Wire]) -> None:
        """And bytes stay what and where they are."""
        pair = lab.pair()
        pair.proxy.add(Slicer(average_size=1024, size_variation=512, delay=10))
        data = b"".join(number.to_bytes(4) for number in range(50_000))
        thread = threading.Thread(target=pair.server.sendall, args=(data,))
        thread.start()
        assert wire.read(pair.client, len(data)) == data
        thread.join()

    def test_an_interrupt_sends_the_rest_as_one_piece(
        self, lab: Lab, clock: Clock, wire: type[Wire]
    ) -> None:
        """Instead of a piece every 100 ms."""
        pair = lab.pair()
        toxic = pair.proxy.add(Slicer(average_size=1, delay=100_000))
        pair.server.sendall(b"abcdefghij")
        assert wire.read(pair.client, 1) == b"a"
        toxic.remove()
        clock.takes(0, lambda: wire.read(pair.client, 9), tolerance=500)


class TestLimitData:
    """So many bytes, then the end."""

    @pytest.mark.parametrize(
        ("limit", "chunks"),
        [
            (10, [b"0123456789"]),
            (10, [b"0123", b"4567", b"89ab"]),
            (5, [b"0123456789"]),
            (100_000, [bytes(150_000)]),
            (1, [b"01"]),
        ],
        ids=["exactly", "in chunks", "cut", "large", "one"],
    )
    def test_the_limit_is_exact(
        self, lab: Lab, wire: type[Wire], limit: int, chunks: list[bytes]
    ) -> None:
        """And the end comes as soon as it is reached."""
        pair = lab.pair()
        pair.proxy.add(LimitData(bytes=limit))
        for chunk in chunks:
            pair.server.sendall(chunk)
        assert wire.read_all(pair.client) == b"".join(chunks)[:limit]

    @pytest.mark.parametrize("limit", [0, -5])
    def test_nothing_or_less(self, lab: Lab, wire: type[Wire], limit: int) -> None:
        """Idle connections stay; the first chunk ends them without a byte."""
        pair = lab.pair()
        pair.proxy.add(LimitData(bytes=limit))
        assert wire.silent(pair.client)
        pair.server.sendall(b"x")
        assert wire.read_all(pair.client) == b""

    def test_below_the_limit_nothing_happens(self, lab: Lab, wire: type[Wire]) -> None:
        """Also when it is removed in time; the other direction is not counted."""
        pair = lab.pair()
        toxic = pair.proxy.add(LimitData(bytes=10))
        pair.client.sendall(bytes(50))
        assert wire.read(pair.server, 50) == bytes(50)
        pair.server.sendall(b"012345678")
        assert wire.read(pair.client, 9) == b"012345678"
        assert wire.silent(pair.client)
        toxic.remove()
        pair.server.sendall(b"and more than ten bytes")
        assert wire.read(pair.client, 23) == b"and more than ten bytes"

    def test_the_count_survives_an_update(self, lab: Lab, wire: type[Wire]) -> None:
        """5 sent, limit lowered to 7: two more."""
        pair = lab.pair()
        toxic = pair.proxy.add(LimitData(bytes=100))
        pair.server.sendall(b"01234")
        assert wire.read(pair.client, 5) == b"01234"
        toxic.update(bytes=7)
        pair.server.sendall(b"56789")
        assert wire.read_all(pair.client) == b"56"

    def test_a_limit_below_what_has_passed_ends_at_the_next_chunk(
        self, lab: Lab, wire: type[Wire]
    ) -> None:
        """Not before."""
        pair = lab.pair()
        toxic = pair.proxy.add(LimitData(bytes=100))
        pair.server.sendall(b"01234")
        assert wire.read(pair.client, 5) == b"01234"
        toxic.update(bytes=3)
        assert wire.silent(pair.client)
        pair.server.sendall(b"x")
        assert wire.read_all(pair.client) == b""

    def test_each_connection_has_its_own_count(self, lab: Lab, wire: type[Wire]) -> None:
        """Old ones count from when the toxic was put on them."""
        pair = lab.pair()
        pair.server.sendall(b"before")
        assert wire.read(pair.client, 6) == b"before"
        pair.proxy.add(LimitData(bytes=2))
        other = lab.join(pair.proxy, pair.upstream)
        for one in (pair, other):
            one.server.sendall(b"abc")
            assert wire.read_all(one.client) == b"ab"

    def test_the_end_waits_for_what_later_toxics_hold(
        self, lab: Lab, clock: Clock, wire: type[Wire]
    ) -> None:
        """A limit before latency: both bytes, late, then the end."""
        upstream = lab.upstream()
        proxy = lab.proxy(upstream.address)
        proxy.add(LimitData(bytes=2))
        proxy.add(Latency(latency=100))

        def action() -> None:
            pair = lab.join(proxy, upstream)
            pair.server.sendall(b"abc")
            assert wire.read_all(pair.client) == b"ab"

        clock.takes(100, action)
