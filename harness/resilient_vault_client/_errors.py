"""Every error that the client raises, and what each means for a caller.

::

    VaultError
    ├── ConfigurationError        the environment or an argument is invalid
    │   ├── InvalidPath           no secret can have that path
    │   └── MountMissing          Vault has no such mount or namespace
    ├── ClientClosed              the client was closed
    ├── InternalError             a bug in the client
    ├── VaultUnavailable          no usable answer                             outcome: unavailable
    │   ├── VaultTimeout          none within the deadline
    │   ├── VaultUnreachable      no connection could be made
    │   ├── ConnectionLost        the connection broke before the answer came
    │   ├── AnswerTruncated       the connection ended in the middle of the answer
    │   ├── TlsFailed             one side does not trust the other
    │   ├── VaultSealed           Vault answers, and is sealed
    │   ├── NotInitialised        Vault answers, and was never initialised
    │   ├── RateLimited           a quota is used up; ask later (429)
    │   ├── ServerFailed          Vault answers with an error of its own (5xx)
    │   ├── NotReplicated         this node lags behind what was written (412)
    │   ├── RedirectRefused       Vault points to a host that must not see the token
    │   └── UnexpectedAnswer      something else than Vault's API answered (a web page, say)
    ├── AuthenticationFailed      no login, so no secret                       outcome: denied
    │   ├── CredentialsMissing    there is nothing to log in with
    │   ├── CredentialsRejected   Vault does not accept the credentials
    │   ├── RoleLocked            too many failed logins, by anybody: the role is locked
    │   └── AuthMountMissing      there is no such login at that mount
    ├── PermissionDenied          the policy says no                           outcome: denied
    ├── SecretNotFound            there is no such secret                      outcome: missing
    │   └── KeyNotFound           the secret exists, without that key
    ├── SecretDeleted             its latest version was deleted (undelete it) outcome: deleted
    ├── SecretDestroyed           its latest version is gone for good          outcome: deleted
    └── RequestRefused            Vault does not accept the request (400)
        ├── WriteConflict         another client wrote first (check-and-set)
        ├── RequestTooLarge       over the server's size limit (413)
        └── WrappingTokenSpent    a wrapping token was used, has expired, or never was one

`VaultUnavailable` means that nobody knows the answer: a last good value or a fallback may stand in.
All other errors are answers, and nothing stands in for them. The exception is
`AuthenticationFailed`, for which a last good value may stand in.

No error carries a token, a secret-id, a secret, the error that led to it, or a frame of the client.
Frames hold the request with its headers and body, and error trackers print them.
"""

from __future__ import annotations

import functools
import traceback
from collections.abc import Callable
from typing import ClassVar, ParamSpec, Self, TypeVar


class VaultError(Exception):
    """The base of all errors between an application and its secrets.

    Args:
        message: What is wrong and what to do about it. Never a secret.
        path: The path of the requested secret, if there is one.
        retry_in: Seconds until a retry makes sense, if known.
        sent: Whether Vault may have acted on the request.
        status: The HTTP status of the answer, if there was one.

    Attributes:
        outcome: ``unavailable``, ``denied``, ``missing`` or ``deleted``, a coarse class of errors.
        echo: True if the error repeats what is known, without a request to Vault.
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
        """Return a copy without a traceback, since several threads may raise this error."""
        # Not copy.copy: with tblib, which Dask uses, that copies traceback and cause too.
        again = type(self).__new__(type(self), *self.args)
        again.__dict__.update(self.__dict__)
        return again


class ConfigurationError(VaultError):
    """The environment or an argument is invalid."""


class InvalidPath(ConfigurationError):
    """No secret can have that path."""


class MountMissing(ConfigurationError):
    """Vault has no such mount or namespace."""


class ClientClosed(VaultError):
    """The client was closed."""


class InternalError(VaultError):
    """A bug in the client, with its place; please report it."""


class VaultUnavailable(VaultError):
    """Vault gave no usable answer, so nobody knows."""

    outcome = "unavailable"
    stale_may_serve = True

    #: Whether the whole server is out, or perhaps only the requested path.
    everywhere = True

    #: The most attempts that make sense for one call; None for as many as time allows.
    most_attempts: ClassVar[int | None] = None

    #: Seconds before the first retry.
    first_pause: ClassVar[float] = 0.3


class VaultTimeout(VaultUnavailable):
    """Vault did not answer within the deadline."""


class VaultUnreachable(VaultUnavailable):
    """No connection to Vault could be made."""


class ConnectionLost(VaultUnavailable):
    """The connection broke before the answer came."""

    # A single connection breaks by chance far more often than a server fails.
    first_pause = 0.05


class AnswerTruncated(VaultUnavailable):
    """The connection ended in the middle of the answer; the received part is not used."""

    most_attempts = 4


class TlsFailed(VaultUnavailable):
    """There is no secure connection: one side does not trust the other."""

    most_attempts = 1


class VaultSealed(VaultUnavailable):
    """Vault answers, and is sealed."""


class NotInitialised(VaultUnavailable):
    """Vault answers, and was never initialised."""


class RateLimited(VaultUnavailable):
    """A quota is used up; ask later."""


class ServerFailed(VaultUnavailable):
    """Vault answers with an error of its own, which may concern this request only."""

    everywhere = False


class NotReplicated(VaultUnavailable):
    """This node lags behind what was written."""

    everywhere = False
    most_attempts = 6


class RedirectRefused(VaultUnavailable):
    """Vault points to a host that must not see the token."""


class UnexpectedAnswer(VaultUnavailable):
    """Something else than Vault's API answered."""


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

    `doubtful` is true if Vault's message may also mean that the token is invalid.
    """

    outcome = "denied"
    doubtful = False


class SecretNotFound(VaultError):
    """There is no such secret."""

    outcome = "missing"


class KeyNotFound(SecretNotFound):
    """The secret exists, without that key."""


class SecretDeleted(VaultError):
    """The secret's latest version was deleted; an operator can undelete it."""

    outcome = "deleted"


class SecretDestroyed(VaultError):
    """The secret's latest version is gone for good."""

    outcome = "deleted"


class RequestRefused(VaultError):
    """Vault does not accept the request."""


class WriteConflict(RequestRefused):
    """Another client wrote first: read again, then write with the version that was read."""


class RequestTooLarge(RequestRefused):
    """The request is over the server's size limit."""


class WrappingTokenSpent(RequestRefused):
    """A wrapping token was used before, has expired, or never was one.

    If none of your programs used it, a stranger did: treat its content as stolen.
    """


P = ParamSpec("P")
R = TypeVar("R")

# The exceptions of these modules can hold the data they failed on. One that the application raises
# during a call, such as a time limit in a signal handler, passes unchanged.
_INSIDE = frozenset({"builtins", "ssl", "socket", "json", "httpcore", "h11"})


def boundary(function: Callable[P, R]) -> Callable[P, R]:
    """Make ``function`` safe to call from outside.

    A `VaultError` leaves as a copy without a cause, a bug as an `InternalError`, and anything else
    (such as Ctrl-C) without the client's frames.
    """

    @functools.wraps(function)
    def call(*args: P.args, **kwargs: P.kwargs) -> R:
        try:
            return function(*args, **kwargs)
        except BaseException as error:  # noqa: BLE001 - every exception is raised again below
            failure = from_outside(error)
        # Arguments may be secret, and `self` holds everything that the client knows.
        del args, kwargs
        try:
            raise failure
        finally:
            del failure  # a cycle: the failure holds this frame

    return call


def where(error: BaseException) -> str:
    """Return the type and place, without the text, which may hold a secret."""
    frames = traceback.extract_tb(error.__traceback__)
    if not frames:
        return type(error).__name__
    last = frames[-1]
    return f"{type(error).__name__} at {last.name}:{last.lineno}"


def from_outside(error: BaseException) -> BaseException:
    """Return the error as an application may see it."""
    if isinstance(error, VaultError):
        return error.again()
    inner = error.__traceback__.tb_next if error.__traceback__ is not None else None
    mistake = isinstance(error, Exception) and type(error).__module__ in _INSIDE
    # Without an inner frame the mistake is the caller's: wrong arguments.
    if mistake and inner is not None:
        return InternalError(f"a mistake in the client: {where(error)}")
    error.__context__ = error.__cause__ = None
    return error.with_traceback(None)
