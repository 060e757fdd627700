"""How toxics end real connections, within upstream's tolerances: contract section 9."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import pytest

from vault_harness.local.toxiproxy.toxics import (
    LimitData,
    ResetPeer,
    SlowClose,
    Stream,
    Timeout,
)

if TYPE_CHECKING:
    from tests.contract.toxiproxy.conftest import Clock, Lab, Wire


class TestSlowClose:
    def test_only_the_end_of_its_direction(self, lab: Lab, clock: Clock, wire: type[Wire]) -> None:
        """Data is not delayed either."""
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
        pair = lab.pair()
        toxic = pair.proxy.add(SlowClose(delay=60_000))
        pair.server.close()
        assert wire.silent(pair.client)
        toxic.update(delay=50_000)
        assert wire.silent(pair.client)
        toxic.remove()
        clock.takes(0, lambda: wire.end(pair.client), tolerance=500)


class TestTimeout:
    def test_it_closes_when_nothing_comes(self, lab: Lab, clock: Clock, wire: type[Wire]) -> None:
        """The time counts from the opening of the connection; both sides see the end."""
        upstream = lab.upstream()
        proxy = lab.proxy(upstream.address)
        proxy.add(Timeout(timeout=150), stream="upstream")

        def action() -> None:
            pair = lab.join(proxy, upstream)
            assert wire.end(pair.client) == "eof"
            assert wire.end(pair.server) == "eof"

        clock.takes(150, action)

    def test_each_chunk_restarts_the_timer(self, lab: Lab, wire: type[Wire]) -> None:
        """Bytes every 60 ms never let 200 ms pass."""
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

    def test_it_drops_one_direction_only(self, lab: Lab, wire: type[Wire]) -> None:
        """What the server pushes arrives."""
        pair = lab.pair()
        pair.proxy.add(Timeout(timeout=0), stream="upstream")
        pair.client.sendall(b"vanishes")
        assert wire.silent(pair.server)
        pair.server.sendall(b"arrives")
        assert wire.read(pair.client, 7) == b"arrives"

    @pytest.mark.parametrize("how", ["remove", "reset"])
    @pytest.mark.parametrize("toxicity", [0.0, 1.0])
    def test_removal_closes(self, lab: Lab, wire: type[Wire], how: str, toxicity: float) -> None:
        """The toxic may never have acted on it."""
        pair = lab.pair()
        toxic = pair.proxy.add(Timeout(timeout=0), toxicity=toxicity)
        if how == "remove":
            toxic.remove()
        else:
            lab.toxiproxy.reset()
        assert wire.end(pair.client) == "eof"
        assert wire.end(pair.server) == "eof"

    def test_toxicity_zero_lifts_it_without_closing(self, lab: Lab, wire: type[Wire]) -> None:
        """Dropped bytes stay lost."""
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
        pair = lab.pair()
        pair.proxy.add(Timeout(timeout=60_000))
        pair.server.close()
        clock.takes(0, lambda: wire.end(pair.client), tolerance=500)


class TestResetPeer:
    """reset_peer sends RST, seen by a real socket."""

    @pytest.mark.parametrize("stream", ["upstream", "downstream"])
    @pytest.mark.parametrize("timeout", [0, 100])
    def test_the_first_chunk_resets_both_peers(
        self, lab: Lab, clock: Clock, wire: type[Wire], stream: Stream, timeout: int
    ) -> None:
        """It is dropped after the timeout."""
        upstream = lab.upstream()
        proxy = lab.proxy(upstream.address)
        proxy.add(ResetPeer(timeout=timeout), stream=stream)

        def action() -> None:
            pair = lab.join(proxy, upstream)
            sender, receiver = pair.ends(stream)
            sender.sendall(b"dropped")
            assert wire.end(sender) == "reset"
            with pytest.raises(ConnectionResetError):
                receiver.recv(10)

        clock.takes(timeout, action, tolerance=30)

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
        upstream = lab.upstream()
        proxy = lab.proxy(upstream.address)
        toxic = proxy.add(ResetPeer(timeout=0), toxicity=0.0 if how == "toxicity 0" else 1.0)
        pair = lab.join(proxy, upstream)
        lab.join(proxy, upstream)  # one after the other, so that the toxics of the first are set up
        if how == "removed":
            toxic.remove()
        pair.server.sendall(b"data")
        assert wire.read(pair.client, 4) == b"data"
        pair.server.close()
        assert wire.end(pair.client) == "reset"

    def test_an_idle_connection_is_never_reset(self, lab: Lab, wire: type[Wire]) -> None:
        """It waits for its first chunk."""
        upstream = lab.upstream()
        proxy = lab.proxy(upstream.address)
        proxy.add(ResetPeer(timeout=0))
        pair = lab.join(proxy, upstream)
        assert wire.silent(pair.client, 0.3)


class TestLimitData:
    @pytest.mark.parametrize(
        ("limit", "chunks"),
        [
            (10, [b"0123456789"]),
            (10, [b"0123", b"4567", b"89ab"]),
            (100_000, [bytes(150_000)]),
        ],
        ids=["exactly", "in chunks", "large"],
    )
    def test_the_limit_is_exact(
        self, lab: Lab, wire: type[Wire], limit: int, chunks: list[bytes]
    ) -> None:
        """The end comes as soon as it is reached."""
        pair = lab.pair()
        pair.proxy.add(LimitData(bytes=limit))
        for chunk in chunks:
            pair.server.sendall(chunk)
        assert wire.read_all(pair.client) == b"".join(chunks)[:limit]

    @pytest.mark.parametrize("limit", [0, -5])
    def test_nothing_or_less(self, lab: Lab, wire: type[Wire], limit: int) -> None:
        """The first chunk ends the connection."""
        pair = lab.pair()
        pair.proxy.add(LimitData(bytes=limit))
        assert wire.silent(pair.client)
        pair.server.sendall(b"x")
        assert wire.read_all(pair.client) == b""

    def test_below_the_limit_nothing_happens(self, lab: Lab, wire: type[Wire]) -> None:
        """The other direction does not count."""
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
        """After 5 bytes a limit lowered to 7 passes two more."""
        pair = lab.pair()
        toxic = pair.proxy.add(LimitData(bytes=100))
        pair.server.sendall(b"01234")
        assert wire.read(pair.client, 5) == b"01234"
        toxic.update(bytes=7)
        pair.server.sendall(b"56789")
        assert wire.read_all(pair.client) == b"56"

    def test_each_connection_has_its_own_count(self, lab: Lab, wire: type[Wire]) -> None:
        """It counts from when it got the toxic."""
        pair = lab.pair()
        pair.server.sendall(b"before")
        assert wire.read(pair.client, 6) == b"before"
        pair.proxy.add(LimitData(bytes=2))
        other = lab.join(pair.proxy, pair.upstream)
        for one in (pair, other):
            one.server.sendall(b"abc")
            assert wire.read_all(one.client) == b"ab"
