"""What several tasks share."""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar, get_args

from vault_harness.cli.printing import say
from vault_harness.errors import HarnessError, NotUp, SettingsError, StackError, named

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from vault_harness.local.engine.seal import SealKind
    from vault_harness.local.stack.here import Opener
    from vault_harness.local.stack.local import LocalStack
    from vault_harness.local.stack.opening import Unsealed
    from vault_harness.local.vault.admin import VaultAdmin
    from vault_harness.settings import Settings

Word = TypeVar("Word", bound=str)

LEAVE_SEALED = "do it even if it cannot be unsealed here: vault-data/init.json is missing"
"""For every task that stops or seals a server."""

ENGINE = "process (the default), or docker to run servers in containers"

DRY_RUN = "show what would be done, change nothing"

_OF_A_HOOK = frozenset({"GIT_DIR", "GIT_WORK_TREE", "GIT_COMMON_DIR", "GIT_INDEX_FILE"})
"""A hook's, for a repository that may be another one."""


def wrong(cause: str, remedy: str) -> SettingsError:
    """Return the error of a wrong command line."""
    return SettingsError(cause, looked_at="the command line", remedy=remedy)


def one_of(known: Iterable[Word], given: str, cause: str) -> Word:
    """Return a word if it is known; otherwise raise `SettingsError` with the cause."""
    known = list(known)
    for word in known:
        if word == given:
            return word
    raise wrong(cause, f"name one of {', '.join(known)}")


def settings(**overrides: object) -> Settings:
    from vault_harness.settings import Settings

    return Settings.from_environment(**overrides)


def use_engine(name: str | None) -> None:
    """Choose the engine of this task and the programs it starts; None keeps the default."""
    from vault_harness.settings import EngineChoice

    if name is not None:
        known = get_args(EngineChoice)
        os.environ["HARNESS_ENGINE"] = one_of(known, name, f"there is no engine {name}")


def seal_kind(name: str) -> SealKind:
    from vault_harness.local.engine.seal import SealKind

    known: tuple[SealKind, ...] = get_args(SealKind)
    return one_of(known, name, f"there is no seal {name}")


def scenario_ids() -> list[str]:
    """Return the sorted ids, without loading the suite."""
    import tomllib

    from vault_harness.settings import scenarios_folder

    text = (scenarios_folder() / "catalogue.toml").read_text(encoding="utf-8")
    return sorted(name for name in tomllib.loads(text) if "-" in name)


def local_stack() -> LocalStack:
    from vault_harness.local.stack.local import LocalStack

    return LocalStack(settings())


def opened_by(opener: Opener | None) -> str:
    if opener is None:
        return f"{named('restore.keys')}, then {named('unseal')}"
    return named("unseal" if opener == "keys" else "restart")


def see_that_all_answered(done: Unsealed, stack: LocalStack) -> None:
    if done.silent:
        raise StackError(
            f"{' and '.join(done.silent)} did not answer, and may be sealed; the others serve",
            looked_at=str(stack.data_dir),
            remedy=f"{named('up')} wakes what was paused, starts what does not run, and unseals "
            f"it; {named('status')} says how each node is",
        )


def say_pending_migration(stack: LocalStack) -> None:
    if (pending := stack.migrations.pending()) is not None:
        say(f"a migration of the seal {pending} was ended half-way: it is finished first")


def whole_server(stack: LocalStack, what: str) -> None:
    """Say so if the tasks work in a namespace."""
    with contextlib.suppress(HarnessError):  # a wrong blueprint does not prevent the task
        if namespace := stack.namespace():
            say(f"{what} the whole server's, not that of the namespace {namespace} alone")


@contextlib.contextmanager
def vault_without_token(stack: LocalStack) -> Iterator[VaultAdmin | None]:
    from vault_harness.local.vault.admin import VaultAdmin

    try:
        endpoints = stack.endpoints()
    except NotUp:
        yield None
        return
    with contextlib.closing(VaultAdmin(endpoints.vault, ca_cert=endpoints.ca_cert)) as operator:
        yield operator


def backups_dir(stack: LocalStack, given: str | None) -> Path:
    return Path(given) if given else stack.data_dir.parent / "vault-backups"


def warn_of_git(path: Path, what: str, *, pattern: str = "") -> None:
    """Warn if the next ``git add .`` would add a file with secrets.

    ``what`` follows "git would take". ``pattern`` is for ``.gitignore``, by default the file's
    name.
    """
    place, program = path.absolute().parent, shutil.which("git")
    if program is None or not any((each / ".git").exists() for each in (place, *place.parents)):
        return
    environment = {name: value for name, value in os.environ.items() if name not in _OF_A_HOOK}
    with contextlib.suppress(OSError, subprocess.TimeoutExpired):
        answer = subprocess.run(
            [program, "check-ignore", "--quiet", "--", path.name],
            cwd=place,
            env=environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=10.0,
            check=False,
        )
        if answer.returncode == 1:  # 0: ignored, 128: no repository
            say(f"git would take {what} in: write {pattern or path.name} into .gitignore first")
