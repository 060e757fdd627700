"""Try out a seal on copies of Vault, and whether it opens a backup."""

from __future__ import annotations

import base64
import contextlib
import secrets
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, get_args

from vault_harness import files
from vault_harness.addresses import base_url
from vault_harness.errors import (
    CapabilityMissing,
    HarnessError,
    OperatorError,
    SettingsError,
    StackError,
    named,
    without_frames,
)
from vault_harness.local.engine.choice import open_engine
from vault_harness.local.engine.configuration import check_seal_of_product
from vault_harness.local.engine.folders import run_directory
from vault_harness.local.engine.provider import StackProvider
from vault_harness.local.engine.seal import (
    CLOUD_SEALS,
    SealKind,
    cloud_stanza,
    seal_stanza,
)
from vault_harness.local.engine.shape import Engine, Node, NodeSpec
from vault_harness.local.stack.here import StackHere
from vault_harness.local.stack.launching import KEY_NAME, transit_seal
from vault_harness.local.stack.seal_migration import both_seals, with_kind_of
from vault_harness.local.vault.admin import VaultAdmin
from vault_harness.local.vault.keyring import Keyring
from vault_harness.local.vault.tokens import admin_with_token
from vault_harness.operator.backup import (
    Comparison,
    Copy,
    DrillReport,
    Opened,
    TokensEnded,
    compare,
    restore,
)

_SECONDS = 60.0

Seal = Mapping[str, Any]
"""A stanza; empty for Shamir's seal."""


@dataclass(frozen=True, kw_only=True)
class SealDrill:
    """Migrates a drill's copy to another seal and back.

    `directory` is for that seal's key.
    """

    engine: Engine
    target: SealKind
    directory: Path
    say: Callable[[str], None] = lambda _line: None

    def check(self, present: str) -> None:
        """Check, before the backup, that the drill is possible."""
        if self.target == present:
            raise SettingsError(
                f"this Vault already has the seal {present}: there is nothing to exercise",
                looked_at="the command line",
                remedy="name another one",
            )
        check_seal_of_product(
            self.target, self.engine.dialect, looked_at=self.engine.choice or "HARNESS_ENGINE"
        )
        if self.engine.name == "external":
            raise CapabilityMissing(
                f"the {self.engine.name} engine cannot exchange a Vault's seal for {self.target}",
                looked_at="HARNESS_ENGINE",
                remedy=f"HARNESS_ENGINE=process {named('drill')} can, on a stack of that engine",
            )

    @without_frames
    def __call__(self, copy: Copy, report: DrillReport) -> None:
        given = copy.spec.extra.get("seal")
        before: Seal = dict(given) if isinstance(given, Mapping) else {}
        with contextlib.ExitStack() as closing:
            after = self._seal(closing)
            node = copy.node
            for old, new in ((before, after), (after, before)):
                kind = next(iter(new), "shamir")
                self.say(f"migrating its seal to {kind}")
                with report.timed(f"migrate the seal to {kind}"):
                    _end(node)
                    self._go_over(copy, old, new)
                    node = self._started(copy.spec, new, closing)
                    _open(node, copy, kind)
                with report.timed(f"compare under the seal {kind}"):
                    found = _compared(node, copy)
                report.seals[kind] = found
                report.problems += [f"{line} (seal {kind})" for line in found.different]

    def _go_over(self, copy: Copy, old: Seal, new: Seal) -> None:
        keyring = Keyring.load(copy.keyring_path)
        with contextlib.ExitStack() as closing:
            node = self._started(copy.spec, both_seals(old, new), closing)
            operator = closing.enter_context(contextlib.closing(VaultAdmin(node.address)))
            operator.migrate_seal(keyring, timeout=_SECONDS)
        with_kind_of(keyring, _kind(new)).save(copy.keyring_path)

    def _started(self, spec: NodeSpec, seal: Seal, closing: contextlib.ExitStack) -> Node:
        node = self.engine.node(replace(spec, extra={"seal": dict(seal)} if seal else {}))
        closing.callback(_end, node)
        node.start()
        return node

    def _seal(self, closing: contextlib.ExitStack) -> Seal:
        if self.target == "shamir":
            return {}
        directory = files.private_directory(self.directory)
        if self.target == "static":
            path = directory / "static.key"
            files.write_private(path, base64.b64encode(secrets.token_bytes(32)))
            return {"static": {"current_key_id": KEY_NAME, "current_key": f"file://{path}"}}
        if self.target in CLOUD_SEALS:
            return {self.target: cloud_stanza(self.target, {})}
        spec = NodeSpec(name="holder", directory=directory / "holder", storage="raft", audit=False)
        node = self._started(spec, {}, closing)
        sealed = closing.enter_context(contextlib.closing(VaultAdmin(node.address)))
        keyring = sealed.init()
        sealed.unseal(keyring)
        with contextlib.closing(sealed.with_token(keyring.root_token)) as root:
            token, at = directory / "holder-token", base_url(node.upstream)
            return {"transit": transit_seal(root, token, address=at)}


def needs_world(*seals: Iterable[str]) -> bool:
    """Return whether a cloud has the key of a seal, so that a copy needs the outside network.

    Otherwise it must not reach it: the copy is an active Vault and would end leases at databases.
    """
    return any(kind in CLOUD_SEALS for seal in seals for kind in seal)


def let_copy_reach_key(engine: Engine, provider: StackProvider, seal: Seal) -> None:
    """Give the later servers of an engine access to the key of their copy's seal."""
    if "transit" in seal:
        provider.let_reach_holder(engine)
    if seal.keys() & set(CLOUD_SEALS):
        provider.let_ask_cloud(engine)


def _kind(seal: Seal) -> SealKind:
    known: tuple[SealKind, ...] = get_args(SealKind)
    return next((kind for kind in known if kind in seal), "shamir")


def _open(node: Node, copy: Copy, kind: str) -> None:
    with contextlib.closing(VaultAdmin(node.address)) as operator:
        if kind == "shamir":
            operator.unseal(Keyring.load(copy.keyring_path), timeout=_SECONDS)
        else:
            operator.wait_active(_SECONDS)


def _compared(node: Node, copy: Copy) -> Comparison:
    keyring = Keyring.load(copy.keyring_path)
    acting = admin_with_token(node.address, keyring, copy.keyring_path.parent)
    with contextlib.closing(acting):
        return compare(acting, copy.contents)


def _end(node: Node) -> None:
    node.stop()
    node.close()


@without_frames
def rehearse_on(stack: StackHere, opened: Opened) -> None:
    """Check that a backup opens with the key of a stack's seal, except Shamir's."""
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
        rehearse(engine, seal, opened, directory / "rehearsal")


@without_frames
def rehearse(
    engine: Engine,
    seal: Mapping[str, object],
    opened: Opened,
    directory: Path,
) -> None:
    """Restore a backup into a separate server with the seal of the target Vault.

    With a seal other than Shamir's, the seal's key opens a snapshot, and only the holder can prove
    that it has the key. A Vault that cannot open the snapshot that it gets has lost its data. So
    another server with the same seal gets it first.

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
            op.wait_active(_SECONDS)
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
        node.close()
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
