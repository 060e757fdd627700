"""Try out a seal on copies of Vault."""

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
from vault_harness.errors import CapabilityMissing, SettingsError, named, without_frames
from vault_harness.local.engine.choice import open_engine
from vault_harness.local.engine.cloud_seal import CLOUD_SEALS, cloud_stanza
from vault_harness.local.engine.folders import run_directory
from vault_harness.local.engine.product import check_seal_of_product
from vault_harness.local.engine.provider import StackProvider
from vault_harness.local.engine.seal import (
    SealKind,
    seal_stanza,
)
from vault_harness.local.engine.shape import Engine, Node, NodeSpec
from vault_harness.local.stack.here import StackHere
from vault_harness.local.stack.launching import KEY_NAME, transit_seal
from vault_harness.local.stack.seal_migration import both_seals, with_kind_of
from vault_harness.local.vault.admin import VaultAdmin
from vault_harness.local.vault.keyring import Keyring
from vault_harness.local.vault.root.operator_token import admin_with_token
from vault_harness.operator.backup import (
    Comparison,
    Copy,
    DrillReport,
    Opened,
    compare,
    rehearse,
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
    close = getattr(node, "close", None)
    if close is not None:
        close()


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
