"""Tasks that find problems of the stack, and unlock an AppRole."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import asdict
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from vault_harness.cli.command import command
from vault_harness.cli.common import backups_dir, local_stack
from vault_harness.cli.printing import complain, plural, say, say_json
from vault_harness.errors import HarnessError, named

if TYPE_CHECKING:
    from vault_harness.local.stack.local import LocalStack
    from vault_harness.operator.doctor import CheckResult, Patient

_MARKS = {"good": "ok", "bad": "BAD", "unknown": "?"}
_STANDING = {"good": "kept", "bad": "broken", "unknown": "cannot tell"}


@command(
    "doctor",
    group="every day",
    examples=("doctor", "doctor --all", "doctor --production"),
    help={
        "json": "for programs",
        "all": "the good results too",
        "production": "check instead whether it is run like a Vault in production",
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
    """Find out what is wrong, and how to fix it.

    Each result names the command that fixes it. The doctor checks processes, network, clock, seal,
    keys, tokens, mounts, policies, AppRoles, credentials and secrets. It changes nothing, and never
    locks a role by trying. Exit code 1 if anything is wrong.

    With --production it checks good practice instead, on this stack or on the Vault of VAULT_ADDR
    and VAULT_TOKEN (HARNESS_ENGINE=external): root token, audit, TLS, nodes, keys, lives of
    secret-ids and tokens, policies, rotation, backups, monitoring. Each practice is kept, broken,
    or unknown.
    """
    from vault_harness.operator.doctor import State, examine, examine_access

    if production:
        _production(json=json, backups=backups)
        return
    stack = local_stack()
    if not (results := examine_access(stack.data_dir)):
        with _patient(stack) as patient:
            results = examine(patient)
    bad = [result for result in results if result.bad]
    if json:
        told = [{"wrong" if k == "seen" else k: v for k, v in asdict(r).items()} for r in results]
        say_json(told)
    else:
        for result in results:
            if all or result.state is not State.GOOD:
                say("\n".join(_lines(result, f"{_MARKS[result.state]:<4}", indent=6)))
        good = sum(result.state is State.GOOD for result in results)
        say(f"{plural(good, 'check')} fine, {len(bad)} wrong")
        if bad:
            say(f"start with the first: {bad[0].remedy}")
    if bad:
        raise SystemExit(1)


def _lines(result: CheckResult, mark: str, *, indent: int) -> list[str]:
    margin = " " * indent
    lines = [f"{mark}{result.name}: {result.seen}", f"{margin}looked at: {result.looked_at}"]
    lines += [f"{margin}  {line}" for line in result.details]
    if result.remedy:
        lines.append(f"{margin}what to do: {result.remedy}")
    if result.instead:
        lines.append(f"{margin}or, {result.instead}")
    return lines


def _production(*, json: bool, backups: str | None) -> None:
    from vault_harness.operator.doctor import State

    stack = local_stack()
    with _patient(stack) as patient:
        results = _gone_through(stack, patient, backups)
    if json:
        told = [
            {
                "name": result.name,
                "standing": _STANDING[result.state],
                "looked_at": result.looked_at,
                "seen": result.seen,
                "remedy": result.remedy,
            }
            for result in results
        ]
        say_json(told)
    else:
        for result in results:
            lines = _lines(result, f"{_STANDING[result.state]:<13}", indent=13)
            say("\n".join(lines if result.remedy else lines[:1]))
        states = [result.state for result in results]
        say(", ".join(f"{states.count(state)} {_STANDING[state]}" for state in State))
    if any(result.bad for result in results):
        raise SystemExit(1)


def _gone_through(stack: LocalStack, patient: Patient, backups: str | None) -> list[CheckResult]:
    """Check each practice, or say why nothing can be checked and end the task."""
    from vault_harness.operator.doctor import Deployment, admit
    from vault_harness.operator.practices import go_through

    operator, in_the_way = admit(patient)
    if operator is None:
        for result in in_the_way:
            complain("\n".join(_lines(result, "", indent=2)))
        complain(f"nothing else can be checked before that; {named('doctor')} shows the rest")
        raise SystemExit(1)
    with closing(operator):
        return go_through(
            Deployment(
                operator=operator,
                addresses=patient.addresses,
                keyring=patient.keyring_path,
                backups=backups_dir(stack, backups),
                audit_logs=_audit_logs(stack) if patient.engine != "external" else (),
                lost_by_ending=patient.lost_by_ending() if patient.engine != "external" else "",
            )
        )


def _audit_logs(stack: LocalStack) -> tuple[Path, ...]:
    try:
        return tuple(stack.provider().audit_paths.values())
    except HarnessError:
        return ()


@contextmanager
def _patient(stack: LocalStack) -> Iterator[Patient]:
    from vault_harness.local.engine.external import external_trust
    from vault_harness.local.engine.folders import run_directory

    settings = stack.settings
    if settings.engine != "external":
        yield _looked_at(stack, settings.vault_cacert)
        return
    with run_directory() as directory:  # for the client certificate for that Vault
        yield _looked_at(stack, external_trust(settings, directory / "external-tls"))


def _looked_at(stack: LocalStack, ca_cert: Path | None) -> Patient:
    from vault_harness.local.engine.provider import holds_data
    from vault_harness.local.stack.record import StackRecord
    from vault_harness.operator.doctor import Patient, ServiceView, look_at_docker

    settings, blueprint = stack.settings, stack.blueprint()
    record = StackRecord.load(stack.data_dir)
    engine = settings.engine if settings.engine != "auto" else record.engine or "auto"
    endpoints = record.endpoints
    addresses = tuple(node.address for node in endpoints.nodes) if endpoints else ()
    services: tuple[ServiceView, ...] = ()
    data_gone, toxiproxy, proxied, audit_log = False, "", "", None
    data_replaced: tuple[str, ...] = ()
    pending = stack.migrations.pending() if engine != "external" else None
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
            services = ()  # Docker does not answer, as the first result says
    status = cache(stack.status)  # slow, and perhaps not needed

    def lost_by_ending() -> str:
        lost = None
        with contextlib.suppress(HarnessError):  # unknown counts as not lost
            lost = stack.lost_by_ending()
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
        keys_never_kept=stack.opening.keys_never_kept() if engine != "external" else "",
        unfinished_restore=stack.opening.unfinished_restore() if engine != "external" else None,
        why_none_leads=stack.why_none_leads if engine != "external" else str,
        seal_migration=(pending.source, pending.target) if pending is not None else None,
    )
