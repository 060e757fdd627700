"""Start a Vault for one scenario, or one that holds the unseal key of another."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from vault_harness import files
from vault_harness.certificates import Authority, TlsFiles
from vault_harness.closable import Closable
from vault_harness.errors import OperatorError, VaultIsSealed, without_frames
from vault_harness.local.blueprint import Blueprint
from vault_harness.local.engine.configuration import QUICK_AUTOPILOT
from vault_harness.local.engine.external import ExternalEngine
from vault_harness.local.engine.folders import run_directory
from vault_harness.local.engine.shape import Engine, Node, NodeSpec
from vault_harness.local.toxiproxy.client import Proxy
from vault_harness.local.vault import cluster
from vault_harness.local.vault.admin import VaultAdmin, alive
from vault_harness.local.vault.apply import Applying, Change, apply
from vault_harness.local.vault.keyring import Keyring
from vault_harness.settings import Settings

_ANSWER_SECONDS = 5.0
"""Short, because nobody starts it in the meantime."""


@without_frames
def check_external(settings: Settings, *, timeout: float = _ANSWER_SECONDS) -> None:
    """Check that the Vault of ``VAULT_ADDR`` is unsealed and accepts ``VAULT_TOKEN``."""
    with run_directory() as directory:
        engine = ExternalEngine(settings, directory=directory)
        node = engine.node(NodeSpec(name="external", directory=directory))
        node.start(timeout=timeout)
        keyring = keyring_of(engine, node)
        with contextlib.closing(
            VaultAdmin(node.address, keyring.root_token, node.ca_cert)
        ) as operator:
            if alive(operator) is None:
                raise OperatorError(
                    "the external Vault rejects VAULT_TOKEN",
                    looked_at=f"{node.address}/v1/auth/token/lookup-self",
                    remedy="set VAULT_TOKEN to a valid operator token",
                )


def keyring_of(engine: ExternalEngine, node: Node) -> Keyring:
    """Return a keyring with only the operator's token. Refuse a sealed Vault."""
    with contextlib.closing(VaultAdmin(node.address, ca_cert=node.ca_cert)) as operator:
        status = operator.seal_status()
    if not status.initialised or status.sealed:
        raise VaultIsSealed(
            "the external Vault is not ready: it is "
            + ("sealed" if status.initialised else "not initialised"),
            looked_at=node.address,
            remedy="initialise and unseal it; the harness does not do that to an external Vault",
        )
    token = engine.token.get_secret_value()
    if not token:
        raise OperatorError("VAULT_TOKEN is empty", remedy="set it to an operator's token")
    return Keyring(keys=(), threshold=0, root_token=token, ca_cert=node.ca_cert)


_UNSEAL_SECONDS = 15.0
_CLUSTER_SECONDS = 60.0


class Secrets(dict[tuple[str, str], Mapping[str, Any]]):
    """Values of secrets by mount and path. Its repr shows none."""

    def __repr__(self) -> str:
        return f"<Secrets: {len(self)} known>"

    def learn(self, mount: str, path: str, values: Mapping[str, Any]) -> None:
        self[mount, path] = values


@dataclass(kw_only=True, eq=False, repr=False)
class Stack(Closable):
    """A Vault for a scenario, with an operator who may do everything at the first node.

    `secrets` are the values when the blueprint was applied.
    """

    nodes: tuple[Node, ...]
    operator: VaultAdmin
    keyring: Keyring
    blueprint: Blueprint
    changes: tuple[Change, ...] = ()
    secrets: Secrets = field(default_factory=Secrets)

    def __repr__(self) -> str:
        return f"<Stack {self.node.name} {self.node.address}>"

    @property
    def node(self) -> Node:
        return self.nodes[0]

    def fill(
        self, leader: VaultAdmin, node: Node, environ: Mapping[str, str] | None, *, audit_raw: bool
    ) -> None:
        """Apply the blueprint at the leading node."""
        how = Applying(
            audit_path=node.server_audit_path, audit_raw=audit_raw, stored=self.secrets.learn
        )
        self.changes = tuple(apply(leader, self.blueprint, how, environ=environ or {}))

    def operator_at(self, node: Node) -> VaultAdmin:
        return VaultAdmin(node.address, self.keyring.root_token, node.ca_cert)

    def leader(self, *, without: Node | None = None, timeout: float = _CLUSTER_SECONDS) -> Node:
        """Wait for a leader. The node `without` is not asked: it is lost and may not know it."""
        asked = [node.address for node in self.nodes if node is not without]
        with cluster.operators(asked, self.keyring) as every:
            address = cluster.wait_for_active(every, timeout=timeout).address
        return next(node for node in self.nodes if node.address == address)

    def unseal(self, *, timeout: float = _CLUSTER_SECONDS) -> None:
        with cluster.operators([node.address for node in self.nodes], self.keyring) as every:
            cluster.unseal_all(every, self.keyring, timeout=timeout)

    def close(self) -> None:
        """Kill its servers, whose data nobody needs."""
        self.operator.close()
        for node in self.nodes:
            node.close()


@dataclass(frozen=True)
class Link:
    """A proxy through which other nodes reach a node at `address` (``host:port``)."""

    proxy: Proxy
    address: str


def launch(
    engine: Engine,
    blueprint: Blueprint,
    spec: NodeSpec,
    *,
    environ: Mapping[str, str] | None = None,
    authority: Authority | None = None,
) -> Stack:
    """Start, initialise and unseal a Vault, and apply a blueprint in the root namespace.

    Args:
        spec: Storage ``raft`` keeps its data at a restart and takes a second longer.
        environ: Source of ``env`` values. Empty by default, so that no scenario uses a developer's
            real keys.
        authority: Plain HTTP without one.
    """
    node = _node(engine, spec, authority)
    blueprint = blueprint.without_namespace()
    with contextlib.ExitStack() as undo:
        undo.callback(node.close)
        node.start()
        keyring = _own(engine, node)
        operator = VaultAdmin(node.address, keyring.root_token, ca_cert=node.ca_cert)
        undo.callback(operator.close)
        stack = Stack(nodes=(node,), operator=operator, keyring=keyring, blueprint=blueprint)
        stack.fill(operator, node, environ, audit_raw=spec.audit_raw)
        undo.pop_all()
    return stack


def launch_cluster(
    engine: Engine,
    blueprint: Blueprint,
    *,
    directory: Path,
    count: int = 3,
    audit_raw: bool = False,
    name: str = "vault",
    environ: Mapping[str, str] | None = None,
    authority: Authority | None = None,
    link: Callable[[str], Link] | None = None,
) -> Stack:
    """Start a raft cluster with all nodes unsealed and voters, and apply a blueprint to it.

    The last node leads at first. The operator uses the first node, so it works after the leader is
    lost: a standby forwards requests.

    Args:
        audit_raw: Log values in clear. Only for throw-away secrets.
        name: Prefix of the nodes' names.
        link: Makes a proxy, through which the other nodes reach the named node.
    """
    blueprint = blueprint.without_namespace()
    with contextlib.ExitStack() as undo:
        nodes: list[Node] = []
        for number in range(1, count + 1):
            made = link(f"{name}-{number}") if link is not None else None
            spec = NodeSpec(
                name=f"{name}-{number}",
                directory=directory / f"{name}-{number}",
                storage="raft",
                audit_raw=audit_raw,
                extra={"storage": {"raft": QUICK_AUTOPILOT}, **_advertised(made)},
            )
            node = _node(engine, spec, authority)
            if made is not None:
                made.proxy.update(upstream=node.cluster_address)
            undo.callback(node.close)
            nodes.append(node)
        for node in nodes:
            node.start()
        keyring = _own(engine, nodes[-1])
        addresses = [node.address for node in nodes]
        with cluster.operators(addresses, keyring, token=keyring.root_token) as every:
            *others, leader = every
            cluster.wait_for_active([leader], timeout=_CLUSTER_SECONDS)
            leader.request(
                "POST", "sys/storage/raft/autopilot/configuration", server_stabilization_time="1s"
            )
            for other in others:
                at = nodes[-1].inner_address
                cluster.admit(other, leader, keyring, timeout=_CLUSTER_SECONDS, at=at)
            cluster.unseal_all(every, keyring, timeout=_CLUSTER_SECONDS, given=others)
            operator = VaultAdmin(nodes[0].address, keyring.root_token, nodes[0].ca_cert)
            undo.callback(operator.close)
            stack = Stack(
                nodes=tuple(nodes), operator=operator, keyring=keyring, blueprint=blueprint
            )
            stack.fill(leader, nodes[-1], environ, audit_raw=audit_raw)
            cluster.wait_for_voters(leader, count, timeout=_CLUSTER_SECONDS)
        undo.pop_all()
    return stack


def _advertised(link: Link | None) -> dict[str, object]:
    return {"cluster_addr": f"https://{link.address}"} if link is not None else {}


def _node(engine: Engine, spec: NodeSpec, authority: Authority | None) -> Node:
    if authority is None or isinstance(engine, ExternalEngine):
        return engine.node(spec)
    folder = spec.directory.with_name(f"{spec.directory.name}-tls")
    node = engine.node(replace(spec, tls=TlsFiles.within(folder)))
    authority.issue(folder, *node.hosts)
    return node


def _own(engine: Engine, node: Node) -> Keyring:
    if isinstance(engine, ExternalEngine):
        return keyring_of(engine, node)
    with contextlib.closing(VaultAdmin(node.address, ca_cert=node.ca_cert)) as operator:
        keyring = operator.init()
        operator.unseal(keyring, timeout=_UNSEAL_SECONDS)
    return keyring


KEY_NAME = "stack"

_POLICY = "unseal-stack"
_PERIOD = "768h"
"""A running server renews the token; it survives a month without one."""

_RULES = f"""path "transit/encrypt/{KEY_NAME}" {{
  capabilities = ["update"]
}}

path "transit/decrypt/{KEY_NAME}" {{
  capabilities = ["update"]
}}
"""


def transit_seal(root: VaultAdmin, token: Path, *, address: str | None = None) -> dict[str, Any]:
    """Give a holder the key and a token for it. Return the ``transit`` stanza, without secrets.

    Args:
        root: At the holder, with a root token.
        token: The token's file.
        address: The holder's base URL for the other Vault.
    """
    _give_key(root)
    _give_token(root, token)
    return {
        "address": address or root.address,
        "token": f"file://{token.absolute()}",
        "key_name": KEY_NAME,
        "mount_path": "transit/",
    }


@without_frames
def _give_key(root: VaultAdmin) -> None:
    """Create the key, which cannot be exported or deleted, and its policy."""
    if "transit/" not in root.request("GET", "sys/mounts").get("data", {}):
        root.request("POST", "sys/mounts/transit", type="transit")
    if not root.request("GET", f"transit/keys/{KEY_NAME}"):
        root.request("POST", f"transit/keys/{KEY_NAME}", type="aes256-gcm96")
    root.request("PUT", f"sys/policies/acl/{_POLICY}", policy=_RULES)


@without_frames
def _give_token(root: VaultAdmin, path: Path) -> None:
    if path.exists():
        with contextlib.closing(root.with_token(path.read_text().strip())) as known:
            if alive(known) is not None:
                known.request("POST", "auth/token/renew-self")
                return
    made = root.request(
        "POST",
        "auth/token/create-orphan",
        policies=[_POLICY],
        period=_PERIOD,
        display_name=_POLICY,
    )
    files.write_private(path, str(made["auth"]["client_token"]))
