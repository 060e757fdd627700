"""A chain under any order of traffic, time, slow peers, and changing toxics."""

from __future__ import annotations

import contextlib

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from tests.unit.toxiproxy.conftest import Bench, own_clock
from vault_harness.local.toxiproxy.server.stage import CHUNK, Sender, Stage, Toxic

KEEPING = {
    "noop": st.just({}),
    "latency": st.fixed_dictionaries(
        {"latency": st.integers(-5, 300), "jitter": st.sampled_from([0, 0, 50])}
    ),
    "bandwidth": st.fixed_dictionaries({"rate": st.sampled_from([0, 1, 50, 1000, 10**6])}),
    "slicer": st.fixed_dictionaries(
        {
            "average_size": st.sampled_from([7, 100, 40_000]),
            "size_variation": st.sampled_from([0, 7]),
            "delay": st.sampled_from([0, 300, 5000]),
        }
    ),
    "slow_close": st.fixed_dictionaries({"delay": st.sampled_from([0, 30, 500])}),
}
DROPPING = {
    "timeout": st.fixed_dictionaries({"timeout": st.integers(-1, 300)}),
    "reset_peer": st.fixed_dictionaries({"timeout": st.integers(0, 300)}),
    "limit_data": st.fixed_dictionaries({"bytes": st.integers(-1, 5000)}),
}
TOXICITY = st.sampled_from([0.0, 0.5, 1.0])


class Chain(RuleBasedStateMachine):
    kinds = KEEPING

    def __init__(self) -> None:
        super().__init__()
        self.stack = contextlib.ExitStack()
        self.bench = Bench(self.stack.enter_context(own_clock()))
        self.sent = bytearray()
        self.finished = False
        self.chain: list[Toxic] = []
        self.held = 0

    @initialize(data=st.data(), count=st.integers(0, 4))
    def open(self, data: st.DataObject, count: int) -> None:
        self.chain += [self._draw(data, data.draw(TOXICITY)) for _ in range(count)]
        self.bench.start(*self.chain)

    def _draw(self, data: st.DataObject, toxicity: float) -> Toxic:
        kind = data.draw(st.sampled_from(sorted(self.kinds)))
        return self.bench.toxic(kind, toxicity, None, **data.draw(self.kinds[kind]))

    @precondition(lambda self: not self.finished)
    @rule(sizes=st.lists(st.sampled_from([1, 3, 200, CHUNK, 70_000]), min_size=1, max_size=4))
    def send(self, sizes: list[int]) -> None:
        """Send bytes that tell their place from the source."""
        pieces = []
        for size in sizes:
            start = len(self.sent) // 4
            piece = b"".join(number.to_bytes(4) for number in range(start, start + size // 4 + 1))
            piece = piece[: size - size % 4 or 4]
            self.sent += piece
            pieces.append(piece)
        self.bench.send(*pieces)

    @precondition(lambda self: not self.finished)
    @rule()
    def finish(self) -> None:
        self.finished = True
        self.bench.finish()

    @rule(milliseconds=st.sampled_from([1, 40, 100, 700]))
    def pass_time(self, milliseconds: int) -> None:
        self.bench.pass_time(milliseconds / 1000)

    @rule(room=st.sampled_from([None, None, 0, 1, 5000]))
    def destination_reads(self, room: int | None) -> None:
        """Let the destination take that much, or everything."""
        self.bench.dest.room = room
        self.bench.poll()

    @rule(data=st.data(), toxicity=TOXICITY)
    def add(self, data: st.DataObject, toxicity: float) -> None:
        if len(self.chain) == 5:
            return
        toxic = self._draw(data, toxicity)
        self.chain.append(toxic)
        self.bench.link.add(toxic)
        self.bench.poll()

    @precondition(lambda self: self.chain)
    @rule(data=st.data(), toxicity=TOXICITY)
    def update(self, data: st.DataObject, toxicity: float) -> None:
        toxic = data.draw(st.sampled_from(self.chain))
        values = dict(data.draw(self.kinds[toxic.kind.type]))
        toxic.change({**toxic.values, **values}, toxicity)
        self.bench.link.update(toxic)
        self.bench.poll()

    @precondition(lambda self: self.chain)
    @rule(data=st.data())
    def remove(self, data: st.DataObject) -> None:
        toxic = data.draw(st.sampled_from(self.chain))
        self.chain.remove(toxic)
        self.bench.link.remove(toxic)
        self.bench.poll()

    @invariant()
    def bytes_keep_their_order(self) -> None:
        """What has arrived is the beginning of what was sent."""
        received = self.bench.dest.received
        assert bytes(self.sent[: len(received)]) == received

    @invariant()
    def what_is_held_is_bounded(self) -> None:
        """Held bytes are limited by the toxics and one chunk, or by what came in before.

        What a toxic held when it was removed waits for the destination like everything else.
        """
        held = self.bench.link.source.received - len(self.bench.dest.received)
        latencies = sum(toxic.kind.capacity > 0 for toxic in self.chain)
        bound = (len(self.chain) + 3) * CHUNK + latencies * 1025 * CHUNK
        assert held <= max(bound, self.held)
        self.held = held

    @invariant()
    def neighbours_know_each_other(self) -> None:
        """The ring from source to sink is whole, in the order added."""
        link = self.bench.link
        if link.sink.over:
            return
        seen = []
        sender: Sender = link.source
        while sender.next is not link.sink:
            receiver = sender.next
            assert isinstance(receiver, Stage)
            assert receiver.prev is sender
            seen.append(receiver.toxic)
            sender = receiver
        assert link.sink.prev is sender
        assert [toxic for toxic in seen if toxic in link.stages] == self.chain

    def teardown(self) -> None:
        """Everything arrives without obstacles, and nothing is left."""
        bench = self.bench
        bench.dest.room = None
        bench.poll()
        for toxic in list(self.chain):
            bench.link.remove(toxic)
        bench.pass_time(10)
        self.check_end()
        if not self.finished:
            bench.finish()
        bench.pass_time(1)
        assert bench.closed
        assert bench.clock.waiting() == 0
        assert bench.clock.readers == {}
        assert bench.clock.writers == {}
        self.stack.close()

    def check_end(self) -> None:
        assert self.bench.dest.received == bytes(self.sent)


class DroppingChain(Chain):
    """A chain that also has toxics that drop bytes or end the connection."""

    kinds = KEEPING | DROPPING
    dropping = False

    @invariant()
    def what_is_held_is_bounded(self) -> None:
        """While nothing can have been dropped, the bytes that have not arrived are held."""
        self.dropping |= self.bench.dest.gone
        self.dropping |= any(toxic.name.split()[0] in DROPPING for toxic in self.chain)
        if not self.dropping:
            super().what_is_held_is_bounded()

    @invariant()
    def bytes_keep_their_order(self) -> None:
        """The whole numbers that arrive only grow."""
        assert len(self.bench.dest.received) <= len(self.sent)

    @rule()
    def destination_breaks(self) -> None:
        """Let writing fail from now on."""
        self.bench.dest.gone = True

    def teardown(self) -> None:
        """Nothing is left, whichever side ended it."""
        bench = self.bench
        bench.dest.room = None
        bench.poll()
        for toxic in list(self.chain):
            bench.link.remove(toxic)
        if not self.finished:
            bench.finish()
        bench.pass_time(10)
        assert bench.closed
        assert bench.clock.waiting() == 0
        assert bench.clock.readers == {}
        assert bench.clock.writers == {}
        self.stack.close()


TestChain = Chain.TestCase
HALF = settings(max_examples=settings().max_examples // 2, stateful_step_count=25)
TestChain.settings = HALF
TestDroppingChain = DroppingChain.TestCase
TestDroppingChain.settings = HALF
