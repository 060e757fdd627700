"""Every error that the client raises, and what each means for a caller.

::

    VaultError
    ├── ConfigurationError        the environment or an argument does not make sense
    │   ├── InvalidPath           no secret can have that path
    │   └── MountMissing          Vault has no such mount or namespace
    ├── ClientClosed              the client was closed
    ├── InternalError             a mistake in the client itself
    ├── VaultUnavailable          no usable answer                             outcome: unavailable
    │   ├── VaultTimeout          none within the deadline
    │   ├── VaultUnreachable      no connection could be made
    │   ├── ConnectionLost        the connection broke before the answer came
    │   ├── AnswerTruncated       the connection ended in the middle of the answer
    │   ├── TlsFailed             one side does not trust the other
    │   ├── VaultSealed           it answers, and is sealed
    │   ├── NotInitialised        it answers, and was never initialised
    │   ├── RateLimited           a quota says: later (429)
    │   ├── ServerFailed          it answers with an error of its own (5xx)
    │   ├── NotReplicated         this node lags behind what was written (412)
    │   ├── RedirectRefused       it points to a host that must not see the token
    │   └── UnexpectedAnswer      something answered that is not Vault's API (a web page, say)
    ├── AuthenticationFailed      no login, so no secret                       outcome: denied
    │   ├── CredentialsMissing    there is nothing to log in with
    │   ├── CredentialsRejected   Vault does not accept what there is
    │   ├── RoleLocked            too many failed logins, by anybody: the role is locked
    │   └── AuthMountMissing      there is no such login at that mount
    ├── PermissionDenied          the policy says no                           outcome: denied
    ├── SecretNotFound            there is no such secret                      outcome: missing
    │   └── KeyNotFound           the secret is there, without that key
    ├── SecretDeleted             its latest version was deleted (undelete it) outcome: deleted
    ├── SecretDestroyed           its latest version is gone for good          outcome: deleted
    └── RequestRefused            Vault does not accept the request (400)
        ├── WriteConflict         somebody else wrote first (check-and-set)
        ├── RequestTooLarge       over the server's size limit (413)
        └── WrappingTokenSpent    a wrapping token was used, expired, or never was one

`VaultUnavailable` means that nobody knows: a last good value or a fallback may stand in. All others
are answers, and nothing stands in for them, but for `AuthenticationFailed`, over which a last good
value holds.

No error carries a token, a secret-id, a secret, the error that led to it, or a frame of the client:
frames hold the request with its headers and body, and error trackers print what they hold.
"""

from __future__ import annotations

import copy
from typing import ClassVar, Self


class VaultError(Exception):
    """Anything that goes wrong between an application and its secrets.

    Args:
        message: What is wrong, and where it helps what to do about it. Never a secret.
        path: The secret's path, where one was asked for.
        retry_in: Seconds until asking again makes sense, where that is known.
        sent: Whether Vault may have acted upon the request all the same.

    Attributes:
        outcome: ``unavailable``, ``denied``, ``missing`` or ``deleted``, for those who only sort
            errors.
        status: The HTTP status of the answer, if there was one.
        echo: Whether it tells again what is known from before, without having asked Vault.
    """

    outcome: ClassVar[str | None] = None
    echo = False

    #: Whether a last good value may stand in for the answer.
    stale_may_serve: ClassVar[bool] = False

    def __init__(
        self,
        message: str,
        *,
        path: str | None = None,
        retry_in: float | None = None,
        sent: bool = True,
        status: int | None = None,
    ) -> None:
        super().__init__(message)
        self.path = path
        self.retry_in = retry_in
        self.sent = sent
        self.status = status

    def again(self) -> Self:
        """A copy without a traceback, since one error may be told to many threads."""
        return copy.copy(self)


class ConfigurationError(VaultError):
    """The environment or an argument does not make sense."""


class InvalidPath(ConfigurationError):
    """No secret can have that path."""


class MountMissing(ConfigurationError):
    """Vault has no such mount or namespace."""


class ClientClosed(VaultError):
    """The client was closed."""


class InternalError(VaultError):
    """A mistake in the client itself, and where; please report it."""


class VaultUnavailable(VaultError):
    """Vault gave no usable answer, so nobody knows."""

    outcome = "unavailable"
    stale_may_serve = True

    #: Whether the whole server is out, or perhaps only what was asked for.
    everywhere = True

    #: How many attempts of one call make sense; None for as many as time allows.
    most_attempts: ClassVar[int | None] = None

    #: The first pause in seconds, before it is asked again whether Vault is out.
    first_pause: ClassVar[float] = 0.3


class VaultTimeout(VaultUnavailable):
    """Vault did not answer within the deadline."""


class VaultUnreachable(VaultUnavailable):
    """No connection to Vault could be made."""


class ConnectionLost(VaultUnavailable):
    """The connection broke before the answer came."""

    # One connection breaks by chance far more often than a server does.
    first_pause = 0.05


class AnswerTruncated(VaultUnavailable):
    """The connection ended in the middle of the answer; what came of it is not used."""

    most_attempts = 4


class TlsFailed(VaultUnavailable):
    """No secure connection: one side does not trust the other."""

    most_attempts = 1


class VaultSealed(VaultUnavailable):
    """Vault answers, and is sealed."""


class NotInitialised(VaultUnavailable):
    """Vault answers, and was never initialised."""


class RateLimited(VaultUnavailable):
    """A quota says: later."""


class ServerFailed(VaultUnavailable):
    """Vault answers with an error of its own, which may concern only what was asked for."""

    everywhere = False


class NotReplicated(VaultUnavailable):
    """This node lags behind what was written."""

    everywhere = False
    most_attempts = 6


class RedirectRefused(VaultUnavailable):
    """Vault points to a host that must not see the token."""


class UnexpectedAnswer(VaultUnavailable):
    """Something answered that is not Vault's API."""


class AuthenticationFailed(VaultError):
    """The client could not log in."""

    outcome = "denied"
    stale_may_serve = True


class CredentialsMissing(AuthenticationFailed):
    """There is nothing to log in with: no role-id or secret-id, no JWT, or no token."""


class CredentialsRejected(AuthenticationFailed):
    """Vault does not accept this role-id and secret-id, this JWT, or this token."""


class RoleLocked(AuthenticationFailed):
    """Too many failed logins, by anybody: Vault locked the role for a while."""


class AuthMountMissing(AuthenticationFailed):
    """There is no login of that method at that mount."""


class PermissionDenied(VaultError):
    """The policy says no.

    Attributes:
        doubtful: Whether Vault's words leave open that it is the token that it did not like.
    """

    outcome = "denied"
    doubtful = False


class SecretNotFound(VaultError):
    """There is no such secret."""

    outcome = "missing"


class KeyNotFound(SecretNotFound):
    """The secret is there, without that key."""


class SecretDeleted(VaultError):
    """The secret's latest version was deleted; an operator can undelete it."""

    outcome = "deleted"


class SecretDestroyed(VaultError):
    """The secret's latest version is gone for good."""

    outcome = "deleted"


class RequestRefused(VaultError):
    """Vault does not accept the request."""


class WriteConflict(RequestRefused):
    """Somebody else wrote first: read again, then write with the version that was read."""


class RequestTooLarge(RequestRefused):
    """The request is over the server's size limit."""


class WrappingTokenSpent(RequestRefused):
    """A wrapping token was used before, has expired, or never was one.

    If nobody of yours used it, somebody else did: treat what it held as stolen.
    """
