"""What several tasks need."""

from __future__ import annotations

import contextlib
import os
import shlex
import signal
import sys
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

from vault_harness.commands import RUNNER_VARIABLE, runner

if TYPE_CHECKING:
    from collections.abc import Iterator

    from vault_harness.settings import Settings
    from vault_harness.stack import LocalStack, Opener, Unsealed
    from vault_harness.vault import Operator

LEAVE_SEALED = "also if nobody here can open it again: vault-data/init.json is not there"
"""What the option of that name is for, wherever a server is ended or sealed."""


def settings(**overrides: object) -> Settings:
    """The settings of the environment; overrides that are None do not count."""
    from vault_harness.settings import Settings

    return Settings.from_environment(**overrides)


def local_stack() -> LocalStack:
    """The stack that ``up`` starts, by the settings of the environment."""
    from vault_harness.stack import LocalStack

    return LocalStack(settings())


def opened_by(opener: Opener | None) -> str:
    """What a person types to open a Vault that was sealed by hand.

    Args:
        opener: What opens it; None if nothing that is here does.
    """
    from vault_harness.commands import named

    if opener is None:
        return f"{named('restore.keys')}, then {named('unseal')}"
    return named("unseal" if opener == "keys" else "restart")


def of_nodes(done: Unsealed) -> str:
    """Which nodes of a cluster were opened, to follow what was done; empty for a single server."""
    if len(done.opened) + len(done.before) + len(done.silent) == 1:
        return ""
    opened = f"opened {', '.join(done.opened)}" if done.opened else "none was sealed"
    return f": {opened}" + (f"; {', '.join(done.before)} served before" if done.before else "")


def see_that_all_answered(done: Unsealed, stack: LocalStack) -> None:
    """See that no node was left out, since it did not answer.

    Raises:
        StackError: One was. The others are open.
    """
    from vault_harness.commands import named
    from vault_harness.errors import StackError

    if done.silent:
        raise StackError(
            f"{' and '.join(done.silent)} did not answer, and may be sealed; the others serve",
            looked_at=str(stack.data_dir),
            remedy=f"{named('up')} wakes what was paused, starts what does not run, and unseals "
            f"it; {named('status')} says how each node is",
        )


def whole_server(stack: LocalStack, what: str) -> None:
    """Say that a task is about the whole server where the tasks work in a namespace of it."""
    from vault_harness.cli._console import say
    from vault_harness.errors import HarnessError

    with contextlib.suppress(HarnessError):  # a wrong blueprint: no reason not to do it
        if namespace := stack.namespace():
            say(f"{what} the whole server's, not that of the namespace {namespace} alone")


@contextlib.contextmanager
def vault_without_token(stack: LocalStack) -> Iterator[Operator | None]:
    """Somebody without a token at the Vault that runs; None if the stack does not."""
    from vault_harness.errors import NotUp
    from vault_harness.vault import Operator

    endpoints = None
    with contextlib.suppress(NotUp):
        endpoints = stack.endpoints()
    if endpoints is None:
        yield None
        return
    with contextlib.closing(Operator(endpoints.vault, ca_cert=endpoints.ca_cert)) as operator:
        yield operator


def backups_dir(stack: LocalStack, given: str | None) -> Path:
    """Where backups are: as given, else ``vault-backups`` beside the data directory."""
    return Path(given) if given else stack.data_dir.parent / "vault-backups"


def become(program: str, *arguments: str) -> NoReturn:
    """Replace this process by a program, so that signals reach the program itself."""
    sys.stdout.flush()
    sys.stderr.flush()
    os.execv(program, [program, *arguments])  # noqa: S606 -- no shell is wanted


PYTEST = ("-P", str(Path(__file__).with_name("_start.py")))
"""Words that run pytest."""

_OTHERS = (
    *("PYTEST_PLUGINS", "PYTEST_DISABLE_PLUGIN_AUTOLOAD", "PYTEST_TIMEOUT"),
    "PYTHONOPTIMIZE",
)
"""Variables of pytest, of pytest-timeout, which would end scenarios that take longer, and of
Python, which would leave out assertions: an image for production may set that."""

_OURS = {
    "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1",
    "PYTEST_PLUGINS": "vault_harness.plugin,xdist.plugin",
}
"""The same, as a run of the suite has them: what else is installed beside it has no part in it."""


def run_pytest(*arguments: str, suite: bool = True) -> NoReturn:
    """Replace this process by pytest.

    Args:
        arguments: Of pytest.
        suite: Whether it runs scenarios: then `pytest_environment` is what it gets.
    """
    if suite:
        environ = pytest_environment()
        for name in set(os.environ) - set(environ):
            del os.environ[name]
        os.environ.update(environ)
    # What it tells to be run again is to be typed as this was, also where PATH does not lead.
    os.environ.setdefault(RUNNER_VARIABLE, runner())
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)  # Python's start answers by a traceback
    if before != signal.SIG_IGN:
        os.environ["HARNESS_INTERRUPTS"] = "held"
    try:
        become(sys.executable, *PYTEST, *arguments)
    finally:  # where no program could be begun
        signal.signal(signal.SIGINT, before)
        os.environ.pop("HARNESS_INTERRUPTS", None)


def pytest_environment() -> dict[str, str]:
    """The environment without what a shell or a CI job has set for tests of its own.

    Of ``PYTEST_ADDOPTS`` the suite's own options count. What does not is told in a line. Plugins of
    pytest that are installed beside the suite are not loaded: one that warns where warnings are
    errors, or that imports a project's settings, ended the run before it began.
    """
    from vault_harness.cli._console import complain

    environ = {name: text for name, text in os.environ.items() if name not in _OTHERS}
    words: list[str] = []
    with contextlib.suppress(ValueError):  # a quotation mark that nobody closed
        words = shlex.split(environ.pop("PYTEST_ADDOPTS", ""))
    kept: list[str] = []
    ours = False
    for word in words:
        ours = word.startswith("--vault-") if word.startswith("-") else ours
        kept += [word] if ours else []
    given = {name: text for name in _OTHERS if (text := os.environ.get(name))}
    left = [name for name, text in given.items() if text != _OURS.get(name)]
    if kept != words:
        lost = " ".join(word for word in words if word not in kept)
        left.insert(0, f"{lost} of PYTEST_ADDOPTS")
    if left:
        complain(f"left out, as meant for other tests than these: {', '.join(left)}")
    return environ | _OURS | ({"PYTEST_ADDOPTS": shlex.join(kept)} if kept else {})


def suite_place() -> list[str]:
    """What pytest must be told to run the project's own scenarios.

    Relative paths in further arguments are the caller's; settings of pytest are ours alone.
    """
    from vault_harness.settings import checkout, scenarios_folder

    folder, root = scenarios_folder(), checkout()
    configuration = str(root / "pyproject.toml") if root else os.devnull
    return ["--rootdir", str(root or folder), "-c", configuration, str(folder)]
