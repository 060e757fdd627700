"""Start processes that cannot outlive the harness, end them, and give them a home folder."""

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
from vault_harness.files import private_directory, write_private
from vault_harness.judge.subjects.protocol import Subject
from vault_harness.settings import checkout

# The shell forks a watchdog, then becomes the program. It never interprets the command. The
# watchdog waits on a pipe whose only writing end the harness holds. When the harness ends for any
# reason, the watchdog kills the process group ($$). The pipe arrives as standard error, since
# standard input carries requests. The existing log then replaces it.
_LEASHED = """
exec 3<&2 2>>"$1"
shift
(trap '' HUP INT TERM; read -r _ <&3; kill -9 "-$$") </dev/null >/dev/null 2>&1 &
exec "$@" 3<&-
"""

_NOT_INHERITED = ("VAULT_", "BAO_", "HARNESS_", "PYTEST_")

_BURIAL_SECONDS = 30.0
"""A killed process is gone in milliseconds on an idle machine."""


@dataclass(frozen=True, kw_only=True)
class Apart:
    """How a subject's process differs from a child of the harness.

    Attributes:
        withhold: Names of secrets' variables that it must not inherit: it would take them for
            fallbacks.
        within: Program and arguments before the command, which replace themselves by it.
    """

    withhold: Collection[str] = ()
    within: Sequence[str] = ()


ORDINARY = Apart()


@dataclass(frozen=True)
class Leashed:
    """A process in a group of its own. Closing the descriptor `leash` ends the group."""

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
    """Start a program, with its standard error appended to ``log``.

    Args:
        environ: The whole environment of the program.
        talks: Whether it reads requests and answers. If not, its output goes to the log.
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


def search_path() -> str:
    """Return PATH of a subject: in a checkout, ``python`` is that of ``.venv``, as for the suite.

    An activated environment is on PATH already, and comes first.
    """
    path = os.environ.get("PATH", os.defpath)
    if checkout() is None or sys.prefix == sys.base_prefix or "VIRTUAL_ENV" in os.environ:
        return path
    return f"{Path(sys.prefix) / 'bin'}{os.pathsep}{path}"


def surroundings(environ: Mapping[str, str], withhold: Collection[str] = ()) -> dict[str, str]:
    """Return the environment of a subject's process.

    Variables of Vault clients come from ``environ`` alone, so that the developer's own Vault or a
    secret of the shell is never used. The rest is inherited, except `withhold`. HTTP proxies are
    bypassed for the loopback and for the host of ``VAULT_ADDR``.
    """
    inherited = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(_NOT_INHERITED) and name != "USE_VAULT" and name not in withhold
    }
    inherited["PATH"] = search_path()
    if inherited.get("PYTHONPYCACHEPREFIX") == str(Path(sys.prefix) / "compiled"):
        # `./dev` set this for the harness because its caller wanted no compiled code.
        del inherited["PYTHONPYCACHEPREFIX"]
        inherited["PYTHONDONTWRITEBYTECODE"] = "1"
    vault = urlsplit(environ.get("VAULT_ADDR", "")).hostname
    ours = dict.fromkeys(["127.0.0.1", "localhost", *([vault] if vault else [])])
    for name in ("NO_PROXY", "no_proxy"):
        exempt = [host for host in inherited.get(name, "").split(",") if host]
        inherited[name] = ",".join([*exempt, *ours])
    return {**inherited, **environ}


class Life:
    """A process, and a thread that waits for its end and then kills the rest of its group.

    Args:
        told: Called with the exit code.

    Attributes:
        cpu: Seconds of CPU time of the process and the children that it waited for, once it ended.
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
        """Signal the process and its children. Does nothing once it has ended."""
        with self._lock, contextlib.suppress(ProcessLookupError, PermissionError):
            if self.code is None:
                os.killpg(self.process.pid, number)

    def end(self) -> None:
        """Send SIGKILL to the process and its children, and return when they are gone."""
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
            # Until it is reaped, neither its number nor its group's can be reused.
            os.waitid(os.P_PID, self.process.pid, os.WEXITED | os.WNOWAIT)
            self.signal(signal.SIGKILL)
        code = self._bury()
        with self._lock:
            self.code = code
        os.close(self._leash)
        self._told(code)
        self.ended.set()

    def _bury(self) -> int:
        try:
            _, status, used = os.wait4(self.process.pid, 0)
        except (AttributeError, ChildProcessError):  # no Unix, or it was reaped already
            return self.process.wait()
        self.cpu = used.ru_utime + used.ru_stime
        self.process.returncode = os.waitstatus_to_exitcode(status)
        return self.process.returncode


class OfAProcess(Subject):
    """A subject with a process of its own."""

    _life: Life

    def __repr__(self) -> str:
        return f"<{self.name}, pid {self.pid}>"

    @property
    def pid(self) -> int | None:
        return self._life.process.pid

    @property
    def cpu(self) -> float:
        """In seconds, once it has ended."""
        return self._life.cpu

    @property
    def exit_code(self) -> int | None:
        return self._life.code


_NOT_STARTED = (126, 127)
"""Of a shell that could not start a program, and of a loader without a library."""

_HEAD = 256


def why_not_started(program: Path, code: int) -> str:
    """Return what to do if a program's own file keeps it from starting, or an empty text.

    A shell says ``not found`` about an existing program whose first line names a missing
    interpreter. A program without such a line is run as a shell script.
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
    """Such as ``ended with exit code 1``, ``was ended by SIGKILL``."""
    return f"was ended by {_signal_name(-code)}" if code < 0 else f"ended with exit code {code}"


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"


TOKEN = ".vault-token"  # noqa: S105 - where Vault's command line, and a dev server, leave a token


def home_without_token(beside: Path) -> dict[str, str]:
    """Return a ``HOME`` without a token of Vault, or nothing if the user's own has none.

    Some clients (hvac, Vault's own command line) take a token from ``~/.vault-token``, which the
    scenario's Vault refuses.
    """
    try:
        home = Path.home()
        if not (home / TOKEN).exists():
            return {}
    except (OSError, RuntimeError):  # the program cannot read a token there either
        return {}
    return {"HOME": str(make_home(beside.with_name("home")))}


def make_home(folder: Path, token: str = "") -> Path:
    """Make a home folder with links to everything in the user's home except a token of Vault.

    `token` is written in its place, if given.
    """
    private_directory(folder)
    # The user may have no home, or an unreadable one.
    with contextlib.suppress(OSError, RuntimeError):
        for entry in Path.home().iterdir():
            if entry.name != TOKEN:
                with contextlib.suppress(FileExistsError):  # another subject made it
                    (folder / entry.name).symlink_to(entry)
    if token:
        write_private(folder / TOKEN, token)
    return folder
