"""A restore into a Vault that unseals itself, rehearsed on another server with the same seal."""

from __future__ import annotations

from vault_harness.boundary import without_frames
from vault_harness.engine import open_engine, run_directory, seal_stanza
from vault_harness.stack._here import StackHere
from vault_harness.stack._seal_drill import let_copy_reach_key, needs_world
from vault_harness.vault.backup import Contents, Keys, rehearse


@without_frames
def rehearse_on(stack: StackHere, snapshot: bytes, contents: Contents, keys: Keys) -> None:
    """See that a backup opens with the key of a stack's seal; nothing for Shamir's.

    Args:
        stack: That is to be restored into; nothing of it is changed.
        snapshot: From `Backup.open_snapshot`.
        contents: Likewise.
        keys: From `Backup.open_keys`.

    Raises:
        StackError: It does not open, or is not whole.
        CapabilityMissing: The key's holder is out of reach of the engine that the settings choose.
        EngineError: No server could be run for it.
    """
    seal = seal_stanza(stack.data_dir)
    if not seal:
        return
    provider = stack.provider()
    settings = stack.settings.model_copy(update={"engine": provider.name})
    with (
        run_directory() as directory,
        open_engine(settings, directory=directory / "engine", outward=needs_world(seal)) as engine,
    ):
        let_copy_reach_key(engine, provider, seal)
        rehearse(engine, seal, snapshot, contents, keys, directory / "rehearsal")
