"""An issuer of JWTs that Vault trusts, as a platform has one: for its workloads to log in with.

Its key is in the transit engine of the same Vault, which signs; the method only knows the public
half. So there is no private key in this process, and nothing to compute here.
"""

from __future__ import annotations

import base64
import json
import time

from vault_harness.vault.operator import Operator

_KEY = "issuer"


class JwtIssuer:
    """Signs JWTs for one workload, and has them accepted at ``auth/<mount>``.

    Args:
        operator: Who may set all that up.
        mount: Where the JWT method is enabled.
        subject: For whom the JWTs are.
    """

    def __init__(self, operator: Operator, *, mount: str = "jwt", subject: str = "backend") -> None:
        self._operator = operator
        self._mount = mount
        self._subject = subject
        self._transit = f"{mount}-keys"
        operator.request("POST", f"sys/mounts/{self._transit}", type="transit")
        operator.request("POST", f"{self._transit}/keys/{_KEY}", type="ecdsa-p256")
        operator.request("POST", f"sys/auth/{mount}", type="jwt")
        self.trust_all()

    def add_role(self, name: str, **parameters: object) -> None:
        """A role that these JWTs may log in with.

        Args:
            name: Of the role.
            parameters: Of its tokens.
        """
        self._operator.request(
            "POST",
            f"auth/{self._mount}/role/{name}",
            role_type="jwt",
            user_claim="sub",
            bound_subject=self._subject,
            **parameters,
        )

    def issue(self, *, life: float = 3600.0) -> str:
        """A JWT that lives so many seconds, by the newest key."""
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
        """Sign with another key from now on; JWTs by the older ones are still accepted."""
        self._operator.request("POST", f"{self._transit}/keys/{_KEY}/rotate")
        self.trust_all()

    def trust_all(self) -> None:
        """Have JWTs by each of its keys accepted."""
        self._trust(self._keys())

    def trust_newest(self) -> None:
        """Have JWTs by its newest key accepted only."""
        self._trust(self._keys()[-1:])

    def _keys(self) -> list[str]:
        found = self._operator.request("GET", f"{self._transit}/keys/{_KEY}")["data"]["keys"]
        return [found[number]["public_key"] for number in sorted(found, key=int)]

    def _trust(self, keys: list[str]) -> None:
        self._operator.request("POST", f"auth/{self._mount}/config", jwt_validation_pubkeys=keys)


def _base64(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()
