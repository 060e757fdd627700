"""A client under test that is a process of its own and speaks the line protocol."""

from __future__ import annotations

import contextlib
import os
import queue
import signal
import threading
import time
from collections.abc import Collection, Mapping, Sequence
from concurrent.futures import Future
from pathlib import Path

from vault_harness import errors
from vault_harness.boundary import without_frames
from vault_harness.judge.subjects.asked import Asked
from vault_harness.judge.subjects.conversation import Conversation
from vault_harness.judge.subjects.home import home_without_token
from vault_harness.judge.subjects.process import (
    Life,
    how_ended,
    spawn,
    surroundings,
    why_not_started,
)
from vault_harness.judge.subjects.protocol import Object, check, excerpt
from vault_harness.judge.subjects.shape import Kind, SubjectHung, SubjectSpec, log_tail, log_text

_CHUNK = 65536
SIGNALLED = 0.8
"""The share of a program's closing time after which SIGTERM is sent too.

Sent later, a program that listens only to SIGTERM would have less than one second of five. Sent
earlier, it would cut off a program that needs 3 s and does not handle SIGTERM.
"""

_DRAIN = 2.0  # seconds to read the pipe after the process ended, on a busy machine


class CommandSubject(Asked):
    """A process in any language.

    Args:
        environ: Its variables; see `surroundings` for what else its process sees.
        log: File for its standard error.
        timeout: Seconds from its start until it must have answered ``hello``.
        withhold: Names of variables that it must not inherit.
        within: Program and arguments that start it by replacing themselves.
    """

    kind: Kind = "command"

    @without_frames
    def __init__(
        self,
        spec: SubjectSpec,
        environ: Mapping[str, str],
        *,
        log: Path,
        timeout: float = 10.0,
        withhold: Collection[str] = (),
        within: Sequence[str] = (),
    ) -> None:
        super().__init__(spec.text)
        self._log = log
        self._closing = False
        self._goodbye: Future[Object] | None = None
        self._program = Path(spec.command[0])
        self._began = False
        self._knows_words = False
        self._drained = threading.Event()
        self._outbox: queue.SimpleQueue[bytes | None] = queue.SimpleQueue()
        self._conversation = Conversation(self._outbox.put)
        around = surroundings({**home_without_token(log), **environ}, withhold)
        leashed = spawn([*within, *spec.command], around, log)
        self._life = Life(leashed, self._exited)
        threading.Thread(target=self._write, name="subject stdin", daemon=True).start()
        threading.Thread(target=self._listen, name="subject stdout", daemon=True).start()
        try:
            hello = self._exchange("hello", {}, timeout)
            self._began = True
            self._introduced(hello)
            self._knows_words = hello.get("ok") is True
        except BaseException:
            self.kill()
            raise

    def __repr__(self) -> str:
        return f"<{self.name}, pid {self.pid}>"

    @property
    def pid(self) -> int | None:
        return self._life.process.pid

    @property
    def cpu(self) -> float:
        """Seconds of CPU time that it has used, once it has ended."""
        return self._life.cpu

    @property
    def exit_code(self) -> int | None:
        return self._life.code

    @without_frames
    def close(self, *, timeout: float, beyond: float = 0.0) -> None:
        """Send ``close`` and end its input, then send SIGTERM if it does not end in time.

        SIGTERM comes within ``timeout``, so that a program that listens only to it has the rest.

        Raises:
            SubjectHung: It had to be killed.
            OperationFailed: It answered that it could not end cleanly. It need not answer.
        """
        if self._closing:
            return
        self._goodbye = self._conversation.ask_last("close")
        self._closing = True
        self._outbox.put(None)
        started = time.monotonic()
        if not self._life.ended.wait(SIGNALLED * timeout):
            self._life.signal(signal.SIGTERM)
            self._life.ended.wait(max(0.0, started + timeout + beyond - time.monotonic()))
        hung = not self._life.ended.is_set()
        self.kill()
        if hung:
            raise SubjectHung(
                f"the subject did not end within {timeout + beyond:g} s",
                looked_at=f"pid {self.pid}, after the end of its input and SIGTERM",
                remedy="give a bound to what it does at its end, revoking its token too",
            )
        # Its last output is read already, so there is no wait for an answer. A program without
        # `hello` refuses `close` too, which says nothing about its end.
        if self._knows_words and self._goodbye.done():
            answer = self._goodbye.result()
            if answer.get("ok") is False:
                check(answer)

    def terminate(self) -> None:
        self._life.signal(signal.SIGTERM)

    def kill(self) -> None:
        """Send SIGKILL to it and its children, and return when they are gone."""
        self._closing = True
        self._outbox.put(None)
        self._life.end()

    def logs(self) -> str:
        return log_text(self._log)

    def is_alive(self) -> bool:
        """Return whether its process runs and keeps to the protocol."""
        return not self._life.ended.is_set() and self._conversation.broken is None

    def _exchange(self, op: str, fields: Object, timeout: float) -> Object:
        return self._conversation.ask(op, fields, timeout=timeout)

    def _write(self) -> None:
        """Send what is in the outbox, in a thread, since a client may not read its input."""
        pipe = self._life.process.stdin
        assert pipe is not None
        with contextlib.suppress(OSError), pipe:  # it ended, and _exited tells the waiting calls
            while (line := self._outbox.get()) is not None:
                view = memoryview(line)
                while view:
                    view = view[os.write(pipe.fileno(), view) :]

    def _listen(self) -> None:
        pipe = self._life.process.stdout
        assert pipe is not None
        with pipe:
            while chunk := os.read(pipe.fileno(), _CHUNK):
                if not self._closing or self._goodbye is not None:  # otherwise it is being killed
                    self._conversation.feed(chunk)
        self._drained.set()
        if not self._life.ended.wait(_DRAIN) and not self._closing:
            self._conversation.fail(
                errors.SubjectError(
                    "the subject closed its standard output and runs on",
                    looked_at=f"pid {self.pid}; last: {excerpt(self._conversation.rest)}",
                    remedy="keep standard output open for answers until standard input ends",
                )
            )

    def _exited(self, code: int) -> None:
        """Fail the waiting calls, once everything that it printed is read."""
        self._drained.wait(_DRAIN)
        tail = log_tail(self._log)
        remedy = "" if self._began else why_not_started(self._program, code)
        self._conversation.fail(
            errors.SubjectDied(
                f"the subject {how_ended(code)}",
                looked_at="its standard error"
                + (f", which ends:\n{tail}" if tail else ", which is empty"),
                remedy=remedy
                or "start it by hand with the same environment, and see why it does not stay",
            )
        )
