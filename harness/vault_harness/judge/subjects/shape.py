"""Define what every client under test looks like to a scenario."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
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
class Subject(Protocol):
    """A client under test, started and ready. Many threads may call it at once.

    Operations raise `OperationFailed` if the client reports a failure, `SubjectHung` after
    ``timeout`` seconds, `SubjectDied` if its process has ended, and `SubjectError` if it breaks its
    contract with the harness.
    """

    @property
    def name(self) -> str:
        """The text given as ``--subject``."""

    @property
    def kind(self) -> Kind:
        """How the subject is reached."""

    @property
    def capabilities(self) -> frozenset[str]:
        """A subset of `CAPABILITIES`."""

    @property
    def declares(self) -> Mapping[str, float]:
        """A subset of `DECLARATIONS`, in seconds."""

    @property
    def version(self) -> str:
        """Empty if unknown."""

    @property
    def leaves(self) -> Collection[str]:
        """A subset of `LEAVES`."""

    @property
    def reports_outcomes(self) -> bool:
        """Return whether it has claimed or shown that it distinguishes failures."""

    @property
    def pid(self) -> int | None:
        """None without a process of its own on this machine."""

    @property
    def exit_code(self) -> int | None:
        """Negative for a signal; None while it lives."""

    def read(self, path: str, key: str, *, timeout: float) -> Reading:
        """Return one key. The path is below the mount, without ``data/``."""

    def read_cached(self, path: str, key: str, *, timeout: float) -> Reading:
        """Return one key, possibly from the client's cache."""

    def read_all(self, path: str, *, timeout: float) -> Whole:
        """Return all keys of one version."""

    def write(self, path: str, data: Mapping[str, str], *, timeout: float) -> None:
        """Store a new version."""

    def lease(self, path: str, failed: str | None = None, *, timeout: float) -> Credential:
        """Return a working credential; ``failed`` names a refused user."""

    def static(self, path: str, failed: str | None = None, *, timeout: float) -> Credential:
        """Return a static role's credential; ``failed`` is a refused password."""

    def update(self, path: str, data: Mapping[str, str], *, timeout: float) -> None:
        """Change these keys, and keep the others."""

    def fork(
        self, path: str, key: str, *, seconds: float, every: float, timeout: float
    ) -> Sequence[Reading | OperationFailed]:
        """Fork its process, and return the reads of the child, which ends after ``seconds``."""

    def herd(self, clients: int, *, timeout: float) -> None:
        """Make clients in its process until there are `clients`, the first included."""

    def read_by(self, client: int, path: str, key: str, *, timeout: float) -> Reading:
        """Read with the client of this number; the first is 0."""

    def health(self, *, timeout: float) -> bool:
        """Return whether the client says that it is well."""

    def close(self, *, timeout: float, beyond: float = 0.0) -> None:
        """End it cleanly, as a deployment does; a good client revokes its token.

        The harness waits ``beyond`` seconds longer than ``timeout``, to tell a late end from none.
        """

    def kill(self) -> None:
        """End it without a goodbye; do nothing if it is closed."""

    def logs(self) -> str:
        """Return all that it has logged."""

    def is_alive(self) -> bool:
        """Return whether it can still be asked."""


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


def log_tail(log: Path, lines: int = 12) -> str:
    return "\n".join(log_text(log).splitlines()[-lines:])


def log_text(log: Path) -> str:
    """Return a log file as text, even if its encoding is broken."""
    try:
        return log.read_text(encoding="utf-8", errors="replace")
    except FileNotFoundError:
        return ""
