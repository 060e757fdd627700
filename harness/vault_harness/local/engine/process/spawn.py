"""Start server processes that either end with this process or outlive it."""

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

# The shell forks a watchdog and becomes the server. The watchdog reads from a pipe whose only
# writing end the harness has. When the harness ends in any way, the pipe closes, and the watchdog
# kills the process group, whose number is the server's ($$). Unlike a parent-death signal this
# works from any thread, and not only on Linux.
_LEASHED = 'exec 3<&0 </dev/null; (read -r _ <&3; kill -9 "-$$") & exec "$@" 3<&-'
# The shell ends at once. The server becomes a child of init, which reaps it.
_DETACHED = '"$@" </dev/null >&2 & echo $!'

# A server gets no other variables: /proc shows its environment, and a developer's may hold tokens.
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
    "LD_LIBRARY_PATH",  # a Python from an environment module (module load) needs it
)


def child_environment(
    extra: Mapping[str, str] | None = None, passes: Sequence[str] = ()
) -> dict[str, str]:
    """Return a server's environment: harmless variables of ours, `passes`, and `extra`."""
    names = (*_KEPT, *passes)
    return {name: os.environ[name] for name in names if name in os.environ} | dict(extra or {})


class Process(Protocol):
    """A started server process."""

    @property
    def pid(self) -> int:
        """The process id, also that of its process group."""

    def alive(self) -> bool:
        """Return whether it runs. A zombie does not."""

    def exit_code(self) -> int | None:
        """Return its exit code, or None if unknown."""

    def signal(self, number: signal.Signals) -> None:
        """Send a signal to the server only, if it runs."""

    def kill(self) -> None:
        """Kill it and its process group, and wait."""

    def wait(self, timeout: float) -> bool:
        """Wait for its end. Return False after `timeout` seconds."""

    def release(self) -> None:
        """Release resources after its end."""


class LeashedProcess:
    """A server that ends with this process, even after ``kill -9``."""

    def __init__(
        self,
        command: Sequence[str],
        *,
        log: Path,
        environment: Mapping[str, str],
        cwd: Path | None = None,
    ) -> None:
        """Start it in `cwd`, by default the log's folder."""
        self._is_child = True
        reading, self._leash = os.pipe()
        try:
            with log.open("ab") as output:
                self._popen = subprocess.Popen(
                    ["/bin/sh", "-c", _LEASHED, "vault-harness-watchdog", *command],
                    stdin=reading,
                    stdout=output,
                    stderr=subprocess.STDOUT,
                    env=dict(environment),
                    cwd=cwd or log.parent,
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
        return self._popen.pid

    def alive(self) -> bool:
        if not self._is_child:  # Popen would take it for ended
            return _running(self.pid) is not None
        return self._popen.poll() is None

    def exit_code(self) -> int | None:
        """Return its exit code, negative for a signal. A fork does not know it."""
        return self._popen.poll() if self._is_child else None

    def signal(self, number: signal.Signals) -> None:
        if self._is_child:
            self._popen.send_signal(number)

    def kill(self) -> None:
        if self._is_child and self.alive():
            os.killpg(self.pid, signal.SIGKILL)
            self._popen.wait()
        self.release()

    def wait(self, timeout: float) -> bool:
        try:
            self._popen.wait(timeout)
        except subprocess.TimeoutExpired:
            return False
        return True

    def release(self) -> None:
        """Close the pipe: the watchdog kills the rest of the group, itself included."""
        if self._leash >= 0:
            os.close(self._leash)
            self._leash = -1

    def _forked(self) -> None:
        """Close the pipe in a fork, which would otherwise keep the server alive.

        The server stays its parent's, so a fork neither signals nor kills it.
        """
        self._is_child = False
        self.release()


def _close_in_forks(process: LeashedProcess) -> None:
    reference = weakref.ref(process)

    def forked() -> None:
        alive = reference()
        if alive is not None:
            alive._forked()  # noqa: SLF001 -- belongs to the class above

    os.register_at_fork(after_in_child=forked)


def _running(pid: int) -> psutil.Process | None:
    """Return the process of a pid, or None if there is none or a zombie."""
    try:
        process = psutil.Process(pid)
        # The first thread may end before the others, which still hold the ports.
        ended = process.status() == psutil.STATUS_ZOMBIE and process.num_threads() <= 1
        return None if ended else process
    except psutil.NoSuchProcess:
        return None


class DetachedProcess:
    """A server that outlives this process. Pid and start time identify it."""

    def __init__(self, pid: int, born: float) -> None:
        self._pid = pid
        self.born = born

    @classmethod
    def start(
        cls, command: Sequence[str], *, log: Path, environment: Mapping[str, str]
    ) -> DetachedProcess:
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
        return self._pid

    def _process(self) -> psutil.Process | None:
        process = _running(self._pid)
        try:
            # A tick of the kernel's clock is 10 ms, and the boot time may be rounded.
            same = process is not None and abs(process.create_time() - self.born) < 1.0
            return process if same else None
        except psutil.NoSuchProcess:
            return None

    def paused(self) -> bool:
        process = self._process()
        return process is not None and process.status() == psutil.STATUS_STOPPED

    def alive(self) -> bool:
        return self._process() is not None

    def exit_code(self) -> int | None:
        """Return None: it is a child of init."""
        return None

    def signal(self, number: signal.Signals) -> None:
        process = self._process()
        if process is not None:
            process.send_signal(number)

    def kill(self) -> None:
        self.signal(signal.SIGKILL)
        self.wait(10.0)

    def wait(self, timeout: float) -> bool:
        process = self._process()
        if process is None:
            return True
        try:
            process.wait(timeout)
        except psutil.TimeoutExpired:
            return self._process() is None
        return True

    def release(self) -> None:
        """Do nothing."""


def die_with_parent(number: signal.Signals = signal.SIGKILL) -> None:
    """Let the kernel end this process when its parent ends. Only on Linux.

    Otherwise workers, such as those of pytest-xdist, outlive a killed parent for seconds.
    """
    if sys.platform != "linux":
        return
    parent = os.getppid()
    pr_set_pdeathsig = 1
    ctypes.CDLL(None).prctl(pr_set_pdeathsig, int(number))
    if os.getppid() != parent:  # it ended before the kernel knew
        os.kill(os.getpid(), number)
