"""A child server of any kind."""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import psutil

from vault_harness import files
from vault_harness.errors import DeadlineExceeded, ServerDied
from vault_harness.local.engine.ports import answers
from vault_harness.local.engine.process.spawn import (
    DetachedProcess,
    LeashedProcess,
    Process,
    child_environment,
)
from vault_harness.waiting import Awaited, crowding, wait_until

POLL_SECONDS = 0.005
POLL_SHARE = 0.05
"""How much later the end of a start may be noticed, as a share of its length."""
MOST_POLL_SECONDS = 0.1
_LOG_LINES_IN_ERRORS = 12
_FREEZE_SECONDS = 5.0


@dataclass(kw_only=True, eq=False)
class Server:
    """A server process and its log.

    Attributes:
        command: Never contains a secret: every user can read a command line.
        log: Output is appended.
        probe: URL that answers 200 once it is ready.
        environment: Added to the few usual variables. Never contains a secret.
        passes: Names of our variables that it gets too; the values are not kept here.
        process: The last one started, or one that somebody else started.
        own: Client certificate and key for the probe.
    """

    title: str
    command: Sequence[str]
    log: Path
    probe: str
    environment: Mapping[str, str] = field(default_factory=dict)
    passes: Sequence[str] = ()
    detached: bool = False
    process: Process | None = None
    own: Path | None = None
    _lock: threading.RLock = field(default_factory=threading.RLock, init=False, repr=False)

    def is_running(self) -> bool:
        process = self.process
        return process is not None and process.alive()

    def spawn(self) -> Process:
        with self._lock:
            if self.process is not None:
                if self.process.alive():
                    return self.process
                self.process.release()
            kind = DetachedProcess.start if self.detached else LeashedProcess
            environment = child_environment(self.environment, self.passes)
            self.process = kind(self.command, log=self.log, environment=environment)
            return self.process

    def start(self, *, timeout: float) -> None:
        """Start it and wait until it answers. If it does not, it is ended.

        The `timeout` in seconds is multiplied by the number of runnable processes for each core.
        """
        began = time.monotonic()
        try:
            self.spawn()
            self.wait_ready(timeout=timeout, began=began)
        except BaseException:
            self.kill()
            raise

    def wait_ready(self, *, timeout: float, began: float | None = None) -> None:
        """Wait until it answers.

        `began` is the start of the wait by `time.monotonic`, now by default.
        """
        began = time.monotonic() if began is None else began
        deadline = began + timeout
        awaited = Awaited(f"{self.title} to answer, by GET {self.probe}")
        while True:
            if answers(self.probe, own=self.own):
                # If its port was taken, another server may have answered.
                self.check_alive()
                return
            self.check_alive()
            awaited.still()
            now = time.monotonic()
            if now >= deadline and now >= began + timeout * crowding():
                raise DeadlineExceeded(
                    f"{self.title} did not answer within {now - began:.1f} s",
                    looked_at=f"GET {self.probe}, and its log {self.log}:\n{self.last_lines()}",
                    remedy="look at the log; give a busy machine longer by HARNESS_START_TIMEOUT",
                )
            # Bounded by the deadline. The pause grows: many servers that start at once take
            # seconds, and constant checks would slow them down.
            time.sleep(min(MOST_POLL_SECONDS, max(POLL_SECONDS, POLL_SHARE * (now - began))))

    def check_alive(self) -> None:
        process = self.process
        if process is not None and process.alive():
            return
        code = process.exit_code() if process is not None else None
        how = (
            ""
            if code is None
            else f" with exit code {code}"
            if code >= 0
            else f" by signal {-code}"
        )
        raise ServerDied(
            f"{self.title} ended{how}",
            looked_at=f"its log {self.log}:\n{self.last_lines()}",
            remedy="the last log lines say why; fix that and start it again",
        )

    def stop(self, *, timeout: float) -> None:
        """Send SIGTERM, and SIGKILL after `timeout` seconds."""
        with self._lock:
            process = self.process
            if process is None:
                return
            # A paused process sees SIGTERM only once it is resumed.
            for number in (signal.SIGTERM, signal.SIGCONT):
                process.signal(number)
            if not process.wait(timeout):
                process.kill()
            process.release()

    def kill(self) -> None:
        with self._lock:
            if self.process is not None:
                self.process.kill()

    def signal(self, number: signal.Signals) -> None:
        with self._lock:
            self.check_alive()
            assert self.process is not None  # check_alive raised otherwise
            self.process.signal(number)

    def freeze(self) -> None:
        """Freeze it (SIGSTOP), and wait until all of its threads stand still.

        A thread in a system call runs on until that returns, and may answer one more request.
        """
        self.signal(signal.SIGSTOP)
        process = self.process
        assert process is not None  # signal raised otherwise
        wait_until(
            lambda: _stands_still(process.pid),
            f"{self.title} to stand still",
            timeout=_FREEZE_SECONDS,
            interval=POLL_SECONDS,
        )

    def logs(self, *, tail: int | None = None) -> str:
        return files.tail(self.log, tail)

    def last_lines(self) -> str:
        lines = self.logs(tail=_LOG_LINES_IN_ERRORS).splitlines() or ["(empty)"]
        return "\n".join(f"    {line}" for line in lines)


def _stands_still(pid: int) -> bool:
    """Return whether no thread runs, also because the process has ended."""
    threads = Path(f"/proc/{pid}/task")
    if threads.is_dir():
        return all(_state(thread) in "TtZX" for thread in threads.iterdir())
    try:
        return psutil.Process(pid).status() in (psutil.STATUS_STOPPED, psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return True


def _state(thread: Path) -> str:
    """Return a thread's state letter. The name before it may contain anything."""
    try:
        return (thread / "stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return "X"  # it ended in between
