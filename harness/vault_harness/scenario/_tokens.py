"""The tokens that Vault gave to the subject: looked at, counted, exchanged for other ones."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import closing
from typing import Any

import hvac

from vault_harness.scenario._servers import Servers
from vault_harness.scenario.verdict import NotExercised
from vault_harness.vault import Operator


class Tokens(Servers):
    """The servers of one scenario, and the tokens of its role."""

    def _set_up(self) -> None:
        self._parents: dict[str, str] = {}
        super()._set_up()

    def accessor(self) -> str:
        """The accessor of the token that the subject uses now.

        Raises:
            NotExercised: It has none.
        """
        login = self.history.last_token()
        if login is None or login.accessor is None:
            raise NotExercised("the subject never logged in, so there is no token to break")
        return login.accessor

    def token_lives(self, accessor: str) -> bool:
        """Whether the token of this accessor lives in Vault.

        Raises:
            Exception: Vault could not be asked. Only 403, 404 and "invalid accessor" say that a
                token is gone; an answer that cannot be had says nothing.
        """
        return self._token(accessor) is not None

    def _token(self, accessor: str) -> Mapping[str, Any] | None:
        """What Vault tells of a token; None if it is gone."""
        try:
            found = self.operator.client.auth.token.lookup_accessor(accessor)
        except (hvac.exceptions.Forbidden, hvac.exceptions.InvalidPath):
            return None
        except hvac.exceptions.InvalidRequest as error:
            # OpenBao's way to say it, with 400; a standby passes on the number and not the words.
            if "invalid accessor" in str(error) or "invalid request" in str(error):
                return None
            raise
        data: Mapping[str, Any] = found["data"]
        return data

    def tokens_alive(self) -> int:
        """How many tokens of the subject's role live in Vault.

        Raises:
            Exception: Vault could not be asked.
        """
        accessors = self.operator.client.list("auth/token/accessors")["data"]["keys"]
        found = [token for accessor in accessors if (token := self._token(accessor)) is not None]
        mine = self.entry.approle
        metas = [token.get("meta") or {} for token in found]
        return sum(mine in (meta.get("role_name"), meta.get("role")) for meta in metas)

    def issue_instead(self, *, with_parent: bool = False, **parameters: object) -> None:
        """From now on each accepted login is answered with another token of that role.

        The token is a real one of this Vault, made with these parameters of ``auth/token/create``;
        the one that the login made is revoked. For kinds of token that no AppRole can issue.

        Args:
            with_parent: Whether each of them is the child of a token of its own, whose accessor
                `parent_of` then tells; else they are orphans, as a login's are.
            parameters: Of the new token.
        """
        client = self.operator.client

        def rewrite(body: dict[str, object]) -> dict[str, object]:
            auth = body["auth"]
            assert isinstance(auth, dict)
            order = {
                "policies": auth["policies"],
                "meta": auth["metadata"],
                "ttl": f"{self.ttl:.0f}s",
                "no_parent": not with_parent,
                **parameters,
            }
            made = self._child(order) if with_parent else self._create(order)
            client.auth.token.revoke_accessor(auth["accessor"])
            same = ("client_token", "accessor", "renewable", "lease_duration", "token_type")
            return {**body, "auth": {**auth, **{name: made[name] for name in same}}}

        self.recorder.rewrite_login = rewrite

    def _create(self, order: dict[str, object]) -> Mapping[str, Any]:
        """Make a token; what the answer says of it."""
        made: Mapping[str, Any] = self.stack.operator.client.adapter.post(
            "/v1/auth/token/create", json=order
        )["auth"]
        return made

    def _child(self, order: dict[str, object]) -> Mapping[str, Any]:
        """Make a token with a parent of its own, that lives on unless it is revoked."""
        parent = self._create({"policies": ["root"], "ttl": "1h", "no_parent": True})
        self.secrets.add("token", parent["client_token"], "a parent token")
        address = self.stack.leader().address
        with closing(
            Operator(address, parent["client_token"], self.stack.operator.ca_cert)
        ) as its_owner:
            made: Mapping[str, Any] = its_owner.request("POST", "auth/token/create", **order)[
                "auth"
            ]
        self._parents[made["accessor"]] = parent["accessor"]
        return made

    def parent_of(self, accessor: str) -> str:
        """The accessor of the parent of a token that was issued with one."""
        return self._parents[accessor]
