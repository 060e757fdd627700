"""The stack of ``up``: a Vault and a Toxiproxy that outlive the task, keys on disk."""

from __future__ import annotations

import contextlib
import itertools
import os
from collections.abc import Mapping
from pathlib import Path

from vault_harness import files, namespaces
from vault_harness.blueprint import Blueprint
from vault_harness.boundary import without_frames
from vault_harness.commands import named
from vault_harness.engine import (
    NODE_NAME,
    Endpoints,
    SealKind,
    StackProvider,
    holds_data,
    sweep_run_directories,
)
from vault_harness.errors import HarnessError, SettingsError, StackError
from vault_harness.settings import Settings
from vault_harness.stack import _choice, _cutting, _data_dir, _recording, _sealing, _way
from vault_harness.stack._certificates import Certificates, Renewal
from vault_harness.stack._lock import leave_if_empty
from vault_harness.stack._seal_verbs import SealVerbs
from vault_harness.stack._service_ids import hand_out_ids, hand_out_tls, write_ids
from vault_harness.stack.record import StackRecord
from vault_harness.vault import Change, apply
from vault_harness.vault.apply import What
from vault_harness.vault.root import needing_root

_CLUSTER_NODES = 3


class LocalStack(SealVerbs):
    """The verbs behind the tasks. Each may be called in any state and says what is wrong with it.

    Args:
        settings: Ports, data directory, engine.
    """

    def __init__(self, settings: Settings) -> None:
        super().__init__(settings)
        self._certificates = Certificates(settings.data_dir)

    # -- up and down -------------------------------------------------------------------------------

    @without_frames
    def up(
        self,
        *,
        ha: bool = False,
        tls: bool = False,
        client_certs: bool = False,
        cuttable: bool = False,
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
            cuttable: Its nodes can be cut off from each other (`Nodes.cut`); they stay so likewise.
            seal: How a new Vault is sealed: all but ``shamir`` unseal themselves. One that is there
                keeps the seal that it has, once a migration of it that was ended half-way is done.

        Raises:
            SettingsError: Two servers shall have one port; or one node shall be cuttable, which has
                no others. Nothing was made.
            KeyringMissing: This Vault is initialised and its keys are not here.
            StackError: Keys are here, and no data that they belong to; or the Vault here is
                another engine's.
            PortTaken: Somebody else listens on one of the ports.
            HarnessError: What the engine or Vault say.
        """
        self._check_ports()
        # Before the lock makes the folder anew:
        if not self.data_dir.exists():
            self._check_data(self.provider())
        if cuttable:
            self._check_others(ha=ha)
        self._check_server(seal)
        with self.held():
            provider = self.provider()
            self._check_data(provider)
            choice = _choice.reason(self.settings, StackRecord.load(self.data_dir), provider)
            running = [service for service in provider.describe() if service.running]
            new = not holds_data(self.data_dir)
            kind = self._seal(seal, ha=ha)
            _sealing.check_engine(kind, provider)
            if self._migrations.pending() is None:  # else there is something to go on with
                provider.check_start(nodes=_CLUSTER_NODES if ha else 1)
            if cuttable:
                self._check_others(ha=ha)  # a cluster may have been destroyed meanwhile
                _cutting.able(provider).make_cuttable()
            self._certificates.prepare(provider, wanted=tls, of_clients=client_certs)
            self._certify(None)
            try:
                if self._migrations.pending() is not None:
                    _, endpoints = self._migrations.go_on(provider)
                else:
                    anew = not any(service.node for service in running)
                    _sealing.prepare(kind, provider, self.data_dir, anew=anew)
                    self._note_seal(kind)
                    endpoints = provider.start(nodes=_CLUSTER_NODES if ha else 1)
                    self._opening.open(provider.destroy, endpoints)
                    if anew:
                        self._opening.forget_what_changed_nothing(endpoints)
            except HarnessError:
                # What goes on with a restore that was ended half-way wants servers that run.
                if not running and not self._opening.is_half_restored():
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

    def _check_ports(self) -> None:
        """Two servers of one port would be told as somebody else's that is in the way."""
        wanted = {
            "HARNESS_VAULT_PORT": self.settings.vault_port,
            "HARNESS_PROXY_PORT": self.settings.proxy_port,
            "HARNESS_TOXIPROXY_PORT": self.settings.toxiproxy_port,
        }
        for (one, port), (other, same) in itertools.combinations(wanted.items(), 2):
            if port and port == same:
                raise SettingsError(
                    f"{one} and {other} are the same port, {port}",
                    looked_at="the environment, and the defaults of what is not set there",
                    remedy=f"set {one} or {other} to another one, or to 0 for a free one",
                )

    def _check_others(self, *, ha: bool) -> None:
        known = self.known_endpoints()
        if not ha and (known is None or known.balancer is None):
            raise SettingsError(
                "one node has no others that it could be cut off from",
                looked_at="the command line",
                remedy=named("up", "--ha", "--cuttable"),
            )

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
        _data_dir.refuse_replaced(self.data_dir, running.values())

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

        The folder goes too if there are none.

        Args:
            dry: Remove nothing; tell what would be.

        Returns:
            What was removed, for a person.
        """
        if dry:
            _data_dir.check(self.data_dir)
            state = map(files.as_removed, _data_dir.state(self.data_dir))
            return [*self.provider().belongings(), *state]
        with self.held():
            removed = self.provider().destroy()
            # Last: while there is data, its keys are worth something.
            for path in _data_dir.state(self.data_dir):
                removed.append(files.as_removed(path))
                if path.is_dir() and not path.is_symlink():
                    files.remove_directory(path)
                else:
                    path.unlink()
            leave_if_empty(self.data_dir)
        return [*removed, *_swept()]

    @without_frames
    def heal(self) -> list[str]:
        """Free the way to Vault: no toxic, no recorder, and every proxy is there and enabled.

        No node is cut off from the others either.

        Returns:
            What was done, for a person; empty if nothing was in the way.

        Raises:
            NotUp: It does not run.
            ToxiproxyError: Toxiproxy does not answer.
        """
        with self.held():
            done, provider = _way.clear(self.endpoints()), self.provider()
            # After that: clients are led past the recorder by now.
            return [*done, *_recording.end(provider), *_cutting.end(provider)]

    # -- what is in it -----------------------------------------------------------------------------

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
                record = StackRecord.load(self.data_dir)
                if what == "everything":
                    record.seeded = blueprint.name
                # The next task may be called from another folder.
                record.blueprint = str(blueprint.source.absolute()) if blueprint.source else ""
                record.save(self.data_dir)
        return changes

    # -- certificates ------------------------------------------------------------------------------

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

    def client_certificates(self) -> dict[str, Path]:
        """What each client shows to a Vault that asks for it, by its name, there or not.

        With the key in it. Empty where Vault asks for nothing.
        """
        clients = self._certificates.clients
        return clients.files(self.blueprint()) if clients.wanted else {}

    def _certify(self, blueprint: Blueprint | None) -> None:
        """Give a certificate to each service that has ids and lacks it, if Vault asks for one."""
        if self._certificates.clients.wanted:
            self._certificates.clients.issue_missing(blueprint or self.blueprint())
            hand_out_tls(self.data_dir)


def _swept() -> list[str]:
    return [f"temporary folder {path}" for path in sweep_run_directories()]
