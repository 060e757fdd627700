"""Try whether a backup opens here, in a server that ends afterwards.

With a seal other than Shamir's, the seal's key opens a snapshot, and only the holder can prove that
it has the key. A Vault that cannot open the snapshot that it gets has lost its data. So another
server with the same seal gets it first.
"""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from pathlib import Path

from vault_harness.errors import HarnessError, OperatorError, StackError, named, without_frames
from vault_harness.local.engine.shape import Engine, NodeSpec
from vault_harness.local.vault.admin import VaultAdmin
from vault_harness.operator.backup.acting import TokensEnded
from vault_harness.operator.backup.files import Opened
from vault_harness.operator.backup.restoring import restore

_START_SECONDS = 60.0


@without_frames
def rehearse(
    engine: Engine,
    seal: Mapping[str, object],
    opened: Opened,
    directory: Path,
) -> None:
    """Restore a backup into a separate server with the seal of the target Vault.

    Args:
        engine: It must reach the holder of the seal's key.
        directory: For the server. The caller removes it.
    """
    home = directory / "keys"
    home.mkdir(mode=0o700, parents=True)
    # OpenBao refuses a snapshot whose audit device differs from one in the configuration.
    spec = NodeSpec(
        name="rehearsal",
        directory=directory / "vault",
        storage="raft",
        audit=False,
        extra={"seal": dict(seal)},
    )
    node = engine.node(spec)
    try:
        node.start()
        with contextlib.closing(VaultAdmin(node.address)) as op:
            op.init().save(home / "init.json")
            op.wait_active(_START_SECONDS)
            try:
                done = restore([op], home / "init.json", opened)
            except TokensEnded:
                return  # it opened; the restore itself reports that it cannot be compared
            except HarnessError as error:
                if _is_sealed(op):
                    raise _does_not_open(seal, error) from None
                raise
    finally:
        node.kill()
        close = getattr(node, "close", None)
        if close is not None:
            close()
    if done.comparison.different:
        raise StackError(
            "the backup opens, but it is incomplete; nothing was changed",
            looked_at="; ".join(done.comparison.different[:5]),
            remedy=f"Use another backup: {named('backup.list')} shows them.",
        )


def _is_sealed(op: VaultAdmin) -> bool:
    """Return whether the server could not open the snapshot."""
    with contextlib.suppress(OperatorError):  # it ended, which proves nothing about the key
        return op.seal_status().sealed
    return False


def _does_not_open(seal: Mapping[str, object], error: HarnessError) -> StackError:
    kind = next(iter(seal), "")
    back = {
        "static": f"{named('restore.keys', '--seal-key')} puts the backup's key into a new folder "
        "(HARNESS_DATA_DIR). Restore there.",
        "transit": "Put your copy of the holder that the backup was made with (the folder holder/) "
        "into a new folder (HARNESS_DATA_DIR). Then run "
        f"{named('up', '--seal', 'transit')}, and restore there.",
    }
    return StackError(
        f"the backup does not open with the key of this Vault's seal {kind}; nothing was changed",
        looked_at=f"a server with the same seal, which was given it first: {error.cause}",
        remedy=back.get(kind, "Restore into a stack with the key that the backup was made with."),
    )
