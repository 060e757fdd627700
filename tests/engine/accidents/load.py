from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field

from resilient_vault_client import SecretNotFound, VaultClient, VaultError, WriteConflict
from tests.engine.accidents.ledger import Ledger, Outcome, Read, Write
from vault_harness.errors import DeadlineExceeded, OperatorError
from vault_harness.local.blueprint import Blueprint
from vault_harness.local.stack.env import service_environment
from vault_harness.local.stack.local import LocalStack
from vault_harness.local.vault.admin import VaultAdmin
from vault_harness.waiting import wait_until

PAGE = 200
"""Versions of one secret before the writers take the next: each write rewrites the list."""

PACE, HURRIED = 0.2, 0.02
"""Seconds between two calls of each thread, normally and around an accident.

An accident must meet calls under way. The rest of the time the load should stay small.
"""

HURRY = 1.5

MEET = 60.0
"""Seconds for a cluster to serve again, on a busy machine."""


@dataclass
class Load:
    ledger: Ledger
    environment: dict[str, str]
    started: float = field(default_factory=time.monotonic)
    over: threading.Event = field(default_factory=threading.Event)
    pages: dict[str, int] = field(default_factory=lambda: {"a": 0, "b": 0})
    hurried_until: float = HURRY

    def now(self) -> float:
        return time.monotonic() - self.started

    def hurry(self) -> None:
        """Call at the faster pace for a while, because a node is about to be lost."""
        self.hurried_until = self.now() + HURRY

    def pace(self) -> float:
        return HURRIED if self.now() < self.hurried_until else PACE

    @contextlib.contextmanager
    def running(self) -> Iterator[None]:
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

    @contextlib.contextmanager
    def client_of(self, address: str) -> Iterator[VaultClient]:
        """Yield a logged-in client of one node, past Toxiproxy and balancer."""
        environment = self.environment | {"VAULT_ADDR": address}
        with contextlib.closing(VaultClient(environ=environment, timeout=4.0)) as client:
            wait_until(
                lambda: _reads(client), f"{address} to answer a client that logs in", timeout=MEET
            )
            yield client

    def put(
        self, client: VaultClient, path: str, value: str, over: int, *, asked: str | None = None
    ) -> Write:
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
        write = Write(
            path=path,
            value=value,
            over=over,
            outcome=outcome,
            version=version,
            began=began,
            ended=self.now(),
            asked=asked,
        )
        self.ledger.note(write)
        return write

    def _client(self) -> VaultClient:
        return VaultClient(environ=self.environment, timeout=4.0)

    def _path(self, secret: str) -> str:
        return f"ledger/{secret}-{self.pages[secret]}"

    def _look(self, client: VaultClient, path: str) -> int:
        """Record the read. Return the version, 0 if there is none."""
        began = self.now()
        try:
            found = client.read(path, "value")
        except SecretNotFound:
            return 0
        if found.source != "vault" or found.version is None:
            raise VaultError("a value from memory")  # tells nothing about the cluster
        ended = self.now()
        self.ledger.note(
            Read(path=path, value=found.value, version=found.version, began=began, ended=ended)
        )
        return found.version

    def _read(self, secret: str) -> None:
        with contextlib.closing(self._client()) as client:
            while not self.over.wait(self.pace()):
                with contextlib.suppress(VaultError):
                    self._look(client, self._path(secret))

    def _write(self, name: str, secret: str) -> None:
        number = 0
        with contextlib.closing(self._client()) as client:
            while not self.over.wait(self.pace()):
                page, path = self.pages[secret], self._path(secret)
                with contextlib.suppress(VaultError):
                    over = self._look(client, path)
                    if over >= PAGE:
                        self.pages[secret] = page + 1
                        continue
                    number += 1
                    self.put(client, path, f"{name}-{number}", over)


def prepared(stack: LocalStack, *, cuttable: bool = False) -> Load:
    """Start and seed a cluster whose backend may write; the load has not begun.

    The stack may be up already as a cluster. With `cuttable` its nodes can be cut off.
    """
    stack.up(ha=True, cuttable=cuttable)
    stack.seed(Blueprint.default())
    with contextlib.closing(stack.operator()) as root:
        policy = root.request("GET", "sys/policies/acl/backend")["data"]["policy"]
        policy += '\npath "ecommerce/data/ledger/*" { capabilities = ["create", "read", "update"] }'
        root.request("POST", "sys/policies/acl/backend", policy=policy)
        root.request("POST", "ecommerce/config", max_versions=PAGE + 10)
    return Load(Ledger(), service_environment(stack, "backend"))


def _reads(client: VaultClient) -> bool:
    """A node without a known leader refuses logins."""
    with contextlib.suppress(VaultError):
        client.get_secret("backend/django")
        return True
    return False


def leader_of(stack: LocalStack) -> str:
    """Wait for a leader: on a busy machine a lead is lost without an accident."""
    found: list[str] = []

    def leads() -> bool:
        found[:] = filter(None, [stack.status().leader])
        return bool(found)

    wait_until(
        leads, "a node to lead", timeout=MEET, evidence=lambda: f"nodes are {stack.status().nodes}"
    )
    return found[0]


def contents_at_last(stack: LocalStack, load: Load) -> dict[str, dict[int, str]]:
    """Return the `contents` from the leader once writers and accidents are over.

    On a busy machine a lead is lost without an accident. A node that does not know the new leader
    yet answers "active cluster node not found".
    """
    found: dict[str, dict[int, str]] = {}
    said: list[str] = []

    def tells() -> bool:
        try:
            with contextlib.closing(stack.operator()) as root:
                found.update(contents(root, load))
        except (OperatorError, DeadlineExceeded) as error:
            said[:] = [str(error)]
            return False
        return True

    wait_until(
        tells,
        "a leader to tell every version that was written",
        timeout=MEET,
        evidence=lambda: " ".join(said),
    )
    return found


def contents(root: VaultAdmin, load: Load) -> dict[str, dict[int, str]]:
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
