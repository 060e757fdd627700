"""The few requests of Vault's API that the client makes.

Sources: the API documentation of Vault for ``auth/approle``, ``auth/token``, KV version 2,
``sys/leases`` and ``sys/wrapping``.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from resilient_vault_client._deadline import Deadline
from resilient_vault_client._transport import Answer, Transport


class Api:
    """Vault's API; every method makes one request and raises what `Transport.request` raises.

    Args:
        transport: The way to Vault.
        mount: Where the KV version 2 engine is.
    """

    def __init__(self, transport: Transport, mount: str) -> None:
        self._transport = transport
        self._mount = mount

    def read_secret(
        self, token: str, path: str, deadline: Deadline, *, version: int | None = None
    ) -> Answer:
        """One version of a secret, the latest by default."""
        return self._transport.request(
            "GET",
            f"{self._mount}/data/{path}",
            token=token,
            params=None if version is None else {"version": version},
            deadline=deadline,
        )

    def write_secret(
        self, token: str, path: str, data: Mapping[str, Any], deadline: Deadline, *, cas: int | None
    ) -> Answer:
        """A new version of a secret; with ``cas`` only over that version."""
        body = {"data": dict(data), "options": {} if cas is None else {"cas": cas}}
        return self._transport.request(
            "POST", f"{self._mount}/data/{path}", token=token, body=body, deadline=deadline
        )

    def log_in(self, mount: str, credentials: Mapping[str, str], deadline: Deadline) -> Answer:
        """A login, whose answer's ``auth`` holds the token."""
        return self._transport.request(
            "POST",
            f"auth/{mount}/login",
            body=dict(credentials),
            login=True,
            deadline=deadline,
        )

    def renew(self, token: str, deadline: Deadline) -> Answer:
        """A longer life for a token."""
        return self._transport.request(
            "POST", "auth/token/renew-self", token=token, body={}, deadline=deadline
        )

    def look_up(self, token: str, deadline: Deadline) -> Answer:
        """What Vault knows of a token."""
        return self._transport.request(
            "GET", "auth/token/lookup-self", token=token, deadline=deadline
        )

    def revoke(self, token: str, deadline: Deadline) -> None:
        """The end of a token."""
        self._transport.request("POST", "auth/token/revoke-self", token=token, deadline=deadline)

    def lease(self, token: str, path: str, deadline: Deadline) -> Answer:
        """What a dynamic secrets engine makes at each request: a credential and its lease."""
        return self._transport.request("GET", path, token=token, deadline=deadline)

    def renew_lease(self, token: str, lease_id: str, increment: int, deadline: Deadline) -> Answer:
        """A longer life for a lease: so many seconds from now, if its maximum allows it."""
        body = {"lease_id": lease_id, "increment": increment}
        return self._transport.request(
            "POST", "sys/leases/renew", token=token, body=body, deadline=deadline
        )

    def revoke_lease(self, token: str, lease_id: str, deadline: Deadline) -> None:
        """The end of a lease, which few policies allow: it ends with its token otherwise."""
        self._transport.request(
            "POST",
            "sys/leases/revoke",
            token=token,
            body={"lease_id": lease_id},
            deadline=deadline,
        )

    def unwrap(self, token: str, deadline: Deadline) -> Answer:
        """What a wrapping token holds; it is used up by that."""
        return self._transport.request(
            "POST", "sys/wrapping/unwrap", token=token, deadline=deadline
        )

    def look_up_wrapping(self, token: str, deadline: Deadline) -> Answer:
        """What was asked for when a wrapping token was made; that does not use it up."""
        return self._transport.request(
            "POST", "sys/wrapping/lookup", body={"token": token}, deadline=deadline
        )
