"""What an operator does to one Vault server: initialise, unseal, seal, look."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import hvac
import hvac.exceptions
import requests
from requests.adapters import HTTPAdapter

from vault_harness import dialect
from vault_harness.commands import named
from vault_harness.dialect import Product
from vault_harness.errors import (
    DeadlineExceeded,
    HarnessError,
    KeyringMissing,
    NotInitialised,
    OperatorError,
    VaultIsSealed,
)
from vault_harness.vault.keyring import Keyring

_POLL_SECONDS = 0.005
_READING = frozenset({"GET", "LIST", "HEAD"})
_SEALED_MESSAGE = "Vault is sealed"


@dataclass(frozen=True)
class SealStatus:
    """What ``sys/seal-status`` says, which answers in every state.

    Attributes:
        initialised: Whether it has keys at all.
        sealed: Whether it needs unsealing.
        shares: How many keys there are, 0 before init.
        threshold: How many of them unseal.
        progress: How many were given so far.
        version: The server's version.
        product: Whose server it is.
    """

    initialised: bool
    sealed: bool
    shares: int
    threshold: int
    progress: int
    version: str
    product: Product


class _SameHostSession(requests.Session):
    """Refuses redirects to another host, where token and body would travel along."""

    def get_redirect_target(self, resp: requests.Response) -> str | None:
        target = super().get_redirect_target(resp)
        if target is None:
            return None
        there, here = urlsplit(target), urlsplit(resp.url)
        if there.netloc and (there.scheme, there.netloc) != (here.scheme, here.netloc):
            raise OperatorError(
                f"{here.netloc} redirects to another host, {there.netloc}: the token stays here",
                looked_at=f"{resp.request.method} {here.path}",
                remedy="address the active node itself",
            )
        return target


class Operator:
    """An operator at one Vault server, over hvac. Its repr shows no secret.

    Args:
        address: Base URL of the server.
        token: What to act with; None for what needs no token (init, unseal, seal-status).
        ca_cert: CA certificate for https.
        timeout: Seconds for each request.
        namespace: Vault Enterprise or OpenBao namespace.

    Attributes:
        client: The hvac client, for everything that this class has no verb for.
    """

    def __init__(
        self,
        address: str,
        token: str | None = None,
        ca_cert: Path | str | None = None,
        timeout: float = 10.0,
        *,
        namespace: str | None = None,
    ) -> None:
        self.address = address.rstrip("/")
        self._ca_cert = ca_cert
        self._timeout = timeout
        self._namespace = namespace
        session = _SameHostSession()
        # No proxies, no netrc: neither has a say in a Vault on this machine.
        session.trust_env = urlsplit(self.address).hostname not in {"127.0.0.1", "localhost", "::1"}
        session.verify = str(ca_cert) if ca_cert is not None else True
        session.mount("http://", HTTPAdapter(pool_maxsize=4))
        # An empty token stops hvac from taking one from VAULT_TOKEN or ~/.vault-token.
        self.client = hvac.Client(
            url=self.address,
            token=token or "",
            timeout=timeout,
            verify=session.verify,
            session=session,
            namespace=namespace,
        )
        self._session = session

    def __repr__(self) -> str:
        return f"<Operator {self.address}{' with a token' if self.client.token else ''}>"

    def with_token(self, token: str) -> Operator:
        """Another operator at the same server, acting with ``token``."""
        return Operator(
            self.address, token, self._ca_cert, self._timeout, namespace=self._namespace
        )

    def close(self) -> None:
        """Close its connections."""
        self._session.close()

    @contextlib.contextmanager
    def asking(self, what: str) -> Iterator[Any]:
        """Run requests of `client`; what hvac or requests raise becomes an `OperatorError`.

        Args:
            what: What is asked, for the message: "read the policy backend".

        Raises:
            VaultIsSealed: It must be unsealed first.
            NotInitialised: It must be initialised first.
            OperatorError: Anything else.
        """
        # The causes are not chained: hvac's and requests' exceptions hold the request, with token
        # and body.
        try:
            yield self.client
        except hvac.exceptions.VaultError as error:
            raise self._refused(what, error) from None
        except requests.RequestException as error:
            raise OperatorError(
                f"cannot {what}: {self.address} does not answer ({type(error).__name__})",
                looked_at=self.address,
                remedy=f"start it ({named('up')}), or wait until it answers",
            ) from None

    def request(self, method: str, path: str, **body: object) -> dict[str, Any]:
        """One request to ``/v1/<path>``, for endpoints that hvac has no method for.

        Returns:
            The answer's JSON; empty for an answer without a body, and for a 404 to who asks what
            is there (``GET``, ``LIST``).

        Raises:
            OperatorError: As `asking` says; for a 404 too where something should have been done.
        """
        with self.asking(f"{method} {path}"):
            try:
                answer = self.client.adapter.request(method, f"/v1/{path}", json=body or None)
            except hvac.exceptions.InvalidPath:
                if method.upper() not in _READING:
                    raise
                return {}
        return answer if isinstance(answer, dict) else {}

    def _refused(self, what: str, error: hvac.exceptions.VaultError) -> OperatorError:
        said = (
            "; ".join(error.errors) if isinstance(error.errors, list) else str(error.args[0] or "")
        )
        if _SEALED_MESSAGE in said or isinstance(error, hvac.exceptions.VaultDown):
            if not self._initialised():
                return NotInitialised(
                    f"cannot {what}: this Vault is not initialised",
                    looked_at=self.address,
                    remedy=f"initialise it ({named('up')} does)",
                )
            return VaultIsSealed(
                f"cannot {what}: this Vault is sealed",
                looked_at=self.address,
                remedy=f"unseal it: {named('unseal')}",
            )
        return OperatorError(
            f"cannot {what}: {' '.join(said.split()) or type(error).__name__}",
            looked_at=f"{self.address}, which answered {type(error).__name__}",
            remedy=_REMEDIES.get(type(error), f"look at the server's log: {named('logs')}"),
        )

    def _initialised(self) -> bool:
        try:
            return self.seal_status().initialised
        except HarnessError:
            return True

    def seal_status(self) -> SealStatus:
        """What state it is in; answers in every state, without a token."""
        with self.asking("read the seal status") as client:
            status = client.sys.read_seal_status()
        return SealStatus(
            initialised=bool(status["initialized"]),
            sealed=bool(status["sealed"]),
            shares=int(status["n"]),
            threshold=int(status["t"]),
            progress=int(status["progress"]),
            version=str(status["version"]),
            product=dialect.of_seal_status(status).product,
        )

    def init(self, shares: int = 5, threshold: int = 3) -> Keyring:
        """Initialise it. Save the keyring before anything else: nobody ever gets it again.

        Raises:
            OperatorError: It is initialised already.
        """
        with self.asking("initialise") as client:
            # Raft writes its first log entries here, which takes seconds on a slow disk.
            client.adapter._kwargs["timeout"] = max(self._timeout, 60.0)  # noqa: SLF001 -- no other way
            try:
                result = client.sys.initialize(secret_shares=shares, secret_threshold=threshold)
            finally:
                client.adapter._kwargs["timeout"] = self._timeout  # noqa: SLF001 -- as above
        return Keyring(tuple(result["keys_base64"]), threshold, str(result["root_token"]))

    def unseal(self, keyring: Keyring, timeout: float = 10.0) -> None:
        """Unseal it and wait until it serves. Does nothing but wait if it is unsealed.

        Raises:
            KeyringMissing: The keyring holds fewer keys than are needed.
            OperatorError: Vault does not take the keys.
            DeadlineExceeded: It does not become active within ``timeout`` seconds.
        """
        deadline = time.monotonic() + timeout
        if len(keyring.keys) < max(keyring.threshold, 1):
            raise KeyringMissing(
                "the keyring holds too few unseal keys",
                looked_at=f"{len(keyring.keys)} keys, {keyring.threshold} needed",
                remedy="take the keyring that belongs to this Vault",
            )
        with self.asking("unseal") as client:
            if client.sys.read_seal_status()["sealed"]:
                # Whoever began to unseal with other keys began in vain.
                client.sys.submit_unseal_key(reset=True)
                try:
                    answers = [
                        client.sys.submit_unseal_key(key=key)
                        for key in keyring.keys[: keyring.threshold]
                    ]
                except hvac.exceptions.InvalidRequest:
                    raise self._wrong_keys() from None
                if answers[-1]["sealed"]:  # the same key twice counts once
                    raise self._wrong_keys()
        self.wait_active(max(deadline - time.monotonic(), 0.0))

    def _wrong_keys(self) -> OperatorError:
        return OperatorError(
            "these keys do not unseal this Vault",
            looked_at=self.address,
            remedy="take the keyring that belongs to this Vault; is it another's data?",
        )

    def seal(self) -> None:
        """Seal it; needs a token that may."""
        with self.asking("seal") as client:
            client.sys.seal()

    def wait_active(self, timeout: float, *, standby_ok: bool = False) -> None:
        """Wait until it serves requests as the active node.

        Args:
            timeout: Seconds.
            standby_ok: Be content with a standby (429), which forwards to the active node.

        Raises:
            DeadlineExceeded: It does not within ``timeout`` seconds.
        """
        deadline = time.monotonic() + timeout
        good = {200, 429} if standby_ok else {200}
        while True:
            status = self._health()
            if status in good:
                return
            if time.monotonic() >= deadline:
                state = _HEALTH.get(
                    status, "does not answer" if not status else f"answers {status}"
                )
                raise DeadlineExceeded(
                    f"Vault was not active within {timeout:.1f} s: it {state}",
                    looked_at=f"GET {self.address}/v1/sys/health",
                    remedy=f"look at the server's log ({named('logs')})",
                )
            time.sleep(_POLL_SECONDS)  # between two looks at the condition, bounded by the deadline

    def _health(self) -> int:
        try:
            url = f"{self.address}/v1/sys/health"
            return self._session.get(url, timeout=self._timeout, allow_redirects=False).status_code
        except requests.RequestException:
            return 0


_REMEDIES = {
    hvac.exceptions.Forbidden: "use a token that is alive and whose policies allow this",
    hvac.exceptions.InvalidPath: "check the names: there is nothing at that path",
    hvac.exceptions.InvalidRequest: "correct what Vault says is wrong",
}
_HEALTH = {429: "is a standby", 501: "is not initialised", 503: "is sealed"}
