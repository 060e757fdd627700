"""Move secrets from a dotenv file into Vault, and back."""

from __future__ import annotations

import contextlib
import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from vault_harness.cli.command import command, option
from vault_harness.cli.common import local_stack, warn_of_git
from vault_harness.cli.printing import plural, say, table
from vault_harness.errors import SettingsError, named

if TYPE_CHECKING:
    from vault_harness.local.blueprint import Blueprint
    from vault_harness.local.stack.local import LocalStack
    from vault_harness.local.vault.kv import Kv
    from vault_harness.operator.migrate import ClientSettings, Outcome, Plan, VariableMap


@dataclass(frozen=True)
class Move:
    """Which file is moved, and how."""

    env_file: str | None = option("the dotenv file, default .env; it is never changed")
    map: str | None = option(
        "a TOML file that says where variables belong; it overrides the built-in places"
    )
    dry_run: bool = option("show what would be written, change nothing", default=False)
    undo: bool = option("undo the newest migration of this file", default=False)
    overwrite: bool = option("where Vault has another value, take the file's", default=False)
    keep: bool = option("where Vault has another value, keep Vault's", default=False)
    interpolate: bool = option(
        "replace ${NAME} and ${NAME:-default}, as a shell would", default=False
    )
    encoding: str | None = option("the file's encoding, default UTF-8")
    role: str | None = option(
        "whose credentials .env.vault names, default the blueprint's first AppRole"
    )


@command(
    "migrate",
    group="operator",
    takes=("env_file",),
    examples=("migrate .env --dry-run", "migrate .env", "migrate .env --undo"),
)
def migrate(move: Move) -> None:
    """Move secrets from a dotenv file into Vault.

    The file is copied first (mode 0600) and is not changed. .env.vault beside it holds the
    variables that clients need instead. A newer value in Vault is not overwritten. The task is safe
    to repeat; --undo takes it back.
    """
    from vault_harness.local.vault.kv import Kv
    from vault_harness.operator.migrate import make_plan, previous_versions, read
    from vault_harness.operator.migrate import migrate as carry_out
    from vault_harness.operator.migrate.run import check

    if move.overwrite and move.keep:
        raise SettingsError(
            "--overwrite and --keep contradict each other", remedy="Give one of them."
        )
    stack = local_stack()
    file = Path(move.env_file or ".env")
    with stack.held(), contextlib.closing(stack.operator()) as op:
        blueprint = stack.blueprint()
        kv = Kv(op, blueprint.mount)
        if move.undo:
            _undo(kv, file, stack.data_dir, dry_run=move.dry_run)
            return
        environ = os.environ if move.interpolate else None
        dotenv = read(file, encoding=move.encoding, interpolate=move.interpolate, environ=environ)
        plan = make_plan(
            kv,
            dotenv,
            _map(blueprint, move.map),
            written=previous_versions(kv, stack.data_dir),
            blueprint=blueprint,
            overwrite=move.overwrite,
        )
        _show(plan, kv.mount)
        if move.dry_run:
            say("dry run: nothing was changed")
            check(plan, file, keep=move.keep)  # it ends as the real run would
            return
        outcome = carry_out(
            kv,
            plan,
            file,
            _client_settings(stack, blueprint, move.role),
            data_dir=stack.data_dir,
            keep=move.keep,
            read_as={"encoding": move.encoding, "interpolate": move.interpolate},
        )
    say(f"wrote {plural(len(outcome.changed), 'secret')}, each read back and compared")
    say(f"the original's copy: {outcome.backup}")
    say(f"for clients:         {outcome.env_vault}")
    if outcome.before is not None:
        say(f"what it was before:  {outcome.before}")
    placed = [each.name for each in plan.placements if each.action != "conflict"]
    if done := ", ".join(name for name in placed if name in dotenv.variables):
        say(f"next: {named('doctor')}; then remove what is in Vault now from the original:")
        say(f"  {done}")
    if plan.unknown:
        say(f"keep the others, they are nowhere else: {', '.join(plan.unknown)}")
    say("and keep the copy safe")
    warn_of_git(outcome.backup, "the copy with all of its secrets", pattern=f"{file.name}.backup-*")


def _map(blueprint: Blueprint, map_file: str | None) -> VariableMap:
    from vault_harness.operator.migrate import VariableMap, load_map

    secrets = {path: list(values) for _, path, values in blueprint.paths()}
    known = VariableMap.of_secrets(secrets).before(VariableMap.guide(paths=secrets))
    return load_map(Path(map_file), default=known) if map_file else known


def _show(plan: Plan, mount: str) -> None:
    rows = [
        (each.action, each.name, f"{mount}/{each.target.path}", each.target.key, each.why)
        for each in plan.placements
    ]
    if rows:
        say(table(rows))
    if plan.outside:
        say(f"stay in the environment: {', '.join(plan.outside)}")
    if plan.unknown:
        say(f"these have no place, so they are not moved: {', '.join(plan.unknown)}")
        say("  (give them a place with --map FILE)")
    for note in plan.notes:
        say(f"note: {note}")


def _client_settings(stack: LocalStack, blueprint: Blueprint, role: str | None) -> ClientSettings:
    from vault_harness.local.stack.env import client_certificate
    from vault_harness.local.vault import approle
    from vault_harness.operator.migrate import ClientSettings

    wanted = role or next(iter(blueprint.approles), "")
    if wanted not in blueprint.approles:
        raise SettingsError(
            f"there is no AppRole {wanted}",
            looked_at=f"the blueprint {blueprint.name}",
            remedy=f"Name one of {', '.join(blueprint.approles)} with --role.",
        )
    namespace = stack.namespace(blueprint)
    role_file, secret_file = approle.credential_files(wanted, stack.ids_directory(namespace))
    endpoints = stack.endpoints()
    return ClientSettings(
        endpoints.proxy,
        wanted,
        role_file,
        secret_file,
        blueprint.mount,
        endpoints.ca_cert,
        client_certificate(stack, wanted),
        namespace,
    )


def _undo(kv: Kv, file: Path, data_dir: Path, *, dry_run: bool) -> None:
    from vault_harness.operator.migrate import find_undo
    from vault_harness.operator.migrate import undo as take_back

    if dry_run:
        for path in find_undo(kv, file, data_dir=data_dir):
            say(f"would take back {kv.mount}/{path}")
        say("dry run: nothing was changed")
        return
    outcome = take_back(kv, file, data_dir=data_dir)
    for path, version in outcome.changed.items():
        say(f"took back {kv.mount}/{path}, which is at version {version} now")
    for line in outcome.kept:
        say(f"left alone: {line}")
    say(f"the original's copy stays: {outcome.backup}")
    if outcome.earlier:
        say(f"one more --undo takes an earlier migration back too, that of {_moment(outcome)}")


def _moment(outcome: Outcome) -> str:
    from datetime import datetime

    with contextlib.suppress(ValueError):  # a record with a name of the user's own
        begun = datetime.strptime(outcome.earlier, "%Y%m%dT%H%M%S%fZ")  # noqa: DTZ007 -- shown
        return f"{begun:%Y-%m-%d %H:%M:%S} UTC"
    return outcome.earlier
