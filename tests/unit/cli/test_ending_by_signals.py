"""A task that a signal ends leaves no key in a temporary folder."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.running import ran
from vault_harness.interrupts import Ended, ended_by_signals, uninterrupted

# The task has a temporary folder, as a drill has, and prints its path.
_TASK = """
import os, signal, sys
from invoke.context import Context
from vault_harness.cli.command import command
from vault_harness.cli.printing import say
from vault_harness.local.engine.folders import run_directory

@command("wait", group="develop", examples=("wait",))
def wait() -> None:
    "Wait to be told to end."
    with run_directory() as folder:
        (folder / "init.json").write_text("unseal keys")
        try:
            say(str(folder))
            signal.pause()
        finally:
            {tidying}

for number in (signal.SIGTERM, signal.SIGHUP):
    signal.signal(number, {before})
signal.signal(signal.SIGINT, signal.default_int_handler)  # a script in the background ignores it
wait(Context())
"""


def begun(
    directory: Path, *, before: str = "signal.SIG_DFL", tidying: str = "pass"
) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", _TASK.format(before=before, tidying=tidying)],
        env={**os.environ, "TMPDIR": str(directory)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def folder_of(task: subprocess.Popen[str]) -> Path:
    assert task.stdout is not None
    folder = Path(task.stdout.readline().strip())
    assert (folder / "init.json").exists()
    return folder


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP], ids=lambda one: one.name)
def test_its_folder_goes(tmp_path: Path, number: signal.Signals) -> None:
    with begun(tmp_path) as task:
        try:
            folder = folder_of(task)
            task.send_signal(number)
            _, said = task.communicate(timeout=30)
        finally:
            task.kill()
    assert task.returncode == 128 + number, said
    assert not folder.exists()
    assert said.startswith(f"ended by {number.name}; ")
    assert "Traceback" not in said


# The second signal arrives while the folder is about to be removed.
_AGAIN = """
            from pathlib import Path
            rename = Path.rename
            Path.rename = lambda *given: (os.kill(os.getpid(), {number}), rename(*given))[1]
"""


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT], ids=lambda one: one.name)
def test_the_same_again_leaves_nothing_half_done(tmp_path: Path, number: signal.Signals) -> None:
    """`timeout` and an impatient Ctrl-C repeat a signal."""
    with begun(tmp_path, tidying=_AGAIN.format(number=int(number))) as task:
        try:
            folder = folder_of(task)
            task.send_signal(number)
            _, said = task.communicate(timeout=30)
        finally:
            task.kill()
    assert (task.returncode, folder.exists()) == (128 + number, False), said


@pytest.mark.usefixtures("_by_default")
def test_a_lost_signal_works_when_it_is_sent_again() -> None:
    """A C library may swallow a signal."""

    def ended() -> None:
        with ended_by_signals():
            with contextlib.suppress(Ended):
                os.kill(os.getpid(), signal.SIGTERM)
            os.kill(os.getpid(), signal.SIGTERM)

    with pytest.raises(Ended, match="SIGTERM"):
        ended()


# The terminal closes after the folder was printed, and the exit code is written to a pipe.
_CLOSING = """
import os, pty, sys
pid, terminal = pty.fork()
if pid == 0:
    os.execv(sys.executable, [sys.executable, "-c", sys.argv[1]])
os.read(terminal, 100)
os.close(terminal)
print(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
"""


def test_a_terminal_that_was_closed(tmp_path: Path) -> None:
    """The exit code is that of SIGHUP, though nothing can be printed any more."""
    task = _TASK.format(before="signal.SIG_DFL", tidying="pass")
    done = ran([sys.executable, "-c", _CLOSING, task], env={**os.environ, "TMPDIR": str(tmp_path)})
    assert done.stdout == "129\n", done.stderr
    assert list(tmp_path.iterdir()) == []


def test_what_is_ignored_stays_ignored(tmp_path: Path) -> None:
    """`nohup` ignores SIGHUP."""
    with begun(tmp_path, before="signal.SIG_IGN") as task:
        try:
            folder = folder_of(task)
            task.send_signal(signal.SIGHUP)
            task.send_signal(signal.SIGTERM)
            task.send_signal(signal.SIGINT)
            _, said = task.communicate(timeout=30)
        finally:
            task.kill()
    assert (task.returncode, folder.exists()) == (130, False), said


@pytest.fixture
def _by_default() -> Iterator[None]:
    before = signal.signal(signal.SIGTERM, signal.SIG_DFL)
    yield
    signal.signal(signal.SIGTERM, before)


@pytest.mark.usefixtures("_by_default")
def test_keys_are_on_disk_before_the_task_ends() -> None:
    """Vault gives out its keys only once."""
    reached = []

    def ended() -> None:
        with ended_by_signals(), uninterrupted():
            os.kill(os.getpid(), signal.SIGTERM)
            reached.append("keys are on disk")

    with pytest.raises(Ended, match="SIGTERM"):
        ended()
    assert reached == ["keys are on disk"]
    assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL


@pytest.mark.usefixtures("_by_default")
def test_outside_the_main_thread_nothing_is_changed() -> None:
    """No signal arrives there."""
    heard = []

    def work() -> None:
        with ended_by_signals():
            heard.append(signal.getsignal(signal.SIGTERM))

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert heard == [signal.SIG_DFL]
