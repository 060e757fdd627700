"""Define the entries of a history: one type for each thing that a witness can see."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from vault_harness.recorder.fault import RequestKind

Outcome = Literal[
    "ok", "stale", "unavailable", "denied", "missing", "deleted", "error", "hung", "died"
]
"""How an operation of the subject ended, as the caller saw it.

``error`` is an unclassified failure, ``hung`` a call that the harness gave up, and ``died`` the end
of the subject's process.
"""


BESIDE = " beside "
"""Separator between the labels of a whole secret's values, if they differ."""

NOTHING = "nothing"
"""Stands for the label of a key that a whole secret lacks."""


@dataclass
class Operation:
    """One call of the subject. Times are seconds on the history's clock.

    Attributes:
        number: Order in which calls began, from 1.
        verb: ``read``, ``read_cached``, ``read_all``, ``write``, ``update``, ``lease``, ``fork``,
            ``herd``, ``health``, ``start`` or ``close``.
        path: Secret path below the mount, or an empty string.
        ended: None while the call lasts.
        value: Label of the returned value (``v1``, ``fallback``), never the value; ``unknown`` if
            it was never written. For a whole secret of several versions, labels are separated by
            `BESIDE`, with `NOTHING` for a missing key.
        message: What the subject said about a failure, without secrets.
        caller: Number of the concurrent caller.
        key: Key of the secret that was asked for, or an empty string.
        instance: Number of the client's ``start``; None for a start itself.
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
        """Return whether the call gave a fresh value."""
        return self.outcome == "ok"

    @property
    def failed(self) -> bool:
        """Return whether the call ended without a value."""
        return self.outcome not in ("ok", "stale", None)

    @property
    def told(self) -> str:
        """Return how the call ended, with the subject's message."""
        return f"{self.outcome}: {self.message}" if self.message else str(self.outcome)


@dataclass
class Exchange:
    """One HTTP request that reached the recorder, and its answer.

    Attributes:
        connection: Number of the TCP connection.
        token: Label of the token that it presented, or None.
        secret_id: Label of the secret-id that it presented, for a login.
        credential: Label of the dynamic credential that the request created, or that its lease
            belongs to.
        accessor: Accessor of the token that the answer is about (logins, renewals).
        ttl: ``lease_duration`` of the answer, for a token or a lease, in seconds.
        renewable: Whether the answer calls the token renewable.
        status: HTTP status; None while there is no answer.
        retry_after: The answer's ``Retry-After`` in seconds.
        by: ``vault``, or ``stub`` if the harness answered instead.
        closed: The side that closed the connection before the answer was complete.
        interference: Name of the HTTP fault that acted on it, if any.
        namespace: The namespace that it named, by header or path; `path` is relative to it.
        waited: Seconds that it lay unread before `began`, since the recorder handles requests in
            turn.
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
        """Return when it arrived, read or not."""
        return self.began - self.waited

    @property
    def good(self) -> bool:
        """Return whether Vault did what the request asked for."""
        return self.status is not None and self.status < 300


GONE = "none (it is deleted)"
"""Stands for the label of a value after the secret is deleted."""


@dataclass(frozen=True)
class Handshake:
    """A client's finished TLS handshake.

    Attributes:
        at: When it ended, in seconds on the history's clock.
        connection: Number of the TCP connection.
        protocol: ``h2`` or ``http/1.1``; None if it failed.
        refused: Why it failed, in OpenSSL's words. If a client rejects the recorder's certificate
            without an alert, this says how the connection ended.
    """

    at: float
    connection: int
    protocol: str | None = None
    refused: str | None = None


@dataclass(frozen=True)
class Swallowed:
    """Bytes that a client sent over a connection that was already dead."""

    at: float
    connection: int


@dataclass
class Rotation:
    """A change of a secret by the harness: from `at` on, `value` is right for `path`.

    Attributes:
        at: When the harness began to write it.
        value: Its label, or `GONE` for a deletion.
        done: When Vault surely had it, so that the previous value was no longer right; None until
            the write ends.
    """

    at: float
    path: str
    value: str
    done: float | None = None


@dataclass
class Mark:
    """A remark by the scenario's author on the clock: ``new secret-id delivered``."""

    at: float
    text: str


@dataclass(frozen=True)
class Touch:
    """A connection on which a toxic acted, according to Toxiproxy."""

    toxic: str
    opened: float
    closed: float | None


@dataclass
class Use:
    """A login to the database with a credential that the subject returned.

    `credential` is its label; ``unknown`` if no answer of Vault contained it.
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
    """A time in which the machine did not run a program that was due.

    `at` is when it was due, and `length` says how many seconds late it ran.
    """

    at: float
    length: float

    @property
    def end(self) -> float:
        """Return when the program ran again."""
        return self.at + self.length

    def __str__(self) -> str:
        return f"it stood still for {self.length:.2f} s at +{self.at:.2f} s"
