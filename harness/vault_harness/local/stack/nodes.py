"""Kill, start, cut off, add and remove nodes of a cluster, or change the leader."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Sequence
from pathlib import Path

from vault_harness.errors import (
    DeadlineExceeded,
    HarnessError,
    OperatorError,
    SettingsError,
    StackError,
    named,
    without_frames,
)
from vault_harness.local.engine.members import put_data_aside
from vault_harness.local.engine.provider import (
    NODE_NAME,
    Endpoints,
    NodeEndpoint,
    StackProvider,
)
from vault_harness.local.stack import data_dir
from vault_harness.local.stack.local import LocalStack
from vault_harness.local.stack.opening import Unsealed
from vault_harness.local.vault import cluster
from vault_harness.local.vault.admin import LEADER_SECONDS, SERVING, VaultAdmin
from vault_harness.local.vault.tokens import needing_root

_LEADER_SECONDS = 30.0


class Nodes:
    """The operations of nodes. Each locks the stack, which must be up with ``ha=True``."""

    def __init__(self, stack: LocalStack) -> None:
        self._stack = stack

    @without_frames
    def kill(self, name: str, *, leave_sealed: bool = False) -> list[str]:
        """Kill a node (SIGKILL), as a power failure would.

        A node whose data was replaced on disk is refused. With `leave_sealed`, it is killed even if
        nobody here can unseal it again.
        """
        with self._stack.held():
            provider, _ = self._cluster(name)
            self._stack.before_closing("killed", node=name, leave_sealed=leave_sealed)
            data_dir.refuse_replaced(
                self._stack.data_dir, [one for one in provider.describe() if one.name == name]
            )
            return provider.kill_node(name)

    @without_frames
    def start(self, name: str) -> None:
        """Start a stopped node, and unseal it. It catches up by itself."""
        with self._stack.held():
            provider, _ = self._cluster(name)
            self._stack.opened_by()
            self._stack.prepare_seal()
            provider.start_node(name)
            _see_that_it_answered(name, self._stack.open_nodes())

    @without_frames
    def cut(self, name: str, *, hears: bool = False, is_heard: bool = False) -> None:
        """Cut a node off from all others; clients still reach it.

        With `hears` it still receives from the others, with `is_heard` they receive from it.
        """
        if hears and is_heard:
            raise SettingsError(
                "a node that hears the others and is heard by them is not cut off",
                looked_at="what still passes",
                remedy=named("node.cut", name),
            )
        with self._stack.held():
            provider, endpoints = self._cluster(name)
            if len(endpoints.nodes) == 1:
                raise _alone(endpoints, "there is no other node to cut it off from")
            if not any(one.name == name and one.running for one in provider.describe()):
                raise StackError(
                    f"{name} does not run",
                    looked_at=str(self._stack.data_dir),
                    remedy=named("node.start", name),
                )
            provider.cut_node(name, hears=hears, is_heard=is_heard)

    @without_frames
    def join(self, name: str) -> bool:
        """Undo `cut`. Return whether it was cut off."""
        with self._stack.held():
            provider, _ = self._cluster(name)
            return provider.join_node(name)

    @without_frames
    def step_down(self) -> tuple[str, str, float]:
        """Let another node lead. Return former and new leader, and the seconds between."""
        with self._stack.held(), contextlib.closing(self._stack.operator("")) as leader:
            _, endpoints = self._cluster()
            if len(endpoints.nodes) == 1:
                raise _alone(endpoints, "there is no other node that could lead")
            before, begun = leader.address, time.monotonic()
            with needing_root(leader, named("node.step-down")):
                cluster.step_down(leader)
            after = self._another_leader(endpoints, before)
            return _name(endpoints, before), _name(endpoints, after), time.monotonic() - begun

    @without_frames
    def add(self) -> NodeEndpoint:
        """Start one more node, let it join, unseal it, and wait until it is a voter.

        Raises:
            KeyringMissing: Nothing was started.
            OperatorError: It cannot join; it runs, and the error names it.
        """
        with self._stack.held():
            provider, _ = self._cluster()
            self._stack.opened_by()
            self._stack.prepare_seal()
            with contextlib.closing(self._stack.operator("")):
                made = provider.add_node()  # only if a leader was found
            try:
                _see_that_it_answered(made.name, self._stack.open_nodes())
            except (DeadlineExceeded, OperatorError, StackError) as error:
                raise _half_added(made, error) from None
            return made

    @without_frames
    def rebuild(self, addresses: Sequence[str]) -> dict[str, Path]:
        """Let nodes fetch all of their data again from the others, which must be a quorum.

        The caller holds the lock. Return where each node's old data is; none is deleted. If a node
        does not join again, `LocalStack.up` continues.
        """
        provider, endpoints = self._cluster()
        kept = {}
        for node in endpoints.nodes:
            if node.address in addresses:
                provider.kill_node(node.name)
                kept[node.name] = put_data_aside(self._stack.data_dir, node.name)
                provider.start_node(node.name)
        self._stack.open_nodes()
        return kept

    @without_frames
    def remove(self, name: str, *, dry: bool = False) -> list[str]:
        """Remove a node from the cluster, end it, and delete its copy of the data.

        A leader steps down first. The first node is refused. Return what was or would be removed.
        """
        with self._stack.held(), contextlib.closing(self._stack.operator("")) as operator:
            provider, endpoints = self._cluster(name)
            self._stack.migrations.check_settled()
            if name == NODE_NAME:
                raise SettingsError(
                    f"the node {name} cannot be removed: the stack's data is looked for there",
                    looked_at=f"the nodes of {self._stack.data_dir}",
                    remedy="remove another one; "
                    f"{named('node.kill', name)} stops it for as long as you like",
                )
            self._refuse_losing_quorum(endpoints, name)
            if dry:
                leads = _name(endpoints, operator.address) == name
                first = ", which leads and would step down first" if leads else ""
                return [f"{name}{first}", f"its copy of the data in {self._stack.data_dir}"]
            with needing_root(operator, named("node.remove", name)):
                leader = self._leading_without(endpoints, operator, name)
                with contextlib.closing(leader):
                    if any(peer.node_id == name for peer in cluster.peers(leader)):
                        cluster.remove(leader, name)
            removed = provider.remove_node(name)
            provider.join_node(name)  # the next node of that name must not be cut off
            return removed

    def _leading_without(self, endpoints: Endpoints, operator: VaultAdmin, name: str) -> VaultAdmin:
        address = operator.address
        if _name(endpoints, address) == name:
            cluster.step_down(operator)
            address = self._another_leader(endpoints, address)
        token, ca_cert = str(operator.client.token), operator.ca_cert
        return VaultAdmin(address, token, ca_cert, patience=LEADER_SECONDS)

    def _another_leader(self, endpoints: Endpoints, before: str) -> str:
        with cluster.operators(
            endpoints.addresses, self._stack.keyring(), ca_cert=endpoints.ca_cert
        ) as nodes:
            others = [node for node in nodes if node.address != before]
            return cluster.wait_for_active(others, timeout=_LEADER_SECONDS).address

    def _refuse_losing_quorum(self, endpoints: Endpoints, name: str) -> None:
        others = [node for node in endpoints.nodes if node.name != name]
        # A cut-off node answers as if it served, but is not part of the quorum.
        cut = {each for each in self._stack.provider().cut_nodes() if each != name}
        asked = [node.address for node in others if node.name not in cut]
        with cluster.operators(asked, self._stack.keyring(), ca_cert=endpoints.ca_cert) as nodes:
            serving = sum(status in SERVING for status in cluster.health_of_all(nodes))
        if serving * 2 <= len(others):
            raise StackError(
                f"without {name} there is no quorum: {serving} of the other {len(others)} nodes "
                "serve",
                looked_at=", ".join(node.address for node in others),
                remedy=f"{named('status')} says which do not; {named('node.start', 'NAME')}, "
                f"{named('node.join', 'NAME')} and {named('unseal')} bring them back",
            )

    def _cluster(self, name: str | None = None) -> tuple[StackProvider, Endpoints]:
        provider, endpoints = self._stack.provider(), self._stack.known_endpoints()
        if endpoints is None or endpoints.balancer is None:
            raise StackError(
                "the stack is not a cluster",
                looked_at=str(self._stack.data_dir),
                remedy=f"{named('down')}, then {named('up', '--ha')}: its data stays",
            )
        names = [node.name for node in endpoints.nodes]
        if name is not None and name not in names:
            raise SettingsError(
                f"there is no node {name}",
                looked_at=f"the nodes of {self._stack.data_dir}",
                remedy=f"name one of {', '.join(names)}",
            )
        return provider, endpoints


def _half_added(made: NodeEndpoint, error: HarnessError) -> HarnessError:
    return type(error)(
        f"{made.name} runs now, and may not have joined yet: {error.cause}",
        looked_at=error.looked_at,
        remedy=f"{named('unseal')} continues, {named('node.remove', made.name)} removes it "
        f"again, {named('status')} shows it; {error.remedy}",
    )


def _see_that_it_answered(name: str, done: Unsealed) -> None:
    if name in done.silent:
        raise StackError(
            f"{name} was started, and did not answer when it was to be unsealed",
            looked_at=", ".join((*done.opened, *done.before)) + " did",
            remedy=f"{named('unseal')}; else look at its log: {named('logs', name)}",
        )


def _alone(endpoints: Endpoints, cause: str) -> StackError:
    return StackError(cause, looked_at=endpoints.node.address, remedy=named("node.add"))


def _name(endpoints: Endpoints, address: str) -> str:
    return next(node.name for node in endpoints.nodes if node.address == address)
