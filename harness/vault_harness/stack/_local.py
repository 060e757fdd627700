"""The stack of ``up``: a Vault and a Toxiproxy that outlive the task, keys on disk."""

from __future__ import annotations

import contextlib
import os
import shutil
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path

from vault_harness import namespaces
from vault_harness.blueprint import Blueprint
from vault_harness.boundary import without_frames
from vault_harness.commands import named
from vault_harness.engine import (
    CLOUD_SEALS,
    NODE_NAME,
    Endpoints,
    SealCheck,
    SealKind,
    StackProvider,
    holds_data,
    lacking,
    sweep_run_directories,
)
from vault_harness.errors import HarnessError, NotUp, SettingsError, StackError, VaultIsSealed
from vault_harness.settings import Settings
from vault_harness.stack import _choice, _data_dir, _recording, _sealing, _way
from vault_harness.stack._certificates import Certificates, Renewal
from vault_harness.stack._lock import exclusive
from vault_harness.stack._look import look
from vault_harness.stack._opening import Opening
from vault_harness.stack._seal_migration import (
    Checkpoint,
    SealMigrated,
    SealMigration,
    SealMigrations,
)
from vault_harness.stack._service_ids import hand_out_ids, hand_out_tls, write_ids
from vault_harness.stack._status import StackStatus
from vault_harness.stack.record import StackRecord
from vault_harness.vault import Change, Keyring, Operator, apply, cluster
from vault_harness.vault.apply import What
from vault_harness.vault.namespace import moved
from vault_harness.vault.root import needing_root, prove_keys, standing_operator

_ACTIVE_SECONDS = 10.0
_RESTART_SECONDS = 30.0
_CLUSTER_NODES = 3


class LocalStack:
    """The verbs behind the tasks. Each may be called in any state and says what is wrong with it.

    Args:
        settings: Ports, data directory, engine.
    """

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.data_dir = settings.data_dir
        self._opening = Opening(settings.data_dir)
        self._certificates = Certificates(settings.data_dir)
        self._migrations = SealMigrations(settings.data_dir, self._opening)

    @property
    def keyring_path(self) -> Path:
        """Where the unseal keys are."""
        return self._opening.keyring_path

    @property
    def authority_directory(self) -> Path:
        """Where the certificate authority is, once the stack spoke TLS."""
        return self.data_dir / _data_dir.AUTHORITY_NAME

    def namespace(self, blueprint: Blueprint | None = None) -> str:
        """Where the tasks work: the blueprint's namespace, below that of ``VAULT_NAMESPACE``.

        Args:
            blueprint: As `blueprint` says by default.
        """
        blueprint = blueprint or self.blueprint()
        return namespaces.joined(self.settings.vault_namespace, blueprint.namespace)

    def ids_directory(self, namespace: str | None = None) -> Path:
        """Where the ids of AppRoles are: the data directory, but for those of a namespace.

        Args:
            namespace: As `namespace` says by default.
        """
        wanted = self.namespace() if namespace is None else namespace
        return _data_dir.ids_directory(self.data_dir, wanted)

    @contextlib.contextmanager
    def held(self) -> Iterator[None]:
        """Hold the stack against other tasks; every verb that changes something does.

        Raises:
            Busy: Another task does not let go.
            SettingsError: The data directory is somebody else's.
        """
        _data_dir.check(self.data_dir)
        with exclusive(self.data_dir, timeout=self.settings.lock_timeout):
            yield

    def provider(self) -> StackProvider:
        """Who runs it: whoever did last, unless nothing of that is left.

        Raises:
            StackError: The Vault here is another engine's than the one asked for.
        """
        return _choice.provider_wanted(self.settings)

    # -- up and down ------------------------------------------------------------------------------

    @without_frames
    def up(
        self,
        *,
        ha: bool = False,
        tls: bool = False,
        client_certs: bool = False,
        seal: SealKind | None = None,
    ) -> Endpoints:
        """Start what does not run, initialise what is new, unseal what is sealed. Safe to repeat.

        What it cannot open it leaves as it is: no data and no keyring is ever removed.

        Args:
            ha: Three nodes with a load balancer in front. A single server that was ended keeps its
                data and gets the other two; what is a cluster stays one without being asked.
            tls: Vault speaks TLS, with a certificate of the stack's own authority; what speaks it
                stays so without being asked.
            client_certs: It refuses who shows no certificate of the stack's clients, which means
                TLS too; stays so likewise.
            seal: How a new Vault is sealed: all but ``shamir`` unseal themselves. One that is there
                keeps the seal that it has, once a migration of it that was ended half-way is done.

        Raises:
            KeyringMissing: This Vault is initialised and its keys are not here.
            StackError: Keys are here, and no data that they belong to; or the Vault here is
                another engine's.
            PortTaken: Somebody else listens on one of the ports.
            HarnessError: What the engine or Vault say.
        """
        if not self.data_dir.exists():
            self._check_data(self.provider())  # before the lock makes the folder anew
        self._check_cloud(seal)
        with self.held():
            provider = self.provider()
            self._check_data(provider)
            choice = _choice.reason(self.settings, StackRecord.load(self.data_dir), provider)
            ran_before = any(service.running for service in provider.describe())
            new = not holds_data(self.data_dir)
            kind = self._seal(seal, ha=ha)
            _sealing.check_engine(kind, provider)
            self._certificates.prepare(provider, wanted=tls, of_clients=client_certs)
            self._certify(None)
            try:
                if self._migrations.pending() is not None:
                    _, endpoints = self._migrations.go_on(provider)
                else:
                    _sealing.prepare(kind, provider, self.data_dir)
                    self._note_seal(kind)
                    endpoints = provider.start(nodes=_CLUSTER_NODES if ha else 1)
                    self._opening.open(provider.destroy, endpoints)
            except HarnessError:
                if not ran_before:
                    with contextlib.suppress(HarnessError):  # the first error says more
                        provider.stop()
                raise
            # What was broken by hand stays so: toxics do, and faults of single requests.
            _way.ensure_proxies(endpoints, through=_recording.through(provider))
            record = StackRecord.load(self.data_dir)
            record.choice = choice
            if new:
                record.seeded = record.blueprint = ""
            record.save(self.data_dir)
            return endpoints

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

    def _check_cloud(self, wanted: SealKind | None) -> None:
        """Before a Vault is started that a cloud unseals: see that it will, and touch nothing."""
        if self._migrations.pending() is not None:
            return
        recorded = StackRecord.load(self.data_dir).seal
        kind = _sealing.chosen_seal(self.data_dir, recorded, wanted)
        if kind in CLOUD_SEALS:
            provider = self.provider()
            if not any(service.running for service in provider.describe() if service.node):
                _sealing.check_cloud(kind, provider, self.data_dir)

    def _certify(self, blueprint: Blueprint | None) -> None:
        """Give a certificate to each service that has ids and lacks it, if Vault asks for one."""
        if self._certificates.clients.wanted:
            self._certificates.clients.issue_missing(blueprint or self.blueprint())
            hand_out_tls(self.data_dir)

    def client_certificates(self) -> dict[str, Path]:
        """What each client shows to a Vault that asks for it, by its name, there or not.

        With the key in it. Empty where Vault asks for nothing.
        """
        clients = self._certificates.clients
        return clients.files(self.blueprint()) if clients.wanted else {}

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

    def _check_data(self, provider: StackProvider) -> None:
        """A server whose data was deleted under it is the last to know what it holds."""
        running = {service.name: service for service in provider.describe() if service.running}
        if NODE_NAME in running and not holds_data(self.data_dir):
            raise StackError(
                "Vault runs, and its data directory is gone",
                looked_at=f"{self.data_dir}; {running[NODE_NAME].detail}",
                remedy="put the folder back where it was; a token that you have still reads this "
                f"Vault. When it ends ({named('down')}), what it holds is lost",
            )

    @without_frames
    def down(self) -> list[str]:
        """End the servers and what a crashed `up` left; the data stays.

        Temporary folders of scenarios that were killed are removed too.

        Returns:
            What was ended and removed, for a person.
        """
        with self.held():
            ended = self.provider().stop()
        return [*ended, *_swept()]

    @without_frames
    def destroy(self, *, dry: bool = False) -> list[str]:
        """`down`, and delete data, keys, ids and the records of tasks. Other files stay.

        Args:
            dry: Remove nothing; tell what would be.

        Returns:
            What was removed, for a person.
        """
        if dry:
            _data_dir.check(self.data_dir)
            return [*self.provider().belongings(), *map(str, _data_dir.state(self.data_dir))]
        with self.held():
            removed = self.provider().destroy()
            # Last: while there is data, its keys are worth something.
            for path in _data_dir.state(self.data_dir):
                if path.is_dir() and not path.is_symlink():
                    shutil.rmtree(path)
                else:
                    path.unlink()
                removed.append(str(path))
        return [*removed, *_swept()]

    @without_frames
    def heal(self) -> list[str]:
        """Free the way to Vault: no toxic, no recorder, and every proxy is there and enabled.

        Returns:
            What was done, for a person; empty if nothing was in the way.

        Raises:
            NotUp: It does not run.
            ToxiproxyError: Toxiproxy does not answer.
        """
        with self.held():
            done = _way.clear(self.endpoints())
            # Last: clients are led past it by now.
            return [*done, *_recording.end(self.provider())]

    # -- the sealed and the open Vault -----------------------------------------------------------

    def endpoints(self) -> Endpoints:
        """Where the running stack is.

        Raises:
            NotUp: Nothing runs, or only part of it.
        """
        endpoints = StackRecord.load(self.data_dir).endpoints
        services = self.provider().describe()
        missing = lacking(services)
        if endpoints is None or missing:
            raise NotUp(
                "the stack is not up"
                + (f": {' and '.join(missing)} does not run" if len(missing) == 1 else ""),
                looked_at=str(self.data_dir),
                remedy=named("up"),
            )
        return endpoints

    @without_frames
    def operator(self, namespace: str | None = None, *, there: bool = True) -> Operator:
        """Who acts in the running, unsealed Vault: root, or once that is revoked the operator.

        Args:
            namespace: Where; as `namespace` says by default. The empty one is for what is the whole
                server's.
            there: See that it is there, and open.

        Raises:
            NotUp: It does not run.
            VaultIsSealed: It must be unsealed first.
            KeyringMissing: There is no token that is good.
            NamespaceError: The namespace is not there or sealed, or this server has none.
        """
        wanted = self.namespace() if namespace is None else namespace
        endpoints = self.endpoints()
        sealed = self._opening.seal_status(endpoints).sealed
        if sealed and not self.keyring_path.exists():
            raise self._opening.keyring_missing()
        if sealed:
            raise VaultIsSealed(
                "this Vault is sealed", looked_at=endpoints.vault, remedy=named("unseal")
            )
        keyring = self._opening.keyring()
        with cluster.operators(endpoints.addresses, keyring, ca_cert=endpoints.ca_cert) as nodes:
            address = cluster.wait_for_active(nodes, timeout=_ACTIVE_SECONDS).address
        acting = standing_operator(address, keyring, self.data_dir, ca_cert=endpoints.ca_cert)
        return moved(acting, wanted, there=there)

    @without_frames
    def restorable(self) -> Endpoints:
        """Where a snapshot may be put into.

        Raises:
            NotUp: It does not run.
            StackError: Its seal is being exchanged.
        """
        endpoints = self.endpoints()
        self._migrations.check_settled()
        return endpoints

    def known_endpoints(self) -> Endpoints | None:
        """Where the stack is, or was last; None if nothing was ever started."""
        return StackRecord.load(self.data_dir).endpoints

    @without_frames
    def keyring(self) -> Keyring | None:
        """The keyring, or None if there is none."""
        return self._opening.keyring()

    @without_frames
    def open_nodes(self) -> None:
        """Unseal every node that runs, and make members of those that are none yet.

        For who holds the stack already; `unseal` holds it.
        """
        self._opening.unseal(self.endpoints())

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
    def seal(self) -> None:
        """Seal it; does nothing if it is sealed."""
        with self.held():
            endpoints = self.endpoints()
            if self._opening.seal_status(endpoints).sealed:
                return
            with contextlib.closing(self.operator("")) as operator:
                keyring, token = self._opening.keyring(), str(operator.client.token)
                with cluster.operators(
                    endpoints.addresses, keyring, token=token, ca_cert=endpoints.ca_cert
                ) as nodes:
                    health = cluster.health_of_all(nodes)
                    cluster.seal_all([n for n, now in zip(nodes, health, strict=True) if now])

    @without_frames
    def unseal(self) -> None:
        """Unseal it with the keyring; does nothing if it is unsealed.

        One that unseals itself stays sealed after `seal`, until its recovery keys are given or it
        is restarted; its key must be within reach for either. A migration of the seal that was
        ended half-way is gone on with.
        """
        with self.held():
            endpoints, record = self.endpoints(), StackRecord.load(self.data_dir)
            if self._migrations.pending() is not None:
                self._migrations.go_on(self.provider())
                return
            kind = _sealing.seal_here(self.data_dir, record.seal)
            if kind != "shamir" and self._opening.any_sealed(endpoints):
                _sealing.prepare(kind, self.provider(), self.data_dir)
            self.open_nodes()

    @without_frames
    def restart(self) -> bool:
        """Restart Vault, which leaves it sealed; one that unseals itself is waited for.

        Returns:
            Whether it serves again.
        """
        with self.held():
            endpoints, record = self.endpoints(), StackRecord.load(self.data_dir)
            self._migrations.check_settled()
            kind = _sealing.seal_here(self.data_dir, record.seal)
            provider = self.provider()
            if kind != "shamir":
                _sealing.prepare(kind, provider, self.data_dir)
            provider.restart_vault()
            if kind == "shamir":
                return False
            with cluster.operators(
                endpoints.addresses, self.keyring(), ca_cert=endpoints.ca_cert
            ) as nodes:
                cluster.wait_for_all(nodes, timeout=_RESTART_SECONDS)
            return True

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
            self._migrations.check_possible(target, provider)
            self.endpoints()
            if source == target:
                return finished or SealMigrated(action="unchanged", source=source, target=target)
            self._migrations.check_all_serve(self.endpoints())
            with contextlib.closing(self.operator("")) as operator:
                prove_keys(operator, self.keyring_path, self.data_dir)
            checkpoint("proved the keys")
            self._migrations.begin(source, target)
            checkpoint("began")
            done, endpoints = self._migrations.go_on(provider, checkpoint)
            _way.ensure_proxies(endpoints, through=_recording.through(provider))
            return done

    def pending_seal_migration(self) -> SealMigration | None:
        """A migration of the seal that was ended half-way, or is under way."""
        return self._migrations.pending()

    @without_frames
    def static_key(self) -> str:
        """The key of a static seal, which a backup of the keys has too; empty for other seals.

        Raises:
            StackError: It should be there, and is not.
        """
        return _sealing.static_key(self.data_dir)

    def check_settled(self) -> None:
        """See that no migration of the seal was ended half-way.

        Raises:
            StackError: One was: what the keyring says of its keys may not be true.
        """
        self._migrations.check_settled()

    @without_frames
    def renew_certificate(self, *, ca: bool = False) -> Renewal:
        """Give the servers a new certificate, and see that they show it; no connection is lost.

        Clients of a Vault that asks for theirs get new ones too. Its balancer is another one then,
        and connections through the one before end after some seconds.

        Args:
            ca: Of a new authority; the one before stays trusted beside it until the next renewal.
                That of clients likewise, but by each server until it starts again.

        Raises:
            NotUp: It does not run.
            StackError: It does not speak TLS; or it runs since before the last exchange of the
                clients' authority.
            SettingsError: The authority's files are lost.
            DeadlineExceeded: A server goes on with the certificate that it had.
        """
        with self.held():
            return self._certificates.renew(
                self.provider(), self.endpoints(), ca=ca, blueprint=self.blueprint
            )

    @without_frames
    def seed(
        self,
        blueprint: Blueprint,
        *,
        what: What = "everything",
        overwrite: bool = False,
        dry: bool = False,
        environ: Mapping[str, str] | None = None,
    ) -> list[Change]:
        """Apply a blueprint, and write the ids of its AppRoles to files.

        Args:
            blueprint: What the Vault must contain.
            what: ``access`` for policies, AppRoles and ids alone: secrets are neither read nor
                written.
            overwrite: Replace values that are there. Ask before: `values_replaced` of what a dry
                run returns says how many.
            dry: Change nothing; return what would be done.
            environ: Where ``env`` values come from; default is the environment.

        Raises:
            HarnessError: As `operator` and `apply` say.
        """
        environ = os.environ if environ is None else environ
        namespace = self.namespace(blueprint)
        ids = self.ids_directory(namespace)
        with (
            self.held(),
            contextlib.closing(
                self.operator(namespaces.above(namespace, blueprint.namespace))
            ) as operator,
            contextlib.closing(operator.within(namespace)) as inside,
            needing_root(operator, named("seed")),
        ):
            changes = apply(
                operator,
                blueprint,
                what=what,
                overwrite=overwrite,
                dry=dry,
                environ=environ,
                audit_path=self.provider().server_audit_path,
            )
            made = {
                change.name
                for change in changes
                if change.kind == "approle" and change.action == "created"
            }
            for role in blueprint.approles:
                changes.append(write_ids(inside, role, ids, new=role in made, dry=dry))
            if not dry:
                hand_out_ids(self.data_dir, blueprint.services, ids=ids)
                self._certify(blueprint)
            if not dry and what == "everything":
                record = StackRecord.load(self.data_dir)
                record.seeded = blueprint.name
                record.blueprint = str(blueprint.source or "")
                record.save(self.data_dir)
        return changes

    def log_names(self) -> list[str]:
        """What `logs` takes."""
        return _choice.provider_here(self.settings).log_names()

    def logs(self, name: str, *, tail: int | None = None, follow: bool = False) -> Iterator[str]:
        """Lines of a log."""
        return _choice.provider_here(self.settings).logs(name, tail=tail, follow=follow)

    # -- looking ---------------------------------------------------------------------------------

    def blueprint(self) -> Blueprint:
        """The one of the settings, else the one that was applied last, else the default one."""
        if self.settings.blueprint is not None:
            return Blueprint.load(self.settings.blueprint)
        applied = StackRecord.load(self.data_dir).blueprint
        if applied and Path(applied).exists():
            return Blueprint.load(applied)
        return Blueprint.default()

    @without_frames
    def status(self, blueprint: Blueprint | None = None) -> StackStatus:
        """What state it is in. Changes nothing and takes no lock.

        Args:
            blueprint: What it should contain; as `blueprint` says by default.
        """
        blueprint = blueprint or self.blueprint()
        namespace = self.namespace(blueprint)
        return look(self.settings, self._opening, blueprint, lambda: self.operator(""), namespace)


def _swept() -> list[str]:
    return [f"temporary folder {path}" for path in sweep_run_directories()]
