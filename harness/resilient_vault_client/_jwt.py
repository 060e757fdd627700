"""Logging in with a JWT that the platform writes into a file, as Kubernetes does for a pod."""

from __future__ import annotations

import hashlib
import time
from pathlib import Path

from resilient_vault_client._api import Api
from resilient_vault_client._backoff import Backoff
from resilient_vault_client._clock import clock
from resilient_vault_client._credentials import MOST_BYTES_OF_A_TOKEN, read_word, told
from resilient_vault_client._deadline import Deadline
from resilient_vault_client._errors import (
    AuthenticationFailed,
    AuthMountMissing,
    CredentialsMissing,
    CredentialsRejected,
    PermissionDenied,
    RequestRefused,
    SecretNotFound,
    UnexpectedAnswer,
    VaultError,
)
from resilient_vault_client._retrier import Retrier, always
from resilient_vault_client._token import Token
from resilient_vault_client._translate import NO_LOGIN

# What a method answers to a login in which something is missing.
_BAD_REQUEST = 400

# What Kubernetes' method says of an account or a namespace that the role is not for.
_NOT_BOUND = "not authorized"


class JwtFile:
    """The JWT method, and those that take the same two words (Kubernetes).

    The file is read anew at every login: its owner replaces it long before the JWT in it ends. One
    that Vault rejected is tried again ever less often, since its key may be known to Vault a little
    late; another one in the file is tried at once.

    Args:
        mount: Where the method is mounted.
        role: As whom to log in.
        file: Where the JWT is.
        backoff: How long to pause before the same JWT is tried again.
        api: Vault's API.
        retrier: Makes requests under the circuit.
    """

    def __init__(
        self, mount: str, role: str, file: Path, *, backoff: Backoff, api: Api, retrier: Retrier
    ) -> None:
        self._mount = mount.strip("/")
        self._role = role
        self._file = file
        self._backoff = backoff
        self._api = api
        self._retrier = retrier
        self._rejected = ""
        self._pause: float | None = None
        self._until = 0.0

    def log_in(self, deadline: Deadline, patience: float) -> Token:
        """A new token.

        Raises:
            CredentialsMissing: There is no JWT.
            CredentialsRejected: Vault does not accept it.
            AuthMountMissing: There is no method that would look at it.
            AuthenticationFailed: One or the other, and Vault does not say which.
            VaultUnavailable: Vault cannot be asked.
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
                patience=patience,
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
        auth = answer.get("auth")
        if not isinstance(auth, dict) or not auth.get("client_token"):
            raise UnexpectedAnswer("the answer to the login holds no token")
        self._rejected, self._pause = "", None
        return Token(auth, started=started)

    def _request(self, jwt: str, deadline: Deadline) -> dict[str, object]:
        return self._api.log_in(self._mount, {"role": self._role, "jwt": jwt}, deadline)

    def _why_denied(self, jwt: str, denial: PermissionDenied, deadline: Deadline) -> VaultError:
        """Tell a JWT that was refused from a mount that is not there: Vault says 403 to both.

        A login without anything counts for nobody, and only a method of this kind complains about
        what is missing.
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
        """What a method answers 403 for, each with the place to look at."""
        return (
            f"is the role {self._role} (VAULT_JWT_ROLE) bound to its account and namespace, is it "
            "still good and for that audience, may Vault have it reviewed by Kubernetes, and may "
            "this machine's address log in (token_bound_cidrs)?"
        )

    def _spare(self, jwt: str) -> None:
        """Raise what is known of a JWT that was rejected a moment ago."""
        left = self._until - time.monotonic()
        if left <= 0 or _fingerprint(jwt) != self._rejected:
            return
        error = CredentialsRejected(
            f"Vault rejected the JWT in {self._file} before: waiting for a new one", retry_in=left
        )
        error.echo = True
        raise error

    def _note(self, jwt: str) -> float:
        """A JWT was rejected; seconds until the same may be tried again."""
        if _fingerprint(jwt) != self._rejected:
            self._rejected, self._pause = _fingerprint(jwt), None
        self._pause = self._backoff.next(self._pause)
        self._until = time.monotonic() + self._pause
        return self._pause


def _fingerprint(jwt: str) -> str:
    return hashlib.sha256(jwt.encode()).hexdigest()[:16]
