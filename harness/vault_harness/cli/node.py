"""Tasks for the nodes of a cluster."""

from __future__ import annotations

from typing import TYPE_CHECKING

from vault_harness.cli.command import command
from vault_harness.cli.common import LEAVE_SEALED, local_stack
from vault_harness.cli.printing import say
from vault_harness.errors import named

if TYPE_CHECKING:
    from vault_harness.local.stack.nodes import Nodes


@command(
    "node.kill",
    group="break it",
    examples=("node.kill vault-2",),
    help={"name": "the node, as status shows it", "leave-sealed": LEAVE_SEALED},
)
def kill(name: str, leave_sealed: bool = False) -> None:
    """Kill a node of the cluster, as a power failure would."""
    ended = _nodes().kill(name, leave_sealed=leave_sealed)
    say(f"killed {', '.join(ended)}" if ended else f"{name} did not run")
    say(f"to bring it back: {named('node.start', name)}")


@command(
    "node.start",
    group="operator",
    examples=("node.start vault-2",),
    help={"name": "the node, as status shows it"},
)
def start(name: str) -> None:
    """Start a node of the cluster again, and unseal it."""
    _nodes().start(name)
    say(f"{name} runs and is unsealed\nnext: {named('status')}")


@command(
    "node.cut",
    group="break it",
    examples=("node.cut vault-2",),
    help={"name": "the node, as status shows it"},
)
def cut(name: str) -> None:
    """Cut a node off from the others; clients still reach it.

    A leader that is cut off confirms no more writes, and the others elect a new leader. On the
    process engine this needs a cluster started by up --ha --cuttable.
    """
    _nodes().cut(name)
    say(f"{name} is cut off from the other nodes")
    say("clients that ask it directly still reach it; seen from here:")
    say(f"  {named('status')}")
    say(f"to undo it: {named('node.join', name)}, or {named('heal')}")


@command(
    "node.join",
    group="break it",
    examples=("node.join vault-2",),
    help={"name": "the node, as status shows it"},
)
def join(name: str) -> None:
    """Reconnect a node that was cut off from the others."""
    joined = _nodes().join(name)
    say(f"nothing keeps {name} from the other nodes now" if joined else f"{name} was not cut off")
    say(f"next: {named('status')}")


@command("node.step-down", group="break it", examples=("node.step-down",))
def step_down() -> None:
    """Let another node lead.

    Operators do this before they upgrade the leader. Connections to the old leader are cut.
    """
    before, after, seconds = _nodes().step_down()
    say(f"{after} leads in place of {before}, {seconds:.2f} s later")


@command("node.add", group="operator", examples=("node.add",))
def add() -> None:
    """Add a node to the cluster.

    The node is started, joined and unsealed. The task waits until the node is a voter.
    """
    made = _nodes().add()
    say(f"{made.name} is a voter: {made.address}\nnext: {named('status')}")


@command(
    "node.remove",
    group="operator",
    examples=("node.remove vault-4 --dry-run", "node.remove vault-4"),
    help={
        "name": "the node, as status shows it; not the first one",
        "dry-run": "show what would be removed, change nothing",
    },
)
def remove(name: str, dry_run: bool = False) -> None:
    """Remove a node from the cluster for good.

    Its copy of the data is deleted; the other nodes have all of it.
    """
    done = "would remove" if dry_run else "removed"
    say("\n".join(f"{done} {what}" for what in _nodes().remove(name, dry=dry_run)))


def _nodes() -> Nodes:
    from vault_harness.local.stack.nodes import Nodes

    return Nodes(local_stack())
