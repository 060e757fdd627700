"""Rehearse a restore into a Vault that unseals itself, on another server with the same seal."""

from __future__ import annotations

from vault_harness.boundary import without_frames
from vault_harness.local.engine.choice import open_engine
from vault_harness.local.engine.folders import run_directory
from vault_harness.local.engine.seal import seal_stanza
from vault_harness.local.stack.here import StackHere
from vault_harness.operator.backup import Contents, Keys, rehearse
from vault_harness.operator.backup.seal_drill import let_copy_reach_key, needs_world


@without_frames
def rehearse_on(stack: StackHere, snapshot: bytes, contents: Contents, keys: Keys) -> None:
    """Check that a backup opens with the key of a stack's seal. Does nothing for Shamir's seal.

    The arguments come from `Backup.open_snapshot` and `Backup.open_keys`.
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
