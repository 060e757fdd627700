"""The entries of a history: one type for each thing that a witness can see."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from vault_harness.recorder.fault import RequestKind

Outcome = Literal[
    "ok", "stale", "unavailable", "denied", "missing", "deleted", "error", "hung", "died"
]
"""How an operation ended, as the caller saw it.

``error`` is an unclassified failure, ``hung`` a call that the harness gave up, ``died`` the end of
the subject's process.
"""


BESIDE = " beside "
"""Separates the labels of a whole secret's values, if they differ."""

NOTHING = "nothing"
"""The label of a key that a whole secret lacks."""


@dataclass
class Operation:
    """One call of the subject. Times are seconds on the history's clock.

    Attributes:
        value: Label of the returned value (``v1``, ``fallback``), never the value; ``unknown`` if
            it was never written. Labels of several versions are separated by `BESIDE`, with
            `NOTHING` for a missing key.
        message: What the subject said about a failure, without secrets.
        key: Of the secret that was asked for, or "".
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
        return self.outcome == "ok"

    @property
    def failed(self) -> bool:
        return self.outcome not in ("ok", "stale", None)

    @property
    def told(self) -> str:
        return f"{self.outcome}: {self.message}" if self.message else str(self.outcome)


@dataclass
class Exchange:
    """One HTTP request that reached the recorder, and its answer.

    Attributes:
        secret_id: Label of the one that a login presented.
        credential: Label of the dynamic credential that it created, or that its lease belongs to.
        accessor: Of the token that the answer is about (logins, renewals).
        ttl: Seconds of the answer's ``lease_duration``.
        renewable: Whether the answer calls the token renewable.
        retry_after: Seconds.
        closed: The side that closed the connection before the answer was complete.
        namespace: As it named it, by header or path; `path` is relative to it.
        waited: Seconds that it lay unread before `began`, since requests are handled in turn.
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
        return self.began - self.waited

    @property
    def good(self) -> bool:
        return self.status is not None and self.status < 300


GONE = "none (it is deleted)"
"""The label of a deleted secret's value."""


@dataclass(frozen=True)
class Handshake:
    """A client's finished TLS handshake.

    Attributes:
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
    """Bytes over a connection that was already dead."""

    at: float
    connection: int


@dataclass
class Rotation:
    """A change of a secret by the harness.

    Attributes:
        at: When the write began; from now on `value` is right.
        done: When the previous value was no longer right; None until the write ends.
    """

    at: float
    path: str
    value: str
    done: float | None = None


@dataclass
class Mark:
    """A remark by the scenario's author: ``new secret-id delivered``."""

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
    """A login to the database with the subject's credential.

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
    """A time in which the machine did not run a program that was due at `at`."""

    at: float
    length: float

    @property
    def end(self) -> float:
        return self.at + self.length

    def __str__(self) -> str:
        return f"it stood still for {self.length:.2f} s at +{self.at:.2f} s"
