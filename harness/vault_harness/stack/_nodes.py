"""The nodes of the stack's cluster: killed, started, cut off, added, removed, led by another."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Sequence
from pathlib import Path

from vault_harness.boundary import without_frames
from vault_harness.commands import named
from vault_harness.engine import (
    NODE_NAME,
    ClusterProvider,
    CuttingProvider,
    Endpoints,
    NodeEndpoint,
    put_data_aside,
)
from vault_harness.errors import (
    CapabilityMissing,
    DeadlineExceeded,
    HarnessError,
    OperatorError,
    SettingsError,
    StackError,
)
from vault_harness.stack import _cutting, _data_dir
from vault_harness.stack._local import LocalStack
from vault_harness.stack._opening import Unsealed
from vault_harness.vault import Operator, cluster
from vault_harness.vault.operator import LEADER_SECONDS
from vault_harness.vault.root import needing_root

_LEADER_SECONDS = 30.0


class Nodes:
    """The verbs behind the tasks of nodes. Each holds the stack while it works.

    Args:
        stack: One that was started with ``up(ha=True)``.
    """

    def __init__(self, stack: LocalStack) -> None:
        self._stack = stack

    @without_frames
    def kill(self, name: str, *, leave_sealed: bool = False) -> list[str]:
        """End a node without a goodbye, as a power failure would.

        Args:
            name: Which.
            leave_sealed: Also if nobody here can unseal it once it is started again.

        Returns:
            What was ended, for a person; empty if it did not run.

        Raises:
            SettingsError: There is no such node.
            KeyringMissing: Nobody here could unseal it, and it was not killed.
            StackError: Nor was one that has other data than it would start with.
        """
        with self._stack.held():
            provider, _ = self._cluster(name)
            self._stack.reopening.before("killed", node=name, leave_sealed=leave_sealed)
            _data_dir.refuse_replaced(
                self._stack.data_dir, [one for one in provider.describe() if one.name == name]
            )
            return provider.kill_node(name)

    @without_frames
    def start(self, name: str) -> None:
        """Start a node that does not run, and unseal it or let it; it catches up by itself.

        Raises:
            SettingsError: There is no such node.
            StackError: The seal's key is not here, or the seal is being exchanged; or it does not
                answer once it runs.
            KeyringMissing: The unseal keys are not here.
        """
        with self._stack.held():
            provider, _ = self._cluster(name)
            self._stack.reopening.by()
            self._stack.prepare_seal()
            provider.start_node(name)
            _see_that_it_answered(name, self._stack.open_nodes())

    @without_frames
    def cut(self, name: str, *, hears: bool = False, is_heard: bool = False) -> None:
        """Cut a node off from all the others; clients reach it as before. Safe to repeat.

        Args:
            name: Which.
            hears: What the others send it passes all the same.
            is_heard: Likewise what it sends them.

        Raises:
            SettingsError: There is no such node, or nothing would be cut.
            StackError: It does not run, or there is no other one.
            CapabilityMissing: The nodes of this stack cannot be.
        """
        if hears and is_heard:
            raise SettingsError(
                "a node that hears the others and is heard by them is not cut off",
                looked_at="what still passes",
                remedy=named("node.cut", name),
            )
        with self._stack.held():
            provider, endpoints = self._cluster(name)
            able = _cutting.able(provider)
            if len(endpoints.nodes) == 1:
                raise _alone(endpoints, "there is no other node that it could be cut off from")
            if not any(one.name == name and one.running for one in provider.describe()):
                raise StackError(
                    f"{name} does not run",
                    looked_at=str(self._stack.data_dir),
                    remedy=named("node.start", name),
                )
            able.cut_node(name, hears=hears, is_heard=is_heard)

    @without_frames
    def join(self, name: str) -> bool:
        """Undo `cut`: the others and it reach each other again, and it catches up by itself.

        Returns:
            Whether it was cut off.

        Raises:
            SettingsError: There is no such node.
        """
        with self._stack.held():
            provider, _ = self._cluster(name)
            return _cutting.able(provider).join_node(name)

    @without_frames
    def step_down(self) -> tuple[str, str, float]:
        """Let another node lead.

        Returns:
            Who led, who leads now, and how many seconds nobody did.

        Raises:
            DeadlineExceeded: Nobody else leads in time.
        """
        with self._stack.held(), contextlib.closing(self._stack.operator("")) as leader:
            _, endpoints = self._cluster()
            _refuse_alone(endpoints)
            before, begun = leader.address, time.monotonic()
            with needing_root(leader, named("node.step-down")):
                cluster.step_down(leader)
            after = self._another_leader(endpoints, before)
            return _name(endpoints, before), _name(endpoints, after), time.monotonic() - begun

    @without_frames
    def add(self) -> NodeEndpoint:
        """One more node: started, joined, unsealed, and a voter.

        Raises:
            KeyringMissing: The unseal keys are not here, and nothing was started.
            OperatorError: It does not become a member; it runs, and the error names it.
            DeadlineExceeded: It does not in time, or does not become a voter; likewise.
        """
        with self._stack.held():
            provider, _ = self._cluster()
            self._stack.reopening.by()
            self._stack.prepare_seal()
            with contextlib.closing(self._stack.operator("")):
                made = provider.add_node()  # only where there is somebody to join
            try:
                _see_that_it_answered(made.name, self._stack.open_nodes())
            except (DeadlineExceeded, OperatorError, StackError) as error:
                raise _added_half_way(made, error) from None
            return made

    @without_frames
    def make_anew(self, addresses: Sequence[str]) -> dict[str, Path]:
        """Let nodes get all of their data from the others, who must be a quorum.

        For who holds the stack already.

        Args:
            addresses: Base URLs of the nodes.

        Returns:
            Where the data of each is put, by its name: nothing of it is deleted.

        Raises:
            HarnessError: One does not become a member again; `LocalStack.up` goes on with it.
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
        """Let a node be no member any more, end it, and delete its copy of the data.

        One that leads gives its lead away first. Those that stay must be a quorum by themselves.

        Args:
            name: Which.
            dry: Remove nothing; tell what would be, or why it would not.

        Returns:
            What was ended and removed, for a person.

        Raises:
            SettingsError: There is no such node, or it is the first one.
            StackError: Too few of the others serve.
        """
        with self._stack.held(), contextlib.closing(self._stack.operator("")) as operator:
            provider, endpoints = self._cluster(name)
            self._stack.check_settled()
            if name == NODE_NAME:
                raise SettingsError(
                    f"the node {name} stays: the stack's data is looked for there",
                    looked_at=f"the nodes of {self._stack.data_dir}",
                    remedy="remove another one; "
                    f"{named('node.kill', name)} ends it for as long as you like",
                )
            self._refuse_losing_quorum(endpoints, name)
            if dry:
                leads = _name(endpoints, operator.address) == name
                first = ", which leads and would give that away first" if leads else ""
                return [f"{name}{first}", f"its copy of the data in {self._stack.data_dir}"]
            with needing_root(operator, named("node.remove", name)):
                leader = self._leading_without(endpoints, operator, name)
                with contextlib.closing(leader):
                    if any(peer.node_id == name for peer in cluster.peers(leader)):
                        cluster.remove(leader, name)
            removed = provider.remove_node(name)
            if isinstance(provider, CuttingProvider):
                provider.join_node(name)  # the next one of that name is not cut off
            return removed

    def _leading_without(self, endpoints: Endpoints, operator: Operator, name: str) -> Operator:
        """An operator at a leader that is not the node of that name."""
        address = operator.address
        if _name(endpoints, address) == name:
            cluster.step_down(operator)
            address = self._another_leader(endpoints, address)
        token, ca_cert = str(operator.client.token), operator.ca_cert
        return Operator(address, token, ca_cert, patience=LEADER_SECONDS)

    def _another_leader(self, endpoints: Endpoints, before: str) -> str:
        """Address of the node that leads in place of another."""
        with cluster.operators(
            endpoints.addresses, self._stack.keyring(), ca_cert=endpoints.ca_cert
        ) as nodes:
            others = [node for node in nodes if node.address != before]
            return cluster.wait_for_active(others, timeout=_LEADER_SECONDS).address

    def _refuse_losing_quorum(self, endpoints: Endpoints, name: str) -> None:
        others = [node for node in endpoints.nodes if node.name != name]
        # One that is cut off from the others answers as if it served, and is no part of a quorum.
        cut = {each for each in _cutting.look(self._stack.provider()) if each != name}
        asked = [node.address for node in others if node.name not in cut]
        with cluster.operators(asked, self._stack.keyring(), ca_cert=endpoints.ca_cert) as nodes:
            serving = sum(status in {200, 429} for status in cluster.health_of_all(nodes))
        if serving * 2 <= len(others):
            raise StackError(
                f"without {name} there is no quorum: {serving} of the other {len(others)} nodes "
                "serve",
                looked_at=", ".join(node.address for node in others),
                remedy=f"{named('status')} says which do not; {named('node.start', 'NAME')}, "
                f"{named('node.join', 'NAME')} and {named('unseal')} bring them back",
            )

    def _cluster(self, name: str | None = None) -> tuple[ClusterProvider, Endpoints]:
        """Who runs it, and where it is; see that there is a node of that name."""
        provider, endpoints = self._stack.provider(), self._stack.known_endpoints()
        if not isinstance(provider, ClusterProvider):
            raise CapabilityMissing(
                f"the {provider.name} engine runs one server",
                looked_at="HARNESS_ENGINE",
                remedy=f"a stack of another engine in another folder (HARNESS_DATA_DIR): "
                f"{named('up', '--ha')}",
            )
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


def _added_half_way(made: NodeEndpoint, error: HarnessError) -> HarnessError:
    """The same error, of a node that was started for it and that would be wondered about."""
    return type(error)(
        f"{made.name} runs now, and may be no member yet: {error.cause}",
        looked_at=error.looked_at,
        remedy=f"{named('unseal')} goes on with it, {named('node.remove', made.name)} takes it "
        f"away again, {named('status')} says what it is; {error.remedy}",
    )


def _see_that_it_answered(name: str, done: Unsealed) -> None:
    """See that a node that was started is among those that were opened."""
    if name in done.silent:
        raise StackError(
            f"{name} was started, and did not answer when the keys were to be given to it",
            looked_at=", ".join((*done.opened, *done.before)) + " did",
            remedy=f"{named('unseal')}; else look at its log: {named('logs', name)}",
        )


def _refuse_alone(endpoints: Endpoints) -> None:
    if len(endpoints.nodes) == 1:
        raise _alone(endpoints, "there is no other node that could lead")


def _alone(endpoints: Endpoints, cause: str) -> StackError:
    return StackError(cause, looked_at=endpoints.node.address, remedy=named("node.add"))


def _name(endpoints: Endpoints, address: str) -> str:
    return next(node.name for node in endpoints.nodes if node.address == address)
