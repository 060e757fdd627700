"""What a history is made of: one kind of entry for each thing that a witness can see."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from vault_harness.faults import RequestKind

Outcome = Literal[
    "ok", "stale", "unavailable", "denied", "missing", "deleted", "error", "hung", "died"
]
"""How an operation of the subject ended, as the caller saw it.

``error`` is a failure that the subject did not classify, ``hung`` one that the harness stopped
waiting for, ``died`` the end of the subject's process.
"""


BESIDE = " beside "
"""Between the labels of a whole secret's values, where they are not all the same."""

NOTHING = "nothing"
"""In the place of a label, where a whole secret is handed out without one of its keys."""


@dataclass
class Operation:
    """One call of the subject.

    Attributes:
        number: Order in which calls began, from 1.
        verb: ``read``, ``read_cached``, ``read_all``, ``write``, ``update``, ``lease``, ``fork``,
            ``herd``, ``health``, ``start`` or ``close``.
        path: Secret path below the mount, or an empty string.
        began: Seconds on the history's clock.
        ended: The same; None while it lasts.
        value: Label of the value that came back (``v1``, ``fallback``), never the value;
            ``unknown`` for a value that nobody ever wrote. Several, with `BESIDE` between them,
            where a whole secret is not of one version, and `NOTHING` for a key that it lacks.
        message: What the subject said of a failure, with secrets taken out.
        caller: Which of several concurrent callers it was.
        key: Which key of the secret was asked for, or an empty string.
        instance: Number of the ``start`` that made whoever was called; None of a start itself.
    """

    number: int
    verb: str
    path: str
    began: float
    ended: float | None = None
    outcome: Outcome | None = None
    value: str | None = None
    message: str = ""
    caller: int = 0
    key: str = ""
    instance: int | None = None

    @property
    def good(self) -> bool:
        """Whether a fresh value came back."""
        return self.outcome == "ok"

    @property
    def failed(self) -> bool:
        """Whether it ended without any value."""
        return self.outcome not in ("ok", "stale", None)

    @property
    def told(self) -> str:
        """How it ended, and what the subject said of that, if anything."""
        return f"{self.outcome}: {self.message}" if self.message else str(self.outcome)


@dataclass
class Exchange:
    """One HTTP request that reached the recorder, and what came of it.

    Attributes:
        connection: Ordinal of the TCP connection that carried it.
        token: Label of the token it presented, or None.
        secret_id: Label of the secret-id it presented (logins only), or None.
        credential: Label of the dynamic credential that it made, or whose lease it is about.
        accessor: Accessor of the token that the answer is about (logins, renewals).
        ttl: ``lease_duration`` of that answer, a token's or a lease's, in seconds.
        renewable: What the answer says of the token's renewal.
        status: HTTP status; None as long as, or if, no answer came.
        retry_after: The answer's ``Retry-After`` in seconds.
        by: ``vault``, or ``stub`` where the harness answered in Vault's place.
        closed: ``client`` or ``server`` if the connection ended before the answer was complete; the
            client's end counts from when this machine had it, heard or not.
        interference: Name of what acted on it here, if anything did: `faults.http`.
        namespace: Which one it named, by its header or at the head of its path; `path` is below.
        waited: Seconds for which it had been here, unread, when it `began`: the recorder takes one
            request after the other, and of many that come at once the last waits for all others.
    """

    number: int
    connection: int
    began: float
    method: str
    path: str
    kind: RequestKind
    token: str | None = None
    secret_id: str | None = None
    credential: str | None = None
    ended: float | None = None
    status: int | None = None
    accessor: str | None = None
    ttl: float | None = None
    renewable: bool | None = None
    retry_after: float | None = None
    errors: tuple[str, ...] = ()
    by: Literal["vault", "stub"] = "vault"
    closed: Literal["client", "server"] | None = None
    interference: str | None = None
    namespace: str = ""
    waited: float = 0.0

    @property
    def came(self) -> float:
        """When it came, read or not; seconds on the history's clock."""
        return self.began - self.waited

    @property
    def good(self) -> bool:
        """Whether Vault did what was asked."""
        return self.status is not None and self.status < 300


GONE = "none (it is deleted)"
"""What stands in the place of a value's label once the secret is deleted."""


@dataclass(frozen=True)
class Handshake:
    """A TLS handshake of a client that ended, well or not.

    Attributes:
        at: When, seconds on the history's clock.
        connection: Ordinal of the TCP connection.
        protocol: What both agreed on: ``h2`` or ``http/1.1``; None if it failed.
        refused: Why it failed, in OpenSSL's words; None if it did not. A client that looks at our
            certificate and goes away without a word has none: then it is what became of the
            connection.
    """

    at: float
    connection: int
    protocol: str | None = None
    refused: str | None = None


@dataclass(frozen=True)
class Swallowed:
    """Bytes of a client that nobody heard: they came over a connection that was dead by then.

    Attributes:
        at: When, seconds on the history's clock.
        connection: Ordinal of the TCP connection.
    """

    at: float
    connection: int


@dataclass
class Rotation:
    """A secret that the harness changes: from `at` on, `value` is a right one for `path`.

    Attributes:
        at: When the harness began to write it.
        value: Its label, or `GONE` from where on there is none.
        done: When Vault had it for sure, so that the one before was no longer right; None until
            then.
    """

    at: float
    path: str
    value: str
    done: float | None = None


@dataclass
class Mark:
    """A remark of the scenario's author on the clock: ``new secret-id delivered``."""

    at: float
    text: str


@dataclass(frozen=True)
class Touch:
    """A connection on which a toxic acted, by what Toxiproxy says."""

    toxic: str
    opened: float
    closed: float | None


@dataclass
class Use:
    """A login at the database with a credential that the subject had handed out.

    Attributes:
        began: Seconds on the history's clock.
        ended: The same.
        credential: Its label; ``unknown`` for one that no answer of Vault's has shown.
        accepted: Whether the database let it in.
    """

    began: float
    ended: float
    credential: str
    accepted: bool


@dataclass
class AuditRecord:
    """One answered request in the server's own audit log."""

    at: float
    path: str
    operation: str
    accessor: str | None
    error: str | None


@dataclass(frozen=True)
class Stall:
    """A while for which this process did not run although it was due to.

    Attributes:
        at: When it was due, seconds on the history's clock.
        length: By how many seconds it came late.
    """

    at: float
    length: float

    @property
    def end(self) -> float:
        """When it ran again."""
        return self.at + self.length

    def __str__(self) -> str:
        return f"it stood still for {self.length:.2f} s at +{self.at:.2f} s"


@dataclass(frozen=True)
class Crowding:
    """A while in which there were more threads on this machine to run than cores.

    Attributes:
        at: When it began, seconds on the history's clock.
        until: When it ended.
        waited: Seconds of it in which some thread, of any program, waited for a core.
    """

    at: float
    until: float
    waited: float

    def within(self, since: float, until: float) -> float:
        """Seconds of ``[since, until]`` in which some thread waited, as if waits were even."""
        shared = min(self.until, until) - max(self.at, since)
        return self.waited * max(shared, 0.0) / (self.until - self.at)


@dataclass(frozen=True)
class Starved(Crowding):
    """A while in which threads of the subject, or of this process, waited for a core."""
