"""What several tasks share."""

from __future__ import annotations

import contextlib
import os
import shlex
import signal
import sys
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

from vault_harness.errors import RUNNER_VARIABLE, runner

if TYPE_CHECKING:
    from collections.abc import Iterator

    from vault_harness.local.stack.local import LocalStack
    from vault_harness.local.stack.opening import Unsealed
    from vault_harness.local.stack.reopening import Opener
    from vault_harness.local.vault.admin import VaultAdmin
    from vault_harness.settings import Settings

LEAVE_SEALED = "do it even if it cannot be unsealed here: vault-data/init.json is missing"
"""For every task that stops or seals a server."""


def settings(**overrides: object) -> Settings:
    from vault_harness.settings import Settings

    return Settings.from_environment(**overrides)


ENGINE = "process (the default), or docker to run servers in containers"


def use_engine(name: str | None) -> None:
    """Choose the engine of this task and the programs it starts; None keeps the default."""
    from typing import get_args

    from vault_harness.errors import SettingsError
    from vault_harness.settings import EngineChoice

    if name is None:
        return
    if name not in get_args(EngineChoice):
        raise SettingsError(
            f"there is no engine {name}", looked_at="--engine", remedy="name process or docker"
        )
    os.environ["HARNESS_ENGINE"] = name


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
    from vault_harness.errors import named

    if opener is None:
        return f"{named('restore.keys')}, then {named('unseal')}"
    return named("unseal" if opener == "keys" else "restart")


def of_nodes(done: Unsealed) -> str:
    """Return which nodes of a cluster were opened, to end a sentence; "" for one server."""
    if len(done.opened) + len(done.before) + len(done.silent) == 1:
        return ""
    opened = f"opened {', '.join(done.opened)}" if done.opened else "none was sealed"
    return f": {opened}" + (f"; {', '.join(done.before)} served before" if done.before else "")


def see_that_all_answered(done: Unsealed, stack: LocalStack) -> None:
    from vault_harness.errors import StackError, named

    if done.silent:
        raise StackError(
            f"{' and '.join(done.silent)} did not answer, and may be sealed; the others serve",
            looked_at=str(stack.data_dir),
            remedy=f"{named('up')} wakes what was paused, starts what does not run, and unseals "
            f"it; {named('status')} says how each node is",
        )


def whole_server(stack: LocalStack, what: str) -> None:
    """Say so if the tasks work in a namespace."""
    from vault_harness.cli.printing import say
    from vault_harness.errors import HarnessError

    with contextlib.suppress(HarnessError):  # a wrong blueprint does not prevent the task
        if namespace := stack.namespace():
            say(f"{what} the whole server's, not that of the namespace {namespace} alone")


@contextlib.contextmanager
def vault_without_token(stack: LocalStack) -> Iterator[VaultAdmin | None]:
    from vault_harness.errors import NotUp
    from vault_harness.local.vault.admin import VaultAdmin

    endpoints = None
    with contextlib.suppress(NotUp):
        endpoints = stack.endpoints()
    if endpoints is None:
        yield None
        return
    with contextlib.closing(VaultAdmin(endpoints.vault, ca_cert=endpoints.ca_cert)) as operator:
        yield operator


def backups_dir(stack: LocalStack, given: str | None) -> Path:
    return Path(given) if given else stack.data_dir.parent / "vault-backups"


def become(program: str, *arguments: str) -> NoReturn:
    """Replace this process, so that signals reach the program itself."""
    sys.stdout.flush()
    sys.stderr.flush()
    os.execv(program, [program, *arguments])  # noqa: S606 -- no shell is wanted


PYTEST = ("-P", str(Path(__file__).with_name("start.py")))

_OTHERS = (
    *("PYTEST_PLUGINS", "PYTEST_DISABLE_PLUGIN_AUTOLOAD", "PYTEST_TIMEOUT"),
    "PYTHONOPTIMIZE",
)
"""PYTEST_TIMEOUT would end long scenarios, and PYTHONOPTIMIZE, which a production image may set,
would remove assertions.
"""

_OURS = {
    "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1",
    "PYTEST_PLUGINS": "vault_harness.judge.plugin,xdist.plugin",
}
"""No other installed plugin takes part."""


def run_pytest(*arguments: str, suite: bool = True) -> NoReturn:
    """Replace this process by pytest, for the suite in `pytest_environment`."""
    if suite:
        environ = pytest_environment()
        for name in set(os.environ) - set(environ):
            del os.environ[name]
        os.environ.update(environ)
    # Its hints must name the command that was typed here, also outside PATH.
    os.environ.setdefault(RUNNER_VARIABLE, runner())
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)  # Python's start would print a traceback
    if before != signal.SIG_IGN:
        os.environ["HARNESS_INTERRUPTS"] = "held"
    try:
        become(sys.executable, *PYTEST, *arguments)
    finally:  # it could not start
        signal.signal(signal.SIGINT, before)
        os.environ.pop("HARNESS_INTERRUPTS", None)


def pytest_environment() -> dict[str, str]:
    """Return the environment without the variables for other tests.

    Only the suite's own options of ``PYTEST_ADDOPTS`` count; a line names the others. A foreign
    plugin that warns, or imports a project's settings, would end the run before it began.
    """
    from vault_harness.cli.printing import complain

    environ = {name: text for name, text in os.environ.items() if name not in _OTHERS}
    words: list[str] = []
    with contextlib.suppress(ValueError):  # an unclosed quotation mark
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
        complain(f"ignored, since they are meant for other tests: {', '.join(left)}")
    return environ | _OURS | ({"PYTEST_ADDOPTS": shlex.join(kept)} if kept else {})


def suite_place() -> list[str]:
    """Return pytest's arguments for the project's own scenarios.

    Relative paths in further arguments are the caller's.
    """
    from vault_harness.settings import checkout, scenarios_folder

    folder, root = scenarios_folder(), checkout()
    configuration = root / "pyproject.toml" if root else folder / "suite.ini"
    return ["--rootdir", str(root or folder), "-c", str(configuration), str(folder)]
