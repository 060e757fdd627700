"""Define what clients under test claim, hand out and fail with."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, Protocol, runtime_checkable

from vault_harness import errors

Kind = Literal["in-process", "command", "http", "agent"]

CAPABILITIES = frozenset(
    {
        "read",
        "cached",
        "fallback",
        "health",
        "write",
        "outcomes",
        "tls",
        "lease",
        "static",
        "update",
        "read_all",
        "fork",
        "herd",
    }
)
"""Everything a client can claim. Every client has ``read``."""

DECLARATIONS = frozenset({"max_stale", "refresh", "backoff_cap", "deadline", "min_ttl"})
"""Times, in seconds, that a client may declare in place of the suite's defaults.

``min_ttl`` is the shortest life of a token or lease that its timers are made for. Scenarios with
shorter lives are stretched.
"""

LEAVES = frozenset({"token", "file"})
"""What a client can leave by design: its token when it ends, the file of a deleted secret."""

OUTCOMES = frozenset({"unavailable", "denied", "missing", "deleted", "stale"})
"""Why an operation failed, in the words that scenarios compare."""


@dataclass(frozen=True)
class Reading:
    """A secret that a client handed out; `stale` if the client called it an old value."""

    value: str = field(repr=False)
    stale: bool = False


@dataclass(frozen=True)
class Whole:
    """A whole secret, handed out at once."""

    values: Mapping[str, str] = field(repr=False)
    stale: bool = False


@dataclass(frozen=True)
class Credential:
    """A credential that a client handed out."""

    username: str
    password: str = field(repr=False)
    stale: bool = False


class OperationFailed(Exception):
    """Raised if the client says that an operation failed, which is an answer to judge.

    Args:
        outcome: One of `OUTCOMES`, or None if the client does not tell.
        message: The client's own words, which may contain even a secret.
        beside: Further texts that a Python object's error carries, by place:
            ``__cause__.request.headers``.
    """

    def __init__(
        self, outcome: str | None, message: str, beside: Mapping[str, str] | None = None
    ) -> None:
        super().__init__(outcome, message)
        self.beside = dict(beside or {})
        self.outcome = outcome if outcome in OUTCOMES else None
        self.message = message

    def __str__(self) -> str:
        return f"{self.outcome or 'failed'}: {self.message}"


class SubjectHung(errors.SubjectError):
    """Raised if an operation does not end in the time that the harness gives it."""


class SecretNotServed(errors.SubjectError):
    """Raised if this secret is not in the client's configuration."""


@runtime_checkable
class Terminable(Protocol):
    """A subject that a signal alone can end, as a supervisor ends a program."""

    def terminate(self) -> None:
        """Send SIGTERM to it and its children; do nothing once it has ended."""


@dataclass(frozen=True)
class SubjectSpec:
    """A client under test that is not started yet, made by `parse_subject`.

    Attributes:
        factory: The dotted name in `module`.
        command: Program and arguments; no shell is used.
        url: Without a slash at the end.
        config: The configuration file of an agent.
    """

    text: str
    kind: Kind
    module: str = ""
    factory: str = ""
    command: tuple[str, ...] = ()
    url: str = ""
    config: str = ""

    def __str__(self) -> str:
        return self.text


def outcome_of(word: object) -> str | None:
    return word if isinstance(word, str) and word in OUTCOMES else None


def log_tail(log: Path) -> str:
    return "\n".join(log_text(log).splitlines()[-12:])


def log_text(log: Path) -> str:
    """Return a log file as text, even if its encoding is broken."""
    try:
        return log.read_text(encoding="utf-8", errors="replace")
    except FileNotFoundError:
        return ""
