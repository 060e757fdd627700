"""Tell from evidence whether the client can do its work."""

from __future__ import annotations

import time
from dataclasses import dataclass

from resilient_vault_client._deadline import Deadline, clock
from resilient_vault_client._errors import (
    CredentialsRejected,
    PermissionDenied,
    RoleLocked,
    SecretDeleted,
    SecretDestroyed,
    SecretNotFound,
    VaultError,
)
from resilient_vault_client._session import Session

# Seconds. Evidence older than this, or than a quarter of the token's life, is renewed.
_EVIDENCE_LASTS = 5.0

# One failure is an accident.
_RENEWAL_FAILURES = 2


@dataclass(frozen=True, kw_only=True)
class Health:
    """The state of the client for a monitor.

    Attributes:
        ok: Whether secrets can be read from Vault, now and soon.
        reasons: Why not, in words.
        enabled: False with ``USE_VAULT=false``.
        authenticated: There is a token, valid as far as the client knows.
        token_ttl: Seconds left; None without a token, infinity for one without end.
        last_success: Seconds since then, or None.
        stale: Reads return last good values, or would.
        outage: Seconds since it began, or None.
        role_locked: Vault refuses the role for everybody.
        credentials_rejected: The client waits for a new secret-id.
        renewal_failures: In a row.
    """

    ok: bool
    reasons: tuple[str, ...] = ()
    enabled: bool = True
    authenticated: bool = False
    token_ttl: float | None = None
    last_success: float | None = None
    stale: bool = False
    outage: float | None = None
    role_locked: bool = False
    credentials_rejected: bool = False
    renewer_alive: bool = False
    renewal_failures: int = 0

    def __bool__(self) -> bool:
        return self.ok


def examine(session: Session, deadline: Deadline) -> Health:
    """Examine the client, and read the latest secret again if the evidence is old.

    Without a secret it asks about the token, not ``sys/health``, which stays green while a full
    audit device or a dead storage makes every read hang or fail.
    """
    renewer_alive = session.renewer.alive
    renewer_died = session.renews and session.renewer.started_before and not renewer_alive
    problem = None if _recent(session) else _probe(session, deadline)
    if session.renews:
        session.renewer.ensure_running()
    reasons = []
    if problem is not None:
        reasons.append(str(problem))
    outage = session.circuit.outage
    if outage is not None and problem is None:
        reasons.append(str(outage.error))
    token = session.authenticator.current
    authenticated = token is not None and token.usable
    failure = session.authenticator.failure
    if not authenticated and not reasons:
        reasons.append(str(failure or "there is no token"))
    if renewer_died:
        reasons.append("the thread that renews the token had died, and was started again")
    trouble = session.leases.trouble
    if trouble is not None:
        reasons.append(trouble)
    failures = session.renewer.failures
    if failures >= _RENEWAL_FAILURES:
        reasons.append(f"the token was not renewed, {failures} times in a row")
    success = session.last_success
    return Health(
        ok=not reasons,
        reasons=tuple(reasons),
        authenticated=authenticated,
        token_ttl=token.remaining if token is not None and authenticated else None,
        last_success=None if success is None else clock() - success,
        stale=outage is not None or not authenticated,
        outage=None if outage is None else time.monotonic() - outage.since,
        role_locked=isinstance(failure, RoleLocked),
        credentials_rejected=isinstance(failure, CredentialsRejected),
        renewer_alive=session.renewer.alive and not renewer_died,
        renewal_failures=failures,
    )


def _recent(session: Session) -> bool:
    if session.circuit.outage is not None or session.last_success is None:
        return False
    token = session.authenticator.current
    if token is None or not token.usable:
        return False
    lasts = min(_EVIDENCE_LASTS, (token.ttl or _EVIDENCE_LASTS * 4) / 4)
    return clock() - session.last_success < lasts


def _probe(session: Session, deadline: Deadline) -> VaultError | None:
    """Return the problem; a denial or a missing secret is an answer of a healthy Vault."""
    path = session.memory.latest_path
    try:
        if path is None:
            session.prove(deadline)
        else:
            session.fetch(path, deadline.without_patience(), version=None)
    except (PermissionDenied, SecretNotFound, SecretDeleted, SecretDestroyed):
        return None
    except VaultError as error:
        return error
    return None
