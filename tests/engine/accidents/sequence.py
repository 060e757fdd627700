"""One accident after the other to a cluster under load, whichever engine runs it.

Each kind of loss happens to the leader and to a follower until it was noticed: another node leads,
or the leader hears nothing more of the node.
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
from vault_harness.errors import HarnessError
from vault_harness.local.engine.provider import NodeEndpoint
from vault_harness.local.stack.local import LocalStack
from vault_harness.local.stack.nodes import Nodes
from vault_harness.local.vault import cluster
from vault_harness.local.vault.admin import VaultAdmin
from vault_harness.waiting import wait_until

STEPS = int(os.environ.get("ACCIDENTS_STEPS", "1"))
"""The least number of accidents. Each kind happens once in any case."""

SEED = int(os.environ.get("ACCIDENTS_SEED") or secrets.randbelow(10**6))

BALANCER = 2.5
"""Seconds in which the balancer closes the connections to a former leader.

Its two checks are 0.2 s apart, and take at most a second each if the node hangs.
"""

PROGRESS = 5
"""Confirmed writes before the next accident."""

SILENT = 5.0
"""Seconds without new log entries after which the leader misses a node under load.

A node reports every second or two. Autopilot waits for ten.
"""

GIVES_LEAD = "gives its lead away"


def tell(line: str) -> None:
    """Print text that pytest shows for a failing test, or with ``-s``."""
    sys.stdout.write(f"{line}\n")


@dataclass(frozen=True, kw_only=True)
class Loss:
    """A way in which a node is lost for a while.

    `name` and `ends` are printed after the node's name. `brief` losses may be over before another
    node notices. With `alone` clients still reach the node, but no other node does.
    """

    name: str
    ends: str
    begin: Callable[[str], object]
    end: Callable[[str], object]
    brief: bool = True
    alone: bool = False


class Told:
    """What the leader knows of a node's log, and since when that has not changed."""

    def __init__(self) -> None:
        self._entries, self._since = -1, 0.0

    def nothing_new(self, entries: int, now: float) -> bool:
        if entries != self._entries:
            self._entries, self._since = entries, now
        return now - self._since > SILENT


class Accidents:
    """One accident at a time, chosen by the seed alone and printed as it happens.

    Beside the `losses`, the leader of the cluster of three may give its lead away.
    """

    def __init__(self, stack: LocalStack, load: Load, losses: Sequence[Loss], seed: int) -> None:
        self.noticed: Counter[tuple[str, bool]] = Counter()
        """Noticed accidents by kind and whether the node led."""
        self._stack, self._load, self._chance = stack, load, random.Random(seed)
        self._kinds = [(loss, leads) for loss in losses for leads in (True, False)]
        self._nodes = Nodes(stack)
        self._lost: tuple[Loss, str] | None = None
        self._number = 0

    def run(self, at_least: int) -> None:
        """Run that many accidents, each kind at least once, with progress during and after each."""
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
        """Undo the last loss, so that no node stays frozen or cut off."""
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
        """Lose a node and bring it back. Return True if the loss was noticed."""
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
                # A short loss may go unnoticed or just not.
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
            # A node that comes back must have caught up before the next one may be lost.
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
        self._load.hurry()
        self._progress()
        self._load.hurry()

    def _progress(self) -> None:
        since = self._load.now()
        assert self._load.ledger.await_confirmed_since(since, PROGRESS, MEET), (
            f"waited {MEET:g} s for {PROGRESS} writes; {self._evidence()}"
        )

    def _is_missed(self, victim: NodeEndpoint, told: Told, *, leads: bool, serves: bool) -> bool:
        """Return True if another node leads, or the leader hears nothing new of it for a while."""
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
        with cluster.operators(self._stack.endpoints().addresses) as nodes:
            if sorted(cluster.health_of_all(nodes)) != [200, 429, 429]:
                return False
        logs = self._logs()
        return len(logs) == 3 and min(logs.values()) >= entries

    def _logs(self) -> dict[str, int]:
        """Return the log entries of each node as the leader knows them; empty without a leader."""
        with contextlib.suppress(HarnessError), contextlib.closing(self._stack.operator()) as root:
            state = root.request("GET", "sys/storage/raft/autopilot/state").get("data") or {}
            servers = state.get("servers") or {}
            return {name: int(server.get("last_index") or 0) for name, server in servers.items()}
        return {}

    def _evidence(self) -> str:
        return f"nodes are {self._stack.status().nodes}, and have {self._logs()} entries"

    def _end_lapse(self) -> None:
        """Set the end of the last lapse to when the balancer has seen it, unless it is set."""
        lapses = self._load.ledger.lapses
        if lapses[-1].ended == float("inf"):
            lapses[-1] = Lapse(lapses[-1].began, self._load.now() + BALANCER)

    def _tell(self, what: str) -> None:
        tell(f"+{self._load.now():6.2f}  {what}")


def nothing_is_lost(stack: LocalStack, load: Load, losses: Sequence[Loss]) -> None:
    """Run accidents on a cluster from `prepared`: at the end it has kept every promise."""
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


def _has_every_version(node: VaultAdmin, load: Load) -> bool:
    """Return True if the node has what the leader has, and False without a leader."""
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
