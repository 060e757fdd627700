"""A lease as an application sees it: the current credential, whatever has become of the last."""

from __future__ import annotations

from collections.abc import Callable

from resilient_vault_client._boundary import boundary
from resilient_vault_client._config import seconds_of_a_call
from resilient_vault_client._deadline import Deadline
from resilient_vault_client._grant import Credential
from resilient_vault_client._leases import Leases


class Lease:
    """What Vault makes at a path for this client: kept alive, and replaced before it ends.

    Made by `VaultClient.lease`; all of the same path share one credential. ::

        lease = vault.lease("database/creds/app", on_change=pool.reconnect)
        credential = lease.current()
        try:
            connection = connect(user=credential.username, password=credential.password)
        except AuthenticationRefused:
            lease.failed(credential.username)

    Args:
        path: Where, with the mount.
        leases: Gives what holds the leases in the process that asks.
        timeout: What one call may take, in seconds.
    """

    def __init__(self, path: str, leases: Callable[[], Leases], timeout: float) -> None:
        self._path = path
        self._leases = leases
        self._timeout = timeout

    def __repr__(self) -> str:
        return f"<Lease of {self._path}>"

    @property
    def path(self) -> str:
        """Where it was asked for."""
        return self._path

    @boundary
    def current(self, *, timeout: float | None = None) -> Credential:
        """The credential that works now; Vault makes one if there is none.

        Raises:
            VaultUnavailable: Vault gave none. If its `sent` is true it may have made one all the
                same, which ends with the token.
            PermissionDenied: The policy does not allow it.
            SecretNotFound: There is no such role.
            RequestRefused: Vault does not accept the request.
            ConfigurationError: Nothing is leased there, or nothing is mounted.
            AuthenticationFailed: Vault does not let the client in.
        """
        seconds = seconds_of_a_call(timeout, self._timeout)
        return self._leases().current(self._path, Deadline(seconds)).copy()

    @boundary
    def failed(self, username: str) -> None:
        """Say that a login with this name was refused, so that the next credential is a new one.

        For a refused password only, not for a database that cannot be reached. A name that is not
        the current credential's changes nothing, and where one new credential after the other is
        refused they come with growing pauses.
        """
        self._leases().failed(self._path, username)
