"""Starts server processes that either die with this process or deliberately outlive it."""

from __future__ import annotations

import ctypes
import os
import signal
import subprocess
import sys
import weakref
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Protocol

import psutil

# The shell forks a watchdog, then becomes the server. The watchdog waits on a pipe whose only
# writing end is in the harness's process and never written to: when that process ends, however it
# ends, the pipe closes, and the watchdog kills the process group, whose number is the server's
# ($$). Unlike a parent-death signal this works from any thread, and not only on Linux.
_LEASHED = 'exec 3<&0 </dev/null; (read -r _ <&3; kill -9 "-$$") & exec "$@" 3<&-'
# The shell ends at once, so the server belongs to init and nobody has to wait for it.
_DETACHED = '"$@" </dev/null >&2 & echo $!'

# What a server needs of our environment. Not the rest: /proc shows an environment for as long as
# its process lives, and a developer's may hold tokens.
_KEPT = (
    "PATH",
    "HOME",
    "TMPDIR",
    "LANG",
    "TZ",
    "SSL_CERT_FILE",
    "SSL_CERT_DIR",
    "GOMAXPROCS",
    "PYTHONPATH",
    "LD_LIBRARY_PATH",  # by which a Python that was built for one place (module load) finds itself
)


def child_environment(
    extra: Mapping[str, str] | None = None, passes: Sequence[str] = ()
) -> dict[str, str]:
    """The environment for a server: a few harmless variables of ours, and ``extra``.

    Args:
        extra: What it gets beside them.
        passes: Names of more variables of ours that it gets, where they are set.
    """
    names = (*_KEPT, *passes)
    return {name: os.environ[name] for name in names if name in os.environ} | dict(extra or {})


class Process(Protocol):
    """A started server process."""

    @property
    def pid(self) -> int:
        """Process id, also that of its process group."""

    def alive(self) -> bool:
        """Whether it runs; a zombie does not."""

    def exit_code(self) -> int | None:
        """How it ended, where that can be known."""

    def signal(self, number: signal.Signals) -> None:
        """Send a signal to the server alone. Does nothing if it ended."""

    def kill(self) -> None:
        """End it and everything in its process group, and wait until it is gone."""

    def wait(self, timeout: float) -> bool:
        """Wait for its end; False if it still lives after ``timeout`` seconds."""

    def release(self) -> None:
        """Give up what is held for it after its end."""


class LeashedProcess:
    """A server that dies with this process, even by ``kill -9``."""

    def __init__(
        self, command: Sequence[str], *, log: Path, environment: Mapping[str, str]
    ) -> None:
        """Start ``command``, its output appended to ``log``."""
        reading, self._leash = os.pipe()
        try:
            with log.open("ab") as output:
                self._popen = subprocess.Popen(
                    ["/bin/sh", "-c", _LEASHED, "vault-harness-watchdog", *command],
                    stdin=reading,
                    stdout=output,
                    stderr=subprocess.STDOUT,
                    env=dict(environment),
                    cwd=log.parent,
                    process_group=0,
                )
        except BaseException:
            os.close(self._leash)
            raise
        finally:
            os.close(reading)
        _close_in_forks(self)

    @property
    def pid(self) -> int:
        """Process id, also that of its process group."""
        return self._popen.pid

    def alive(self) -> bool:
        """Whether it runs."""
        return self._popen.poll() is None

    def exit_code(self) -> int | None:
        """How it ended; negative for a signal."""
        return self._popen.poll()

    def signal(self, number: signal.Signals) -> None:
        """Send a signal to the server alone."""
        self._popen.send_signal(number)

    def kill(self) -> None:
        """End it and its process group."""
        if self.alive():
            os.killpg(self.pid, signal.SIGKILL)
            self._popen.wait()
        self.release()

    def wait(self, timeout: float) -> bool:
        """Wait for its end."""
        try:
            self._popen.wait(timeout)
        except subprocess.TimeoutExpired:
            return False
        return True

    def release(self) -> None:
        """Let the watchdog go: it kills what is left of the group, itself included."""
        if self._leash >= 0:
            os.close(self._leash)
            self._leash = -1

    def _forked(self) -> None:
        """The leash is the parent's alone, or a forked child would keep the server alive."""
        self.release()


def _close_in_forks(process: LeashedProcess) -> None:
    reference = weakref.ref(process)

    def forked() -> None:
        alive = reference()
        if alive is not None:
            alive._forked()  # noqa: SLF001 -- the other half of the class above

    os.register_at_fork(after_in_child=forked)


class DetachedProcess:
    """A server that outlives this process, known by pid and birth: a recycled pid is never hit."""

    def __init__(self, pid: int, born: float) -> None:
        self._pid = pid
        self.born = born

    @classmethod
    def start(
        cls, command: Sequence[str], *, log: Path, environment: Mapping[str, str]
    ) -> DetachedProcess:
        """Start ``command`` in a session of its own, its output appended to ``log``."""
        with log.open("ab") as output:
            shell = subprocess.run(
                ["/bin/sh", "-c", _DETACHED, "vault-harness", *command],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=output,
                env=dict(environment),
                cwd=log.parent,
                start_new_session=True,
                check=True,
            )
        pid = int(shell.stdout)
        try:
            return cls(pid, psutil.Process(pid).create_time())
        except psutil.NoSuchProcess:
            return cls(pid, 0.0)  # ended at once; its log says why

    @property
    def pid(self) -> int:
        """Process id."""
        return self._pid

    def _process(self) -> psutil.Process | None:
        try:
            process = psutil.Process(self._pid)
            # A tick of the kernel's clock is 10 ms, and the boot time it is added to may be
            # rounded.
            same = abs(process.create_time() - self.born) < 1.0
            return process if same and process.status() != psutil.STATUS_ZOMBIE else None
        except psutil.NoSuchProcess:
            return None

    def paused(self) -> bool:
        """Whether somebody froze it (SIGSTOP)."""
        process = self._process()
        return process is not None and process.status() == psutil.STATUS_STOPPED

    def alive(self) -> bool:
        """Whether that very process still runs."""
        return self._process() is not None

    def exit_code(self) -> int | None:
        """Nobody knows: it is init's child."""
        return None

    def signal(self, number: signal.Signals) -> None:
        """Send a signal to it."""
        process = self._process()
        if process is not None:
            process.send_signal(number)

    def kill(self) -> None:
        """End it."""
        self.signal(signal.SIGKILL)
        self.wait(10.0)

    def wait(self, timeout: float) -> bool:
        """Wait for its end."""
        process = self._process()
        if process is None:
            return True
        try:
            process.wait(timeout)
        except psutil.TimeoutExpired:
            return self._process() is None
        return True

    def release(self) -> None:
        """Nothing is held."""


def die_with_parent() -> None:
    """On Linux: let the kernel kill this process when the one that started it ends.

    For worker processes (pytest-xdist's among them) which would outlive a killed parent for some
    seconds.
    """
    if sys.platform != "linux":
        return
    parent = os.getppid()
    pr_set_pdeathsig = 1
    ctypes.CDLL(None).prctl(pr_set_pdeathsig, int(signal.SIGKILL))
    if os.getppid() != parent:  # it ended before the kernel was told
        os.kill(os.getpid(), signal.SIGKILL)
