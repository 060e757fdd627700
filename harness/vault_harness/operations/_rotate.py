"""The tasks ``rotate.secret-id``, ``rotate.secrets`` and ``rotate.rollback``."""

from __future__ import annotations

import os
import sys
from contextlib import closing

from invoke.context import Context
from invoke.tasks import task

from vault_harness.console import guarded, say
from vault_harness.operations._common import local_stack


def _role_or_all() -> list[str]:
    """Invoke wants every positional argument to be given: with --all there is none."""
    return [] if {"--all", "-a"} & set(sys.argv) else ["role"]


@task(
    name="secret-id",
    positional=_role_or_all(),
    help={
        "role": "the AppRole, for example backend",
        "all": "every AppRole of the blueprint",
        "dry-run": "show what would be replaced, change nothing",
    },
)
@guarded
def rotate_secret_id(
    context: Context,  # noqa: ARG001 -- invoke passes it to every task
    role: str | None = None,
    all: bool = False,  # noqa: A002 -- the option is called --all
    dry_run: bool = False,
) -> None:
    """Give a role's services a new secret-id; the old one ends after the new one logged in.

    Clients that read the file at each login need no restart. Safe to run again after any end.

    Example: invoke rotate.secret-id backend
             invoke rotate.secret-id --all
    """
    from vault_harness.errors import SettingsError
    from vault_harness.vault.rotate import plan_secret_id
    from vault_harness.vault.rotate import rotate_secret_id as rotate

    stack = local_stack()
    blueprint = stack.blueprint()
    if bool(role) == all:
        raise SettingsError(
            "name one AppRole, or give --all",
            remedy=f"One of {', '.join(blueprint.approles)}.",
        )
    with stack.held(), closing(stack.operator()) as op:
        for each in [role] if role else blueprint.approles:
            if dry_run:
                plan = plan_secret_id(op, each, stack.data_dir)
                old = f"destroy the one with accessor {plan.old}" if plan.old else "destroy none"
                say(f"{each}: would write a new secret-id to {plan.file}, then {old}")
                continue
            done = rotate(op, each, stack.data_dir)
            again = " (finished what an earlier run had begun)" if done.resumed else ""
            say(f"{each}: {done.file} has a new secret-id{again}")
            for accessor in done.destroyed:
                say(f"{each}: destroyed the old one, accessor {accessor}")


@task(
    name="secrets",
    positional=["name"],
    help={
        "name": "database, redis, jwt, all, or one key such as backend/django:SECRET_KEY",
        "dry-run": "show what would be made anew, change nothing",
        "grace": "seconds for which a Redis takes the old password too: longer than clients cache",
    },
)
@guarded
def rotate_secrets(
    context: Context,  # noqa: ARG001 -- as above
    name: str,
    dry_run: bool = False,
    grace: float = 10.0,
) -> None:
    """Make secrets anew: a new version in Vault, and the password on the server that knows it.

    A PostgreSQL or Redis is changed too if HARNESS_POSTGRESQL_URL=postgresql://host:port/ or
    HARNESS_REDIS_URL=redis://host:port names it; if it refuses, Vault keeps the old value.

    Example: invoke rotate.secrets database
             invoke rotate.secrets all --dry-run
    """
    from vault_harness.vault.kv import Kv
    from vault_harness.vault.rotate import configured, find_targets, rotate_secret

    stack = local_stack()
    targets = find_targets(name)
    with stack.held(), closing(stack.operator()) as op:
        blueprint = stack.blueprint()
        kv = Kv(op, blueprint.mount)
        for target in targets:
            place = f"{kv.mount}/{target.path} {target.key}"
            server = configured(target.server, os.environ) if target.server else None
            if dry_run:
                also = f", and on {server!r}" if server else ""
                say(
                    f"{target.name}: would make {place} anew, now version "
                    f"{kv.read(target.path).version}{also}"
                )
                continue
            done = rotate_secret(
                kv,
                target,
                stack.data_dir,
                servers=lambda kind: configured(kind, os.environ),
                blueprint=blueprint,
                grace=grace,
            )
            _report(target.name, kv.mount, done.versions, done.server, target.server)
    if not dry_run:
        say(f"to take it back: invoke rotate.rollback {name}")


@task(
    name="rollback",
    positional=["name"],
    help={
        "name": "database, redis, jwt, all, or one key such as backend/django:SECRET_KEY",
        "dry-run": "show what would be returned to, change nothing",
        "grace": "seconds for which a Redis takes the newer password too",
    },
)
@guarded
def rotate_rollback(
    context: Context,  # noqa: ARG001 -- as above
    name: str,
    dry_run: bool = False,
    grace: float = 10.0,
) -> None:
    """Return to the value before the newest rotation, in Vault and on the server.

    Example: invoke rotate.rollback database
    """
    from vault_harness.vault.kv import Kv
    from vault_harness.vault.rotate import configured, find_targets, roll_back

    stack = local_stack()
    targets = find_targets(name)
    with stack.held(), closing(stack.operator()) as op:
        kv = Kv(op, stack.blueprint().mount)
        for target in targets:
            if dry_run:
                say(
                    f"{target.name}: would return {kv.mount}/{target.path} {target.key} to the "
                    "value before its newest rotation"
                )
                continue
            done = roll_back(
                kv,
                target,
                stack.data_dir,
                servers=lambda kind: configured(kind, os.environ),
                grace=grace,
            )
            _report(target.name, kv.mount, done.versions, done.server, target.server)


def _report(
    name: str, mount: str, versions: dict[str, int], server: str | None, kind: str | None
) -> None:
    from vault_harness.vault.rotate import POSTGRESQL_VARIABLE, REDIS_VARIABLE

    for path, version in versions.items():
        say(f"{name}: {mount}/{path} is at version {version}")
    if server:
        say(f"{name}: {server} has the new password, and a login with it worked")
    elif kind:
        variable = POSTGRESQL_VARIABLE if kind == "postgresql" else REDIS_VARIABLE
        say(f"{name}: changed in Vault only, since {variable} names no server")
