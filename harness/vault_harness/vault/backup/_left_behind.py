"""Nodes to which a snapshot has not come: a power failure came before, or they were away.

Nodes know each other by certificates that are among their data: one with the snapshot and one
without never meet again, once they were started anew. More than half of them lead, with it or
without, and the others are made anew of what those have.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from vault_harness.commands import named
from vault_harness.errors import OperatorError, StackError
from vault_harness.vault import cluster
from vault_harness.vault.backup._files import Keys
from vault_harness.vault.backup._progress import CATCH_UP_SECONDS, RESTORE_SECONDS, having
from vault_harness.vault.keyring import Keyring
from vault_harness.vault.operator import Operator

Remake = Callable[[Sequence[str]], object]
"""Makes the nodes at these addresses anew, of what the others have."""


def parted(
    nodes: Sequence[Operator],
    keys: Keys,
    vault: str,
    keyring_path: Path,
    remake: Remake | None,
    *,
    patience: float = CATCH_UP_SECONDS,
) -> tuple[list[Operator], list[Operator]]:
    """Which nodes a restore goes on with that was ended, and which others are to be made anew then.

    Where more than half of them are as they were before, those that have the snapshot are made anew
    of that, and it begins anew.

    Args:
        nodes: An operator at each.
        keys: Of the backup.
        vault: The cluster id that the snapshot has; empty if it is not known.
        keyring_path: Where the keys of before are.
        remake: Who does that.
        patience: As `having` has it.

    Returns:
        Those with the snapshot, none if it begins anew; and those without.

    Raises:
        StackError: Nobody does that.
        OperatorError: A node does not tell, or the keys of before do not open the others.
        DeadlineExceeded: The others do not serve in time.
    """
    have = having(nodes, keys, vault, patience=patience)
    others = [node for node in nodes if node not in have]
    if len(have) > len(others):
        return have, others
    if have:
        cluster.unseal_all(others, Keyring.load(keyring_path), timeout=RESTORE_SECONDS)
        make_anew(have, remake)
    return [], []


def make_anew(nodes: Sequence[Operator], remake: Remake | None) -> None:
    """Make nodes anew of what the others have, if there are any.

    Raises:
        StackError: Nobody does.
    """
    if not nodes:
        return
    addresses = [node.address for node in nodes]
    if remake is None:
        raise StackError(
            "the power failed before all nodes had the snapshot, and some do not come to it",
            looked_at=", ".join(addresses),
            remedy=f"{named('restore')} makes these nodes anew of what the others have",
        )
    remake(addresses)


def left_behind(node: Operator, error: OperatorError) -> StackError:
    """A node that was away when the others took a snapshot has no certificate that they know."""
    return StackError(
        f"the backup is in place, and the node at {node.address} does not show what it has: "
        f"{error.cause}",
        looked_at=f"{error.looked_at}, for {CATCH_UP_SECONDS:g} s",
        remedy="this again, first: it may have been slow. One that was away when the others took "
        f"the snapshot cannot come back to them: {named('status')} tells its name, "
        f"{named('node.remove', 'NAME')} and {named('node.add')} make it anew; then this again.",
    )
