"""A Vault that many runs share: each run has a mount, a role and a policy of its own there."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
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
    """A running Vault, as plain data that a fork or another process can use."""

    address: str
    keyring: Keyring
    ca_cert: Path | None

    def entry(self, entry: Entry) -> Entry:
        """Return a run's data with a mount and a role of its own."""
        name = entry.id.lower()
        return entry.model_copy(update={"mount": name, "approle": name})

    def stack(self, entry: Entry) -> Stack:
        """Make a run's own part of this Vault."""
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
        # The audit log is that of all runs, so no run reads it.
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
    """A run's own part of a Vault."""

    def close(self) -> None:
        """Remove the part, with its data and its tokens."""
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


@contextmanager
def shared_vault(environment: Environment) -> Iterator[SharedVault]:
    """Start a Vault for many runs, and stop it after the block."""
    blueprint: Any = platform()
    with launch(
        environment.engine,
        blueprint,
        NodeSpec(directory=environment.directory / "shared", name="shared"),
    ) as stack:
        yield SharedVault(stack.node.address, stack.keyring, stack.node.ca_cert)
