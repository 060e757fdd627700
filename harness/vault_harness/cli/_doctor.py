"""What is wrong with the stack, and the lock of an AppRole."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from vault_harness.cli._command import command
from vault_harness.cli._common import local_stack
from vault_harness.cli._console import plural, say
from vault_harness.commands import named

if TYPE_CHECKING:
    from vault_harness.stack import LocalStack
    from vault_harness.vault.doctor import Patient
    from vault_harness.vault.practices import Practice

_MARKS = {"good": "ok ", "bad": "BAD", "unknown": "?  "}


@command(
    "doctor",
    group="every day",
    examples=("doctor", "doctor --all", "doctor --production"),
    help={
        "json": "for programs",
        "all": "the good findings too",
        "production": "instead, whether it is run as a Vault in production should be",
        "backups": "with --production: the folder that holds backups, default vault-backups "
        "beside the data directory",
    },
)
def doctor(
    json: bool = False,
    all: bool = False,  # noqa: A002 -- the option is called --all
    production: bool = False,
    backups: str | None = None,
) -> None:
    """Find out what is wrong, and what mends it.

    Each finding has the one command that mends it. Looks at processes, network, clock, seal, keys,
    tokens, mounts, policies, AppRoles, credentials and secrets. Changes nothing, and never locks a
    role by trying. Exit code 1 if anything is wrong.

    With --production it goes through good practice instead, on this stack or on the Vault of
    VAULT_ADDR and VAULT_TOKEN (HARNESS_ENGINE=external): root token, audit, TLS, nodes, keys,
    lives of secret-ids and tokens, policies, rotation, backups, monitoring. Each is kept, broken
    or cannot be told.
    """
    import json as json_module
    from dataclasses import asdict

    from vault_harness.vault.doctor import State, examine

    if production:
        _production(json=json, backups=backups)
        return
    with _patient(local_stack()) as patient:
        findings = examine(patient)
    bad = [finding for finding in findings if finding.bad]
    if json:
        say(json_module.dumps([asdict(finding) for finding in findings], indent=2))
    else:
        for finding in findings:
            if not all and finding.state is State.GOOD:
                continue
            say(f"{_MARKS[finding.state]} {finding.name}: {finding.wrong}")
            say(f"      looked at: {finding.looked_at}")
            if finding.remedy:
                say(f"      what to do: {finding.remedy}")
        good = sum(finding.state is State.GOOD for finding in findings)
        say(f"{plural(good, 'check')} fine, {len(bad)} wrong")
        if bad:
            say(f"begin with the first: {bad[0].remedy}")
    if bad:
        raise SystemExit(1)


def _production(*, json: bool, backups: str | None) -> None:
    """Tell how each practice stands; exit code 1 if one is broken."""
    import json as json_module
    from dataclasses import asdict

    from vault_harness.vault.practices import Standing

    stack = local_stack()
    with _patient(stack) as patient:
        practices = _gone_through(stack, patient, backups)
    if json:
        say(json_module.dumps([asdict(practice) for practice in practices], indent=2))
    else:
        for practice in practices:
            say(f"{practice.standing:<12} {practice.name}: {practice.seen}")
            if practice.remedy:
                say(f"{'':<12} looked at: {practice.looked_at}")
                say(f"{'':<12} what to do: {practice.remedy}")
        counts = [
            f"{sum(practice.standing is standing for practice in practices)} {standing}"
            for standing in Standing
        ]
        say(", ".join(counts))
    if any(practice.standing is Standing.BROKEN for practice in practices):
        raise SystemExit(1)


def _gone_through(stack: LocalStack, patient: Patient, backups: str | None) -> Sequence[Practice]:
    """How each practice stands; where nobody can tell, says why and ends the task."""
    from vault_harness.cli._common import backups_dir
    from vault_harness.cli._console import complain
    from vault_harness.vault.doctor import admit
    from vault_harness.vault.practices import Deployment, go_through

    operator, in_the_way = admit(patient)
    if operator is None:
        for finding in in_the_way:
            complain(f"{finding.name}: {finding.wrong}")
            complain(f"  looked at: {finding.looked_at}")
            complain(f"  what to do: {finding.remedy}")
        complain(f"nothing can be told of this Vault before that; {named('doctor')} has the rest")
        raise SystemExit(1)
    with closing(operator):
        return go_through(
            Deployment.today(
                operator,
                addresses=patient.addresses,
                keyring=patient.keyring_path,
                backups=backups_dir(stack, backups),
                audit_logs=_audit_logs(stack) if patient.engine != "external" else (),
            )
        )


@command(
    "unlock",
    group="operator",
    takes=("role",),
    needs=("role",),
    examples=("unlock backend",),
    help={
        "role": "the AppRole, for example backend",
        "dry-run": "only say whether it is locked",
    },
)
def unlock(role: str | None = None, dry_run: bool = False) -> None:
    """Unlock an AppRole that five bad secret-ids locked.

    Otherwise it opens by itself after 15 minutes.
    """
    from vault_harness.vault import approle

    assert role is not None, "the command line asks for it"
    stack = local_stack()
    with closing(stack.operator()) as op:
        role_id = approle.role_id(op, role)
        if dry_run:
            locked = any(each.role_id == role_id for each in approle.locked(op))
            say(f"{role} is {'locked' if locked else 'not locked'}")
            return
        done = approle.unlock(op, role_id)
    say(f"{role} is unlocked" if done else f"{role} was not locked")
    say(f"next: {named('doctor')}, to find who has the bad secret-id")


def _audit_logs(stack: LocalStack) -> tuple[Path, ...]:
    from vault_harness.errors import HarnessError

    try:
        return tuple(stack.provider().audit_paths.values())
    except HarnessError:
        return ()  # nobody can say where they are


@contextmanager
def _patient(stack: LocalStack) -> Iterator[Patient]:
    from vault_harness.engine import external_trust, run_directory

    settings = stack.settings
    if settings.engine != "external":
        yield _looked_at(stack, settings.vault_cacert)
        return
    with run_directory() as directory:  # for what is shown to that Vault
        yield _looked_at(stack, external_trust(settings, directory / "external-tls"))


def _looked_at(stack: LocalStack, ca_cert: Path | None) -> Patient:
    from functools import cache

    from vault_harness.engine import holds_data
    from vault_harness.errors import HarnessError
    from vault_harness.stack import StackRecord
    from vault_harness.vault.doctor import Patient, ServiceView, look_at_docker

    settings, blueprint = stack.settings, stack.blueprint()
    record = StackRecord.load(stack.data_dir)
    engine = settings.engine if settings.engine != "auto" else record.engine or "auto"
    endpoints = record.endpoints
    addresses = tuple(node.address for node in endpoints.nodes) if endpoints else ()
    services: tuple[ServiceView, ...] = ()
    data_gone, toxiproxy, proxied, audit_log = False, "", "", None
    data_replaced: tuple[str, ...] = ()
    pending = stack.pending_seal_migration() if engine != "external" else None
    client_certificates = dict[str, Path]()
    if engine == "external":
        addresses = (settings.vault_addr,) if settings.vault_addr else ()
    else:
        if endpoints:
            toxiproxy, proxied = endpoints.toxiproxy, endpoints.proxy
        ca_cert = (endpoints.ca_cert if endpoints else None) or ca_cert
        client_certificates = stack.client_certificates()
        try:
            provider = stack.provider()
            found = provider.describe()
            services = tuple(ServiceView(each.name, each.running) for each in found)
            audit_log = provider.audit_path
            data_gone = not holds_data(stack.data_dir)
            data_replaced = tuple(each.name for each in found if each.replaced)
        except HarnessError:
            services = ()  # Docker is away: that is the first finding
    status = cache(stack.status)  # a look takes a while, and is asked for when it is needed

    def lost_by_ending() -> str:
        lost = None
        with contextlib.suppress(HarnessError):  # nobody can say: then nobody says that it is
            lost = stack.reopening.lost_by_ending()
        return lost.cause if lost is not None else ""

    return Patient(
        data_dir=stack.data_dir,
        blueprint=blueprint,
        addresses=addresses,
        services=services,
        engine=engine,
        docker=lambda: look_at_docker(settings),
        data_gone=data_gone,
        data_replaced=data_replaced,
        toxiproxy=toxiproxy,
        proxied=proxied,
        obstacles=lambda: status().on_the_way,
        cut_nodes=lambda: status().cut_nodes,
        lost_by_ending=lost_by_ending,
        audit_log=audit_log,
        environ=os.environ,
        ca_cert=ca_cert,
        client_certificates=client_certificates,
        namespace=stack.namespace(blueprint),
        ids=stack.ids_directory(stack.namespace(blueprint)),
        keys_never_kept=stack.keys_never_kept() if engine != "external" else "",
        unfinished_restore=stack.unfinished_restore() if engine != "external" else None,
        seal_migration=(pending.source, pending.target) if pending is not None else None,
    )
