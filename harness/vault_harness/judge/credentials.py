"""Provide what a subject logs in with, and know its role's tokens."""

from __future__ import annotations

import base64
import contextlib
import json
import time
from collections.abc import Mapping
from contextlib import closing
from pathlib import Path
from secrets import token_hex
from typing import Any

import hvac

from vault_harness.files import private_directory, write_private
from vault_harness.judge.servers import Servers
from vault_harness.judge.verdict import NotExercised
from vault_harness.local.vault import approle
from vault_harness.local.vault.admin import VaultAdmin

_KEY = "issuer"


class JwtIssuer:
    """Signs JWTs for one workload, and makes ``auth/<mount>`` accept them."""

    def __init__(
        self, operator: VaultAdmin, *, mount: str = "jwt", subject: str = "backend"
    ) -> None:
        self._operator = operator
        self._mount = mount
        self._subject = subject
        self._transit = f"{mount}-keys"
        operator.request("POST", f"sys/mounts/{self._transit}", type="transit")
        operator.request("POST", f"{self._transit}/keys/{_KEY}", type="ecdsa-p256")
        operator.request("POST", f"sys/auth/{mount}", type="jwt")
        self.trust_all()

    def add_role(self, name: str, **parameters: object) -> None:
        self._operator.request(
            "POST",
            f"auth/{self._mount}/role/{name}",
            role_type="jwt",
            user_claim="sub",
            bound_subject=self._subject,
            **parameters,
        )

    def issue(self, *, life: float = 3600.0) -> str:
        """`life` is in seconds."""
        now = int(time.time())
        claims = {"sub": self._subject, "iat": now, "nbf": now, "exp": now + int(life)}
        head = {"alg": "ES256", "typ": "JWT"}
        text = ".".join(_base64(json.dumps(part).encode()) for part in (head, claims))
        answer = self._operator.request(
            "POST",
            f"{self._transit}/sign/{_KEY}/sha2-256",
            input=base64.b64encode(text.encode()).decode(),
            marshaling_algorithm="jws",
        )
        return f"{text}.{answer['data']['signature'].split(':')[-1]}"

    def rotate(self) -> None:
        """Vault still accepts JWTs of the older keys."""
        self._operator.request("POST", f"{self._transit}/keys/{_KEY}/rotate")
        self.trust_all()

    def trust_all(self) -> None:
        self._trust(self._keys())

    def trust_newest(self) -> None:
        self._trust(self._keys()[-1:])

    def _keys(self) -> list[str]:
        found = self._operator.request("GET", f"{self._transit}/keys/{_KEY}")["data"]["keys"]
        return [found[number]["public_key"] for number in sorted(found, key=int)]

    def _trust(self, keys: list[str]) -> None:
        self._operator.request("POST", f"auth/{self._mount}/config", jwt_validation_pubkeys=keys)


def _base64(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def project(file: Path, content: str) -> None:
    """Put `content` behind the link `file`, as a kubelet does with a Secret or a pod's token.

    Each content gets its own folder, so a path that was resolved earlier still gives the old
    content.
    """
    folder = private_directory(file.parent / f"..{file.name}-{token_hex(4)}")
    write_private(folder / file.name, content)
    moving = file.parent / f"..{file.name}"
    _lead(moving, Path(folder.name))
    _lead(file, Path(moving.name) / file.name)


def _lead(link: Path, target: Path) -> None:
    """The link exists at every moment."""
    new = link.with_name(f".{link.name}.new")
    new.symlink_to(target)
    new.replace(link)


class Credentials:
    """What a scenario's subject logs in with.

    Attributes:
        jwt: Set only if the subject logs in with JWTs.
        agent_token: Accessor of the token in the subject's file; empty if there is none.
    """

    jwt: JwtIssuer
    agent_token = ""

    def __init__(self, lab: Servers, tokens: Tokens) -> None:
        self._lab = lab
        self._tokens = tokens
        match self._lab.entry.auth:
            case "jwt":
                self.jwt = JwtIssuer(self._lab.stack.operator, subject=self._lab.entry.approle)
                self.jwt.add_role(self._lab.entry.approle, **self._token_parameters())
                self.deliver_jwt(self.jwt.issue())
            case "token-file":
                self.deliver_token(self.new_agent_token())
            case "wrapped-secret-id":
                self.deliver_wrapping(self.wrap_secret_id())

    def environ(self) -> dict[str, str]:
        match self._lab.entry.auth:
            case "jwt":
                return {
                    "VAULT_JWT_FILE": str(self.jwt_file),
                    "VAULT_JWT_ROLE": self._lab.entry.approle,
                    "VAULT_AUTH_MOUNT": "jwt",
                }
            case "token-file":
                return {"VAULT_TOKEN_FILE": str(self.token_file)}
        if self._lab.entry.auth == "wrapped-secret-id":
            role_id, _ = approle.credential_files(self._lab.entry.approle, self._lab.directory)
            return {
                "VAULT_ROLE_ID_FILE": str(role_id),
                "VAULT_WRAPPED_SECRET_ID_FILE": str(self.wrapping_file),
            }
        if self._lab.entry.ids == "files":
            return self.approle_environ()
        return {
            "VAULT_ROLE_ID": self._lab.role_id,
            "VAULT_SECRET_ID": self._lab.secret_id.secret_id,
        }

    def approle_environ(self) -> dict[str, str]:
        role_id, secret_id = approle.credential_files(self._lab.entry.approle, self._lab.directory)
        return {"VAULT_ROLE_ID_FILE": str(role_id), "VAULT_SECRET_ID_FILE": str(secret_id)}

    def _token_parameters(self) -> dict[str, object]:
        return {
            "token_policies": [self._lab.entry.approle],
            "token_ttl": f"{self._lab.ttl:.0f}s",
            "token_max_ttl": f"{self._lab.entry.max_ttl:.0f}s",
        }

    @property
    def jwt_file(self) -> Path:
        return self._lab.directory / "jwt"

    def deliver_jwt(self, jwt: str) -> None:
        """Replace the subject's JWT as Kubernetes does.

        A client that resolves the links only once keeps the first JWT.
        """
        label = self._lab.secrets.add("jwt", jwt)
        project(self.jwt_file, jwt)
        self._lab.history.mark(f"{label} delivered")

    @property
    def token_file(self) -> Path:
        return self._lab.directory / "token"

    def new_agent_token(self, *, endless: bool = False) -> tuple[str, str]:
        """Return a token as an agent would get it, and its accessor.

        An `endless` token is a root token, since Vault limits the life of all others.
        """
        lives = {"policies": [self._lab.entry.approle], "ttl": f"{self._lab.ttl:.0f}s"}
        made = self._tokens.create(
            {
                **({"policies": ["root"]} if endless else lives),
                "meta": {"role_name": self._lab.entry.approle},
                "no_parent": True,
            }
        )
        if endless:
            self._lab.at_the_end(self._revoke, made["accessor"])
        self._lab.recorder.learn(
            self._lab.secrets.add("token", made["client_token"]), made["accessor"]
        )
        return made["client_token"], made["accessor"]

    def _revoke(self, accessor: str) -> None:
        with contextlib.suppress(hvac.exceptions.VaultError):
            self._lab.stack.operator.client.auth.token.revoke_accessor(accessor)

    def deliver_token(self, made: tuple[str, str], *, ends: str = "") -> None:
        token, self.agent_token = made
        self._put(self.token_file, token, ends=ends)

    @property
    def wrapping_file(self) -> Path:
        return self._lab.directory / "wrapped-secret-id"

    def wrap_secret_id(self) -> str:
        return self._wrapped(f"auth/approle/role/{self._lab.entry.approle}/secret-id")

    def wrap_foreign(self, secret_id: str) -> str:
        """Wrap a secret-id as an intruder who knows it would."""
        return self._wrapped("sys/wrapping/wrap", secret_id=secret_id)

    def deliver_wrapping(self, token: str) -> None:
        self._put(self.wrapping_file, token)

    def _wrapped(self, path: str, **body: object) -> str:
        answer = self._lab.stack.operator.client.adapter.post(
            f"/v1/{path}", json=body, headers={"X-Vault-Wrap-TTL": "10m"}
        )
        token = str(answer["wrap_info"]["token"])
        self._lab.secrets.add("wrapping", token)
        return token

    def _put(self, file: Path, content: str, *, ends: str = "") -> None:
        write_private(file, f"{content}{ends}")
        self._lab.history.mark(f"{self._lab.secrets.label(content)} delivered")


class Tokens:
    """The tokens of a scenario's role, as Vault knows them."""

    def __init__(self, lab: Servers) -> None:
        self._lab = lab
        self._parents: dict[str, str] = {}

    def accessor(self) -> str:
        login = self._lab.history.last_token()
        if login is None or login.accessor is None:
            raise NotExercised("the subject never logged in, so there is no token to break")
        return login.accessor

    def lives(self, accessor: str) -> bool:
        """Return whether a token lives.

        Only 403, 404 and "invalid accessor" mean that it is gone. Other errors are raised.
        """
        return self._token(accessor) is not None

    def _token(self, accessor: str) -> Mapping[str, Any] | None:
        try:
            found = self._lab.operator.client.auth.token.lookup_accessor(accessor)
        except (hvac.exceptions.Forbidden, hvac.exceptions.InvalidPath):
            return None
        except hvac.exceptions.InvalidRequest as error:
            # OpenBao answers 400. A standby passes on the status without the message.
            if "invalid accessor" in str(error) or "invalid request" in str(error):
                return None
            raise
        data: Mapping[str, Any] = found["data"]
        return data

    def alive(self) -> int:
        accessors = self._lab.operator.client.list("auth/token/accessors")["data"]["keys"]
        found = [token for accessor in accessors if (token := self._token(accessor)) is not None]
        mine = self._lab.entry.approle
        metas = [token.get("meta") or {} for token in found]
        return sum(mine in (meta.get("role_name"), meta.get("role")) for meta in metas)

    def issue_instead(self, *, with_parent: bool = False, **parameters: object) -> None:
        """Answer each accepted login from now on with another token of its role.

        This gives kinds of token that no AppRole can issue. The login's own token is revoked.

        Args:
            with_parent: Give each token its own parent. By default tokens are orphans, as tokens of
                logins are.
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
        made: Mapping[str, Any] = self._lab.stack.operator.client.adapter.post(
            "/v1/auth/token/create", json=order
        )["auth"]
        return made

    def _child(self, order: dict[str, object]) -> Mapping[str, Any]:
        """The parent lives unless it is revoked."""
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
        return self._parents[accessor]
