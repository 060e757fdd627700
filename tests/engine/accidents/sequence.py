"""One accident after the other, to a cluster under load, whichever engine runs it.

Each way of losing a node happens to the node that leads and to one that does not, and must have
been noticed: another node leads, or the leader hears no more of it. What nobody noticed is no
accident, and a run without one of them does not end.
"""

from __future__ import annotations

import contextlib
import os
import random
import secrets
import sys
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

from tests.engine.accidents.ledger import (
    Cut,
    Lapse,
    findings,
    no_read_is_older_than_what_was_known,
)
from tests.engine.accidents.load import MEET, Load, contents, contents_at_last, leader_of
from vault_harness.engine import NodeEndpoint
from vault_harness.errors import HarnessError
from vault_harness.stack import LocalStack, Nodes
from vault_harness.vault import Operator, cluster
from vault_harness.waiting import wait_until

STEPS = int(os.environ.get("ACCIDENTS_STEPS", "1"))
"""Accidents at least; each kind happens once in any case."""

SEED = int(os.environ.get("ACCIDENTS_SEED") or secrets.randbelow(10**6))

BALANCER = 2.5
"""Seconds in which the balancer has ended the connections to a node that leads no more: two looks,
each of at most a second where it stands still, 0.2 s apart."""

PROGRESS = 5
"""Writes that are confirmed before the next accident."""

SILENT = 5.0
"""Seconds in which a node under load tells its leader of no new entry in its log, and is missed. It
tells every second or two; autopilot itself waits for ten."""

GIVES_LEAD = "gives its lead away"


def tell(line: str) -> None:
    """What pytest shows of a test that fails, or with ``-s``."""
    sys.stdout.write(f"{line}\n")


@dataclass(frozen=True, kw_only=True)
class Loss:
    """A way in which a node is lost for a while.

    Attributes:
        name: What is told when it begins, after the node's name; it tells this one from others.
        ends: What is told when it ends.
        begin: Does it to the node of a name.
        end: Undoes it.
        brief: Whether it may be over before anybody notices.
        alone: Whether the node serves on and clients reach it, though no other node does.
    """

    name: str
    ends: str
    begin: Callable[[str], object]
    end: Callable[[str], object]
    brief: bool = True
    alone: bool = False


class Told:
    """What the leader knows of a node's log, and since when it is the same."""

    def __init__(self) -> None:
        self._entries, self._since = -1, 0.0

    def nothing_new(self, entries: int, now: float) -> bool:
        """Whether it has been the same for so long that nothing comes any more."""
        if entries != self._entries:
            self._entries, self._since = entries, now
        return now - self._since > SILENT


class Accidents:
    """One accident at a time, chosen by a seed alone, and told as it happens.

    Args:
        stack: A cluster of three.
        load: What runs on it.
        losses: What can happen to a node, beside that it gives its lead away.
        seed: Of the sequence.
    """

    def __init__(self, stack: LocalStack, load: Load, losses: Sequence[Loss], seed: int) -> None:
        self.noticed: Counter[tuple[str, bool]] = Counter()
        """How often which kind was noticed, of a node that led or of another."""
        self._stack, self._load, self._chance = stack, load, random.Random(seed)
        self._kinds = [(loss, leads) for loss in losses for leads in (True, False)]
        self._nodes = Nodes(stack)
        self._lost: tuple[Loss, str] | None = None
        self._number = 0

    def run(self, at_least: int) -> None:
        """So many accidents, and each kind of them once; progress during and after each."""
        to_come: list[tuple[Loss | None, bool]] = []
        while self._number < at_least or to_come or not self._number:
            if not to_come:
                to_come = [*self._kinds, (None, True)]
                self._chance.shuffle(to_come)
            self._number += 1
            self._busy()
            loss, leads = to_come.pop()
            if loss is None:
                self._step_down()
            elif not self._lose(loss, leads=leads):
                to_come.insert(self._chance.randrange(len(to_come) + 1), (loss, leads))
            self._progress()

    def release(self) -> None:
        """Whatever happened, leave no node that stands still or is cut off."""
        if self._lost is not None:
            loss, name = self._lost
            try:
                loss.end(name)
            except Exception as error:  # noqa: BLE001 -- what failed first says more than its end
                tell(
                    f"{name}, which {loss.name}, was not released: {type(error).__name__}: {error}"
                )

    def _step_down(self) -> None:
        self._load.ledger.lapses.append(Lapse(self._load.now(), float("inf")))
        before, after = self._nodes.step_down()[:2]
        self._end_lapse()
        self.noticed[GIVES_LEAD, True] += 1
        self._tell(f"{before} {GIVES_LEAD}, to {after}")

    def _lose(self, loss: Loss, *, leads: bool) -> bool:
        """Lose a node, and have it back; whether that was noticed."""
        victim = self._victim(leads=leads)
        brief = loss.brief and self._chance.random() < 1 / 3
        self._load.ledger.lapses.append(Lapse(self._load.now(), float("inf")))
        with contextlib.ExitStack() as until:
            client = None
            if loss.alone:
                client = until.enter_context(self._load.client_of(victim.address))
            self._tell(f"{victim.name}, which {'leads' if leads else 'follows'}, {loss.name}")
            self._lost = loss, victim.name
            loss.begin(victim.name)
            began = self._load.now()
            if brief:
                # Too short for the others to notice, or just long enough: as if nothing was.
                self._load.over.wait(self._chance.uniform(0.2, 3.0))
            else:
                asked = [client] if client is not None else []
                for each in asked:
                    self._load.put(
                        each, f"ledger/alone-{self._number}", "at once", 0, asked=victim.name
                    )
                told = Told()
                wait_until(
                    lambda: self._is_missed(victim, told, leads=leads, serves=loss.alone),
                    f"{victim.name}, which {loss.name}, to be missed",
                    timeout=MEET,
                    interval=0.25,
                    evidence=self._evidence,
                )
                self._tell(f"it is missed after {self._load.now() - began:.1f} s")
                if loss.alone:
                    self._end_lapse()
                for each in asked:
                    self._load.put(
                        each, f"ledger/alone-{self._number}", "later", 0, asked=victim.name
                    )
                self._busy()
                self.noticed[loss.name, leads] += 1
            self._load.ledger.cuts.append(Cut(victim.name, began, self._load.now()))
            self._load.hurry()
            self._tell(f"{victim.name} {loss.ends}")
            loss.end(victim.name)
            self._end_lapse()
            self._lost = None
            # A node that comes back must have caught up, before another one may be taken away.
            entries = max(self._logs().values(), default=0)
            wait_until(
                lambda: self._is_whole(entries),
                "all nodes to serve and to have caught up",
                timeout=MEET,
                interval=0.25,
                evidence=self._evidence,
            )
        return not brief

    def _victim(self, *, leads: bool) -> NodeEndpoint:
        leader = leader_of(self._stack)
        return self._chance.choice(
            [node for node in self._stack.endpoints().nodes if (node.name == leader) is leads]
        )

    def _busy(self) -> None:
        """See that calls are under way, whatever happens next."""
        self._load.hurry()
        self._progress()
        self._load.hurry()

    def _progress(self) -> None:
        since = self._load.now()
        assert self._load.ledger.await_confirmed_since(since, PROGRESS, MEET), (
            f"waited {MEET:g} s for {PROGRESS} writes; {self._evidence()}"
        )

    def _is_missed(self, victim: NodeEndpoint, told: Told, *, leads: bool, serves: bool) -> bool:
        """Whether another node leads; or the leader has heard nothing new of it for some time."""
        others = [node for node in self._stack.endpoints().nodes if node != victim]
        with cluster.operators([node.address for node in others]) as nodes:
            if 200 not in cluster.health_of_all(nodes):
                return False
        if serves:
            with cluster.operators([victim.address]) as (alone,):
                if alone.health(timeout=1) == 200:
                    return False
        return leads or told.nothing_new(self._logs().get(victim.name, 0), self._load.now())

    def _is_whole(self, entries: int) -> bool:
        """Whether all nodes serve, and have so many entries of the log by what the leader knows."""
        with cluster.operators(self._stack.endpoints().addresses) as nodes:
            if sorted(cluster.health_of_all(nodes)) != [200, 429, 429]:
                return False
        logs = self._logs()
        return len(logs) == 3 and min(logs.values()) >= entries

    def _logs(self) -> dict[str, int]:
        """How many entries each node has, by its last word to the leader; empty if none leads."""
        with contextlib.suppress(HarnessError), contextlib.closing(self._stack.operator()) as root:
            state = root.request("GET", "sys/storage/raft/autopilot/state").get("data") or {}
            servers = state.get("servers") or {}
            return {name: int(server.get("last_index") or 0) for name, server in servers.items()}
        return {}

    def _evidence(self) -> str:
        return f"nodes are {self._stack.status().nodes}, and have {self._logs()} entries"

    def _end_lapse(self) -> None:
        """Let the last one end once the balancer has seen to it, if it has no end yet."""
        lapses = self._load.ledger.lapses
        if lapses[-1].ended == float("inf"):
            lapses[-1] = Lapse(lapses[-1].began, self._load.now() + BALANCER)

    def _tell(self, what: str) -> None:
        tell(f"+{self._load.now():6.2f}  {what}")


def nothing_is_lost(stack: LocalStack, load: Load, losses: Sequence[Loss]) -> None:
    """Accidents to a cluster under load; it is whole at the end, and every promise was kept.

    Args:
        stack: A cluster that is `prepared`.
        load: What was made for it; not begun.
        losses: What happens to its nodes.
    """
    again = f"ACCIDENTS_SEED={SEED} ACCIDENTS_STEPS={STEPS}"
    tell(again)
    accidents = Accidents(stack, load, losses, SEED)
    try:
        with load.running():
            assert load.ledger.await_confirmed_since(0, PROGRESS, MEET)
            accidents.run(STEPS)
    finally:
        accidents.release()
    wait_until(
        lambda: _all_vote(stack),
        "one node to lead and two to follow, all of which vote",
        timeout=MEET,
        evidence=lambda: f"nodes are {stack.status().nodes}",
    )
    load.ledger.contents = contents_at_last(stack, load)
    _tell_of(load, accidents)
    assert findings(load.ledger) == [], again
    kinds = {(loss.name, leads) for loss in losses for leads in (True, False)}
    assert accidents.noticed.keys() == kinds | {(GIVES_LEAD, True)}, "a kind that never happened"
    alone = sum(write.asked is not None for write in load.ledger.writes)
    assert alone or not any(loss.alone for loss in losses), "no node was asked while it was alone"
    keyring = stack.keyring()
    assert keyring is not None
    with cluster.operators(stack.endpoints().addresses, token=keyring.root_token) as nodes:
        for node in nodes:
            wait_until(
                partial(_has_every_version, node, load),
                f"{node.address} to have every version",
                timeout=MEET,
            )


def _all_vote(stack: LocalStack) -> bool:
    nodes = stack.status().nodes
    roles = sorted(node.role for node in nodes)
    return roles == ["leader", "standby", "standby"] and all(node.voter for node in nodes)


def _has_every_version(node: Operator, load: Load) -> bool:
    """Whether it has what the leader has; nobody can tell while none leads.

    On a busy machine a leader may be lost without an accident.
    """
    with contextlib.suppress(HarnessError):
        return contents(node, load) == load.ledger.contents
    return False


def _tell_of(load: Load, accidents: Accidents) -> None:
    counted = Counter(write.outcome for write in load.ledger.writes)
    alone = Counter(write.outcome for write in load.ledger.writes if write.asked is not None)
    stale = no_read_is_older_than_what_was_known(load.ledger, lapses=())
    for (name, leads), count in sorted(accidents.noticed.items()):
        tell(f"{count} times: a node that {'leads' if leads else 'follows'} {name}")
    tell(f"writes: {dict(counted)}; asked of a node that was alone: {dict(alone)}")
    tell(
        f"reads: {len(load.ledger.reads)}, {len(stale)} of them from a node that did not know yet "
        "that it led no more"
    )
