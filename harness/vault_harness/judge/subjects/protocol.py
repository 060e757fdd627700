"""The line protocol (``docs/reference/line-protocol.md``), and a client that speaks it."""

from __future__ import annotations

import codecs
import json
import math
import re
from abc import ABC, abstractmethod
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeVar

from vault_harness import errors
from vault_harness.errors import without_frames
from vault_harness.files import encodable
from vault_harness.judge.subjects.shape import (
    CAPABILITIES,
    DECLARATIONS,
    LEAVES,
    Credential,
    Kind,
    OperationFailed,
    Reading,
    Whole,
    log_text,
    outcome_of,
)

Object = Mapping[str, Any]

MAX_LINE = 32 * 1024 * 1024
"""Bytes of one answer. By default Vault takes no larger request."""

EXCERPT = 100
"""Characters of a client's line that a message shows."""

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


def excerpt(line: object) -> str:
    """Return the beginning of what a client sent, without what may be a secret.

    It ends before a value, and leaves out long words with a digit, such as ids and tokens.
    """
    if isinstance(line, bytes):
        line = line.decode("utf-8", errors="replace")
    elif not isinstance(line, str):
        line = json.dumps(line, default=str)
    head, value, _ = line.partition('"value"')
    shown = head[:EXCERPT] + ("…" if value or len(head) > EXCERPT else "")
    return ascii(_LIKE_AN_ID.sub("…", shown))


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
    if not isinstance(value, dict) or not all(
        isinstance(word, str) for pair in value.items() for word in pair
    ):
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
    ways = _words("auth", auth, WAYS_IN | {"approle"}, ("capabilities", CAPABILITIES))
    can = _words("capabilities", capabilities, CAPABILITIES, ("auth", WAYS_IN | {"approle"}))
    if not isinstance(declares, Mapping):
        text = f"declares {type(declares).__name__}, not names with seconds"
        raise _wrong_claim("declares", text, DECLARATIONS)
    times = {name: _seconds(name, value) for name, value in declares.items()}
    left = _words("leaves", leaves, LEAVES)
    return Hello(can | (ways - {"approle"}) | {"read"}, times, left)


def _words(
    claim: str,
    given: object,
    known: frozenset[str],
    misplaced: tuple[str, frozenset[str]] = ("", frozenset()),
) -> frozenset[str]:
    """Return the words of a claim; `misplaced` is another claim that may have been meant."""
    if not isinstance(given, (list, tuple, set, frozenset)):
        text = f"gives {type(given).__name__} as {claim}, not a list of words"
        raise _wrong_claim(claim, text, known)
    unknown = [word for word in given if not isinstance(word, str) or word not in known]
    if unknown:
        other, words = misplaced
        meant = sorted(word for word in unknown if isinstance(word, str) and word in words)
        hint = f"; claim {', '.join(meant)} by {other!r}" if meant else ""
        named = ", ".join(map(excerpt, unknown))
        text = f"gives {named} as {claim}, which the suite does not know"
        raise _wrong_claim(claim, text, known, hint)
    return frozenset(given)


def _wrong_claim(
    claim: str, text: str, known: Collection[str], hint: str = ""
) -> errors.SubjectError:
    return errors.SubjectError(
        f"the subject {text}",
        looked_at=f"its answer to hello, or its attribute {claim!r}",
        remedy=f"choose from {', '.join(sorted(known))}{hint}",
    )


def _seconds(name: object, value: object) -> float:
    if name not in DECLARATIONS:
        text = f"declares {excerpt(name)}, which the suite does not know"
        raise _wrong_claim("declares", text, DECLARATIONS)
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 <= value < math.inf:
        raise errors.SubjectError(
            f"the subject declares {name} as {excerpt(value)}, which is not a number of seconds",
            looked_at="its answer to hello, or its attribute 'declares'",
            remedy="declare a number that is not negative, or leave it out",
        )
    return float(value)


T = TypeVar("T")


def closed(name: str, op: str) -> errors.SubjectDied:
    return errors.SubjectDied(
        f"the subject is closed, so it cannot be asked to {op}",
        looked_at=name,
        remedy="open it again",
    )


class Subject(ABC):
    """A client under test, started and ready. Many threads may call it at once.

    Each operation is a message with an answer, as in the line protocol. Operations raise
    `OperationFailed` if the client reports a failure, `SubjectHung` after ``timeout`` seconds,
    `SubjectDied` if its process has ended, and `SubjectError` if it breaks its contract with the
    harness.

    Attributes:
        name: The text given as ``--subject``.
        capabilities: A subset of `CAPABILITIES`.
        declares: A subset of `DECLARATIONS`, in seconds.
        version: Empty if unknown.
        leaves: A subset of `LEAVES`.
    """

    kind: Kind
    capabilities: frozenset[str]
    declares: Mapping[str, float]
    version: str
    leaves: frozenset[str]
    ignored: tuple[str, ...] = ()

    def __init__(self, name: str, log: Path) -> None:
        self.name = name
        self._log = log
        self._told = False

    def __repr__(self) -> str:
        return f"<{self.name}>"

    @abstractmethod
    def _exchange(self, op: str, fields: Object, timeout: float) -> Object:
        """Send a message, and wait for its answer."""

    @abstractmethod
    def close(self, *, timeout: float, beyond: float = 0.0) -> None:
        """End it cleanly, as a deployment does; a good client revokes its token.

        The harness waits ``beyond`` seconds longer than ``timeout``, to tell a late end from none.
        """

    @abstractmethod
    def kill(self) -> None:
        """End it without a goodbye; do nothing if it is closed."""

    @abstractmethod
    def is_alive(self) -> bool:
        """Return whether it can still be asked."""

    def logs(self) -> str:
        """Return all that it has logged."""
        return log_text(self._log)

    @property
    def pid(self) -> int | None:
        """None without a process of its own on this machine."""
        return None

    @property
    def exit_code(self) -> int | None:
        """Negative for a signal; None while it lives."""
        return None

    def _introduced(self, said: Hello) -> None:
        self.capabilities = said.capabilities
        self.declares = said.declares
        self.version = said.version
        self.leaves = said.leaves
        self.ignored = said.ignored

    @property
    def reports_outcomes(self) -> bool:
        """Return whether it has claimed or shown that it distinguishes failures."""
        return self._told or "outcomes" in self.capabilities

    @without_frames
    def read(self, path: str, key: str, *, timeout: float) -> Reading:
        """Return one key. The path is below the mount, without ``data/``."""
        return self._ask("read", {"path": path, "key": key}, reading, timeout)

    @without_frames
    def read_cached(self, path: str, key: str, *, timeout: float) -> Reading:
        """Return one key, possibly from the client's cache."""
        return self._ask("read_cached", {"path": path, "key": key}, reading, timeout)

    @without_frames
    def read_all(self, path: str, *, timeout: float) -> Whole:
        """Return all keys of one version."""
        return self._ask("read_all", {"path": path}, whole, timeout)

    @without_frames
    def write(self, path: str, data: Mapping[str, str], *, timeout: float) -> None:
        """Store a new version."""
        self._ask("write", {"path": path, "data": dict(data)}, check, timeout)

    @without_frames
    def update(self, path: str, data: Mapping[str, str], *, timeout: float) -> None:
        """Change these keys, and keep the others."""
        self._ask("update", {"path": path, "data": dict(data)}, check, timeout)

    @without_frames
    def lease(self, path: str, failed: str | None = None, *, timeout: float) -> Credential:
        """Return a working credential; ``failed`` names a refused user."""
        return self._ask("lease", leasing(path, failed), credential, timeout)

    @without_frames
    def static(self, path: str, failed: str | None = None, *, timeout: float) -> Credential:
        """Return a static role's credential; ``failed`` is a refused password."""
        return self._ask("static", leasing(path, failed), credential, timeout)

    @without_frames
    def fork(
        self, path: str, key: str, *, seconds: float, every: float, timeout: float
    ) -> Sequence[Reading | OperationFailed]:
        """Fork its process, and return the reads of the child, which ends after ``seconds``."""
        asked = {"path": path, "key": key, "seconds": seconds, "every": every}
        return self._ask("fork", asked, forked, timeout)

    @without_frames
    def herd(self, clients: int, *, timeout: float) -> None:
        """Make clients in its process until there are `clients`, the first included."""
        self._ask("herd", {"clients": clients}, check, timeout)

    @without_frames
    def read_by(self, client: int, path: str, key: str, *, timeout: float) -> Reading:
        """Read with the client of this number; the first is 0."""
        asked = {"path": path, "key": key, "client": client}
        return self._ask("read", asked, reading, timeout)

    @without_frames
    def health(self, *, timeout: float) -> bool:
        """Return whether the client says that it is well."""
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
