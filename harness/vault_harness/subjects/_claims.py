"""What a client says of itself: what it can, what times it asks for, how it gets its token."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, replace

from vault_harness import errors
from vault_harness.files import encodable
from vault_harness.subjects._protocol import Object, check, excerpt
from vault_harness.subjects._shape import CAPABILITIES, DECLARATIONS, OperationFailed

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

READS_ONLY = Hello(frozenset({"read"}), {})
"""What is assumed of a client that does not know ``hello``."""


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
