"""The ways in which a client gets a token."""

from __future__ import annotations

import contextlib
import hashlib
import logging
import re
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from resilient_vault_client._config import Config
from resilient_vault_client._credentials import (
    MOST_BYTES_OF_A_TOKEN,
    Credentials,
    CredentialSource,
    FailedLogins,
    read_word,
    told,
)
from resilient_vault_client._deadline import Deadline, clock
from resilient_vault_client._errors import (
    AuthenticationFailed,
    AuthMountMissing,
    CredentialsMissing,
    CredentialsRejected,
    PermissionDenied,
    RequestRefused,
    RoleLocked,
    SecretNotFound,
    UnexpectedAnswer,
    VaultError,
)
from resilient_vault_client._grant import Token
from resilient_vault_client._login import LoginMethod
from resilient_vault_client._retrier import Tools, always, unless_sent
from resilient_vault_client._translate import NO_LOGIN
from resilient_vault_client._transport import Answer

# Seconds; Vault reports 0 in the last second of a life.
_LAST_MOMENT = 0.5


class TokenFile:
    """Read the token file, and ask Vault about the token.

    The token is its owner's: the client neither renews nor revokes it. It reads the file again
    before the token ends and when Vault refuses it.
    """

    def __init__(self, file: Path, tools: Tools) -> None:
        self._file = file
        self._api, self._retrier = tools.api, tools.retrier

    def log_in(self, deadline: Deadline) -> Token:
        """Return the token in the file; raise `CredentialsRejected` if Vault does not know it."""
        text = read_word(self._file, most=MOST_BYTES_OF_A_TOKEN)
        if not text:
            raise CredentialsMissing(
                f"there is no token: VAULT_TOKEN_FILE is {told(self._file)}, which is missing, "
                "unreadable, empty, or no single word"
            )
        try:
            started, answer = self._retrier.run(
                lambda: (clock(), self._api.look_up(text, deadline)),
                scope="login",
                deadline=deadline,
                repeat=always,
            )
        except PermissionDenied as error:
            raise CredentialsRejected(
                f"Vault refuses the token in {self._file}: does its owner still keep it alive?",
                status=error.status,
            ) from None
        known = answer.get("data")
        if not isinstance(known, dict):
            raise UnexpectedAnswer("the answer about the token does not say what it is")
        auth = {
            "client_token": text,
            "token_type": known.get("type"),
            "lease_duration": _life(known),
            "num_uses": known.get("num_uses"),
        }
        token = Token(auth, started=started)
        token.revocable = False
        return token


def _life(known: dict[str, Any]) -> object:
    """Return the seconds left; 0 for a token that never ends.

    Vault reports 0 in the last second too, but ``expire_time`` only for a token with an end.
    """
    left = known.get("ttl")
    return _LAST_MOMENT if not left and known.get("expire_time") else left


_log = logging.getLogger("resilient_vault_client")


@dataclass
class Opened:
    """The last wrapping token's content."""

    wrapping: str = field(default="", repr=False)
    secret_id: str = field(default="", repr=False)


class WrappedSecretId:
    """The secret-id behind the wrapping token in a file.

    A wrapping token can be used once, so the client keeps the content until the file holds another.
    ``opened`` may come from the parent process. Only tokens made by the AppRole method at ``mount``
    are unwrapped.
    """

    def __init__(self, file: Path, opened: Opened, mount: str, tools: Tools) -> None:
        self._file = file
        self._opened = opened
        self._origin = re.compile(rf"(.*/)?auth/{re.escape(mount)}/role/[^/]+/(custom-)?secret-id")
        self._api, self._retrier = tools.api, tools.retrier

    def load(self, deadline: Deadline) -> str:
        wrapping = read_word(self._file)
        if wrapping and wrapping != self._opened.wrapping:
            self._opened.secret_id = self._open(wrapping, deadline)
            self._opened.wrapping = wrapping
        if not self._opened.secret_id:
            raise CredentialsMissing(
                "there is no secret-id: the wrapping token in VAULT_WRAPPED_SECRET_ID_FILE "
                f"({told(self._file)}) is missing, was used before, or has expired; deliver a new "
                "one. If you did not use it, treat the secret-id as stolen and destroy it"
            )
        return self._opened.secret_id

    def _open(self, wrapping: str, deadline: Deadline) -> str:
        """Unwrap the token, or return "" if it is spent.

        If the answer is lost, so is the secret-id. Raise `CredentialsMissing` if the token does not
        come from a request for a secret-id: the person who replaced it may know its content.
        """
        try:
            made_by = self._retrier.run(
                lambda: _told(self._api.look_up_wrapping(wrapping, deadline), "creation_path"),
                scope="unwrap",
                deadline=deadline,
                repeat=always,
            )
            if not self._origin.fullmatch(made_by):
                raise self._foreign(made_by)
            return self._retrier.run(
                lambda: _told(self._api.unwrap(wrapping, deadline), "secret_id"),
                scope="unwrap",
                deadline=deadline,
                repeat=unless_sent,
            )
        except (RequestRefused, PermissionDenied):
            return ""

    def _foreign(self, made_by: str) -> CredentialsMissing:
        _log.error(
            "vault: the wrapping token in %s was made by %s, not by a request for a secret-id: "
            "it was not opened; find out who put it there",
            self._file,
            made_by,
        )
        return CredentialsMissing(
            f"there is no secret-id: the wrapping token in VAULT_WRAPPED_SECRET_ID_FILE "
            f"({self._file}) was made by {made_by}, not by a request for a secret-id; it was not "
            "opened. Find out who put it there, and deliver another one"
        )


def _told(answer: Answer, name: str) -> str:
    """Return a field that every answer of Vault about a wrapping token has.

    Inside the attempt, so that the circuit learns if another server answers. Raise
    `UnexpectedAnswer` without the field: the token may still be unused.
    """
    data = answer.get("data")
    found = data.get(name) if isinstance(data, dict) else None
    if not isinstance(found, str) or not found:
        raise UnexpectedAnswer(f"the answer about the wrapping token has no {name}: is it Vault's?")
    return found


def _auth(answer: Answer) -> dict[str, Any]:
    """Return what the answer to a login says about the new token."""
    auth = answer.get("auth")
    if not isinstance(auth, dict) or not auth.get("client_token"):
        raise UnexpectedAnswer("the answer to the login holds no token")
    return auth


# For a login with a missing part, and for a rejected role-id or secret-id.
_BAD_REQUEST = 400

# The Kubernetes method's words for an account or namespace that the role does not allow.
_NOT_BOUND = "not authorized"


class JwtFile:
    """The JWT method and the Kubernetes method, which take the same parameters.

    The file is read at every login, since its owner replaces it. A rejected JWT is retried with
    growing pauses, since Vault may learn its key a little late; a different JWT at once.
    """

    def __init__(self, mount: str, role: str, file: Path, tools: Tools) -> None:
        self._mount = mount.strip("/")
        self._role = role
        self._file = file
        self._backoff, self._api, self._retrier = tools.backoff, tools.api, tools.retrier
        self._rejected = ""
        self._pause: float | None = None
        self._until = 0.0

    def log_in(self, deadline: Deadline) -> Token:
        """Log in and return the new token.

        Raises:
            CredentialsMissing: There is no JWT.
            CredentialsRejected: Vault does not accept it.
            AuthMountMissing: No JWT method is mounted there.
            AuthenticationFailed: One of the last two; Vault does not say which.
        """
        jwt = read_word(self._file, most=MOST_BYTES_OF_A_TOKEN)
        if not jwt:
            raise CredentialsMissing(
                f"there is no JWT to log in with: VAULT_JWT_FILE is {told(self._file)}, which is "
                "missing, unreadable, empty, or no single word"
            )
        self._spare(jwt)
        try:
            started, answer = self._retrier.run(
                lambda: (clock(), self._request(jwt, deadline)),
                scope="login",
                deadline=deadline,
                repeat=always,  # a JWT is not used up
            )
        except RequestRefused as error:
            if NO_LOGIN in str(error):
                raise self._nothing_there(error) from None
            raise CredentialsRejected(
                f"Vault rejects the JWT in {self._file} ({error}): it may have expired, or be for "
                f"another role than {self._role}, or Vault does not know its issuer's key",
                retry_in=self._note(jwt),
                status=error.status,
            ) from None
        except SecretNotFound as error:
            raise self._nothing_there(error) from None
        except PermissionDenied as denial:
            raise self._why_denied(jwt, denial, deadline) from None
        auth = _auth(answer)
        self._rejected, self._pause = "", None
        return Token(auth, started=started)

    def _request(self, jwt: str, deadline: Deadline) -> dict[str, object]:
        return self._api.log_in(self._mount, {"role": self._role, "jwt": jwt}, deadline)

    def _why_denied(self, jwt: str, denial: PermissionDenied, deadline: Deadline) -> VaultError:
        """Tell a refused JWT from a missing mount, which both give 403.

        An empty login counts as nobody's failure, and only a JWT method complains about it.
        """
        if _NOT_BOUND not in str(denial):
            try:
                self._api.log_in(self._mount, {}, deadline)
            except PermissionDenied:
                return self._nothing_there(denial)
            except VaultError as error:
                if error.status != _BAD_REQUEST:
                    return AuthenticationFailed(
                        f"Vault denies the login with the JWT in {self._file}, and does not say "
                        f"why: either there is no login with a JWT at auth/{self._mount} (enable "
                        "it, or set VAULT_AUTH_MOUNT and VAULT_NAMESPACE), or that refuses it "
                        f"({self._suspects})",
                        status=denial.status,
                    )
        return CredentialsRejected(
            f"Vault denies the login with the JWT in {self._file} at auth/{self._mount} "
            f"({denial}): {self._suspects}",
            retry_in=self._note(jwt),
            status=denial.status,
        )

    def _nothing_there(self, error: VaultError) -> AuthMountMissing:
        return AuthMountMissing(
            f"there is no login with a JWT at auth/{self._mount}: enable it, or set "
            "VAULT_AUTH_MOUNT and VAULT_NAMESPACE",
            status=error.status,
        )

    @property
    def _suspects(self) -> str:
        return (
            f"is the role {self._role} (VAULT_JWT_ROLE) bound to its account and namespace, is it "
            "still good and for that audience, may Vault have it reviewed by Kubernetes, and may "
            "this machine's address log in (token_bound_cidrs)?"
        )

    def _spare(self, jwt: str) -> None:
        """Raise the known error if this JWT was rejected recently."""
        left = self._until - time.monotonic()
        if left <= 0 or _fingerprint(jwt) != self._rejected:
            return
        error = CredentialsRejected(
            f"Vault rejected the JWT in {self._file} before: waiting for a new one", retry_in=left
        )
        error.echo = True
        raise error

    def _note(self, jwt: str) -> float:
        """Note a rejected JWT; return the seconds until it may be tried again."""
        if _fingerprint(jwt) != self._rejected:
            self._rejected, self._pause = _fingerprint(jwt), None
        self._pause = self._backoff.next(self._pause)
        self._until = time.monotonic() + self._pause
        return self._pause


def _fingerprint(jwt: str) -> str:
    return hashlib.sha256(jwt.encode()).hexdigest()[:16]


class AppRole:
    """The AppRole login method.

    Five failed logins lock a role for everybody. So the client rarely retries a refused secret-id,
    and asks for the reason without a login.
    """

    def __init__(
        self,
        config: Config,
        environ: Mapping[str, str],
        opened: Opened,
        tools: Tools,
    ) -> None:
        self._mount = config.auth_mount.strip("/")
        self._source = CredentialSource(config, environ)
        self._failed = FailedLogins(config.state_dir, server=config.address)
        self._api, self._retrier = tools.api, tools.retrier
        file = config.wrapped_secret_id_file
        self._wrapped = None if file is None else WrappedSecretId(file, opened, self._mount, tools)
        self._denied: VaultError | None = None

    def log_in(self, deadline: Deadline) -> Token:
        wrapped = self._wrapped
        credentials = self._source.load(None if wrapped is None else lambda: wrapped.load(deadline))
        wait = self._failed.wait(credentials, deadline)
        if wait > 0:
            raise _withheld(wait)
        known, self._denied = self._denied, None
        try:
            with self._explained(credentials, deadline):
                started, answer = self._retrier.run(
                    lambda: (clock(), self._request(credentials, deadline)),
                    scope="login",
                    deadline=deadline,
                    # A login uses up the secret-id even if its answer is lost.
                    repeat=unless_sent,
                )
        except PermissionDenied:
            reason = known or self._why_denied(deadline)
            if isinstance(reason, RoleLocked | AuthMountMissing):
                # Until a login ends in another way, so as not to ask each time.
                self._denied = reason
            raise reason.again() from None
        auth = _auth(answer)
        self._failed.accepted(credentials, deadline)
        return Token(auth, started=started)

    def _request(self, credentials: Credentials, deadline: Deadline) -> dict[str, object]:
        ids = {"role_id": credentials.role_id, "secret_id": credentials.secret_id}
        return self._api.log_in(self._mount, ids, deadline)

    @contextlib.contextmanager
    def _explained(self, credentials: Credentials, deadline: Deadline) -> Iterator[None]:
        """Translate a login's answer, whose status means something else than a read's."""
        try:
            yield
        except RequestRefused as error:
            if error.status != _BAD_REQUEST:
                raise AuthenticationFailed(f"Vault does not take the login: {error}") from None
            if NO_LOGIN in str(error):  # not a failed login of the role
                raise self._nothing_there(error) from None
            self._failed.rejected(credentials, deadline)
            raise CredentialsRejected(
                f"Vault rejects the login ({error}): the secret-id may have expired, been used up "
                "or destroyed, or the role deleted; deliver a new secret-id",
                retry_in=self._failed.wait(credentials, deadline),
                status=error.status,
            ) from None
        except SecretNotFound as error:
            raise self._nothing_there(error) from None

    def _nothing_there(self, error: VaultError) -> AuthMountMissing:
        return AuthMountMissing(
            f"there is nothing at auth/{self._mount}/login: enable AppRole there, or set "
            "VAULT_AUTH_MOUNT",
            status=error.status,
        )

    def _why_denied(self, deadline: Deadline) -> VaultError:
        """Tell a locked role from a missing mount, which both give 403.

        A login without ids counts as nobody's failure, and only AppRole complains about it.
        """
        try:
            self._api.log_in(self._mount, {}, deadline)
        except PermissionDenied:
            return AuthMountMissing(
                f"there is no AppRole login at auth/{self._mount}: enable it, or set "
                "VAULT_AUTH_MOUNT"
            )
        except VaultError as error:
            if error.status not in (_BAD_REQUEST, 500):
                return AuthenticationFailed(
                    f"Vault denies the login at auth/{self._mount}, and does not say why: is "
                    "VAULT_NAMESPACE right, and may this machine's address log in?"
                )
        return RoleLocked(
            "Vault denies the login: the role is probably locked after too many failed logins, by "
            "this client or another; it unlocks after 15 minutes by default, or through "
            "sys/locked-users"
        )


def _withheld(wait: float) -> CredentialsRejected:
    error = CredentialsRejected(
        "Vault rejected this secret-id before, and trying it again could lock the role for "
        "everybody: waiting for a new secret-id",
        retry_in=wait,
    )
    error.echo = True
    return error


def login_method(
    config: Config, environ: Mapping[str, str], opened: Opened, tools: Tools
) -> LoginMethod:
    if config.token_file is not None:
        return TokenFile(config.token_file, tools)
    if config.jwt_file is not None and config.jwt_role is not None:
        return JwtFile(config.auth_mount, config.jwt_role, config.jwt_file, tools)
    return AppRole(config, environ, opened, tools)
