"""One child server: started, awaited, ended, with its log, whatever it serves."""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

import psutil

from vault_harness import files
from vault_harness.engine._probe import answers
from vault_harness.engine.process._spawn import (
    DetachedProcess,
    LeashedProcess,
    Process,
    child_environment,
)
from vault_harness.errors import DeadlineExceeded, ServerDied
from vault_harness.waiting import Awaited, crowding, wait_until

POLL_SECONDS = 0.005
POLL_SHARE = 0.05
"""Of the time that a start has taken by now: how much later its end is seen, at most."""
MOST_POLL_SECONDS = 0.1
_LOG_LINES_IN_ERRORS = 12
_FREEZE_SECONDS = 5.0


class Server:
    """A server process and its log file.

    Args:
        title: What to call it in errors.
        command: What to run. Never holds a secret: everybody can read a command line.
        log: Its output is appended there.
        probe: URL that answers 200 once the server is ready.
        environment: What it needs beside the usual few variables. Nothing secret either.
        passes: Names of variables of ours that it gets too; what they hold is not kept here.
        detached: Whether it outlives this process.
        process: A process that runs already, started by somebody else.
        own: Certificate and key that are shown where the probe asks for them.
    """

    def __init__(
        self,
        *,
        title: str,
        command: Sequence[str],
        log: Path,
        probe: str,
        environment: Mapping[str, str] | None = None,
        passes: Sequence[str] = (),
        detached: bool = False,
        process: Process | None = None,
        own: Path | None = None,
    ) -> None:
        self.title = title
        self.command = tuple(command)
        self.log = log
        self.probe = probe
        self._environment = dict(environment or {})
        self._passes = tuple(passes)
        self._detached = detached
        self._process = process
        self._own = own
        self._lock = threading.RLock()

    @property
    def process(self) -> Process | None:
        """The process started last, or None."""
        return self._process

    def is_running(self) -> bool:
        """Whether the process lives, paused or not."""
        process = self._process
        return process is not None and process.alive()

    def spawn(self) -> Process:
        """Start the process without waiting for its answers. Does nothing if it runs."""
        with self._lock:
            if self._process is not None:
                if self._process.alive():
                    return self._process
                self._process.release()
            kind = DetachedProcess.start if self._detached else LeashedProcess
            environment = child_environment(self._environment, self._passes)
            self._process = kind(self.command, log=self.log, environment=environment)
            return self._process

    def start(self, *, timeout: float) -> None:
        """Start it and wait until it answers; one that does not is ended.

        Raises:
            ServerDied: It ended first.
            DeadlineExceeded: It lives but does not answer within ``timeout`` seconds, or as many
                times longer as there are processes for each core that want to run.
        """
        began = time.monotonic()
        try:
            self.spawn()
            self.wait_ready(timeout=timeout, began=began)
        except BaseException:
            self.kill()
            raise

    def wait_ready(self, *, timeout: float, began: float | None = None) -> None:
        """Wait until it answers; see `start`.

        Args:
            timeout: Seconds.
            began: From when on they count, by `time.monotonic`: from now on by default.
        """
        began = time.monotonic() if began is None else began
        deadline = began + timeout
        awaited = Awaited(f"{self.title} to answer, by GET {self.probe}")
        while True:
            if answers(self.probe, own=self._own):
                # The answer may be another server's, if ours ended because that one has the port.
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
            # Between two looks at the condition, bounded by the deadline. Many servers that start
            # at once take seconds, and longer if everybody looks at them all the time.
            time.sleep(min(MOST_POLL_SECONDS, max(POLL_SECONDS, POLL_SHARE * (now - began))))

    def check_alive(self) -> None:
        """Raise `ServerDied` if it ended."""
        process = self._process
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
            remedy="the last log lines say why; mend that and start it again",
        )

    def stop(self, *, timeout: float) -> None:
        """End it by SIGTERM, and by SIGKILL if it still lives after ``timeout`` seconds."""
        with self._lock:
            process = self._process
            if process is None:
                return
            # A paused process would only see SIGTERM once it is resumed.
            for number in (signal.SIGTERM, signal.SIGCONT):
                process.signal(number)
            if not process.wait(timeout):
                process.kill()
            process.release()

    def kill(self) -> None:
        """End it by SIGKILL."""
        with self._lock:
            if self._process is not None:
                self._process.kill()

    def signal(self, number: signal.Signals) -> None:
        """Send a signal; the server must run."""
        with self._lock:
            self.check_alive()
            assert self._process is not None  # check_alive raised otherwise
            self._process.signal(number)

    def freeze(self) -> None:
        """Stop its clock (SIGSTOP), and wait until all of its threads stand still.

        A thread that is within a system call goes on until that returns, on a busy machine long
        enough to answer one more request.

        Raises:
            DeadlineExceeded: One of them still runs after a while.
        """
        self.signal(signal.SIGSTOP)
        process = self._process
        assert process is not None  # signal raised otherwise
        wait_until(
            lambda: _stands_still(process.pid),
            f"{self.title} to stand still",
            timeout=_FREEZE_SECONDS,
            interval=POLL_SECONDS,
        )

    def logs(self, *, tail: int | None = None) -> str:
        """What it printed."""
        return files.tail(self.log, tail)

    def last_lines(self) -> str:
        """The end of its log, indented for an error message."""
        lines = self.logs(tail=_LOG_LINES_IN_ERRORS).splitlines() or ["(empty)"]
        return "\n".join(f"    {line}" for line in lines)


def _stands_still(pid: int) -> bool:
    """Whether no thread of a process runs; its death counts too."""
    threads = Path(f"/proc/{pid}/task")
    if threads.is_dir():
        return all(_state(thread) in "TtZX" for thread in threads.iterdir())
    try:
        return psutil.Process(pid).status() in (psutil.STATUS_STOPPED, psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return True


def _state(thread: Path) -> str:
    """The letter of a thread's state; the name before it may hold anything, brackets too."""
    try:
        return (thread / "stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return "X"  # it ended between the list and the look
