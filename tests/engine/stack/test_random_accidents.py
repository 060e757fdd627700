"""A cluster under load, and one accident after the other: nothing that was confirmed is lost.

The sequence is random and comes from a seed, which is printed. The same again, or a longer one:

    ACCIDENTS_SEED=17 ACCIDENTS_STEPS=200 pytest -m slow tests/engine/stack/test_random_accidents.py

What can happen on the process engine: a node is killed (SIGKILL), stands still (SIGSTOP) and goes
on, or gives its lead away; what was killed is started and unsealed. A node that stands still is cut
off from the others and from clients in both directions, and comes back believing what it believed
before: that is the partition that matters here. At most one of the three is away at a time.
"""

from __future__ import annotations

import contextlib
import os
import random
import secrets
import signal
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field

import pytest

from resilient_vault_client import SecretNotFound, VaultClient, VaultError, WriteConflict
from tests.engine.stack.ledger import (
    Lapse,
    Ledger,
    Outcome,
    Read,
    Write,
    findings,
    no_read_is_older_than_what_was_known,
)
from vault_harness.blueprint import Blueprint
from vault_harness.stack import LocalStack, Nodes, StackRecord, service_environment
from vault_harness.vault import Operator, cluster
from vault_harness.waiting import wait_until

STEPS = int(os.environ.get("ACCIDENTS_STEPS", "12"))
SEED = int(os.environ.get("ACCIDENTS_SEED") or secrets.randbelow(10**6))

BALANCER = 2.5
"""Seconds in which the balancer has ended the connections to a node that leads no more: two looks,
each of at most a second where it stands still, 0.2 s apart."""

PROGRESS = 5
"""Writes that are confirmed before the next accident, where there is to be progress at all."""

PAGE = 200
"""Versions of one secret, before the writers go on with the next: each write rewrites the list."""

MEET = 60.0
"""Seconds for a cluster to serve again after an accident, on a busy machine."""


def tell(line: str) -> None:
    """What pytest shows of a test that fails, or with ``-s``."""
    sys.stdout.write(f"{line}\n")


@dataclass
class Load:
    """Writers and readers, each with a client of its own, by way of Toxiproxy and the balancer."""

    ledger: Ledger
    environment: dict[str, str]
    started: float = field(default_factory=time.monotonic)
    over: threading.Event = field(default_factory=threading.Event)
    pages: dict[str, int] = field(default_factory=lambda: {"a": 0, "b": 0})

    def now(self) -> float:
        """Seconds since the load began."""
        return time.monotonic() - self.started

    @contextlib.contextmanager
    def running(self) -> Iterator[None]:
        """Two writers of one secret, one of another, and a reader of each."""
        threads = [
            *(
                threading.Thread(target=self._write, args=(name, each))
                for name, each in (("one", "a"), ("two", "a"), ("three", "b"))
            ),
            *(threading.Thread(target=self._read, args=(each,)) for each in self.pages),
        ]
        for thread in threads:
            thread.start()
        try:
            yield
        finally:
            self.over.set()
            for thread in threads:
                thread.join(timeout=30)
        assert not any(thread.is_alive() for thread in threads)

    def _client(self) -> VaultClient:
        return VaultClient(environ=self.environment, timeout=4.0)

    def _path(self, secret: str) -> str:
        return f"ledger/{secret}-{self.pages[secret]}"

    def _look(self, client: VaultClient, path: str) -> int:
        """Read it, and note what was read; its version, 0 if there is none."""
        began = self.now()
        try:
            found = client.read(path, "value")
        except SecretNotFound:
            return 0
        if found.source != "vault" or found.version is None:
            raise VaultError("a value from memory")  # says nothing of the cluster
        ended = self.now()
        self.ledger.note(
            Read(path=path, value=found.value, version=found.version, began=began, ended=ended)
        )
        return found.version

    def _read(self, secret: str) -> None:
        with contextlib.closing(self._client()) as client:
            while not self.over.wait(0.02):
                with contextlib.suppress(VaultError):
                    self._look(client, self._path(secret))

    def _write(self, name: str, secret: str) -> None:
        number = 0
        with contextlib.closing(self._client()) as client:
            while not self.over.wait(0.02):
                page, path = self.pages[secret], self._path(secret)
                with contextlib.suppress(VaultError):
                    over = self._look(client, path)
                    if over >= PAGE:
                        self.pages[secret] = page + 1
                        continue
                    number += 1
                    self._put(client, path, f"{name}-{number}", over)

    def _put(self, client: VaultClient, path: str, value: str, over: int) -> None:
        outcome: Outcome = "unknown"
        version = None
        began = self.now()
        try:
            version = client.put_secret(path, {"value": value}, over)
            outcome = "confirmed"
        except WriteConflict:
            outcome = "refused"
        except VaultError as error:
            outcome = "unknown" if error.sent else "unsent"
        self.ledger.note(
            Write(
                path=path,
                value=value,
                over=over,
                outcome=outcome,
                version=version,
                began=began,
                ended=self.now(),
            )
        )


class Accidents:
    """One accident at a time, chosen by a seed alone, and told as it happens."""

    def __init__(self, stack: LocalStack, load: Load, seed: int) -> None:
        self._stack, self._load, self._chance = stack, load, random.Random(seed)
        self._nodes = Nodes(stack)
        self._names = [node.name for node in stack.endpoints().nodes]
        self._away: tuple[str, str] | None = None

    def step(self) -> None:
        """The next one, and progress after it."""
        if self._away is not None:
            self.mend()
        else:
            happens = self._chance.choice([self._kill, self._pause, self._pause, self._step_down])
            happens(self._victim())
        since = self._load.now()
        if self._away is not None and self._away[0] == "paused" and self._chance.random() < 0.5:
            # Too short for the others to notice, or just long enough: it goes on as if nothing was.
            self._load.over.wait(self._chance.uniform(0.2, 3.0))
            return
        assert self._load.ledger.await_confirmed_since(since, PROGRESS, MEET), (
            f"waited {MEET:g} s for {PROGRESS} writes; nodes are {self._stack.status().nodes}"
        )

    def mend(self) -> None:
        """What is away comes back; nothing happens if nothing is."""
        if self._away is None:
            return
        what, name = self._away
        self._tell(f"{name} {'goes on' if what == 'paused' else 'is started'}")
        if what == "killed":
            self._nodes.start(name)
        else:
            self._signal(name, signal.SIGCONT)
        self._lapse(BALANCER)
        self._away = None
        # A node that comes back must have caught up, before another one may be taken away.
        wait_until(self._all_serve, "all nodes to serve", timeout=MEET)

    def release(self) -> None:
        """Whatever happened, leave no process that stands still."""
        if self._away is not None and self._away[0] == "paused":
            self._signal(self._away[1], signal.SIGCONT)

    def _victim(self) -> str:
        """The leader twice as often as each of the others."""
        leader = self._stack.status().leader
        others = [name for name in self._names if name != leader]
        return self._chance.choice([leader or others[0], leader or others[0], *others])

    def _kill(self, name: str) -> None:
        self._tell(f"{name} is killed")
        self._away = "killed", name
        self._nodes.kill(name)

    def _pause(self, name: str) -> None:
        self._tell(f"{name} stands still")
        self._away = "paused", name
        self._load.ledger.lapses.append(Lapse(self._load.now(), float("inf")))
        self._signal(name, signal.SIGSTOP)

    def _step_down(self, _: str) -> None:
        began = self._load.now()
        self._load.ledger.lapses.append(Lapse(began, float("inf")))
        before, after = self._nodes.step_down()[:2]
        self._lapse(BALANCER)
        self._tell(f"{before} gave its lead to {after}")

    def _lapse(self, seconds: float) -> None:
        """Let the last one end in so many seconds, if it has no end yet."""
        lapses = self._load.ledger.lapses
        if lapses and lapses[-1].ended == float("inf"):
            lapses[-1] = Lapse(lapses[-1].began, self._load.now() + seconds)

    def _signal(self, name: str, number: int) -> None:
        os.kill(StackRecord.load(self._stack.data_dir).services[name]["pid"], number)

    def _all_serve(self) -> bool:
        with cluster.operators(self._stack.endpoints().addresses) as nodes:
            return sorted(cluster.health_of_all(nodes)) == [200, 429, 429]

    def _tell(self, what: str) -> None:
        tell(f"+{self._load.now():6.2f}  {what}")


@pytest.fixture
def load(stack: LocalStack, haproxy: None) -> Load:
    """A seeded cluster, whose backend may write; the load has not begun."""
    stack.up(ha=True)
    stack.seed(Blueprint.default())
    with contextlib.closing(stack.operator()) as root:
        policy = root.request("GET", "sys/policies/acl/backend")["data"]["policy"]
        policy += '\npath "ecommerce/data/ledger/*" { capabilities = ["create", "read", "update"] }'
        root.request("POST", "sys/policies/acl/backend", policy=policy)
        root.request("POST", "ecommerce/config", max_versions=PAGE + 10)
    return Load(Ledger(), service_environment(stack, "backend"))


def contents(root: Operator, load: Load) -> dict[str, dict[int, str]]:
    """Every version of every secret that was written."""
    found: dict[str, dict[int, str]] = {}
    for path in sorted({write.path for write in load.ledger.writes}):
        metadata = root.request("GET", f"ecommerce/metadata/{path}").get("data") or {}
        found[path] = {
            int(version): root.request("GET", f"ecommerce/data/{path}?version={version}")["data"][
                "data"
            ]["value"]
            for version in metadata.get("versions") or {}
        }
    return found


@pytest.mark.slow  # a minute of accidents
def test_nothing_confirmed_is_lost(stack: LocalStack, load: Load) -> None:
    """Whatever happens to one node at a time, under load; and the cluster is whole at the end."""
    tell(f"ACCIDENTS_SEED={SEED} ACCIDENTS_STEPS={STEPS}")
    accidents = Accidents(stack, load, SEED)
    try:
        with load.running():
            assert load.ledger.await_confirmed_since(0, PROGRESS, MEET)
            for _ in range(STEPS):
                accidents.step()
            accidents.mend()
            assert load.ledger.await_confirmed_since(load.now(), PROGRESS, MEET)
    finally:
        accidents.release()
    status = stack.status()
    assert sorted(node.role for node in status.nodes) == ["leader", "standby", "standby"]
    assert {node.voter for node in status.nodes} == {True}
    with contextlib.closing(stack.operator()) as root:
        load.ledger.contents = contents(root, load)
    counted = dict.fromkeys(("confirmed", "refused", "unsent", "unknown"), 0)
    for write in load.ledger.writes:
        counted[write.outcome] += 1
    stale = no_read_is_older_than_what_was_known(load.ledger, lapses=())
    tell(
        f"writes: {counted}; reads: {len(load.ledger.reads)}, {len(stale)} of them from a node "
        "that did not know yet that it led no more"
    )
    assert findings(load.ledger) == [], f"ACCIDENTS_SEED={SEED} ACCIDENTS_STEPS={STEPS}"
    keyring, addresses = stack.keyring(), stack.endpoints().addresses
    assert keyring is not None
    with cluster.operators(addresses, token=keyring.root_token) as nodes:
        for node in nodes:
            wait_until(
                lambda at=node: contents(at, load) == load.ledger.contents,  # type: ignore[misc]
                f"{node.address} to have every version",
                timeout=MEET,
            )
