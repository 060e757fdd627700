"""How a subject gets its token, where it is not by role-id and secret-id."""

from __future__ import annotations

import contextlib
from pathlib import Path

import hvac

from vault_harness.files import write_private
from vault_harness.scenario._tokens import Tokens
from vault_harness.scenario._volume import project
from vault_harness.vault import approle
from vault_harness.vault.jwt_issuer import JwtIssuer


class WaysIn(Tokens):
    """The servers of one scenario, and what its subject logs in with.

    Attributes:
        jwt: Who issues the subject's JWTs; only where it logs in with one.
        agent_token: Accessor of the token in the subject's file; empty where it has none.
    """

    jwt: JwtIssuer
    agent_token = ""

    def _set_up(self) -> None:
        super()._set_up()
        match self.entry.auth:
            case "jwt":
                self.jwt = JwtIssuer(self.stack.operator, subject=self.entry.approle)
                self.jwt.add_role(self.entry.approle, **self._token_parameters())
                self.deliver_jwt(self.jwt.issue())
            case "token-file":
                self.deliver_token(self.new_agent_token())
            case "wrapped-secret-id":
                self.deliver_wrapping(self.wrap_secret_id())

    def login_environ(self) -> dict[str, str]:
        """The variables that say what to log in with."""
        match self.entry.auth:
            case "jwt":
                return {
                    "VAULT_JWT_FILE": str(self.jwt_file),
                    "VAULT_JWT_ROLE": self.entry.approle,
                    "VAULT_AUTH_MOUNT": "jwt",
                }
            case "token-file":
                return {"VAULT_TOKEN_FILE": str(self.token_file)}
        if self.entry.auth == "wrapped-secret-id":
            role_id, _ = approle.credential_files(self.entry.approle, self.directory)
            return {
                "VAULT_ROLE_ID_FILE": str(role_id),
                "VAULT_WRAPPED_SECRET_ID_FILE": str(self.wrapping_file),
            }
        if self.entry.ids == "files":
            return self.approle_environ()
        return {"VAULT_ROLE_ID": self.role_id, "VAULT_SECRET_ID": self.secret_id.secret_id}

    def approle_environ(self) -> dict[str, str]:
        """The variables that name the files of an AppRole's ids."""
        role_id, secret_id = approle.credential_files(self.entry.approle, self.directory)
        return {"VAULT_ROLE_ID_FILE": str(role_id), "VAULT_SECRET_ID_FILE": str(secret_id)}

    def _token_parameters(self) -> dict[str, object]:
        return {
            "token_policies": [self.entry.approle],
            "token_ttl": f"{self.ttl:.0f}s",
            "token_max_ttl": f"{self.entry.max_ttl:.0f}s",
        }

    # JWTs

    @property
    def jwt_file(self) -> Path:
        """Where the subject finds its JWT: a link, as in a pod."""
        return self.directory / "jwt"

    def deliver_jwt(self, jwt: str) -> None:
        """Put a JWT where the subject finds it, behind links, as a platform does.

        Who asks where they lead when it starts, and goes there ever after, finds the first one.
        """
        label = self.secrets.add("jwt", jwt)
        project(self.jwt_file, jwt)
        self.history.mark(f"{label} delivered")

    # An agent's token

    @property
    def token_file(self) -> Path:
        """Where the subject finds a token that an agent keeps alive."""
        return self.directory / "token"

    def new_agent_token(self, *, endless: bool = False) -> tuple[str, str]:
        """A token of the subject's role, as an agent would get it, and its accessor.

        Args:
            endless: Whether it is one that never ends, as an operator's own: a root token, since
                Vault gives every other one an end. It is revoked with the scenario.
        """
        lives = {"policies": [self.entry.approle], "ttl": f"{self.ttl:.0f}s"}
        made = self._create(
            {
                **({"policies": ["root"]} if endless else lives),
                "meta": {"role_name": self.entry.approle},
                "no_parent": True,
            }
        )
        if endless:
            self._closing.callback(self._revoke, made["accessor"])
        self.recorder.learn(self.secrets.add("token", made["client_token"]), made["accessor"])
        return made["client_token"], made["accessor"]

    def _revoke(self, accessor: str) -> None:
        """End a token that would not end by itself, if it is there still."""
        with contextlib.suppress(hvac.exceptions.VaultError):
            self.stack.operator.client.auth.token.revoke_accessor(accessor)

    def deliver_token(self, made: tuple[str, str], *, ends: str = "") -> None:
        """Put a token where the subject finds it, in place of the one that was there.

        Args:
            made: The token, and its accessor.
            ends: What the file has behind it.
        """
        token, self.agent_token = made
        self._put(self.token_file, token, ends=ends)

    # Wrapped secret-ids

    @property
    def wrapping_file(self) -> Path:
        """Where the subject finds a wrapping token that stands for its secret-id."""
        return self.directory / "wrapped-secret-id"

    def wrap_secret_id(self) -> str:
        """A new secret-id, wrapped."""
        return self._wrapped(f"auth/approle/role/{self.entry.approle}/secret-id")

    def wrap_foreign(self, secret_id: str) -> str:
        """A secret-id wrapped by somebody else, who thereby knows it."""
        return self._wrapped("sys/wrapping/wrap", secret_id=secret_id)

    def deliver_wrapping(self, token: str) -> None:
        """Put a wrapping token where the subject finds it, in place of the one that was there."""
        self._put(self.wrapping_file, token)

    def _wrapped(self, path: str, **body: object) -> str:
        answer = self.stack.operator.client.adapter.post(
            f"/v1/{path}", json=body, headers={"X-Vault-Wrap-TTL": "10m"}
        )
        token = str(answer["wrap_info"]["token"])
        self.secrets.add("wrapping", token)
        return token

    def _put(self, file: Path, content: str, *, ends: str = "") -> None:
        write_private(file, f"{content}{ends}")
        self.history.mark(f"{self.secrets.label(content)} delivered")
