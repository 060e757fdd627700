"""Tasks that rotate secret-ids and secrets, and roll back."""

from __future__ import annotations

import os
from collections.abc import Iterable
from contextlib import closing
from typing import TYPE_CHECKING

from vault_harness.cli.command import Seconds, command
from vault_harness.cli.common import local_stack, wrong
from vault_harness.cli.printing import say
from vault_harness.errors import HarnessError, OperatorError, named

if TYPE_CHECKING:
    from vault_harness.operator.rotate import PasswordServer, SecretIdPlan, SecretRotation, Target


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
        "grace": "time for which the old one stays valid, for services that have it by value",
        "end-others": "destroy every other secret-id of the role too, such as a lost machine's",
    },
)
def secret_id(
    role: str | None = None,
    all: bool = False,  # noqa: A002 -- the option is called --all
    dry_run: bool = False,
    grace: Seconds = 0.0,
    end_others: bool = False,
) -> None:
    """Replace the secret-id of a role's services.

    The old secret-id is destroyed after a login with the new one. Vault names it by its accessor,
    which is not secret. Clients that read the file at each login need no restart. A service that
    has the secret-id by value gets 400 after that: give it the new one within --grace.

    After an interruption, the same command finishes the work; it is always safe to repeat. With
    --all, a role that fails is reported, and the others are done.
    """
    from vault_harness.local.stack.data_dir import hand_out_ids
    from vault_harness.operator.rotate import each_of, plan_secret_id
    from vault_harness.operator.rotate import rotate_secret_id as rotate

    stack = local_stack()
    blueprint = stack.blueprint()
    if bool(role) == all:
        raise wrong(
            "name one AppRole, or give --all",
            f"{named('rotate.secret-id', 'ROLE')}, with one of {', '.join(blueprint.approles)}",
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
                if all:  # a locked role must not stop the others
                    say(f"{each}: {'would not be' if dry_run else 'not'} done: {came.cause}")
                refused.append(came)
        if refused:
            raise refused[0]


def _foretell_secret_id(plan: SecretIdPlan, *, end_others: bool) -> None:
    old = f"destroy the one with accessor {plan.old}" if plan.old else "destroy none"
    if plan.resumes:
        say(f"{plan.role}: would finish what an earlier run had begun: {plan.file} has its new")
        say(f"  secret-id, and no other one would be made; then {old}")
    else:
        say(f"{plan.role}: would write a new secret-id to {plan.file}, then {old}")
    if plan.left:
        say(f"{plan.role}: would destroy what an interrupted run made: {', '.join(plan.left)}")
    if plan.others:
        what = "end" if end_others else "leave"
        say(f"{plan.role}: would {what} its other secret-ids: {', '.join(plan.others)}")


@command(
    "rotate.secrets",
    group="operator",
    default=True,
    examples=(
        "rotate.secrets database",
        "rotate.secrets all --dry-run",
        "rotate.secrets backend/django:SECRET_KEY",
    ),
    help={
        "name": "database, redis, jwt, all, or one key such as backend/django:SECRET_KEY",
        "dry-run": "show what would be rotated, change nothing",
        "grace": "time for which a Redis takes the old password too, default 10s: longer than "
        "clients keep it",
    },
)
def secrets(
    name: str,
    dry_run: bool = False,
    grace: Seconds = 10.0,
) -> None:
    """Make new secrets, in Vault and on their server.

    A PostgreSQL or Redis is changed too if HARNESS_POSTGRESQL_URL=postgresql://host:port/ or
    HARNESS_REDIS_URL=redis://host:port names it. If that server refuses, Vault keeps the old value.
    """
    from vault_harness.local.vault.kv import Kv
    from vault_harness.operator.rotate import How, each_of, find_targets, plan_secret, rotate_secret

    stack = local_stack()
    targets = find_targets(name)
    with stack.held(), closing(stack.operator()) as op:
        blueprint = stack.blueprint()
        kv = Kv(op, blueprint.mount)
        if dry_run:
            missed: list[HarnessError] = []

            def foretell(target: Target) -> str:
                plan = plan_secret(kv, target, stack.data_dir, How(servers=_server))
                server = _server(target.server) if target.server else None
                also = f", and on {server!r}" if server else ""
                where = f"{kv.mount}/{target.path} {target.key}"
                if plan.missed:
                    missed.append(_missed(plan.missed, kv.mount, "would still have"))
                if plan.resumes:
                    return (
                        f"would finish what an earlier run had begun: {where} has its new value, "
                        f"version {plan.version}{also}; no other one would be made"
                    )
                return f"would rotate {where}, now version {plan.version}{also}"

            _foretell(each_of(targets, foretell))
            if missed:
                raise missed[0]
            return
        done = each_of(
            targets,
            lambda target: rotate_secret(
                kv, target, stack.data_dir, How(servers=_server, grace=grace), blueprint=blueprint
            ),
        )
        _tell(done, kv.mount, new_values=True)
    say(f"to take it back: {named('rotate.rollback', name)}")


@command(
    "rotate.rollback",
    group="operator",
    examples=("rotate.rollback database",),
    help={
        "name": "database, redis, jwt, all, or one key such as backend/django:SECRET_KEY",
        "dry-run": "show what would be returned to, change nothing",
        "grace": "time for which a Redis takes the newer password too, default 10s",
    },
)
def rollback(
    name: str,
    dry_run: bool = False,
    grace: Seconds = 10.0,
) -> None:
    """Return to the value before the newest rotation.

    It changes Vault, and the server that knows the value. A value that somebody wrote after the
    rotation stays.
    """
    from vault_harness.local.vault.kv import Kv
    from vault_harness.operator.rotate import How, each_of, find_rollback, find_targets, roll_back

    stack = local_stack()
    targets = find_targets(name)
    with stack.held(), closing(stack.operator()) as op:
        kv = Kv(op, stack.blueprint().mount)
        if dry_run:

            def foretell(target: Target) -> str:
                version = find_rollback(kv, target, stack.data_dir, How(servers=_server))
                where = f"{kv.mount}/{target.path} {target.key}"
                return f"would return {where} to the value of version {version}"

            _foretell(each_of(targets, foretell))
            return
        done = each_of(
            targets,
            lambda target: roll_back(kv, target, stack.data_dir, How(servers=_server, grace=grace)),
        )
        _tell(done, kv.mount)


def _server(kind: str) -> PasswordServer | None:
    from vault_harness.operator.rotate import configured

    return configured(kind, os.environ)


def _foretell(plans: Iterable[tuple[Target, str | HarnessError]]) -> None:
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
    done: Iterable[tuple[Target, SecretRotation | HarnessError]],
    mount: str,
    *,
    new_values: bool = False,
) -> None:
    """Print each result; then raise the first refusal.

    With ``new_values`` it says that an earlier run was only finished.
    """
    refused: list[HarnessError] = []
    for target, came in done:
        if isinstance(came, HarnessError):
            say(f"{target.name}: not done: {came.cause}")
            refused.append(came)
        else:
            if came.resumed:
                again = named("rotate.secrets", target.name)
                none = (
                    f", and made no new value; for one run it again: {again}" if new_values else ""
                )
                say(f"{target.name}: finished what an earlier run had begun{none}")
            _report(target.name, mount, came.versions, came.server, target.server)
            for place in came.holding:
                say(f"{target.name}: {mount}/{place} still has the old password")
                say("  change it by hand if it is this account's")
            if came.missed:
                refused.append(_missed(came.missed, mount, "still has"))
    if refused:
        raise refused[0]


def _missed(places: tuple[str, ...], mount: str, has: str) -> HarnessError:
    path, key = places[0].rsplit(" ", 1)
    patch = named("vault", "--", "kv", "patch", f"{mount}/{path}", f"{key}=-")
    return OperatorError(
        f"{mount}/{places[0]} {has} the old password: a rotation follows only URLs that log in "
        "with it",
        looked_at=", ".join(f"{mount}/{place}" for place in places),
        remedy=f"Write the new password there by hand ({patch}), percent-encoded in a URL.",
    )


def _report(
    name: str, mount: str, versions: dict[str, int], server: str | None, kind: str | None
) -> None:
    from vault_harness.operator.rotate import POSTGRESQL_VARIABLE, REDIS_VARIABLE

    for path, version in versions.items():
        say(f"{name}: {mount}/{path} is at version {version}")
    if server:
        say(f"{name}: {server} has the new password, and a login with it worked")
    elif kind:
        variable = POSTGRESQL_VARIABLE if kind == "postgresql" else REDIS_VARIABLE
        say(f"{name}: changed in Vault only, since {variable} names no server")
