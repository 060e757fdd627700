"""Read and write the line protocol (``docs/reference/line-protocol.md``), and check claims."""

from __future__ import annotations

import codecs
import json
import math
import re
from abc import ABC, abstractmethod
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, TypeVar

from vault_harness import errors
from vault_harness.errors import without_frames
from vault_harness.files import encodable
from vault_harness.judge.subjects.shape import (
    CAPABILITIES,
    DECLARATIONS,
    LEAVES,
    Credential,
    OperationFailed,
    Reading,
    Whole,
    outcome_of,
)

Object = Mapping[str, Any]

MAX_LINE = 32 * 1024 * 1024
"""Bytes of one answer. By default Vault takes no larger request."""

_LIKE_AN_ID = re.compile(r"(?=[\w.+/=-]*\d)[\w.+/=-]{20,}")
"""The form of a secret-id, a token and most passwords."""


def encode(message: Object) -> bytes:
    """Return a line in ASCII, so that no character can be taken for a line end."""
    return json.dumps(message, separators=(",", ":")).encode("ascii") + b"\n"


def decode(line: bytes | str) -> dict[str, Any]:
    try:
        message = json.loads(line.decode("utf-8") if isinstance(line, bytes) else line)
    except (ValueError, RecursionError) as error:
        raise breach("the subject printed a line that is not JSON", line, _instead(line)) from error
    if not isinstance(message, dict):
        raise breach(
            "the subject printed JSON that is not an object", line, "print one object a line"
        )
    return message


def _instead(line: bytes | str) -> str:
    if isinstance(line, bytes):
        if line.startswith(codecs.BOM_UTF8):
            return "write UTF-8 without a byte order mark before it"
        try:
            line.decode("utf-8")
        except UnicodeDecodeError:
            return "print logs to stderr only, and write answers in UTF-8, whatever the locale says"
        if b"\0" in line:
            return "print logs to stderr only, and write answers in UTF-8, not in UTF-16"
    return "print logs to stderr only"


def excerpt(line: object, limit: int = 100) -> str:
    """Return the beginning of what a client sent, without what may be a secret.

    It ends before a value, and leaves out long words with a digit, such as ids and tokens.
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


def breach(cause: str, seen: object, remedy: str) -> errors.SubjectError:
    return errors.SubjectError(cause, looked_at=excerpt(seen), remedy=remedy)


def check(answer: Object) -> Object:
    """Return the answer itself if it reports success.

    Raises:
        OperationFailed: The answer reports a failure.
        SubjectError: The answer reports neither success nor failure.
    """
    ok = answer.get("ok")
    if ok is True:
        return answer
    if ok is not False:
        raise breach("an answer has no 'ok' that is true or false", answer, "say how it went")
    word, message = answer.get("error"), answer.get("message", "")
    if word is not None and not isinstance(word, str):
        raise breach(
            "the 'error' of an answer is not a word", answer, "name an outcome, or leave it out"
        )
    if not isinstance(message, str):
        raise breach(
            "the 'message' of an answer is not text", answer, "write a sentence, or leave it out"
        )
    outcome = outcome_of(word)
    if outcome is None and word:
        message = f"{word}: {message}" if message else word
    raise OperationFailed(outcome, message)


def reading(answer: Object) -> Reading:
    """Understand an answer to ``read`` or ``read_cached``."""
    value = check(answer).get("value")
    if not isinstance(value, str):
        raise breach(
            f"the value of an answer is {type(value).__name__}, not a string",
            answer,
            "answer with the value of the one key that was asked for",
        )
    return Reading(value, _stale(answer))


def _stale(answer: Object) -> bool:
    stale = answer.get("stale", False)
    if not isinstance(stale, bool):
        raise breach(
            "the 'stale' of an answer is not true or false", answer, "leave it out if unknown"
        )
    return stale


def whole(answer: Object) -> Whole:
    """Understand an answer to ``read_all``."""
    value = check(answer).get("value")
    if not isinstance(value, dict) or not all(isinstance(one, str) for one in value.values()):
        raise breach(
            "the value of a whole secret is no object of strings",
            answer,
            "answer with every key of the secret and its value",
        )
    return Whole(value, _stale(answer))


def forked(answer: Object) -> list[Reading | OperationFailed]:
    """Understand an answer to ``fork``."""
    value = check(answer).get("value")
    if not isinstance(value, list) or not all(isinstance(one, dict) for one in value):
        raise breach(
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
    return {"path": path, "key": key, "seconds": seconds, "every": every}


def credential(answer: Object) -> Credential:
    """Understand an answer to ``lease`` or ``static``."""
    value = check(answer).get("value")
    found = value if isinstance(value, Mapping) else {}
    username, password = found.get("username"), found.get("password")
    if not isinstance(username, str) or not isinstance(password, str):
        raise breach(
            "the value of a credential is no object with a username and a password",
            answer,
            "answer with both, as Vault gave them",
        )
    return Credential(username, password, _stale(answer))


def leasing(path: str, failed: str | None) -> dict[str, str]:
    return {"path": path} if failed is None else {"path": path, "failed": failed}


def flag(answer: Object) -> bool:
    """Understand an answer to ``health``."""
    value = check(answer).get("value")
    if not isinstance(value, bool):
        raise breach(
            "the value of a health answer is not true or false", answer, "answer true or false"
        )
    return value


WAYS_IN = frozenset({"jwt", "token-file", "wrapped-secret-id", "namespace"})
"""Ways to get a token, besides AppRole, that a client can claim in ``auth``."""


@dataclass(frozen=True)
class Hello:
    """The claims and declarations of a client.

    Attributes:
        capabilities: A subset of `CAPABILITIES` and `WAYS_IN`.
        declares: A subset of `DECLARATIONS`, in seconds.
        leaves: A subset of `LEAVES`.
        ignored: Names of unknown members of its answer.
    """

    capabilities: frozenset[str]
    declares: Mapping[str, float]
    leaves: frozenset[str] = frozenset()
    version: str = ""
    ignored: tuple[str, ...] = ()


_OF_HELLO = frozenset(
    {"id", "op", "ok", "error", "message", "capabilities", "declares", "auth", "leaves", "version"}
)

READS_ONLY = Hello(frozenset({"read"}), {})
"""The assumed claims of a client that does not know ``hello``."""


def hello(answer: Object) -> Hello:
    """A client without ``hello`` only reads."""
    try:
        check(answer)
    except OperationFailed:
        return READS_ONLY
    left_out = {"capabilities": ["read"], "declares": {}, "auth": [], "leaves": []}
    # Null counts as left out: Go writes a nil map or list as null.
    given = {name: answer[name] for name in left_out if answer.get(name) is not None}
    said = claims(**{**left_out, **given})
    ignored = tuple(sorted(map(excerpt, set(answer) - _OF_HELLO)))
    return replace(said, version=version_of(answer.get("version")), ignored=ignored)


def version_of(text: object) -> str:
    return encodable(" ".join(text.split())[:80]) if isinstance(text, str) else ""


def claims(capabilities: object, declares: object, auth: object = (), leaves: object = ()) -> Hello:
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
    words = leaves if isinstance(leaves, (list, tuple, set, frozenset)) else [leaves]
    known = [word for word in LEAVES if word in words]
    if foreign := [excerpt(word) for word in words if word not in known]:
        raise errors.SubjectError(
            f"the subject leaves {', '.join(foreign)}, which the suite does not know",
            looked_at="its answer to hello, or its attribute 'leaves'",
            remedy=f"give a list with words of {', '.join(sorted(LEAVES))}",
        )
    return Hello(frozenset(capabilities) | {*ways, "read"}, times, frozenset(known))


def _misplaced(words: Iterable[object], others: Collection[str], where: str) -> str:
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


T = TypeVar("T")


class Asked(ABC):
    """Turns each operation of a `Subject` into a message, and its answer into a result."""

    name: str
    capabilities: frozenset[str]
    declares: Mapping[str, float]
    version: str
    leaves: frozenset[str]
    ignored: tuple[str, ...] = ()

    def __init__(self, name: str) -> None:
        self.name = name
        self._told = False

    @abstractmethod
    def _exchange(self, op: str, fields: Object, timeout: float) -> Object:
        """Send a message, and wait for its answer."""

    def _introduced(self, answer: Object) -> None:
        said = hello(answer)
        self.capabilities = said.capabilities
        self.declares = said.declares
        self.version = said.version
        self.leaves = said.leaves
        self.ignored = said.ignored

    @property
    def reports_outcomes(self) -> bool:
        return self._told or "outcomes" in self.capabilities

    @without_frames
    def read(self, path: str, key: str, *, timeout: float) -> Reading:
        return self._ask("read", {"path": path, "key": key}, reading, timeout)

    @without_frames
    def read_cached(self, path: str, key: str, *, timeout: float) -> Reading:
        return self._ask("read_cached", {"path": path, "key": key}, reading, timeout)

    @without_frames
    def read_all(self, path: str, *, timeout: float) -> Whole:
        return self._ask("read_all", {"path": path}, whole, timeout)

    @without_frames
    def write(self, path: str, data: Mapping[str, str], *, timeout: float) -> None:
        self._ask("write", {"path": path, "data": dict(data)}, check, timeout)

    @without_frames
    def lease(self, path: str, failed: str | None = None, *, timeout: float) -> Credential:
        return self._ask("lease", leasing(path, failed), credential, timeout)

    @without_frames
    def static(self, path: str, failed: str | None = None, *, timeout: float) -> Credential:
        return self._ask("static", leasing(path, failed), credential, timeout)

    @without_frames
    def update(self, path: str, data: Mapping[str, str], *, timeout: float) -> None:
        self._ask("update", {"path": path, "data": dict(data)}, check, timeout)

    @without_frames
    def fork(
        self, path: str, key: str, *, seconds: float, every: float, timeout: float
    ) -> Sequence[Reading | OperationFailed]:
        asked = forking(path, key, seconds, every)
        return self._ask("fork", asked, forked, timeout)

    @without_frames
    def herd(self, clients: int, *, timeout: float) -> None:
        self._ask("herd", {"clients": clients}, check, timeout)

    @without_frames
    def read_by(self, client: int, path: str, key: str, *, timeout: float) -> Reading:
        asked = {"path": path, "key": key, "client": client}
        return self._ask("read", asked, reading, timeout)

    @without_frames
    def health(self, *, timeout: float) -> bool:
        return self._ask("health", {}, flag, timeout)

    def _ask(
        self,
        op: str,
        fields: Object,
        understand: Callable[[Object], T],
        timeout: float,
    ) -> T:
        try:
            return understand(self._exchange(op, fields, timeout))
        except OperationFailed as failure:
            self._told = self._told or failure.outcome is not None
            raise
