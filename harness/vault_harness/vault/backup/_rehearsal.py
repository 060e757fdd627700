"""Whether a backup opens here, tried with a server that ends afterwards.

Under a seal other than Shamir's a snapshot is opened by the key of that seal, which nobody can show
but whoever holds it. A Vault that is given one that it cannot open has lost what it had. So it is
given to another server first, with the same seal.
"""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from pathlib import Path

from vault_harness.boundary import without_frames
from vault_harness.commands import named
from vault_harness.engine import Engine, NodeSpec
from vault_harness.errors import HarnessError, OperatorError, StackError
from vault_harness.vault.backup._acting import TokensEnded
from vault_harness.vault.backup._contents import Contents
from vault_harness.vault.backup._files import Keys
from vault_harness.vault.backup._restore import restore
from vault_harness.vault.operator import Operator

_START_SECONDS = 60.0


@without_frames
def rehearse(
    engine: Engine,
    seal: Mapping[str, object],
    snapshot: bytes,
    contents: Contents,
    keys: Keys,
    directory: Path,
) -> None:
    """Restore a backup into a server of its own, by the seal of the Vault that is meant.

    Args:
        engine: Runs that server, which reaches what holds the seal's key.
        seal: The stanza of that Vault.
        snapshot: From `Backup.open_snapshot`.
        contents: Likewise.
        keys: From `Backup.open_keys`.
        directory: For that server; emptied by whoever made it.

    Raises:
        StackError: The backup does not open with the key of that seal, or lacks what it should
            have.
        EngineError: The server could not be run.
        DeadlineExceeded: It does not unseal itself, or is too slow.
        OperatorError: It refused something else.
    """
    home = directory / "keys"
    home.mkdir(mode=0o700, parents=True)
    # The snapshot's own audit device may not differ from one of the configuration.
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
        with contextlib.closing(Operator(node.address)) as op:
            op.init().save(home / "init.json")
            op.wait_active(_START_SECONDS)
            try:
                done = restore([op], home / "init.json", snapshot, contents, keys)
            except TokensEnded:
                return  # it opened; the restore itself says at its end that nobody can compare it
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
            "the backup opens, and is not whole; nothing was changed",
            looked_at="; ".join(done.comparison.different[:5]),
            remedy=f"take another backup ({named('backup.list')})",
        )


def _is_sealed(op: Operator) -> bool:
    """Whether it could not open what it was given: it seals itself then."""
    with contextlib.suppress(OperatorError):  # it ended: that says nothing of the key
        return op.seal_status().sealed
    return False


def _does_not_open(seal: Mapping[str, object], error: HarnessError) -> StackError:
    kind = next(iter(seal), "")
    back = {
        "static": f"{named('restore.keys', '--seal-key')} puts the backup's key into a new folder "
        "(HARNESS_DATA_DIR), which is to be restored into",
        "transit": "put the holder that the backup was made with (the folder holder/, from where "
        "it was copied to) into a new folder (HARNESS_DATA_DIR) before "
        f"{named('up', '--seal', 'transit')}, and restore there",
    }
    return StackError(
        f"the backup does not open with the key of this Vault's seal {kind}; nothing was changed",
        looked_at=f"a server with the same seal, which was given it first: {error.cause}",
        remedy=back.get(kind, "restore into a stack with the key that the backup was made with"),
    )
