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
from vault_harness.subjects import _protocol
from vault_harness.subjects._asked import Asked
from vault_harness.subjects._conversation import Conversation
from vault_harness.subjects._home import home_without_token
from vault_harness.subjects._process import Life, how_ended, spawn, surroundings, why_not_started
from vault_harness.subjects._shape import (
    Kind,
    SubjectHung,
    SubjectSpec,
    log_tail,
    log_text,
)

_CHUNK = 65536
SIGNALLED = 0.8
"""Of the time that a program has for its end: when it is told so by SIGTERM too.

Later, and who hears that alone has no second left of five; sooner, and who takes 3 s for its end,
and knows no signal, would be torn out of it.
"""

_DRAIN = 2.0  # seconds for what is in the pipe after the end of the process, on a busy machine


class CommandSubject(Asked):
    """A process in any language.

    Args:
        spec: What to start.
        environ: What it is configured by; see `surroundings` for what else its process sees.
        log: Where its standard error goes.
        timeout: Seconds from its start until it must have answered ``hello``.
        withhold: Names of variables that it must not inherit.
        within: What starts it, and becomes it.
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
        self._goodbye: Future[_protocol.Object] | None = None
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
        """Its process."""
        return self._life.process.pid

    @property
    def cpu(self) -> float:
        """Seconds of processor time that it has used, once it has ended."""
        return self._life.cpu

    @property
    def exit_code(self) -> int | None:
        """How its process ended, negative by a signal; None while it lives."""
        return self._life.code

    @without_frames
    def close(self, *, timeout: float, beyond: float = 0.0) -> None:
        """Say ``close``, end its input, and, if that does not end it in time, SIGTERM.

        The time is what it has, and not for how long it is waited for: who listens to that signal
        alone has the rest.

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
        # It has ended, and what it had said by then is read: an answer is not waited for. Who does
        # not know `hello` says no to `close` as well, and that tells nothing of its end.
        if self._knows_words and self._goodbye.done():
            answer = self._goodbye.result()
            if answer.get("ok") is False:
                _protocol.check(answer)

    def terminate(self) -> None:
        """See `Terminable`."""
        self._life.signal(signal.SIGTERM)

    def kill(self) -> None:
        """SIGKILL to it and its children; returns when it is gone."""
        self._closing = True
        self._outbox.put(None)
        self._life.end()

    def logs(self) -> str:
        """What it wrote to standard error so far."""
        return log_text(self._log)

    def is_alive(self) -> bool:
        """Whether its process runs and keeps to the protocol."""
        return not self._life.ended.is_set() and self._conversation.broken is None

    def _exchange(self, op: str, fields: _protocol.Object, timeout: float) -> _protocol.Object:
        return self._conversation.ask(op, fields, timeout=timeout)

    def _write(self) -> None:
        """Pass on what is to be sent, in a thread, since a client may not read its input."""
        pipe = self._life.process.stdin
        assert pipe is not None
        with contextlib.suppress(OSError), pipe:  # it ended; whoever waits is told so by _exited
            while (line := self._outbox.get()) is not None:
                view = memoryview(line)
                while view:
                    view = view[os.write(pipe.fileno(), view) :]

    def _listen(self) -> None:
        pipe = self._life.process.stdout
        assert pipe is not None
        with pipe:
            while chunk := os.read(pipe.fileno(), _CHUNK):
                if not self._closing or self._goodbye is not None:  # else it is being killed
                    self._conversation.feed(chunk)
        self._drained.set()
        if not self._life.ended.wait(_DRAIN) and not self._closing:
            self._conversation.fail(
                errors.SubjectError(
                    "the subject closed its standard output and runs on",
                    looked_at=f"pid {self.pid}; last: {_protocol.excerpt(self._conversation.rest)}",
                    remedy="keep standard output open for answers until standard input ends",
                )
            )

    def _exited(self, code: int) -> None:
        """Tell those who wait, once everything that it had printed is read."""
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
