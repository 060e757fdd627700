"""Share a Vault among runs, each with a part of its own."""

from __future__ import annotations

import math
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from threading import Lock
from types import SimpleNamespace
from typing import Any, cast

from vault_harness.judge.catalogue import Entry
from vault_harness.judge.environment import Environment
from vault_harness.judge.lab import Lab
from vault_harness.judge.servers import KEY, PATH, platform
from vault_harness.local.blueprint import Blueprint
from vault_harness.local.engine.shape import Node, NodeSpec
from vault_harness.local.stack.launching import Secrets, Stack, launch
from vault_harness.local.vault.admin import VaultAdmin
from vault_harness.local.vault.apply import Applying, apply
from vault_harness.local.vault.keyring import Keyring

RUNS = 75
"""Runs that share a Vault: each leaves about 3 MB in its memory."""

_RUN = """
name = "explore"
[mounts."{name}"]
type = "kv"
version = 2
[policies."{name}"]
rules = '''
path "{name}/data/*" {{ capabilities = ["read"] }}
path "{name}/metadata/*" {{ capabilities = ["read", "list"] }}
'''
[approles."{name}"]
policies = ["{name}"]
token_ttl = "1h"
token_max_ttl = "24h"
secret_id_ttl = "1h"
secret_id_num_uses = 0
[secrets."{name}"."{path}"]
{key} = {{ generate = 50 }}
[secrets."{name}"."{spare}"]
{spare_key} = {{ generate = 24 }}
"""


@dataclass(frozen=True)
class SharedVault:
    """A running Vault, as plain data that another process can use."""

    address: str
    keyring: Keyring
    ca_cert: Path | None

    def entry(self, entry: Entry) -> Entry:
        name = entry.id.lower()
        return entry.model_copy(update={"mount": name, "approle": name})

    def stack(self, entry: Entry) -> Stack:
        operator = VaultAdmin(self.address, self.keyring.root_token, self.ca_cert)
        try:
            text = _RUN.format(
                name=entry.mount,
                path=PATH,
                key=KEY,
                spare=entry.spare_path,
                spare_key=entry.spare_key,
            )
            blueprint, secrets = Blueprint.parse(text, source=Path("explore.toml")), Secrets()
            apply(operator, blueprint, Applying(stored=secrets.learn), environ={})
        except BaseException:
            operator.close()
            raise
        # All runs share the audit log, so no run reads it.
        node = SimpleNamespace(
            name="shared", address=self.address, ca_cert=self.ca_cert, audit_path=None
        )
        return _Part(
            nodes=(cast("Node", node),),
            operator=operator,
            keyring=self.keyring,
            blueprint=blueprint,
            secrets=secrets,
        )


class _Part(Stack):
    def close(self) -> None:
        name = self.blueprint.mount
        for path in (f"sys/mounts/{name}", f"auth/approle/role/{name}", f"sys/policy/{name}"):
            self.operator.client.adapter.delete(f"/v1/{path}")
        self.operator.close()


class WarmLab(Lab):
    """A lab whose Vault runs already, unless it needs its own."""

    def __init__(
        self,
        environment: Environment,
        entry: Entry,
        shared: SharedVault | None,
        *,
        directory: Path | None = None,
    ) -> None:
        self._shared = shared
        super().__init__(environment, entry, directory=directory)

    def _launch(self, blueprint: Blueprint) -> Stack:
        if self._shared is None:
            return super()._launch(blueprint)
        return self._shared.stack(self.entry)


@dataclass
class Served:
    """A Vault that runs use.

    Attributes:
        runs: Runs that it was given.
        busy: Those that have not ended.
    """

    shared: SharedVault
    stopping: ExitStack
    runs: int = 0
    busy: int = 0


class Servers:
    """The Vaults of all runs, one after the other: a Vault's memory grows with each run.

    The next Vault is started while the last one is still used, so that no run waits for it.
    """

    def __init__(self, environment: Environment, most: int = RUNS) -> None:
        self._environment = environment
        # Nobody can start another external Vault.
        self._most = math.inf if environment.engine.name == "external" else most
        self._names = count(1)
        self._thread = ThreadPoolExecutor(1, "explore-servers")
        self._changing = Lock()
        self._next: Future[Served] | None = None
        self._retired: list[Served] = []
        self._closed = False
        self.current = self._thread.submit(self._start).result()

    def take(self) -> Served:
        with self._changing:
            if self._next is not None and self._next.done():
                self._retired.append(self.current)
                self.current, self._next = self._next.result(), None
                self._stop_unused()
            if self.current.runs >= self._most and self._next is None:
                self._next = self._thread.submit(self._start)
            self.current.runs += 1
            self.current.busy += 1
            return self.current

    def give_back(self, served: Served) -> None:
        with self._changing:
            served.busy -= 1
            self._stop_unused()

    def close(self) -> None:
        with self._changing:
            self._closed = True
            left = [self.current, *self._retired]
        if self._next is not None:
            left.append(self._next.result())
        for served in left:
            served.stopping.close()  # not in the thread: it has ended if the interpreter ends
        self._thread.shutdown()

    def _stop_unused(self) -> None:
        if self._closed:
            return
        for served in [one for one in self._retired if not one.busy]:
            self._retired.remove(served)
            self._thread.submit(served.stopping.close)

    def _start(self) -> Served:
        blueprint: Any = platform()
        name = f"shared-{next(self._names)}"
        stopping = ExitStack()
        stack = stopping.enter_context(
            launch(
                self._environment.engine,
                blueprint,
                NodeSpec(directory=self._environment.directory / name, name=name),
            )
        )
        node = stack.node
        return Served(SharedVault(node.address, stack.keyring, node.ca_cert), stopping)
