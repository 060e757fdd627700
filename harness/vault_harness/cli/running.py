"""Run pytest and other programs for a task."""

from __future__ import annotations

import contextlib
import os
import shlex
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from types import FrameType
from typing import IO, NoReturn

from vault_harness.cli.printing import complain
from vault_harness.errors import RUNNER_VARIABLE, runner


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


_ENDING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


def run_child(
    command: Sequence[str],
    *,
    env: Mapping[str, str],
    stdin: int | None = None,
    stdout: IO[bytes] | None = None,
    stderr: int | None = None,
) -> int:
    """Run a program to its end, and return its exit code.

    A signal that ends the task (Ctrl-C, SIGTERM, a closed terminal) is passed once to the program,
    which cleans up first; then `SystemExit` has 128 plus its number. In a process group of its own,
    the program does not get a terminal's Ctrl-C a second time. `subprocess.run` would kill it a
    quarter of a second after a Ctrl-C.
    """
    with _handed_on() as hands:
        child = subprocess.Popen(
            list(command), env=dict(env), stdin=stdin, stdout=stdout, stderr=stderr, process_group=0
        )
        with child:
            hands.give_to(child)
            code = child.wait()
    if hands.got:
        raise SystemExit(128 + hands.got[0])
    return code


class _Hands:
    """Passes signals to a program that may not have started yet."""

    def __init__(self) -> None:
        self.got: list[int] = []
        self._child: subprocess.Popen[bytes] | None = None

    def give_to(self, child: subprocess.Popen[bytes]) -> None:
        early = list(self.got)
        self._child = child
        for number in early:
            self._pass(child, number)

    def take(self, number: int, frame: FrameType | None) -> None:  # noqa: ARG002 -- signal's shape
        self.got.append(number)
        if self._child is not None:
            self._pass(self._child, number)

    @staticmethod
    def _pass(child: subprocess.Popen[bytes], number: int) -> None:
        # Few programs clean up after SIGHUP.
        child.send_signal(signal.SIGTERM if number == signal.SIGHUP else number)


@contextlib.contextmanager
def _handed_on() -> Iterator[_Hands]:
    """Take the signals that end a task, except ignored ones."""
    hands = _Hands()
    before = {
        number: signal.signal(number, hands.take)
        for number in _ENDING
        if signal.getsignal(number) is not signal.SIG_IGN
    }
    try:
        yield hands
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
