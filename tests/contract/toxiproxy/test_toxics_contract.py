"""What toxics do to real sockets, within upstream's tolerances: contract section 9."""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING

import pytest

from vault_harness.local.toxiproxy.toxics import Bandwidth, Latency, Slicer, Stream

if TYPE_CHECKING:
    from tests.contract.toxiproxy.conftest import Clock, Lab, Wire


class TestLatency:
    @pytest.mark.parametrize(
        ("up", "down"),
        [
            (None, (100, 0)),
            ((60, 0), (60, 0)),
            ((100, 20), (20, 5)),
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
        """Their jitter counts."""
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

    def test_chunks_overlap(self, lab: Lab, clock: Clock, wire: type[Wire]) -> None:
        """A chunk sent 50 ms later arrives 50 ms later, not a whole delay later."""
        pair = lab.pair()
        pair.proxy.add(Latency(latency=150))

        def action() -> None:
            for _ in range(3):
                pair.server.sendall(b"x")
                time.sleep(0.05)
            assert wire.read(pair.client, 3) == b"xxx"

        clock.takes(250, action, tolerance=20)

    def test_throughput_is_not_limited(self, lab: Lab, wire: type[Wire]) -> None:
        """20 MB take a fraction of the time of chunks one after the other."""
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
        pair = lab.pair()
        pair.proxy.add(Latency(latency=5000))
        pair.server.close()
        clock.takes(0, lambda: wire.end(pair.client), tolerance=500)


class TestBandwidth:
    """bandwidth counts kilobytes of 1000 bytes a second.

    Each try has a connection of its own: the real server makes up for a late chunk with the next
    one, so that a connection is early after it.
    """

    @pytest.mark.parametrize("stream", ["upstream", "downstream"])
    def test_the_rate_holds(self, lab: Lab, clock: Clock, wire: type[Wire], stream: Stream) -> None:
        upstream = lab.upstream()
        proxy = lab.proxy(upstream.address)
        proxy.add(Bandwidth(rate=1000), stream=stream)
        data = bytes(range(256)) * 782
        seen = []

        def action() -> None:
            sender, receiver = lab.join(proxy, upstream).ends(stream)
            thread = threading.Thread(target=sender.sendall, args=(data[:200_000],))
            thread.start()
            seen.append(wire.read(receiver, 200_000))
            thread.join()

        clock.takes(200, action, early=12)
        assert seen[-1] == data[:200_000]

    def test_long_chunks_go_out_in_parts(self, lab: Lab, clock: Clock, wire: type[Wire]) -> None:
        """A part is a tenth of a second's worth, sent every 100 ms."""
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
        """A higher rate delivers everything."""
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
        """It comes at the rate."""
        upstream = lab.upstream()
        proxy = lab.proxy(upstream.address)
        proxy.add(Bandwidth(rate=10))

        def action() -> None:
            pair = lab.join(proxy, upstream)
            pair.server.sendall(bytes(2000))
            pair.server.close()
            assert len(wire.read_all(pair.client)) == 2000

        clock.takes(200, action, tolerance=20, early=12)


class TestSlicer:
    def test_pieces_are_sent_one_by_one(self, lab: Lab, clock: Clock) -> None:
        """Pauses of 5000 microseconds follow each piece."""
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
        """No byte changes or moves."""
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
        """It does not pause for 100 ms."""
        pair = lab.pair()
        toxic = pair.proxy.add(Slicer(average_size=1, delay=100_000))
        pair.server.sendall(b"abcdefghij")
        assert wire.read(pair.client, 1) == b"a"
        toxic.remove()
        clock.takes(0, lambda: wire.read(pair.client, 9), tolerance=500)
