"""What a client says of itself: what it can do, its times, and how it gets its token."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, replace

from vault_harness import errors
from vault_harness.files import encodable
from vault_harness.judge.subjects.protocol import Object, check, excerpt
from vault_harness.judge.subjects.shape import CAPABILITIES, DECLARATIONS, LEAVES, OperationFailed

WAYS_IN = frozenset({"jwt", "token-file", "wrapped-secret-id", "namespace"})
"""What a client can claim in ``auth``: ways to get its token besides AppRole."""


@dataclass(frozen=True)
class Hello:
    """What a client says of itself.

    Attributes:
        capabilities: A subset of `CAPABILITIES` and `WAYS_IN`.
        declares: A subset of `DECLARATIONS`, in seconds.
        leaves: A subset of `LEAVES`.
        version: Its own version; empty if unknown.
        ignored: Names of other members of its answer, which nobody reads.
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
"""What is assumed of a client that does not know ``hello``."""


def hello(answer: Object) -> Hello:
    """Return what a client says of itself. Without ``hello`` it is taken to read only."""
    try:
        check(answer)
    except OperationFailed:
        return READS_ONLY
    left_out = {"capabilities": ["read"], "declares": {}, "auth": [], "leaves": []}
    # Null counts as left out: Go writes a nil map or list so.
    given = {name: answer[name] for name in left_out if answer.get(name) is not None}
    said = claims(**{**left_out, **given})
    ignored = tuple(sorted(map(excerpt, set(answer) - _OF_HELLO)))
    return replace(said, version=version_of(answer.get("version")), ignored=ignored)


def version_of(text: object) -> str:
    """Return a client's version, short and in one line; empty if it gives none."""
    return encodable(" ".join(text.split())[:80]) if isinstance(text, str) else ""


def claims(capabilities: object, declares: object, auth: object = (), leaves: object = ()) -> Hello:
    """Check what a client says of itself: capabilities, times, logins, what it leaves behind."""
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
    """Return the end of a remedy for words that belong in another list, if any."""
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
