"""The stream of the line protocol: bytes cut into lines, and requests that await answers."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future

from vault_harness import errors
from vault_harness.judge.subjects.protocol import MAX_LINE, Object, breach, decode, encode, excerpt
from vault_harness.judge.subjects.shape import SubjectHung

_ALWAYS = "answer every request, also with an error; see the subject's log"

_AT_ITS_START = (
    "end each answer with a newline, and flush it: many languages do not where the output is a "
    "pipe; and answer hello before Vault is there; see the subject's log"
)


class Lines:
    """Cuts a stream of bytes into lines. Blank lines are left out."""

    def __init__(self, limit: int = MAX_LINE) -> None:
        self._limit = limit
        self._parts: list[bytes] = []
        self._length = 0

    def feed(self, chunk: bytes) -> Iterator[bytes]:
        """Yield the lines that this chunk completes; raise `SubjectError` if a line is too long."""
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
        """The beginning of a line whose end has not arrived."""
        return b"".join(tuple(self._parts))  # another thread may be adding to it

    def _too_long(self, line: bytes) -> errors.SubjectError:
        return breach(
            f"the subject printed a line of more than {self._limit} bytes",
            line,
            "answer with one value",
        )


class Conversation:
    """Requests and answers over one pair of streams, many in flight at once.

    `send` takes a whole line and must not block.
    """

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
        """Send a request and wait for its answer.

        Raises:
            SubjectHung: There was no answer within ``timeout`` seconds.
            SubjectError: The exchange is broken, now or since an earlier answer.
        """
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
        """Return the part of a line that has no end yet: it may be the missing answer."""
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
        """Take a chunk, and hand out the answers in it. A breach breaks the exchange."""
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
        """End every request, in flight or later, with this error. The first error stays."""
        with self._lock:
            if self._broken is None:
                self._broken = error
            waiting = [one for one in self._pending.values() if one is not self._last]
            self._pending = {}
        for future in waiting:
            future.set_exception(_copy(self._broken))

    @property
    def broken(self) -> errors.SubjectError | None:
        """Why no more requests are possible, if so."""
        return self._broken

    @property
    def rest(self) -> bytes:
        """The beginning of a line whose end has not arrived."""
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
    """Return a copy for another thread, since a raised error collects its thread's traceback."""
    return type(error)(error.cause, looked_at=error.looked_at, remedy=error.remedy)
