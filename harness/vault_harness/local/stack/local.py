"""The stack of ``up``: a Vault and a Toxiproxy that outlive the task, with keys on disk."""

from __future__ import annotations

import contextlib
import itertools
import os
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from vault_harness import files, namespaces
from vault_harness.errors import HarnessError, SettingsError, StackError, named, without_frames
from vault_harness.local.blueprint import Blueprint
from vault_harness.local.engine.folders import sweep_run_directories
from vault_harness.local.engine.provider import NODE_NAME, Endpoints, StackProvider, holds_data
from vault_harness.local.engine.seal import SealKind
from vault_harness.local.stack import choice as choice_module
from vault_harness.local.stack import client_path, data_dir, members, sealing
from vault_harness.local.stack.certificates import Certificates, Renewal
from vault_harness.local.stack.lock import leave_if_empty
from vault_harness.local.stack.record import StackRecord
from vault_harness.local.stack.seal_verbs import SealVerbs
from vault_harness.local.vault import approle
from vault_harness.local.vault.admin import VaultAdmin
from vault_harness.local.vault.apply import WITHOUT_LOSS, Applying, Change, apply
from vault_harness.local.vault.kept import Kept, policy_text
from vault_harness.local.vault.kv import moved_mount
from vault_harness.local.vault.namespace import exists
from vault_harness.local.vault.tokens import needing_root
from vault_harness.settings import Settings

_CLUSTER_NODES = 3


class LocalStack(SealVerbs):
    """The operations behind the tasks. Each can be called in any state."""

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
        """Start what does not run, initialise a new Vault, unseal a sealed one. Never removes data.

        Args:
            ha: Three nodes behind a load balancer. A stopped single server keeps its data and gets
                two more nodes. A cluster stays a cluster without this.
            tls: From now on, with a certificate of the stack's own authority.
            client_certs: From now on, Vault requires client certificates, and so TLS.
            cuttable: From now on, nodes can be cut off from each other (`Nodes.cut`).
            seal: For a new Vault; all except ``shamir`` unseal themselves. An existing Vault keeps
                its own.

        Raises:
            KeyringMissing: This Vault is initialised and its keys are not here.
            StackError: Keys without their data, or a Vault of another engine.
        """
        self._check_ports()
        # Before the lock, which creates the folder:
        if not self.data_dir.exists():
            self._check_data(self.provider())
        if cuttable:
            self._check_others(ha=ha)
        self._check_server(seal)
        with self.held():
            provider = self.provider()
            self._check_data(provider)
            choice = choice_module.reason(self.settings, StackRecord.load(self.data_dir), provider)
            running = [service for service in provider.describe() if service.running]
            new = not holds_data(self.data_dir)
            kind = self._seal(seal, ha=ha)
            if self.migrations.pending() is None:  # otherwise a migration is continued
                provider.check_start(nodes=_CLUSTER_NODES if ha else 1)
            if cuttable:
                self._check_others(ha=ha)  # another task may have destroyed the cluster
                provider.make_cuttable()
            self._certificates.prepare(provider, wanted=tls, of_clients=client_certs)
            self._certify(None)
            try:
                if self.migrations.pending() is not None:
                    _, endpoints = self.migrations.go_on(provider)
                else:
                    full_start = not any(service.node for service in running)
                    sealing.prepare(kind, provider, self.data_dir, full_start=full_start)
                    self._note_seal(kind)
                    endpoints = provider.start(nodes=_CLUSTER_NODES if ha else 1)
                    self.opening.open(provider.destroy, endpoints)
                    if full_start:
                        self.opening.forget_what_changed_nothing(endpoints)
            except HarnessError:
                # An interrupted restore continues only with running servers.
                if not running and not self.opening.is_half_restored():
                    with contextlib.suppress(HarnessError):  # the first error says more
                        provider.stop()
                raise
            # The user's toxics and request faults stay.
            client_path.ensure_proxies(endpoints, through=client_path.through_recorder(provider))
            record = StackRecord.load(self.data_dir)
            record.choice = choice
            if new:
                record.seeded = record.blueprint = ""
            record.save(self.data_dir)
            return endpoints

    def _check_ports(self) -> None:
        """Refuse two settings with one port, which would look like a foreign server."""
        wanted = {
            "HARNESS_VAULT_PORT": self.settings.vault_port,
            "HARNESS_PROXY_PORT": self.settings.proxy_port,
            "HARNESS_TOXIPROXY_PORT": self.settings.toxiproxy_port,
        }
        for (one, port), (other, same) in itertools.combinations(wanted.items(), 2):
            if port and port == same:
                raise SettingsError(
                    f"{one} and {other} are the same port, {port}",
                    looked_at="the environment, and the defaults of unset variables",
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
        running = {service.name: service for service in provider.describe() if service.running}
        if NODE_NAME in running and not holds_data(self.data_dir):
            raise StackError(
                "Vault runs, and its data directory is gone",
                looked_at=f"{self.data_dir}; {running[NODE_NAME].detail}",
                remedy="put the folder back where it was; a token that you have still reads this "
                f"Vault. When it ends ({named('down')}), what it holds is lost",
            )
        data_dir.refuse_replaced(self.data_dir, running.values())

    @without_frames
    def down(self) -> list[str]:
        """End the servers, also of a crashed `up`; the data stays. Return what was ended."""
        with self.held():
            ended = self.provider().stop()
        return [*ended, *_swept()]

    @without_frames
    def destroy(self, *, dry: bool = False) -> list[str]:
        """Delete data, keys, ids and records, no other files. Return their names for a user."""
        if dry:
            data_dir.check(self.data_dir)
            state = map(files.as_removed, data_dir.state(self.data_dir))
            return [*self.provider().belongings(), *state]
        with self.held():
            removed = self.provider().destroy()
            # Last: as long as there is data, its keys are needed.
            for path in data_dir.state(self.data_dir):
                removed.append(files.as_removed(path))
                if path.is_dir() and not path.is_symlink():
                    files.remove_directory(path)
                else:
                    path.unlink()
            leave_if_empty(self.data_dir)
        return [*removed, *_swept()]

    @without_frames
    def fault_requests(self, order: Mapping[str, object]) -> None:
        """Add a fault of single requests; it replaces one of the same target. `heal` undoes it.

        The first one puts an HTTP recorder behind Toxiproxy, which closes open connections once.
        `order` is `vault_harness.judge.faults.Order.to_json`.
        """
        with self.held():
            endpoints = self.endpoints()
            recorder = self.provider().start_recorder()
            # First, so that it affects the first request.
            client_path.order_fault(recorder, order)
            client_path.ensure_proxies(endpoints, through=recorder.listen)

    @without_frames
    def end_request_fault(self, order: Mapping[str, object]) -> None:
        with self.held():
            recorder = self.provider().known_recorder()
            if recorder is not None:
                client_path.order_fault(recorder, order, undo=True)

    @without_frames
    def heal(self) -> list[str]:
        """Remove all faults in front of Vault: toxics, recorder, disabled proxies, cuts."""
        with self.held():
            done, provider = client_path.clear(self.endpoints()), self.provider()
            # The recorder ends last: clients must be led past it first.
            return [*done, *client_path.end_recorder(provider), *members.rejoin_all(provider)]

    # -- what is in it -----------------------------------------------------------------------------

    @without_frames
    def seed(
        self,
        blueprint: Blueprint,
        how: Applying = WITHOUT_LOSS,
        *,
        new_values: bool = False,
        environ: Mapping[str, str] | None = None,
    ) -> list[Change]:
        """Apply a blueprint, and write the ids of its AppRoles to files.

        The data directory keeps a copy of each replaced policy or setting. Without `new_values`
        nothing changes if another mount has the blueprint's secrets.
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
            if how.what == "everything" and not new_values:
                _refuse_moved(inside, blueprint)
            changes = apply(
                operator,
                blueprint,
                replace(how, audit_path=self.provider().server_audit_path, kept=Kept(ids)),
                environ=environ,
            )
            made = {
                change.name
                for change in changes
                if change.kind == "approle" and change.action == "created"
            }
            for role in blueprint.approles:
                changes.append(_write_ids(inside, role, ids, new=role in made, dry=how.dry))
            if not how.dry:
                data_dir.hand_out_ids(self.data_dir, blueprint.services, ids=ids)
                self._certify(blueprint)
                record = StackRecord.load(self.data_dir)
                if how.what == "everything":
                    record.seeded = blueprint.name
                # Absolute, because the next task may run in another folder.
                record.blueprint = str(blueprint.source.absolute()) if blueprint.source else ""
                record.save(self.data_dir)
        return changes

    @without_frames
    def adopt(self, policy: str, blueprint: Blueprint | None = None) -> Path | None:
        """Let Vault's version of a policy replace the blueprint's, for `seed` and the doctor.

        Return the copy; None if it equals the blueprint's.
        """
        blueprint = blueprint or self.blueprint()
        namespace = self.namespace(blueprint)
        with self.held(), contextlib.closing(self.operator(namespace)) as op:
            text = policy_text(op, policy) if policy in blueprint.policies else ""
            if not text.strip():
                has = "Vault" if policy in blueprint.policies else f"the blueprint {blueprint.name}"
                raise SettingsError(
                    f"{has} has no policy {policy}",
                    looked_at=f"--adopt {policy}",
                    remedy=f"name one of {', '.join(blueprint.policies)}",
                )
            kept = Kept(self.ids_directory(namespace))
            if text.strip() == blueprint.policies[policy].rules.strip():
                kept.give_up(policy)
                return None
            return kept.adopt(policy, text)

    # -- certificates ------------------------------------------------------------------------------

    @without_frames
    def renew_certificate(self, *, ca: bool = False) -> Renewal:
        """Renew the certificates of servers and clients, without losing connections.

        With client certificates, the balancer is replaced, and old connections end after some
        seconds.

        `ca` makes a new authority. The former one stays trusted until the next renewal; that of
        clients until each server starts again, which the next exchange requires.
        """
        with self.held():
            return self._certificates.renew(
                self.provider(), self.endpoints(), ca=ca, blueprint=self.blueprint
            )

    def client_certificates(self) -> dict[str, Path]:
        clients = self._certificates.clients
        return clients.files(self.blueprint()) if clients.wanted else {}

    def _certify(self, blueprint: Blueprint | None) -> None:
        if self._certificates.clients.wanted:
            self._certificates.clients.issue_missing(blueprint or self.blueprint())
            data_dir.hand_out_tls(self.data_dir)


def _write_ids(op: VaultAdmin, role: str, ids: Path, *, new: bool, dry: bool) -> Change:
    """Write a role's ids to files, unless working ones are there."""
    if dry:
        written = new or not approle.credentials_work(op, role, ids)
    else:
        written = approle.write_credentials(op, role, ids).written
    _, file = approle.credential_files(role, ids)
    return Change("secret-id", role, "created" if written else "unchanged", file.name)


def _refuse_moved(op: VaultAdmin, blueprint: Blueprint) -> None:
    if op.namespace and not exists(op):
        return
    for mount in blueprint.mounts:
        if (moved := moved_mount(op, blueprint, mount)) is None:
            continue
        raise StackError(
            f"{moved.mount}/ has none of the blueprint's secrets, and {moved.found_at}/ has "
            f"{moved.found} of {moved.wanted}: new values would be made beside those",
            looked_at=f"sys/mounts, {moved.found_at}/metadata",
            remedy=f"{' && '.join(moved.commands_back())} moves them back. If they belong to "
            f"somebody else: {named('seed', '--new-values')}",
        )


def _swept() -> list[str]:
    return [f"temporary folder {path}" for path in sweep_run_directories()]
