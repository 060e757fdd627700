"""What a subject logs in with: ids of an AppRole, a JWT, a token or a wrapped secret-id."""

from __future__ import annotations

import base64
import contextlib
import json
import time
from pathlib import Path
from secrets import token_hex

import hvac

from vault_harness.files import private_directory, write_private
from vault_harness.judge.servers import Servers
from vault_harness.judge.tokens import Tokens
from vault_harness.local.vault import approle
from vault_harness.local.vault.admin import VaultAdmin

_KEY = "issuer"


class JwtIssuer:
    """Signs JWTs for one workload and makes ``auth/<mount>`` accept them.

    Args:
        mount: Where the JWT method is enabled.
    """

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
        """Add a role for these JWTs."""
        self._operator.request(
            "POST",
            f"auth/{self._mount}/role/{name}",
            role_type="jwt",
            user_claim="sub",
            bound_subject=self._subject,
            **parameters,
        )

    def issue(self, *, life: float = 3600.0) -> str:
        """Sign a JWT with the newest key, valid for ``life`` seconds."""
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
        """Sign with a new key. JWTs of the older keys are still accepted."""
        self._operator.request("POST", f"{self._transit}/keys/{_KEY}/rotate")
        self.trust_all()

    def trust_all(self) -> None:
        """Accept JWTs of each of its keys."""
        self._trust(self._keys())

    def trust_newest(self) -> None:
        """Accept only JWTs of its newest key."""
        self._trust(self._keys()[-1:])

    def _keys(self) -> list[str]:
        found = self._operator.request("GET", f"{self._transit}/keys/{_KEY}")["data"]["keys"]
        return [found[number]["public_key"] for number in sorted(found, key=int)]

    def _trust(self, keys: list[str]) -> None:
        self._operator.request("POST", f"auth/{self._mount}/config", jwt_validation_pubkeys=keys)


def _base64(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def project(file: Path, content: str) -> None:
    """Put a content behind `file`, as a kubelet does with a Secret or a pod's token.

    The link `file` never changes. It leads through the link ``..<name>`` to a folder with one
    content. Each content gets its own folder, to which ``..<name>`` moves by renaming. So a path
    that was resolved before still gives the old content.
    """
    folder = private_directory(file.parent / f"..{file.name}-{token_hex(4)}")
    write_private(folder / file.name, content)
    moving = file.parent / f"..{file.name}"
    _lead(moving, Path(folder.name))
    _lead(file, Path(moving.name) / file.name)


def _lead(link: Path, target: Path) -> None:
    """Point a link at a target; the link exists at every moment."""
    new = link.with_name(f".{link.name}.new")
    new.symlink_to(target)
    new.replace(link)


class Credentials:
    """What a scenario's subject logs in with.

    Attributes:
        jwt: Issuer of the subject's JWTs; set only if it logs in with one.
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
        """Return the variables that tell the subject how to log in."""
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
        """Return the variables that name the files of an AppRole's ids."""
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
        """Where the subject finds its JWT: a link, as in a pod."""
        return self._lab.directory / "jwt"

    def deliver_jwt(self, jwt: str) -> None:
        """Put a JWT where the subject finds it, behind links, as Kubernetes does.

        A client that resolves the links only once keeps the first JWT.
        """
        label = self._lab.secrets.add("jwt", jwt)
        project(self.jwt_file, jwt)
        self._lab.history.mark(f"{label} delivered")

    @property
    def token_file(self) -> Path:
        """Where the subject finds a token that an agent keeps alive."""
        return self._lab.directory / "token"

    def new_agent_token(self, *, endless: bool = False) -> tuple[str, str]:
        """Return a token as an agent would get it for the subject, and its accessor.

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
        """Replace the token in the subject's file; `ends` follows it there."""
        token, self.agent_token = made
        self._put(self.token_file, token, ends=ends)

    @property
    def wrapping_file(self) -> Path:
        """Where the subject finds a wrapping token for its secret-id."""
        return self._lab.directory / "wrapped-secret-id"

    def wrap_secret_id(self) -> str:
        """Return a new secret-id, wrapped."""
        return self._wrapped(f"auth/approle/role/{self._lab.entry.approle}/secret-id")

    def wrap_foreign(self, secret_id: str) -> str:
        """Wrap a secret-id as an intruder would, who therefore knows it."""
        return self._wrapped("sys/wrapping/wrap", secret_id=secret_id)

    def deliver_wrapping(self, token: str) -> None:
        """Replace the wrapping token in the subject's file."""
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
