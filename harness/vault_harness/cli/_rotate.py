"""New secret-ids, new secrets, and the way back."""

from __future__ import annotations

import os
from collections.abc import Iterable
from contextlib import closing
from typing import TYPE_CHECKING

from vault_harness.cli._command import Seconds, command
from vault_harness.cli._common import local_stack
from vault_harness.cli._console import say
from vault_harness.commands import named

if TYPE_CHECKING:
    from vault_harness.errors import HarnessError
    from vault_harness.vault.rotate import SecretIdPlan, SecretRotation, Target


@command(
    "rotate.secret-id",
    group="operator",
    takes=("role",),
    examples=(
        "rotate.secret-id backend",
        "rotate.secret-id --all",
        "rotate.secret-id backend --grace 10m",
    ),
    help={
        "role": "the AppRole, for example backend",
        "all": "every AppRole of the blueprint",
        "dry-run": "show what would be replaced, change nothing",
        "grace": "time for which the old one stays good, for services that have it by value",
        "end-others": "end every other secret-id of the role too, as those of a lost machine",
    },
)
def secret_id(
    role: str | None = None,
    all: bool = False,  # noqa: A002 -- the option is called --all
    dry_run: bool = False,
    grace: Seconds = 0.0,
    end_others: bool = False,
) -> None:
    """Give a role's services a new secret-id, end the old one.

    The old one ends after the new one logged in; Vault names it by its accessor, which is not
    secret. Clients that read the file at each login need no restart. Whoever was given the
    secret-id by value gets 400 once it ends: give such services the new one within --grace.
    Ended meanwhile, the same command waits for the rest. Safe to run again after any end. With
    --all, a role that refuses is told, and the others are done.
    """
    from vault_harness.errors import HarnessError, SettingsError
    from vault_harness.stack import hand_out_ids
    from vault_harness.vault.rotate import each_of, plan_secret_id
    from vault_harness.vault.rotate import rotate_secret_id as rotate

    stack = local_stack()
    blueprint = stack.blueprint()
    if bool(role) == all:
        raise SettingsError(
            "name one AppRole, or give --all",
            looked_at="the command line",
            remedy=f"{named('rotate.secret-id', 'ROLE')}, with one of "
            f"{', '.join(blueprint.approles)}",
        )

    ids = stack.ids_directory()

    def hand_out(_step: str) -> None:
        hand_out_ids(stack.data_dir, blueprint.services, ids=ids)

    with stack.held(), closing(stack.operator()) as op:

        def turn(name: str) -> None:
            if dry_run:
                _foretell_secret_id(plan_secret_id(op, name, ids), end_others=end_others)
                return
            if grace:
                say(f"{name}: the old secret-id stays good for {grace:g} s after the new one")
            done = rotate(op, name, ids, grace=grace, end_others=end_others, checkpoint=hand_out)
            if done.resumed:
                say(f"{name}: finished what an earlier run had begun, whose new secret-id is in")
                again = named("rotate.secret-id", name)
                say(f"  {done.file}, and made no other one; for one run it again: {again}")
            else:
                say(f"{name}: {done.file} has a new secret-id")
            for accessor in done.destroyed:
                say(f"{name}: destroyed the secret-id with accessor {accessor}")

        refused: list[HarnessError] = []
        for each, came in each_of([role] if role else [*blueprint.approles], turn):
            if isinstance(came, HarnessError):
                if all:  # a role that is locked keeps none of the others
                    say(f"{each}: {'would not be' if dry_run else 'not'} done: {came.cause}")
                refused.append(came)
        if refused:
            raise refused[0]


def _foretell_secret_id(plan: SecretIdPlan, *, end_others: bool) -> None:
    """Say what would come of a role."""
    old = f"destroy the one with accessor {plan.old}" if plan.old else "destroy none"
    if plan.resumes:
        say(f"{plan.role}: would finish what an earlier run had begun: {plan.file} has its new")
        say(f"  secret-id, and no other one would be made; then {old}")
    else:
        say(f"{plan.role}: would write a new secret-id to {plan.file}, then {old}")
    if plan.left:
        say(f"{plan.role}: would end what an ended run made and nobody got: {', '.join(plan.left)}")
    if plan.others:
        what = "end" if end_others else "leave"
        say(f"{plan.role}: would {what} its other secret-ids: {', '.join(plan.others)}")


@command(
    "rotate.secrets",
    group="operator",
    default=True,
    takes=("name",),
    needs=("name",),
    examples=(
        "rotate.secrets database",
        "rotate.secrets all --dry-run",
        "rotate.secrets backend/django:SECRET_KEY",
    ),
    help={
        "name": "database, redis, jwt, all, or one key such as backend/django:SECRET_KEY",
        "dry-run": "show what would be made anew, change nothing",
        "grace": "time for which a Redis takes the old password too, default 10s: longer than "
        "clients keep it",
    },
)
def secrets(
    name: str | None = None,
    dry_run: bool = False,
    grace: Seconds = 10.0,
) -> None:
    """Make secrets anew, in Vault and on their server.

    A PostgreSQL or Redis is changed too if HARNESS_POSTGRESQL_URL=postgresql://host:port/ or
    HARNESS_REDIS_URL=redis://host:port names it; if it refuses, Vault keeps the old value.
    """
    from vault_harness.vault.kv import Kv
    from vault_harness.vault.rotate import (
        configured,
        each_of,
        find_targets,
        plan_secret,
        rotate_secret,
    )

    stack = local_stack()
    assert name is not None, "the command line asks for it"
    targets = find_targets(name)
    with stack.held(), closing(stack.operator()) as op:
        blueprint = stack.blueprint()
        kv = Kv(op, blueprint.mount)
        if dry_run:

            def foretell(target: Target) -> str:
                plan = plan_secret(
                    kv,
                    target,
                    stack.data_dir,
                    servers=lambda kind: configured(kind, os.environ),
                )
                server = configured(target.server, os.environ) if target.server else None
                also = f", and on {server!r}" if server else ""
                where = f"{kv.mount}/{target.path} {target.key}"
                if plan.resumes:
                    return (
                        f"would finish what an earlier run had begun: {where} has its new value, "
                        f"version {plan.version}{also}; no other one would be made"
                    )
                return f"would make {where} anew, now version {plan.version}{also}"

            _foretell(each_of(targets, foretell))
            return
        done = each_of(
            targets,
            lambda target: rotate_secret(
                kv,
                target,
                stack.data_dir,
                servers=lambda kind: configured(kind, os.environ),
                blueprint=blueprint,
                grace=grace,
            ),
        )
        _tell(done, kv.mount, anew=True)
    say(f"to take it back: {named('rotate.rollback', name)}")


@command(
    "rotate.rollback",
    group="operator",
    takes=("name",),
    needs=("name",),
    examples=("rotate.rollback database",),
    help={
        "name": "database, redis, jwt, all, or one key such as backend/django:SECRET_KEY",
        "dry-run": "show what would be returned to, change nothing",
        "grace": "time for which a Redis takes the newer password too, default 10s",
    },
)
def rollback(
    name: str | None = None,
    dry_run: bool = False,
    grace: Seconds = 10.0,
) -> None:
    """Return to the value before the newest rotation.

    In Vault, and on the server that knows it. A value that somebody wrote since the rotation
    stays.
    """
    from vault_harness.vault.kv import Kv
    from vault_harness.vault.rotate import (
        configured,
        each_of,
        find_rollback,
        find_targets,
        roll_back,
    )

    stack = local_stack()
    assert name is not None, "the command line asks for it"
    targets = find_targets(name)
    with stack.held(), closing(stack.operator()) as op:
        kv = Kv(op, stack.blueprint().mount)
        if dry_run:

            def foretell(target: Target) -> str:
                version = find_rollback(
                    kv,
                    target,
                    stack.data_dir,
                    servers=lambda kind: configured(kind, os.environ),
                )
                where = f"{kv.mount}/{target.path} {target.key}"
                return f"would return {where} to the value of version {version}"

            _foretell(each_of(targets, foretell))
            return
        done = each_of(
            targets,
            lambda target: roll_back(
                kv,
                target,
                stack.data_dir,
                servers=lambda kind: configured(kind, os.environ),
                grace=grace,
            ),
        )
        _tell(done, kv.mount)


def _foretell(plans: Iterable[tuple[Target, str | HarnessError]]) -> None:
    """Say what would come of each target; refusals as in `_tell`."""
    from vault_harness.errors import HarnessError

    refused: list[HarnessError] = []
    for target, plan in plans:
        if isinstance(plan, HarnessError):
            say(f"{target.name}: would not be done: {plan.cause}")
            refused.append(plan)
        else:
            say(f"{target.name}: {plan}")
    if refused:
        raise refused[0]


def _tell(
    done: Iterable[tuple[Target, SecretRotation | HarnessError]], mount: str, *, anew: bool = False
) -> None:
    """Say what came of each target; what one refused is raised after all of them were tried.

    Args:
        done: What came of each.
        mount: Where they are.
        anew: Whether new values were asked for: who only finished an earlier run made none.
    """
    from vault_harness.errors import HarnessError

    refused: list[HarnessError] = []
    for target, came in done:
        if isinstance(came, HarnessError):
            say(f"{target.name}: not done: {came.cause}")
            refused.append(came)
        else:
            if came.resumed:
                again = named("rotate.secrets", target.name)
                none = f", and made no new value; for one run it again: {again}" if anew else ""
                say(f"{target.name}: finished what an earlier run had begun{none}")
            _report(target.name, mount, came.versions, came.server, target.server)
            for place in came.holding:
                say(
                    f"{target.name}: {mount}/{place} has the old password still: another account's,"
                )
                say(
                    "  or one that is no URL's; look at it, and change it by hand if it is this one"
                )
    if refused:
        raise refused[0]


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
