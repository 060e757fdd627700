"""The tokens of a scenario's role: which live, and tokens that no AppRole can issue."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import closing
from typing import Any

import hvac

from vault_harness.judge.servers import Servers
from vault_harness.judge.verdict import NotExercised
from vault_harness.local.vault.admin import VaultAdmin


class Tokens:
    """The tokens of a scenario's role, as Vault knows them."""

    def __init__(self, lab: Servers) -> None:
        self._lab = lab
        self._parents: dict[str, str] = {}

    def accessor(self) -> str:
        """Return the accessor of the token that the subject uses now."""
        login = self._lab.history.last_token()
        if login is None or login.accessor is None:
            raise NotExercised("the subject never logged in, so there is no token to break")
        return login.accessor

    def lives(self, accessor: str) -> bool:
        """Return whether the token of this accessor lives in Vault.

        Only 403, 404 and "invalid accessor" mean that it is gone. Other errors are raised.
        """
        return self._token(accessor) is not None

    def _token(self, accessor: str) -> Mapping[str, Any] | None:
        try:
            found = self._lab.operator.client.auth.token.lookup_accessor(accessor)
        except (hvac.exceptions.Forbidden, hvac.exceptions.InvalidPath):
            return None
        except hvac.exceptions.InvalidRequest as error:
            # OpenBao answers 400; a standby passes on the status without the words.
            if "invalid accessor" in str(error) or "invalid request" in str(error):
                return None
            raise
        data: Mapping[str, Any] = found["data"]
        return data

    def alive(self) -> int:
        """Return how many tokens of the subject's role live in Vault."""
        accessors = self._lab.operator.client.list("auth/token/accessors")["data"]["keys"]
        found = [token for accessor in accessors if (token := self._token(accessor)) is not None]
        mine = self._lab.entry.approle
        metas = [token.get("meta") or {} for token in found]
        return sum(mine in (meta.get("role_name"), meta.get("role")) for meta in metas)

    def issue_instead(self, *, with_parent: bool = False, **parameters: object) -> None:
        """Answer each accepted login from now on with another token of its role.

        Vault makes it with these parameters of ``auth/token/create`` and revokes the login's own
        token. This gives kinds of token that no AppRole can issue.

        Args:
            with_parent: Give each token its own parent (`parent_of`). By default tokens are
                orphans, as those of logins are.
        """
        client = self._lab.operator.client

        def rewrite(body: dict[str, object]) -> dict[str, object]:
            auth = body["auth"]
            assert isinstance(auth, dict)
            order = {
                "policies": auth["policies"],
                "meta": auth["metadata"],
                "ttl": f"{self._lab.ttl:.0f}s",
                "no_parent": not with_parent,
                **parameters,
            }
            made = self._child(order) if with_parent else self.create(order)
            client.auth.token.revoke_accessor(auth["accessor"])
            same = ("client_token", "accessor", "renewable", "lease_duration", "token_type")
            return {**body, "auth": {**auth, **{name: made[name] for name in same}}}

        self._lab.recorder.rewrite_login = rewrite

    def create(self, order: dict[str, object]) -> Mapping[str, Any]:
        """Make a token and return the answer's ``auth``."""
        made: Mapping[str, Any] = self._lab.stack.operator.client.adapter.post(
            "/v1/auth/token/create", json=order
        )["auth"]
        return made

    def _child(self, order: dict[str, object]) -> Mapping[str, Any]:
        """Make a token with its own parent, which lives unless it is revoked."""
        parent = self.create({"policies": ["root"], "ttl": "1h", "no_parent": True})
        self._lab.secrets.add("token", parent["client_token"], "a parent token")
        address = self._lab.stack.leader().address
        with closing(
            VaultAdmin(address, parent["client_token"], self._lab.stack.operator.ca_cert)
        ) as its_owner:
            made: Mapping[str, Any] = its_owner.request("POST", "auth/token/create", **order)[
                "auth"
            ]
        self._parents[made["accessor"]] = parent["accessor"]
        return made

    def parent_of(self, accessor: str) -> str:
        """Return the accessor of a token's parent."""
        return self._parents[accessor]
