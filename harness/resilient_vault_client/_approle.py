"""Logging in with a role-id and a secret-id, and what a refusal means."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping

from resilient_vault_client._api import Api
from resilient_vault_client._clock import clock
from resilient_vault_client._config import Config
from resilient_vault_client._credentials import Credentials, CredentialSource
from resilient_vault_client._deadline import Deadline
from resilient_vault_client._errors import (
    AuthenticationFailed,
    AuthMountMissing,
    CredentialsRejected,
    PermissionDenied,
    RequestRefused,
    RoleLocked,
    SecretNotFound,
    UnexpectedAnswer,
    VaultError,
)
from resilient_vault_client._failed_logins import FailedLogins
from resilient_vault_client._retrier import Retrier, unless_sent
from resilient_vault_client._token import Token
from resilient_vault_client._translate import NO_LOGIN
from resilient_vault_client._wrapped import Opened, WrappedSecretId

# What a rejected role-id or secret-id is answered with.
_BAD_REQUEST = 400


class AppRole:
    """The AppRole method.

    Vault locks a role for everybody after five failed logins, so a refused secret-id is tried again
    rarely, and the reason of a refusal is found out without another login.

    Args:
        config: The mount of the method, the ids, and where failures are counted together.
        environ: Where ids are read at each login.
        opened: What a wrapping token gave before.
        api: Vault's API.
        retrier: Makes requests under the circuit.
    """

    def __init__(
        self,
        config: Config,
        environ: Mapping[str, str],
        opened: Opened,
        *,
        api: Api,
        retrier: Retrier,
    ) -> None:
        self._mount = config.auth_mount.strip("/")
        self._source = CredentialSource(config, environ)
        self._failed = FailedLogins(config.state_dir, server=config.address)
        self._api = api
        self._retrier = retrier
        file = config.wrapped_secret_id_file
        self._wrapped = (
            None
            if file is None
            else WrappedSecretId(file, opened, mount=self._mount, api=api, retrier=retrier)
        )
        self._denied: VaultError | None = None

    def log_in(self, deadline: Deadline, patience: float) -> Token:
        """A new token.

        Raises:
            AuthenticationFailed: Vault does not let the client in.
            VaultUnavailable: Vault cannot be asked.
        """
        wrapped = self._wrapped
        credentials = self._source.load(
            None if wrapped is None else lambda: wrapped.load(deadline, patience)
        )
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
                    patience=patience,
                    # A login whose answer was lost has used up the secret-id all the same.
                    repeat=unless_sent,
                )
        except PermissionDenied:
            reason = known or self._why_denied(deadline)
            if isinstance(reason, RoleLocked | AuthMountMissing):
                # Until a login ends otherwise, this is not asked for each time.
                self._denied = reason
            raise reason.again() from None
        auth = answer.get("auth")
        if not isinstance(auth, dict) or not auth.get("client_token"):
            raise UnexpectedAnswer("the answer to the login holds no token")
        self._failed.accepted(credentials, deadline)
        return Token(auth, started=started)

    def _request(self, credentials: Credentials, deadline: Deadline) -> dict[str, object]:
        ids = {"role_id": credentials.role_id, "secret_id": credentials.secret_id}
        return self._api.log_in(self._mount, ids, deadline)

    @contextlib.contextmanager
    def _explained(self, credentials: Credentials, deadline: Deadline) -> Iterator[None]:
        """Say what an answer means to a login, which is not what it means to a read."""
        try:
            yield
        except RequestRefused as error:
            if error.status != _BAD_REQUEST:
                raise AuthenticationFailed(f"Vault does not take the login: {error}") from None
            if NO_LOGIN in str(error):  # which is no failed login of the role
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
        """Tell a locked role from a mount that is not there: Vault says 403 to both.

        A login without ids counts for nobody, and only an AppRole mount complains about what is
        missing.
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
