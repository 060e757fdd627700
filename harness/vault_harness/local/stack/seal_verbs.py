"""Seal, unseal and restart the stack's Vault, and migrate its seal."""

from __future__ import annotations

import contextlib
import time
from dataclasses import replace

from vault_harness.errors import SettingsError, StackError, named, without_frames
from vault_harness.local.engine.provider import Endpoints, SealCheck, holds_data
from vault_harness.local.engine.seal import CLOUD_SEALS, SealKind
from vault_harness.local.stack import client_path, data_dir, members, sealing
from vault_harness.local.stack.here import Opener, StackHere
from vault_harness.local.stack.opening import Unsealed
from vault_harness.local.stack.record import StackRecord
from vault_harness.local.stack.seal_migration import (
    SealMigrated,
    SealMigration,
    SealMigrations,
    check_all_serve,
)
from vault_harness.local.vault import cluster
from vault_harness.local.vault.admin import CLOSED
from vault_harness.local.vault.root import prove_keys
from vault_harness.local.written_ahead import Checkpoint
from vault_harness.settings import Settings

_RESTART_SECONDS = 30.0
_CLOSED_SECONDS = 5.0
"""For a busy machine."""

_POLL_SECONDS = 0.1


class SealVerbs(StackHere):
    """The operations on the seal of all nodes."""

    def __init__(self, settings: Settings) -> None:
        super().__init__(settings)
        self.migrations = SealMigrations(settings.data_dir, self.opening)

    @without_frames
    def seal(self, *, leave_sealed: bool = False) -> Opener | None:
        """Seal Vault, and return what opens it again, if anything does.

        A new Vault or node with auto-unseal tries to unseal itself for a few seconds, which would
        undo the seal; this waits for the end of that.

        With `leave_sealed`, it seals even if nobody here can open Vault again.
        """
        with self.held():
            endpoints = self.endpoints()
            opener = self.before_closing("sealed", leave_sealed=leave_sealed)
            status = self.opening.seal_status(endpoints)
            if not status.sealed:
                with contextlib.closing(self.operator("")) as operator:
                    if status.kind == "recovery":
                        cluster.wait_until_no_unseal_attempts(operator)
                    keyring, token = self.opening.keyring(), str(operator.client.token)
                    with cluster.operators(
                        endpoints.addresses, keyring, token=token, ca_cert=endpoints.ca_cert
                    ) as nodes:
                        health = cluster.health_of_all(nodes)
                        cluster.seal_all([n for n, now in zip(nodes, health, strict=True) if now])
            self._see_closed(endpoints)
            return opener

    def _see_closed(self, endpoints: Endpoints) -> None:
        """Check that each running node is sealed; a paused one may not be."""
        running = {service.name for service in self.provider().describe() if service.running}
        deadline = time.monotonic() + _CLOSED_SECONDS
        with cluster.operators(endpoints.addresses, ca_cert=endpoints.ca_cert) as nodes:
            while True:
                health = cluster.health_of_all(nodes)
                open_ones = [
                    node.name
                    for node, status in zip(endpoints.nodes, health, strict=True)
                    if status not in CLOSED and node.name in running
                ]
                if not open_ones:
                    return
                if time.monotonic() >= deadline:
                    break
                time.sleep(_POLL_SECONDS)  # between two checks, bounded by the deadline
        raise StackError(
            f"{' and '.join(open_ones)} did not answer, and may be unsealed; the others are sealed",
            looked_at=", ".join(endpoints.addresses),
            remedy=f"{named('node.kill', open_ones[0])} ends a node, which comes back sealed "
            "unless it unseals itself; then repeat this",
        )

    @without_frames
    def unseal(self) -> Unsealed:
        """Unseal Vault, or first complete an interrupted seal migration.

        After `seal`, a Vault with auto-unseal needs its recovery keys or a restart, and its seal's
        key. A cluster may serve without its silent nodes.
        """
        with self.held():
            endpoints = self.endpoints()
            if self.migrations.pending() is not None:
                _, endpoints = self.migrations.go_on(self.provider())
                return Unsealed(opened=tuple(node.name for node in endpoints.nodes))
            kind = sealing.seal_here(self.data_dir)
            if kind != "shamir" and self.opening.any_sealed(endpoints):
                sealing.prepare(kind, self.provider(), self.data_dir)
            return self.opening.unseal(endpoints)

    @without_frames
    def restart(self, *, leave_sealed: bool = False) -> bool:
        """Restart Vault. Return whether it serves again, unsealed by itself.

        With `leave_sealed`, it restarts even if nobody here can unseal it, but not without the key
        of its auto-unseal, or with replaced data.
        """
        with self.held():
            endpoints = self.endpoints()
            self.migrations.check_settled()
            kind = sealing.seal_here(self.data_dir)
            provider = self.provider()
            if kind != "shamir":  # without its key it could not even start, whatever the flag
                sealing.prepare(kind, provider, self.data_dir)
            self.before_closing("restarted", leave_sealed=leave_sealed)
            data_dir.refuse_replaced(self.data_dir, provider.describe())
            provider.restart_vault()
            if kind == "shamir":
                return False
            with cluster.operators(
                endpoints.addresses, self.keyring(), ca_cert=endpoints.ca_cert
            ) as nodes:
                cluster.wait_for_all(nodes, timeout=_RESTART_SECONDS)
            return True

    @without_frames
    def open_nodes(self) -> Unsealed:
        """Unseal all running nodes, and let nodes join. The caller holds the lock."""
        return self.opening.unseal(self.endpoints())

    # -- what it unseals itself with ---------------------------------------------------------------

    @without_frames
    def check_seal(self, kind: SealKind) -> SealCheck:
        """Let the server test a cloud seal. Changes nothing."""
        if kind not in CLOUD_SEALS:
            raise SettingsError(
                f"the seal {kind} needs no check before it is made",
                looked_at="the command line",
                remedy=f"give one of {', '.join(CLOUD_SEALS)}",
            )
        return sealing.check_cloud(kind, self.provider(), self.data_dir)

    def _check_server(self, wanted: SealKind | None) -> None:
        """Check that Vault can have its seal, before it starts. Existing data names its product."""
        if self.migrations.pending() is not None:
            return
        kind = sealing.chosen_seal(self.data_dir, wanted)
        if kind != "shamir" and not holds_data(self.data_dir):
            sealing.check_product(kind, self.provider())
        if kind in CLOUD_SEALS:
            provider = self.provider()
            if not any(service.running for service in provider.describe() if service.node):
                sealing.check_cloud(kind, provider, self.data_dir)

    @without_frames
    def prepare_seal(self) -> None:
        """Give a node that starts later the key of its seal. The caller holds the lock."""
        self.migrations.check_settled()
        kind = sealing.seal_here(self.data_dir)
        sealing.prepare(kind, self.provider(), self.data_dir)

    @without_frames
    def static_key(self) -> str:
        return sealing.static_key(self.data_dir)

    def _seal(self, wanted: SealKind | None, *, ha: bool) -> SealKind:
        pending = self.migrations.pending()
        if pending is not None:
            return self._seal_on_the_way(pending, wanted, ha=ha)
        return sealing.chosen_seal(self.data_dir, wanted)

    def _seal_on_the_way(
        self, pending: SealMigration, wanted: SealKind | None, *, ha: bool
    ) -> SealKind:
        if ha or wanted not in {None, pending.target}:
            raise StackError(
                f"a migration of the seal {pending} was ended half-way, and this call asks for "
                "something else",
                looked_at=f"{self.data_dir}; the command line",
                remedy=f"{named('up')} completes it; then repeat this",
            )
        return pending.target

    def _note_seal(self, kind: SealKind) -> None:
        record = StackRecord.load(self.data_dir)
        record.seal = kind
        record.save(self.data_dir)

    # -- exchanged for another one -----------------------------------------------------------------

    @without_frames
    def migrate_seal(
        self, target: SealKind, *, checkpoint: Checkpoint = lambda _step: None
    ) -> SealMigrated:
        """Migrate Vault's seal. Data, tokens and keys stay; Vault is away for some seconds.

        An interrupted migration is completed first, which needs no running Vault. If Vault does not
        migrate, it keeps its seal.
        """
        with self.held():
            provider = self.provider()
            finished = None
            if self.migrations.pending() is not None:
                done, endpoints = self.migrations.go_on(provider, checkpoint)
                client_path.ensure_proxies(
                    endpoints, through=client_path.through_recorder(provider)
                )
                finished = replace(done, action="finished")
            source = sealing.seal_here(self.data_dir)
            self.migrations.check_possible(source, target, provider)
            self.endpoints()
            if source == target:
                return finished or SealMigrated(action="unchanged", source=source, target=target)
            check_all_serve(self.endpoints())
            data_dir.refuse_replaced(self.data_dir, provider.describe())
            with contextlib.closing(self.operator("")) as operator:
                prove_keys(operator, self.keyring_path, self.data_dir)
            checkpoint("proved the keys")
            self.migrations.begin(source, target)
            checkpoint("began")
            done, endpoints = self.migrations.go_on(provider, checkpoint)
            client_path.ensure_proxies(endpoints, through=client_path.through_recorder(provider))
            return done

    @without_frames
    def check_seal_migration(self, target: SealKind) -> SealKind:
        """Check that the seal could be migrated. Return the present or pending one."""
        data_dir.check(self.data_dir)
        pending = self.migrations.pending()
        present = pending.target if pending is not None else sealing.seal_here(self.data_dir)
        self.migrations.check_possible(present, target, self.provider())
        if pending is None and not holds_data(self.data_dir):
            self.endpoints()  # raises NotUp, as the migration would
        return present

    @without_frames
    def restorable(self) -> Endpoints:
        """Return the addresses of a stack without a migration and without a node cut off."""
        endpoints = self.endpoints()
        self.migrations.check_settled()
        members.refuse_cut(self.provider(), "a restore")
        return endpoints
