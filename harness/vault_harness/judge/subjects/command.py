"""Test a client that is a process of its own and speaks the line protocol."""

from __future__ import annotations

import contextlib
import os
import queue
import signal
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future
from pathlib import Path

from vault_harness import errors
from vault_harness.errors import without_frames
from vault_harness.judge.subjects.process import (
    ORDINARY,
    Apart,
    Life,
    OfAProcess,
    home_without_token,
    how_ended,
    spawn,
    surroundings,
    why_not_started,
)
from vault_harness.judge.subjects.protocol import (
    MAX_LINE,
    Object,
    breach,
    check,
    decode,
    encode,
    excerpt,
    hello,
)
from vault_harness.judge.subjects.shape import Kind, SubjectHung, SubjectSpec, log_tail

_ALWAYS = "answer every request, also with an error; see the subject's log"

_AT_ITS_START = (
    "end each answer with a newline, and flush it: many languages do not where the output is a "
    "pipe; and answer hello before Vault is there; see the subject's log"
)


class Lines:
    """Cuts a stream of bytes into lines, without blank lines."""

    def __init__(self, limit: int = MAX_LINE) -> None:
        self._limit = limit
        self._parts: list[bytes] = []
        self._length = 0

    def feed(self, chunk: bytes) -> Iterator[bytes]:
        """Raise `SubjectError` if a line is too long."""
        *complete, rest = chunk.split(b"\n")
        for part in complete:
            line = b"".join([*self._parts, part])
            self._parts, self._length = [], 0
            if len(line) > self._limit:
                raise self._too_long(line)
            if line.strip():
                yield line
        if rest:
            self._parts.append(rest)
            self._length += len(rest)
            if self._length > self._limit:
                begin, self._parts, self._length = self._parts[0], [], 0
                raise self._too_long(begin)

    @property
    def rest(self) -> bytes:
        return b"".join(tuple(self._parts))  # another thread may be adding to it

    def _too_long(self, line: bytes) -> errors.SubjectError:
        return breach(
            f"the subject printed a line of more than {self._limit} bytes",
            line,
            "answer with one value",
        )


class Conversation:
    """Requests and answers over a pair of streams. `send` takes a whole line and must not block."""

    def __init__(self, send: Callable[[bytes], None]) -> None:
        self._send = send
        self._lines = Lines()
        self._lock = threading.Lock()
        self._next = 1
        self._pending: dict[int, Future[Object]] = {}
        self._given_up: set[int] = set()
        self._broken: errors.SubjectError | None = None
        self._leaving = False
        self._last: Future[Object] = Future()

    def ask(self, op: str, fields: Object, *, timeout: float) -> Object:
        """`SubjectError` is raised if the exchange is broken, now or since an earlier answer."""
        future: Future[Object] = Future()
        with self._lock:
            if self._broken is not None:
                raise _copy(self._broken)
            number = self._next
            self._next += 1
            self._pending[number] = future
        self._send(encode({"id": number, "op": op, **fields}))
        try:
            return future.result(timeout)
        except TimeoutError:
            with self._lock:
                if self._pending.pop(number, None) is not None:
                    self._given_up.add(number)
            if future.done():  # the answer arrived just now
                return future.result()
            raise SubjectHung(
                f"the subject did not answer {op} within {timeout:g} s",
                looked_at=f"request {number}{self._unended()}",
                remedy=_AT_ITS_START if op == "hello" else _ALWAYS,
            ) from None

    def _unended(self) -> str:
        """Mention a line that has no end yet: it may be the missing answer."""
        rest = self.rest
        return f"; it printed, and no end of that line: {excerpt(rest)}" if rest.strip() else ""

    def ask_last(self, op: str) -> Future[Object]:
        """Send the last request and return its answer, which may never come.

        From now on a breach of the protocol breaks nothing.
        """
        with self._lock:
            self._leaving = True
            if self._broken is not None:
                return self._last
            number = self._next
            self._next += 1
            self._pending[number] = self._last
        self._send(encode({"id": number, "op": op}))
        return self._last

    def feed(self, chunk: bytes) -> None:
        """A breach breaks the exchange."""
        lines = self._lines.feed(chunk)
        while self._broken is None:
            try:
                self._take(next(lines))
            except StopIteration:
                return
            except errors.SubjectError as breach:
                if not self._leaving:
                    self.fail(breach)

    def fail(self, error: errors.SubjectError) -> None:
        """End every request, in flight or later, with this error; the first error stays."""
        with self._lock:
            if self._broken is None:
                self._broken = error
            waiting = [one for one in self._pending.values() if one is not self._last]
            self._pending = {}
        for future in waiting:
            future.set_exception(_copy(self._broken))

    @property
    def broken(self) -> errors.SubjectError | None:
        return self._broken

    @property
    def rest(self) -> bytes:
        return self._lines.rest

    def _take(self, line: bytes) -> None:
        answer = decode(line)
        number = answer.get("id")
        if isinstance(number, bool) or not isinstance(number, int):
            raise breach(
                "an answer has no id, or one that is not a number", line, "repeat the request's id"
            )
        with self._lock:
            if number in self._given_up:
                self._given_up.discard(number)
                return
            future = self._pending.pop(number, None)
            if future is None:
                before = 0 < number < self._next
                cause = "was answered already" if before else "was never asked"
                raise breach(
                    f"the subject answered request {number}, which {cause}",
                    line,
                    "answer each request once, with its own id",
                )
        future.set_result(answer)


def _copy(error: errors.SubjectError) -> errors.SubjectError:
    """Copy it for another thread, since a raised error collects its thread's traceback."""
    return type(error)(error.cause, looked_at=error.looked_at, remedy=error.remedy)


_CHUNK = 65536
SIGNALLED = 0.8
"""The share of a program's closing time after which SIGTERM is sent too.

A later SIGTERM would leave a program that waits for it less than one second of five. An earlier one
would cut off a program that needs 3 s and does not handle SIGTERM.
"""

_DRAIN = 2.0  # seconds to read the pipe after the process ended, on a busy machine


class CommandSubject(OfAProcess):
    """A process in any language.

    Args:
        environ: See `surroundings` for what else it sees.
        timeout: Seconds from its start until it must have answered ``hello``.
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
        apart: Apart = ORDINARY,
    ) -> None:
        super().__init__(spec.text, log)
        self._closing = False
        self._goodbye: Future[Object] | None = None
        self._program = Path(spec.command[0])
        self._began = False
        self._knows_words = False
        self._drained = threading.Event()
        self._outbox: queue.SimpleQueue[bytes | None] = queue.SimpleQueue()
        self._conversation = Conversation(self._outbox.put)
        around = surroundings({**home_without_token(log), **environ}, apart.withhold)
        leashed = spawn([*apart.within, *spec.command], around, log)
        self._life = Life(leashed, self._exited)
        threading.Thread(target=self._write, name="subject stdin", daemon=True).start()
        threading.Thread(target=self._listen, name="subject stdout", daemon=True).start()
        try:
            answer = self._exchange("hello", {}, timeout)
            self._began = True
            self._introduced(hello(answer))
            self._knows_words = answer.get("ok") is True
        except BaseException:
            self.kill()
            raise

    @without_frames
    def close(self, *, timeout: float, beyond: float = 0.0) -> None:
        """Send ``close`` and end its input, then send SIGTERM if it does not end in time.

        Raises:
            OperationFailed: The program answered that it could not end cleanly. It need not answer.
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
        # The last output is already read, so do not wait for an answer. A program without `hello`
        # refuses `close` too, which says nothing about its end.
        if self._knows_words and self._goodbye.done():
            answer = self._goodbye.result()
            if answer.get("ok") is False:
                check(answer)

    def terminate(self) -> None:
        self._life.signal(signal.SIGTERM)

    def kill(self) -> None:
        self._closing = True
        self._outbox.put(None)
        self._life.end()

    def is_alive(self) -> bool:
        return not self._life.ended.is_set() and self._conversation.broken is None

    def _exchange(self, op: str, fields: Object, timeout: float) -> Object:
        return self._conversation.ask(op, fields, timeout=timeout)

    def _write(self) -> None:
        """Send the outbox, in a thread, since a client may not read its input."""
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
