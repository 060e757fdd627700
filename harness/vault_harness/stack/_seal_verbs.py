"""The seal of the stack that is here: shut, opened, found again by a restart, exchanged."""

from __future__ import annotations

import contextlib
import time
from dataclasses import replace

from vault_harness.boundary import without_frames
from vault_harness.commands import named
from vault_harness.engine import CLOUD_SEALS, Endpoints, SealCheck, SealKind, holds_data
from vault_harness.errors import SettingsError, StackError
from vault_harness.settings import Settings
from vault_harness.stack import _cutting, _data_dir, _recording, _sealing, _way
from vault_harness.stack._here import StackHere
from vault_harness.stack._opening import Unsealed
from vault_harness.stack._reopening import Opener
from vault_harness.stack._seal_migration import (
    Checkpoint,
    SealMigrated,
    SealMigration,
    SealMigrations,
)
from vault_harness.stack.record import StackRecord
from vault_harness.vault import cluster
from vault_harness.vault.root import prove_keys

_RESTART_SECONDS = 30.0
_CLOSED = frozenset({501, 503})
_CLOSED_SECONDS = 5.0
"""For a node to say that it is sealed, on a machine that is busy."""

_POLL_SECONDS = 0.1


class SealVerbs(StackHere):
    """The stack that is here, and the verbs of its seal: each means all nodes of a cluster.

    Args:
        settings: Ports, data directory, engine.
    """

    def __init__(self, settings: Settings) -> None:
        super().__init__(settings)
        self._migrations = SealMigrations(settings.data_dir, self._opening)

    @without_frames
    def seal(self, *, leave_sealed: bool = False) -> Opener | None:
        """Seal it; does nothing if it is sealed.

        A new Vault with auto-unseal, or a new node of it, is first waited for until it has ceased
        to unseal itself, a few seconds: it would undo the seal.

        Args:
            leave_sealed: Also if nobody here can open it again.

        Returns:
            What opens it again, if anything here does.

        Raises:
            KeyringMissing: Nobody here could open it again, and it was not sealed.
            StackError: A node runs and does not answer: it may be open still, when it goes on. The
                others are sealed.
        """
        with self.held():
            endpoints = self.endpoints()
            opener = self.reopening.before("sealed", leave_sealed=leave_sealed)
            status = self._opening.seal_status(endpoints)
            if not status.sealed:
                with contextlib.closing(self.operator("")) as operator:
                    if status.kind == "recovery":
                        cluster.wait_until_nobody_tries(operator)
                    keyring, token = self._opening.keyring(), str(operator.client.token)
                    with cluster.operators(
                        endpoints.addresses, keyring, token=token, ca_cert=endpoints.ca_cert
                    ) as nodes:
                        health = cluster.health_of_all(nodes)
                        cluster.seal_all([n for n, now in zip(nodes, health, strict=True) if now])
            self._see_closed(endpoints)
            return opener

    def _see_closed(self, endpoints: Endpoints) -> None:
        """See that each node that runs says that it is sealed: a paused one was told nothing.

        Raises:
            StackError: One does not.
        """
        running = {service.name for service in self.provider().describe() if service.running}
        deadline = time.monotonic() + _CLOSED_SECONDS
        with cluster.operators(endpoints.addresses, ca_cert=endpoints.ca_cert) as nodes:
            while True:
                health = cluster.health_of_all(nodes)
                open_ones = [
                    node.name
                    for node, status in zip(endpoints.nodes, health, strict=True)
                    if status not in _CLOSED and node.name in running
                ]
                if not open_ones:
                    return
                if time.monotonic() >= deadline:
                    break
                time.sleep(_POLL_SECONDS)  # between two looks, bounded by the deadline
        raise StackError(
            f"{' and '.join(open_ones)} did not answer, and may be open still; the others are "
            "sealed",
            looked_at=", ".join(endpoints.addresses),
            remedy=f"{named('node.kill', open_ones[0])} ends one, which comes back sealed unless "
            "it unseals itself; then this again",
        )

    @without_frames
    def unseal(self) -> Unsealed:
        """Unseal it with the keyring; does nothing if it is unsealed.

        One that unseals itself stays sealed after `seal`, until its recovery keys are given or it
        is restarted; its key must be within reach for either. A migration of the seal that was
        ended half-way is gone on with.

        Returns:
            Which nodes were opened, and which are silent: the others of a cluster serve without.
        """
        with self.held():
            endpoints, record = self.endpoints(), StackRecord.load(self.data_dir)
            if self._migrations.pending() is not None:
                _, endpoints = self._migrations.go_on(self.provider())
                return Unsealed(opened=tuple(node.name for node in endpoints.nodes))
            kind = _sealing.seal_here(self.data_dir, record.seal)
            if kind != "shamir" and self._opening.any_sealed(endpoints):
                _sealing.prepare(kind, self.provider(), self.data_dir)
            return self._opening.unseal(endpoints)

    @without_frames
    def restart(self, *, leave_sealed: bool = False) -> bool:
        """Restart Vault, which leaves it sealed; one that unseals itself is waited for.

        Args:
            leave_sealed: Also if nobody here can unseal it then.

        Returns:
            Whether it serves again.

        Raises:
            KeyringMissing: Nobody here could unseal it, and it was not restarted.
            StackError: What it unseals itself with is not here; or it would have other data then.
        """
        with self.held():
            endpoints, record = self.endpoints(), StackRecord.load(self.data_dir)
            self._migrations.check_settled()
            kind = _sealing.seal_here(self.data_dir, record.seal)
            provider = self.provider()
            if kind != "shamir":  # without its key it could not even start: no flag helps
                _sealing.prepare(kind, provider, self.data_dir)
            self.reopening.before("restarted", leave_sealed=leave_sealed)
            _data_dir.refuse_replaced(self.data_dir, provider.describe())
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
        """Unseal every node that runs, and make members of those that are none yet.

        For who holds the stack already; `unseal` holds it.
        """
        return self._opening.unseal(self.endpoints())

    # -- what it unseals itself with ---------------------------------------------------------------

    @without_frames
    def check_seal(self, kind: SealKind) -> SealCheck:
        """Have the server look at the configuration of a cloud's seal; nothing of it stays.

        Raises:
            SettingsError: It is no cloud's, or parameters of it are missing.
            CapabilityMissing: Not by this engine, or the server does not know that seal.
            EngineError: The server does not take it, or does not get at the key.
        """
        if kind not in CLOUD_SEALS:
            raise SettingsError(
                f"the seal {kind} needs nothing that could be checked before it is made",
                looked_at="the command line",
                remedy=f"give one of {', '.join(CLOUD_SEALS)}",
            )
        return _sealing.check_cloud(kind, self.provider(), self.data_dir)

    def _check_server(self, wanted: SealKind | None) -> None:
        """Before a Vault is started: see that it can have its seal, and touch nothing.

        One that a cloud unseals is asked, a new one's product is enough for the others; data that
        is there tells of its product by itself.
        """
        if self._migrations.pending() is not None:
            return
        recorded = StackRecord.load(self.data_dir).seal
        kind = _sealing.chosen_seal(self.data_dir, recorded, wanted)
        if kind != "shamir" and not holds_data(self.data_dir):
            _sealing.check_product(kind, self.provider())
        if kind in CLOUD_SEALS:
            provider = self.provider()
            if not any(service.running for service in provider.describe() if service.node):
                _sealing.check_cloud(kind, provider, self.data_dir)

    @without_frames
    def prepare_seal(self) -> None:
        """See that a node, once it is started, finds what it unseals itself with.

        For who holds the stack already.

        Raises:
            StackError: A key should be here and is not, or the seal is being exchanged.
            HarnessError: What the holder says.
        """
        self._migrations.check_settled()
        kind = _sealing.seal_here(self.data_dir, StackRecord.load(self.data_dir).seal)
        _sealing.prepare(kind, self.provider(), self.data_dir)

    @without_frames
    def static_key(self) -> str:
        """The key of a static seal, which a backup of the keys has too; empty for other seals.

        Raises:
            StackError: It should be there, and is not.
        """
        return _sealing.static_key(self.data_dir)

    def _seal(self, wanted: SealKind | None, *, ha: bool) -> SealKind:
        """The seal that Vault has or shall have, with all of its nodes."""
        pending = self._migrations.pending()
        if pending is not None:
            return self._seal_on_the_way(pending, wanted, ha=ha)
        recorded = StackRecord.load(self.data_dir).seal
        return _sealing.chosen_seal(self.data_dir, recorded, wanted)

    def _seal_on_the_way(
        self, pending: SealMigration, wanted: SealKind | None, *, ha: bool
    ) -> SealKind:
        """The seal that Vault will have once its migration is done, which comes first."""
        if ha or wanted not in {None, pending.target}:
            raise StackError(
                f"a migration of the seal {pending} was ended half-way, and something else is "
                "asked for",
                looked_at=f"{self.data_dir}; the command line",
                remedy=f"{named('up')} goes on with it; then this again",
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
        """Exchange the seal of the Vault that is here; its data, tokens and keys stay.

        Vault is away for some seconds. One that was ended half-way is finished first; that needs no
        Vault that runs.

        Args:
            target: The seal that it shall have.
            checkpoint: Called after each step.

        Raises:
            NotUp: It does not run.
            VaultIsSealed: It must be unsealed first.
            CapabilityMissing: Not by this engine.
            KeyringMissing: Its keys are not here.
            StackError: A seal's key is not there, or a node of a cluster does not serve.
            OperatorError: The keys are another Vault's, and nothing was changed; or Vault did not
                go over, and has its seal as before.
        """
        with self.held():
            provider = self.provider()
            finished = None
            if self._migrations.pending() is not None:
                done, endpoints = self._migrations.go_on(provider, checkpoint)
                _way.ensure_proxies(endpoints, through=_recording.through(provider))
                finished = replace(done, action="finished")
            source = _sealing.seal_here(self.data_dir, StackRecord.load(self.data_dir).seal)
            self._migrations.check_possible(source, target, provider)
            self.endpoints()
            if source == target:
                return finished or SealMigrated(action="unchanged", source=source, target=target)
            self._migrations.check_all_serve(self.endpoints())
            _data_dir.refuse_replaced(self.data_dir, provider.describe())
            with contextlib.closing(self.operator("")) as operator:
                prove_keys(operator, self.keyring_path, self.data_dir)
            checkpoint("proved the keys")
            self._migrations.begin(source, target)
            checkpoint("began")
            done, endpoints = self._migrations.go_on(provider, checkpoint)
            _way.ensure_proxies(endpoints, through=_recording.through(provider))
            return done

    @without_frames
    def check_seal_migration(self, target: SealKind) -> SealKind:
        """See that the seal could be exchanged; changes nothing, and needs no Vault that runs.

        Where there is none at all it refuses as `migrate_seal` does.

        Args:
            target: The seal that it shall have.

        Returns:
            The seal that Vault has, or will have once a migration that was ended half-way is done.

        Raises:
            CapabilityMissing: Not by this engine, or its server does not have that seal.
            SettingsError: A cloud has a seal's key, and settings do not say which one it is; or the
                data directory is somebody else's.
            EngineError: That key cannot be used.
            NotUp: There is no Vault here.
        """
        _data_dir.check(self.data_dir)
        pending = self._migrations.pending()
        present = (
            pending.target
            if pending is not None
            else _sealing.seal_here(self.data_dir, StackRecord.load(self.data_dir).seal)
        )
        self._migrations.check_possible(present, target, self.provider())
        if pending is None and not holds_data(self.data_dir):
            self.endpoints()  # raises, as it would for the exchange itself
        return present

    def pending_seal_migration(self) -> SealMigration | None:
        """A migration of the seal that was ended half-way, or is under way."""
        return self._migrations.pending()

    def check_settled(self) -> None:
        """See that no migration of the seal was ended half-way.

        Raises:
            StackError: One was: what the keyring says of its keys may not be true.
        """
        self._migrations.check_settled()

    @without_frames
    def restorable(self) -> Endpoints:
        """Where a snapshot may be put into.

        Raises:
            NotUp: It does not run.
            StackError: Its seal is being exchanged, or a node is cut off from the others.
        """
        endpoints = self.endpoints()
        self._migrations.check_settled()
        _cutting.refuse(self.provider(), "a restore")
        return endpoints
