"""What every client under test looks like to a scenario, whatever it is made of."""

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
        "redirects",
        "tls",
        "lease",
        "update",
        "read_all",
        "fork",
        "herd",
    }
)
"""All that a client can claim. ``read`` is the one that everybody has."""

DECLARATIONS = frozenset({"max_stale", "refresh", "backoff_cap", "deadline", "min_ttl"})
"""The times, in seconds, by which a client may ask to be judged instead of the suite's defaults.

``min_ttl`` is the shortest life of a token, or of a lease, that its timers are made for: scenarios
with a shorter one are stretched.
"""

OUTCOMES = frozenset({"unavailable", "denied", "missing", "deleted", "stale"})
"""Why an operation failed, in the words that scenarios compare with."""


@dataclass(frozen=True)
class Reading:
    """A secret that a client handed out.

    Attributes:
        value: The secret; kept out of the repr.
        stale: Whether the client said that this is an old value, kept for an outage.
    """

    value: str = field(repr=False)
    stale: bool = False


@dataclass(frozen=True)
class Whole:
    """All of a secret that a client handed out at once.

    Attributes:
        values: Each key with its value; kept out of the repr.
        stale: Whether the client said that they are old, kept for an outage.
    """

    values: Mapping[str, str] = field(repr=False)
    stale: bool = False


@dataclass(frozen=True)
class Credential:
    """What a client leased and hands out.

    Attributes:
        username: The user that Vault made for it.
        password: That user's password; kept out of the repr.
    """

    username: str
    password: str = field(repr=False)


class OperationFailed(Exception):
    """The client said that an operation failed: an answer to be judged, not a broken contract.

    Args:
        outcome: One of `OUTCOMES`, or None where the client does not tell.
        message: The client's own words. They may hold anything, a secret too.
    """

    def __init__(self, outcome: str | None, message: str) -> None:
        super().__init__(outcome, message)
        self.outcome = outcome if outcome in OUTCOMES else None
        self.message = message

    def __str__(self) -> str:
        return f"{self.outcome or 'failed'}: {self.message}"


class SubjectHung(errors.SubjectError):
    """An operation did not end within the time that the harness gave it, and was given up."""


class SecretNotServed(errors.SubjectError):
    """A client serves only the secrets that it was configured with, and this is none of them."""


@runtime_checkable
class Subject(Protocol):
    """A client under test, started and ready.

    Operations may be called from many threads at once. Each raises `OperationFailed` when the
    client says that it failed, `SubjectHung` when it does not end within ``timeout`` seconds,
    `SubjectDied` when its process has ended, and `SubjectError` when it breaks its contract with
    the harness.
    """

    @property
    def name(self) -> str:
        """What was given as ``--subject``."""

    @property
    def kind(self) -> Kind:
        """How it is reached."""

    @property
    def capabilities(self) -> frozenset[str]:
        """What it claims to do, a subset of `CAPABILITIES`."""

    @property
    def declares(self) -> Mapping[str, float]:
        """What it says of its own times, a subset of `DECLARATIONS`, in seconds."""

    @property
    def version(self) -> str:
        """Its own version, empty where it says none."""

    @property
    def leaves(self) -> Collection[str]:
        """What it says to leave behind: its ``token`` when it ends, a ``file`` of what is gone."""

    @property
    def tells_outcomes(self) -> bool:
        """Whether it has claimed, or shown by now, that it tells one failure from another."""

    @property
    def pid(self) -> int | None:
        """Its process, or None where it has none of its own or it is not on this machine."""

    @property
    def exit_code(self) -> int | None:
        """How its process ended (negative: by that signal), or None."""

    def read(self, path: str, key: str, *, timeout: float) -> Reading:
        """One key of the secret at ``path`` (below the mount, without ``data/``)."""

    def read_cached(self, path: str, key: str, *, timeout: float) -> Reading:
        """The same, from the client's cache if it likes."""

    def read_all(self, path: str, *, timeout: float) -> Whole:
        """All keys of the secret at ``path``, as one version has them."""

    def write(self, path: str, data: Mapping[str, str], *, timeout: float) -> None:
        """Store a new version of the secret at ``path``."""

    def lease(self, path: str, failed: str | None = None, *, timeout: float) -> Credential:
        """The credential of ``path`` that works now; ``failed`` names a user that was refused."""

    def update(self, path: str, data: Mapping[str, str], *, timeout: float) -> None:
        """Change these keys of the secret at ``path``, and keep the others as they are."""

    def fork(
        self, path: str, key: str, *, seconds: float, every: float, timeout: float
    ) -> Sequence[Reading | OperationFailed]:
        """Fork its process, and let the child read so long and end: what each read came to."""

    def herd(self, clients: int, *, timeout: float) -> None:
        """Have so many clients in its process, the one that it began with among them."""

    def read_by(self, client: int, path: str, key: str, *, timeout: float) -> Reading:
        """What the client of this number reads; the one that it began with is 0."""

    def health(self, *, timeout: float) -> bool:
        """Whether the client says that it is well."""

    def close(self, *, timeout: float, beyond: float = 0.0) -> None:
        """End it cleanly, as a deployment would; it revokes its token if it is a good one.

        It has ``timeout`` seconds, and is waited for that many more: who is late is told from who
        never ends.
        """

    def kill(self) -> None:
        """End it without a goodbye. Does nothing if it is closed."""

    def logs(self) -> str:
        """Everything that it logged so far."""

    def is_alive(self) -> bool:
        """Whether it can still be asked."""


@runtime_checkable
class Terminable(Protocol):
    """A subject that may be ended as a program is ended where it runs, without a goodbye."""

    def terminate(self) -> None:
        """SIGTERM to it and its children, and nothing else. Does nothing once it has ended."""


@dataclass(frozen=True)
class SubjectSpec:
    """A client under test that is not started yet; made by `parse_subject`.

    Attributes:
        text: What was given as ``--subject``, which is also the subject's name.
        kind: How it is reached.
        module: Of an in-process subject: the module that holds its factory.
        factory: Of an in-process subject: the dotted name of the factory in that module.
        command: Of a command subject: program and arguments, never seen by a shell.
        url: Of an HTTP subject: its base URL, without a slash at the end.
        config: Of an agent: the file of its configuration.
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
    """The outcome that a client named, or None if it is none of the known ones."""
    return word if isinstance(word, str) and word in OUTCOMES else None


def log_tail(log: Path, lines: int = 12) -> str:
    """The last ``lines`` lines of a log file, or an empty string."""
    return "\n".join(log_text(log).splitlines()[-lines:])


def log_text(log: Path) -> str:
    """A log file as text, however broken its encoding."""
    try:
        return log.read_text(encoding="utf-8", errors="replace")
    except FileNotFoundError:
        return ""
