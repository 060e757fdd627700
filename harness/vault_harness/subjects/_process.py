"""Processes that cannot outlive the harness, and how they end."""

from __future__ import annotations

import contextlib
import os
import platform
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from vault_harness.errors import DeadlineExceeded

# The shell forks a watchdog, then becomes the program; the command itself it never interprets. The
# watchdog waits on a pipe whose only writing end is in the harness and never written to: when the
# harness ends, however it ends, the pipe closes, and the watchdog kills the process group, whose
# number is the program's ($$). The pipe comes in the place of standard error, since a program has
# its requests on standard input; the log, which is there already, takes that place again.
_LEASHED = """
exec 3<&2 2>>"$1"
shift
(trap '' HUP INT TERM; read -r _ <&3; kill -9 "-$$") </dev/null >/dev/null 2>&1 &
exec "$@" 3<&-
"""

_NOT_INHERITED = ("VAULT_", "BAO_", "HARNESS_", "PYTEST_")

_BURIAL_SECONDS = 30.0
"""For a killed process to be gone, which takes milliseconds; more where others keep all cores."""


@dataclass(frozen=True)
class Leashed:
    """A process in a session and a group of its own, and what keeps it alive.

    Attributes:
        process: With unbuffered pipes to its input and output, if it talks.
        leash: The descriptor whose closing ends the group.
    """

    process: subprocess.Popen[bytes]
    leash: int


def spawn(
    command: Sequence[str],
    environ: Mapping[str, str],
    log: Path,
    *,
    cwd: Path | None = None,
    talks: bool = True,
) -> Leashed:
    """Start a program, its standard error appended to ``log``.

    Args:
        command: Program and arguments.
        environ: Its whole environment.
        log: The file, made if it is not there.
        cwd: Where it is started.
        talks: Whether it is asked by its standard input and answers on its standard output; of one
            that is not the output goes to the log too, and there is nothing to read.
    """
    os.close(os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600))
    watched, leash = os.pipe()
    try:
        output = subprocess.PIPE if talks else os.open(log, os.O_WRONLY | os.O_APPEND)
    except BaseException:
        os.close(watched)
        os.close(leash)
        raise
    try:
        process = subprocess.Popen(
            ["/bin/sh", "-c", _LEASHED, "vault-harness-watchdog", str(log.absolute()), *command],
            stdin=subprocess.PIPE if talks else subprocess.DEVNULL,
            stdout=output,
            stderr=watched,
            bufsize=0,
            env=dict(environ),
            cwd=cwd,
            start_new_session=True,
        )
    except BaseException:
        os.close(leash)
        raise
    finally:
        os.close(watched)
        if not talks:
            os.close(output)
    return Leashed(process, leash)


def surroundings(environ: Mapping[str, str], withhold: Collection[str] = ()) -> dict[str, str]:
    """The environment of a subject's process.

    A program needs ``PATH``, ``HOME`` and what its language wants, so it inherits what the harness
    has, except everything that configures a Vault client: that comes from ``environ`` alone, lest a
    developer's own Vault is tested, or a secret of the shell taken for a fallback. Loopback is
    exempt from HTTP proxies, and so is whatever ``VAULT_ADDR`` calls it.

    Args:
        environ: What the client is configured by.
        withhold: More variables that it must not inherit: the names of secrets.
    """
    inherited = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(_NOT_INHERITED) and name != "USE_VAULT" and name not in withhold
    }
    if inherited.get("PYTHONPYCACHEPREFIX") == str(Path(sys.prefix) / "compiled"):
        # As `./dev` has it for the harness; whoever called that wanted no compiled code at all.
        del inherited["PYTHONPYCACHEPREFIX"]
        inherited["PYTHONDONTWRITEBYTECODE"] = "1"
    vault = urlsplit(environ.get("VAULT_ADDR", "")).hostname
    ours = dict.fromkeys(["127.0.0.1", "localhost", *([vault] if vault else [])])
    for name in ("NO_PROXY", "no_proxy"):
        exempt = [host for host in inherited.get(name, "").split(",") if host]
        inherited[name] = ",".join([*exempt, *ours])
    return {**inherited, **environ}


class Life:
    """A process, and a thread that waits for its end and buries it with its children.

    Args:
        leashed: What was started.
        told: Is told its exit code.

    Attributes:
        cpu: Seconds of processor time of it and of the children that it waited for, once it ended.
    """

    def __init__(self, leashed: Leashed, told: Callable[[int], None]) -> None:
        self.process = leashed.process
        self.ended = threading.Event()
        self.code: int | None = None
        self.cpu = 0.0
        self._leash = leashed.leash
        self._told = told
        self._lock = threading.Lock()
        threading.Thread(target=self._watch, name="subject process", daemon=True).start()

    def signal(self, number: signal.Signals) -> None:
        """Send a signal to the process and its children. Does nothing once it has ended."""
        with self._lock, contextlib.suppress(ProcessLookupError, PermissionError):
            if self.code is None:
                os.killpg(self.process.pid, number)

    def end(self) -> None:
        """SIGKILL to the process and its children; returns when they are buried.

        Raises:
            DeadlineExceeded: They live on, since the kernel lets none of them go.
        """
        self.signal(signal.SIGKILL)
        if not self.ended.wait(_BURIAL_SECONDS):
            raise DeadlineExceeded(
                f"a process lives on {_BURIAL_SECONDS:g} s after SIGKILL",
                looked_at=f"pid {self.process.pid}",
                remedy="see what it waits for (ps -o pid,stat,wchan): mostly a file system that "
                "is gone",
            )

    def _watch(self) -> None:
        if hasattr(os, "waitid"):
            # While it is not reaped its number cannot go to another, and neither can its group's.
            os.waitid(os.P_PID, self.process.pid, os.WEXITED | os.WNOWAIT)
            self.signal(signal.SIGKILL)
        code = self._bury()
        with self._lock:
            self.code = code
        os.close(self._leash)
        self._told(code)
        self.ended.set()

    def _bury(self) -> int:
        """Wait for it, which is when the kernel tells what it has used; its exit code."""
        try:
            _, status, used = os.wait4(self.process.pid, 0)
        except (AttributeError, ChildProcessError):  # no Unix, or another one was quicker
            return self.process.wait()
        self.cpu = used.ru_utime + used.ru_stime
        self.process.returncode = os.waitstatus_to_exitcode(status)
        return self.process.returncode


_NOT_STARTED = (126, 127)
"""Exit codes of a shell that could not become a program, and of a loader that lacks a library."""

_HEAD = 256
"""Bytes of a program in which its first line ends."""


def why_not_started(program: Path, code: int) -> str:
    """What to do about a program that its own file keeps from starting; empty where nothing does.

    Of one that is there a shell says ``not found`` where what its first line names is not, and one
    without such a line it runs as a script of its own.

    Args:
        program: Its file.
        code: With which it ended before it had said anything.
    """
    try:
        with program.open("rb") as opened:
            head = opened.read(_HEAD)
    except OSError:
        return ""
    first, _, _ = head.partition(b"\n")
    if not first.startswith(b"#!"):
        if b"\0" not in head:
            named = "name what runs it in its first line, such as #!/usr/bin/env python3: without "
            return named + "one it was run by /bin/sh" if code else ""
        built = f"see that it is built for {platform.machine()}, and that its loader and libraries "
        return built + "are here (file, ldd)" if code in _NOT_STARTED else ""
    if code not in _NOT_STARTED:
        return ""
    if first.endswith(b"\r"):
        return (
            "end its lines by LF: its first line ends by CR LF, and the CR is taken for part of "
            "its interpreter's name (git writes them so where core.autocrlf is set)"
        )
    interpreter, *words = first[2:].decode("utf-8", "replace").split() or [""]
    if not Path(interpreter).is_file():
        return f"install {interpreter or 'an interpreter'}, which its first line names, or name one"
    tool = next((word for word in words if not word.startswith("-") and "=" not in word), "")
    if Path(interpreter).name == "env" and tool and shutil.which(tool) is None:
        return f"put {tool} on PATH, which its first line asks for"
    return ""


def how_ended(code: int) -> str:
    """An exit code in words: ``ended with exit code 1``, ``was ended by SIGKILL``."""
    return f"was ended by {_signal_name(-code)}" if code < 0 else f"ended with exit code {code}"


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"
