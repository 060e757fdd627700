"""A fresh Vault for one scenario: started, initialised, unsealed, and filled by a blueprint."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from vault_harness.blueprint import Blueprint
from vault_harness.certificates import Authority, TlsFiles
from vault_harness.closable import Closable
from vault_harness.engine import QUICK_AUTOPILOT, Engine, ExternalEngine, Node, NodeSpec, Storage
from vault_harness.stack._external import keyring_of
from vault_harness.toxiproxy import Proxy
from vault_harness.vault import Change, Keyring, Operator, apply, cluster

_UNSEAL_SECONDS = 15.0
_CLUSTER_SECONDS = 60.0


class Secrets(dict[tuple[str, str], Mapping[str, Any]]):
    """Values of secrets by mount and path; shows none of them."""

    def __repr__(self) -> str:
        return f"<Secrets: {len(self)} known>"

    def learn(self, mount: str, path: str, values: Mapping[str, Any]) -> None:
        """Know one."""
        self[mount, path] = values


class Stack(Closable):
    """A Vault that a scenario works against, with an operator who may do everything.

    Attributes:
        nodes: Its servers; one, but for a cluster.
        operator: Acts with the root token at the first node.
        keyring: Its keys; without any for an external Vault.
        blueprint: What it contains.
        changes: What applying the blueprint did.
        secrets: The values of each secret of the blueprint as they were then, by mount and path.
    """

    def __init__(
        self,
        *,
        nodes: tuple[Node, ...],
        operator: Operator,
        keyring: Keyring,
        blueprint: Blueprint,
        changes: tuple[Change, ...] = (),
        secrets: Secrets | None = None,
    ) -> None:
        self.nodes = nodes
        self.operator = operator
        self.keyring = keyring
        self.blueprint = blueprint
        self.changes = changes
        self.secrets = Secrets() if secrets is None else secrets

    def __repr__(self) -> str:
        return f"<Stack {self.node.name} {self.node.address}>"

    @property
    def node(self) -> Node:
        """The first node."""
        return self.nodes[0]

    def operator_at(self, node: Node) -> Operator:
        """The same operator at another node."""
        return Operator(node.address, self.keyring.root_token, node.ca_cert)

    def leader(self, *, without: Node | None = None, timeout: float = _CLUSTER_SECONDS) -> Node:
        """The node that leads; waited for while there is none.

        Args:
            without: A node that is not asked: it is lost, and may not know it.
            timeout: Seconds.

        Raises:
            DeadlineExceeded: None leads within ``timeout`` seconds; each node's state is named.
        """
        asked = [node.address for node in self.nodes if node is not without]
        with cluster.operators(asked, self.keyring) as every:
            address = cluster.wait_for_active(every, timeout=timeout).address
        return next(node for node in self.nodes if node.address == address)

    def unseal(self, *, timeout: float = _CLUSTER_SECONDS) -> None:
        """Give its keys to every node that is sealed, and wait until all serve.

        Args:
            timeout: Seconds for all of it.

        Raises:
            OperatorError: A node does not answer, or does not take the keys.
            DeadlineExceeded: Not all serve within ``timeout`` seconds.
        """
        with cluster.operators([node.address for node in self.nodes], self.keyring) as every:
            cluster.unseal_all(every, self.keyring, timeout=timeout)

    def close(self) -> None:
        """End its servers, without a goodbye: nobody wants their data. May be called twice."""
        self.operator.close()
        for node in self.nodes:
            close = getattr(node, "close", None)
            if close is not None:
                close()


@dataclass(frozen=True)
class Link:
    """A proxy in front of a node, through which the other nodes come to it.

    Attributes:
        proxy: It is told where the node is once that is known.
        address: ``host:port`` by which nodes reach the proxy.
    """

    proxy: Proxy
    address: str


def launch(
    engine: Engine,
    blueprint: Blueprint,
    *,
    directory: Path,
    storage: Storage = "inmem",
    audit_raw: bool = False,
    name: str = "vault",
    extra: Mapping[str, object] | None = None,
    environ: Mapping[str, str] | None = None,
    authority: Authority | None = None,
) -> Stack:
    """A Vault of its own: started, initialised, unsealed, filled by the blueprint.

    Args:
        engine: Who runs the server.
        blueprint: What it shall contain, in the root namespace whatever it names.
        directory: Where the server keeps its files.
        storage: ``inmem`` forgets at a restart, ``raft`` does not and takes a second longer.
        audit_raw: Log values in clear; for throw-away secrets only.
        name: Name of the node.
        extra: Further server configuration, in the server's JSON form.
        environ: Where ``env`` values come from. Empty by default: a developer's real keys have no
            business in a scenario.
        authority: Who signs its certificate; it speaks plain HTTP without one. An external Vault
            speaks what it speaks.

    Raises:
        EngineError: The server could not be run.
        OperatorError: It refused something.
    """
    spec = NodeSpec(
        name=name,
        directory=directory,
        storage=storage,
        audit_raw=audit_raw,
        extra=dict(extra or {}),
    )
    node = _node(engine, spec, authority)
    blueprint = blueprint.without_namespace()
    with contextlib.ExitStack() as undo:
        undo.callback(getattr(node, "close", lambda: None))
        node.start()
        keyring = _own(engine, node)
        operator = Operator(node.address, keyring.root_token, ca_cert=node.ca_cert)
        undo.callback(operator.close)
        secrets = Secrets()
        changes = apply(
            operator,
            blueprint,
            environ=environ or {},
            audit_path=node.server_audit_path,
            audit_raw=audit_raw,
            stored=secrets.learn,
        )
        undo.pop_all()
    return Stack(
        nodes=(node,),
        operator=operator,
        keyring=keyring,
        blueprint=blueprint,
        changes=tuple(changes),
        secrets=secrets,
    )


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
    """A raft cluster of its own: all nodes unsealed and voters, filled by the blueprint.

    The last node leads at first. So the operator, who is at the first one, goes on where the leader
    is lost: a standby hands requests on to whoever leads.

    Args:
        engine: Who runs the servers; not the external one.
        blueprint: What it shall contain, in the root namespace whatever it names.
        directory: Where each server has a folder for its files.
        count: How many nodes.
        audit_raw: Log values in clear; for throw-away secrets only.
        name: What the nodes' names begin with.
        environ: Where ``env`` values come from, as in `launch`.
        authority: Who signs the nodes' certificates; they speak plain HTTP without one.
        link: Makes a proxy, given a node's name, through which the other nodes reach that one; they
            reach it directly without one.

    Raises:
        EngineError: A server could not be run.
        OperatorError: One refused something.
        DeadlineExceeded: The nodes did not become voters in time.
    """
    blueprint = blueprint.without_namespace()
    with contextlib.ExitStack() as undo:
        nodes: list[Node] = []
        secrets = Secrets()
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
            undo.callback(getattr(node, "close", lambda: None))
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
            changes = apply(
                leader,
                blueprint,
                environ=environ or {},
                audit_path=nodes[-1].server_audit_path,
                audit_raw=audit_raw,
                stored=secrets.learn,
            )
            cluster.wait_for_voters(leader, count, timeout=_CLUSTER_SECONDS)
        operator = Operator(nodes[0].address, keyring.root_token, nodes[0].ca_cert)
        undo.pop_all()
    return Stack(
        nodes=tuple(nodes),
        operator=operator,
        keyring=keyring,
        blueprint=blueprint,
        changes=tuple(changes),
        secrets=secrets,
    )


def _advertised(link: Link | None) -> dict[str, object]:
    """Configuration by which other nodes come to a node through a proxy."""
    return {"cluster_addr": f"https://{link.address}"} if link is not None else {}


def _node(engine: Engine, spec: NodeSpec, authority: Authority | None) -> Node:
    """A node that is not started, with its certificate where it shall have one."""
    if authority is None or isinstance(engine, ExternalEngine):
        return engine.node(spec)
    folder = spec.directory.with_name(f"{spec.directory.name}-tls")
    node = engine.node(replace(spec, tls=TlsFiles.within(folder)))
    authority.issue(folder, *node.hosts)
    return node


def _own(engine: Engine, node: Node) -> Keyring:
    """Initialise and unseal a new server, or take somebody else's as it is."""
    if isinstance(engine, ExternalEngine):
        return keyring_of(engine, node)
    with contextlib.closing(Operator(node.address, ca_cert=node.ca_cert)) as operator:
        keyring = operator.init()
        operator.unseal(keyring, timeout=_UNSEAL_SECONDS)
    return keyring
