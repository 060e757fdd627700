"""Exercising a migration of the seal with a copy of Vault: there, back, and nothing is missing."""

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
from vault_harness.boundary import without_frames
from vault_harness.commands import named
from vault_harness.engine import (
    CLOUD_SEALS,
    CloudSealingProvider,
    Engine,
    Node,
    NodeSpec,
    SealingProvider,
    SealKind,
    StackProvider,
    check_seal_of_product,
    cloud_stanza,
)
from vault_harness.errors import CapabilityMissing, SettingsError
from vault_harness.stack._holder import KEY_NAME, transit_seal
from vault_harness.stack._seal_migration import both_seals, with_kind_of
from vault_harness.vault import Keyring, Operator
from vault_harness.vault.backup import Comparison, Copy, DrillReport, compare
from vault_harness.vault.root import standing_operator

_SECONDS = 60.0

Seal = Mapping[str, Any]
"""A seal stanza; empty for Shamir's."""


@dataclass(frozen=True, kw_only=True)
class SealDrill:
    """What goes on with the copy of a drill: another seal, and the one that it had.

    Attributes:
        engine: Runs its servers.
        target: The seal that is migrated to first.
        directory: For that seal's key, or the Vault that holds it.
        say: Told each step as it begins.
    """

    engine: Engine
    target: SealKind
    directory: Path
    say: Callable[[str], None] = lambda _line: None

    def check(self, present: str) -> None:
        """See that there is something to exercise, before a backup is made for it.

        Args:
            present: The seal of the Vault that is copied.

        Raises:
            SettingsError: It has that seal.
            CapabilityMissing: The engine's servers find no key of a seal, or do not have that one.
        """
        if self.target == present:
            raise SettingsError(
                f"this Vault has the seal {present}: there is nothing to exercise",
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
        """Migrate the copy's seal there and back, and compare it with its backup after each."""
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
            operator = closing.enter_context(contextlib.closing(Operator(node.address)))
            operator.migrate_seal(keyring, timeout=_SECONDS)
        with_kind_of(keyring, _kind(new)).save(copy.keyring_path)

    def _started(self, spec: NodeSpec, seal: Seal, closing: contextlib.ExitStack) -> Node:
        node = self.engine.node(replace(spec, extra={"seal": dict(seal)} if seal else {}))
        closing.callback(_end, node)
        node.start()
        return node

    def _seal(self, closing: contextlib.ExitStack) -> Seal:
        """The stanza of the seal that is migrated to, with a key of its own."""
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
        sealed = closing.enter_context(contextlib.closing(Operator(node.address)))
        keyring = sealed.init()
        sealed.unseal(keyring)
        with contextlib.closing(sealed.with_token(keyring.root_token)) as root:
            token, at = directory / "holder-token", base_url(node.upstream)
            return {"transit": transit_seal(root, token, address=at)}


def needs_world(*seals: Iterable[str]) -> bool:
    """Whether a copy must reach more than its own network: a cloud has the key of a seal.

    Else it must not. Its Vault is an active one, which ends leases at databases that it reaches.

    Args:
        seals: Stanzas, or the names of kinds.
    """
    return any(kind in CLOUD_SEALS for seal in seals for kind in seal)


def let_copy_reach_key(engine: Engine, provider: StackProvider, seal: Seal) -> None:
    """See that a copy of Vault finds the key of its seal, before a backup is made for it.

    Args:
        engine: Runs the copy; its servers reach the holder, or ask a cloud, afterwards.
        provider: Of the Vault that is copied.
        seal: Likewise.

    Raises:
        CapabilityMissing: The key's holder is out of its reach.
        EngineError: Likewise, since it is not there.
    """
    if "transit" in seal and isinstance(provider, SealingProvider):
        provider.let_reach_holder(engine)
    if seal.keys() & set(CLOUD_SEALS) and isinstance(provider, CloudSealingProvider):
        provider.let_ask_cloud(engine)


def _kind(seal: Seal) -> SealKind:
    known: tuple[SealKind, ...] = get_args(SealKind)
    return next((kind for kind in known if kind in seal), "shamir")


def _open(node: Node, copy: Copy, kind: str) -> None:
    """Unseal it under its new seal alone: with keys, or by itself."""
    with contextlib.closing(Operator(node.address)) as operator:
        if kind == "shamir":
            operator.unseal(Keyring.load(copy.keyring_path), timeout=_SECONDS)
        else:
            operator.wait_active(_SECONDS)


def _compared(node: Node, copy: Copy) -> Comparison:
    keyring = Keyring.load(copy.keyring_path)
    acting = standing_operator(node.address, keyring, copy.keyring_path.parent)
    with contextlib.closing(acting):
        return compare(acting, copy.contents)


def _end(node: Node) -> None:
    node.stop()
    close = getattr(node, "close", None)
    if close is not None:
        close()
