"""The line protocol: one JSON object a line, requests by id, answers in any order.

This is the protocol alone, without processes or sockets; ``docs/subjects.md`` describes it for
those who write a client in another language.
"""

from __future__ import annotations

import json
import math
import re
import threading
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from concurrent.futures import Future
from dataclasses import dataclass, replace
from typing import Any

from vault_harness import errors
from vault_harness.files import encodable
from vault_harness.subjects._shape import (
    CAPABILITIES,
    DECLARATIONS,
    Credential,
    OperationFailed,
    Reading,
    SubjectHung,
    Whole,
    outcome_of,
)

MAX_LINE = 32 * 1024 * 1024
"""Bytes in one answer at most; Vault itself takes no larger request than this by default."""

Object = Mapping[str, Any]


WAYS_IN = frozenset({"jwt", "token-file", "wrapped-secret-id", "namespace"})
"""What a client can claim by ``auth``: how it gets its token, beyond AppRole, the default."""


@dataclass(frozen=True)
class Hello:
    """What a client says of itself.

    Attributes:
        capabilities: A subset of `CAPABILITIES` and `WAYS_IN`.
        declares: A subset of `DECLARATIONS`, in seconds.
        version: Its own version, if it says so.
        ignored: What else its answer has, which nobody reads: the names of these members.
    """

    capabilities: frozenset[str]
    declares: Mapping[str, float]
    version: str = ""
    ignored: tuple[str, ...] = ()


_OF_HELLO = frozenset(
    {"id", "op", "ok", "error", "message", "capabilities", "declares", "auth", "version"}
)


_LIKE_AN_ID = re.compile(r"(?=[\w.+/=-]*\d)[\w.+/=-]{20,}")
"""What a secret-id, a token and most passwords look like."""

READS_ONLY = Hello(frozenset({"read"}), {})
"""What is assumed of a client that does not know ``hello``."""


def encode(message: Object) -> bytes:
    """One message as a line. ASCII only, so that no reader can take a character for a line end."""
    return json.dumps(message, separators=(",", ":")).encode("ascii") + b"\n"


def decode(line: bytes | str) -> dict[str, Any]:
    """One line as an object.

    Raises:
        SubjectError: It is not a JSON object in UTF-8.
    """
    try:
        message = json.loads(line.decode("utf-8") if isinstance(line, bytes) else line)
    except (ValueError, RecursionError) as error:
        raise _breach(
            "the subject printed a line that is not JSON", line, "print logs to stderr only"
        ) from error
    if not isinstance(message, dict):
        raise _breach(
            "the subject printed JSON that is not an object", line, "print one object a line"
        )
    return message


def excerpt(line: object, limit: int = 100) -> str:
    """The beginning of what a client sent, without what may be a secret.

    It is cut before a value, and long words with a digit in them, as ids and tokens are, are left
    out.
    """
    if isinstance(line, bytes):
        line = line.decode("utf-8", errors="replace")
    elif not isinstance(line, str):
        line = json.dumps(line, default=str)
    head, value, _ = line.partition('"value"')
    shown = head[:limit] + ("…" if value or len(head) > limit else "")
    return ascii(_without_ids(shown))


def _without_ids(text: str) -> str:
    return _LIKE_AN_ID.sub("…", text)


def _breach(cause: str, seen: object, remedy: str) -> errors.SubjectError:
    return errors.SubjectError(cause, looked_at=excerpt(seen), remedy=remedy)


def check(answer: Object) -> Object:
    """The answer itself if it says that all went well.

    Raises:
        OperationFailed: It says that the operation failed.
        SubjectError: It says neither.
    """
    ok = answer.get("ok")
    if ok is True:
        return answer
    if ok is not False:
        raise _breach("an answer has no 'ok' that is true or false", answer, "say how it went")
    word, message = answer.get("error"), answer.get("message", "")
    if word is not None and not isinstance(word, str):
        raise _breach(
            "the 'error' of an answer is not a word", answer, "name an outcome, or leave it out"
        )
    if not isinstance(message, str):
        raise _breach(
            "the 'message' of an answer is not text", answer, "write a sentence, or leave it out"
        )
    outcome = outcome_of(word)
    if outcome is None and word:
        message = f"{word}: {message}" if message else word
    raise OperationFailed(outcome, message)


def reading(answer: Object) -> Reading:
    """The secret in an answer to ``read`` or ``read_cached``."""
    value = check(answer).get("value")
    if not isinstance(value, str):
        raise _breach(
            f"the value of an answer is {type(value).__name__}, not a string",
            answer,
            "answer with the value of the one key that was asked for",
        )
    return Reading(value, _stale(answer))


def _stale(answer: Object) -> bool:
    """Whether an answer says that what it gives is old."""
    stale = answer.get("stale", False)
    if not isinstance(stale, bool):
        raise _breach(
            "the 'stale' of an answer is not true or false", answer, "leave it out if unknown"
        )
    return stale


def whole(answer: Object) -> Whole:
    """The keys and values in an answer to ``read_all``."""
    value = check(answer).get("value")
    if not isinstance(value, dict) or not all(isinstance(one, str) for one in value.values()):
        raise _breach(
            "the value of a whole secret is no object of strings",
            answer,
            "answer with every key of the secret and its value",
        )
    return Whole(value, _stale(answer))


def forked(answer: Object) -> list[Reading | OperationFailed]:
    """What a child's reads came to, in an answer to ``fork``."""
    value = check(answer).get("value")
    if not isinstance(value, list) or not all(isinstance(one, dict) for one in value):
        raise _breach(
            "the value of a fork is no list of answers",
            answer,
            "answer with what each read of the child would have been answered with",
        )
    return [_read_or_failed(one) for one in value]


def _read_or_failed(answer: Object) -> Reading | OperationFailed:
    try:
        return reading(answer)
    except OperationFailed as failure:
        return failure


def forking(path: str, key: str, seconds: float, every: float) -> dict[str, str | float]:
    """The members of a request for a child."""
    return {"path": path, "key": key, "seconds": seconds, "every": every}


def credential(answer: Object) -> Credential:
    """The credential in an answer to ``lease``."""
    value = check(answer).get("value")
    found = value if isinstance(value, Mapping) else {}
    username, password = found.get("username"), found.get("password")
    if not isinstance(username, str) or not isinstance(password, str):
        raise _breach(
            "the value of a lease is no object with a username and a password",
            answer,
            "answer with both, as Vault gave them",
        )
    return Credential(username, password)


def leasing(path: str, failed: str | None) -> dict[str, str]:
    """The members of a request for a credential."""
    return {"path": path} if failed is None else {"path": path, "failed": failed}


def flag(answer: Object) -> bool:
    """The verdict in an answer to ``health``."""
    value = check(answer).get("value")
    if not isinstance(value, bool):
        raise _breach(
            "the value of a health answer is not true or false", answer, "answer true or false"
        )
    return value


def hello(answer: Object) -> Hello:
    """What a client says of itself; one that does not know ``hello`` is taken to read only."""
    try:
        check(answer)
    except OperationFailed:
        return READS_ONLY
    left_out = {"capabilities": ["read"], "declares": {}, "auth": []}
    # Null is left out as well: a map or a list of Go that nobody made is written so.
    given = {name: answer[name] for name in left_out if answer.get(name) is not None}
    said = claims(**{**left_out, **given})
    ignored = tuple(sorted(map(excerpt, set(answer) - _OF_HELLO)))
    return replace(said, version=version_of(answer.get("version")), ignored=ignored)


def version_of(text: object) -> str:
    """A client's version as it says it, short and in one line; empty where it says none."""
    return encodable(" ".join(text.split())[:80]) if isinstance(text, str) else ""


def claims(capabilities: object, declares: object, auth: object = ()) -> Hello:
    """Capabilities, declared times and ways in of a client, checked.

    Raises:
        SubjectError: One of them is unknown, or of the wrong kind.
    """
    if isinstance(auth, str) or not isinstance(auth, (list, tuple, set, frozenset)):
        raise errors.SubjectError(
            f"what the subject says of auth is {type(auth).__name__}, not a list of words",
            looked_at="its answer to hello, or its attribute 'auth'",
            remedy=f"choose from approle, {', '.join(sorted(WAYS_IN))}",
        )
    ways = [word for word in auth if word != "approle"]
    if foreign := [repr(word) for word in ways if not isinstance(word, str) or word not in WAYS_IN]:
        raise errors.SubjectError(
            f"the subject logs in by {', '.join(foreign)}, which the suite does not know",
            looked_at="its answer to hello, or its attribute 'auth'",
            remedy=f"choose from approle, {', '.join(sorted(WAYS_IN))}"
            + _misplaced(ways, CAPABILITIES, "capabilities"),
        )
    if isinstance(capabilities, str) or not isinstance(capabilities, (list, tuple, set, frozenset)):
        raise errors.SubjectError(
            f"the subject's capabilities are {type(capabilities).__name__}, not a list of words",
            looked_at="its answer to hello, or its attribute 'capabilities'",
            remedy=f"choose from {', '.join(sorted(CAPABILITIES))}",
        )
    unknown = [
        word for word in capabilities if not isinstance(word, str) or word not in CAPABILITIES
    ]
    if unknown:
        raise errors.SubjectError(
            f"the subject claims {', '.join(map(excerpt, unknown))}, which is no capability",
            looked_at="its answer to hello, or its attribute 'capabilities'",
            remedy=f"choose from {', '.join(sorted(CAPABILITIES))}"
            + _misplaced(unknown, WAYS_IN | {"approle"}, "auth"),
        )
    if not isinstance(declares, Mapping):
        raise errors.SubjectError(
            f"what the subject declares is {type(declares).__name__}, not names with seconds",
            looked_at="its answer to hello, or its attribute 'declares'",
            remedy=f"choose from {', '.join(sorted(DECLARATIONS))}",
        )
    times = {name: _seconds(name, value) for name, value in declares.items()}
    return Hello(frozenset(capabilities) | {*ways, "read"}, times)


def _misplaced(words: Iterable[object], others: Collection[str], where: str) -> str:
    """The end of a remedy for words that belong into another list; empty for all others."""
    found = sorted(word for word in words if isinstance(word, str) and word in others)
    return f"; claim {', '.join(found)} by {where!r}" if found else ""


def _seconds(name: object, value: object) -> float:
    if name not in DECLARATIONS:
        raise errors.SubjectError(
            f"the subject declares {excerpt(name)}, which the suite does not know",
            looked_at="its answer to hello, or its attribute 'declares'",
            remedy=f"choose from {', '.join(sorted(DECLARATIONS))}",
        )
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 <= value < math.inf:
        raise errors.SubjectError(
            f"the subject declares {name} as {excerpt(value)}, which is not a number of seconds",
            looked_at="its answer to hello, or its attribute 'declares'",
            remedy="declare a number that is not negative, or leave it out",
        )
    return float(value)


class Lines:
    """Cuts a stream of bytes into lines, however it arrives. Blank lines are left out."""

    def __init__(self, limit: int = MAX_LINE) -> None:
        self._limit = limit
        self._parts: list[bytes] = []
        self._length = 0

    def feed(self, chunk: bytes) -> Iterator[bytes]:
        """The lines that this chunk completes.

        Raises:
            SubjectError: A line is longer than the limit.
        """
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
        return b"".join(self._parts)

    def _too_long(self, line: bytes) -> errors.SubjectError:
        return _breach(
            f"the subject printed a line of more than {self._limit} bytes",
            line,
            "answer with one value",
        )


class Conversation:
    """Requests and answers over one pair of streams, many in flight at once.

    Args:
        send: Takes a whole line; must not block.
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
            SubjectHung: No answer within ``timeout`` seconds.
            SubjectError: The exchange is broken, by this request's answer or before.
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
            if future.done():  # it came in the very moment of giving up
                return future.result()
            raise SubjectHung(
                f"the subject did not answer {op} within {timeout:g} s",
                looked_at=f"request {number}",
                remedy="answer every request, also with an error; see the subject's log",
            ) from None

    def ask_last(self, op: str) -> Future[Object]:
        """Send the last request; its answer, should one come. From now on a breach breaks nothing.

        Nobody need answer it: who waits for that may wait for ever.
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
        """Take what arrived, and hand answers to those who wait. A breach breaks the exchange."""
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
        """End every request in flight, and every later one, with this error. The first stays."""
        with self._lock:
            if self._broken is None:
                self._broken = error
            waiting = [one for one in self._pending.values() if one is not self._last]
            self._pending = {}
        for future in waiting:
            future.set_exception(_copy(self._broken))

    @property
    def broken(self) -> errors.SubjectError | None:
        """Why nothing can be asked any more, if so."""
        return self._broken

    @property
    def rest(self) -> bytes:
        """The beginning of a line whose end has not arrived."""
        return self._lines.rest

    def _take(self, line: bytes) -> None:
        answer = decode(line)
        number = answer.get("id")
        if isinstance(number, bool) or not isinstance(number, int):
            raise _breach(
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
                raise _breach(
                    f"the subject answered request {number}, which {cause}",
                    line,
                    "answer each request once, with its own id",
                )
        future.set_result(answer)


def _copy(error: errors.SubjectError) -> errors.SubjectError:
    """The same error for another thread, since a raised one collects that thread's traceback."""
    return type(error)(error.cause, looked_at=error.looked_at, remedy=error.remedy)
