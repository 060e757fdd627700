"""Send requests to one Vault server through hvac, and turn refusals into operator errors."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator
from dataclasses import dataclass
from http import HTTPStatus
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import hvac
import hvac.exceptions
import requests
from requests.adapters import HTTPAdapter

from vault_harness import namespaces
from vault_harness.certificates import shown_beside
from vault_harness.errors import (
    HarnessError,
    NamespaceError,
    NotInitialised,
    OperatorError,
    VaultIsSealed,
    named,
    without_frames,
)
from vault_harness.local import dialect
from vault_harness.local.dialect import Product
from vault_harness.local.vault.keyring import KeyKind

_READING = frozenset({"GET", "LIST", "HEAD"})
_SEALED_MESSAGE = "Vault is sealed"
_NO_NAMESPACE = "namespace not found"
_SEALED_NAMESPACE = "namespace is sealed"

NO_LEADER = "active cluster node not found"
"""Text of the 500 from a node that knows no leader. The request was not done."""

COMMIT_FAILED = "transaction commit failed"
"""Text of the 500 that OpenBao rarely gives to a read of a password that it rotates just then."""

_COMMIT_SECONDS = 2.0
_POLL_SECONDS = 0.05


@dataclass(frozen=True)
class SealStatus:
    """The answer of ``sys/seal-status``, which works in every state.

    Attributes:
        kind: ``recovery`` for a server that unseals itself.
        seal: ``shamir``, ``static``, ``transit``, ``awskms``, ...
        migrating: Whether its configuration names another seal than its data has.
    """

    initialised: bool
    sealed: bool
    shares: int
    threshold: int
    progress: int
    version: str
    product: Product
    kind: KeyKind = "shamir"
    seal: str = "shamir"
    migrating: bool = False


def is_here(address: str) -> bool:
    """Return whether a URL leads to this machine. Then no proxy and no netrc applies."""
    return urlsplit(address).hostname in {"127.0.0.1", "localhost", "::1"}


class _SameHostSession(requests.Session):
    """Refuses redirects to another host, which would get the token and the body.

    Requests for the whole server go without a namespace. A request that no leader took is repeated
    for `patience` seconds, and a read that met a rotation for a moment.
    """

    patience = 0.0

    def request(self, *given: Any, **options: Any) -> requests.Response:
        began = time.monotonic()
        while True:
            answer = super().request(*given, **options)
            if time.monotonic() >= began + self._patience_with(answer):
                return answer
            time.sleep(_POLL_SECONDS)  # bounded by the patience

    def _patience_with(self, answer: requests.Response) -> float:
        if answer.status_code != HTTPStatus.INTERNAL_SERVER_ERROR:
            return 0.0
        if NO_LEADER.encode() in answer.content:
            return self.patience
        read = answer.request.method in _READING
        return _COMMIT_SECONDS if read and COMMIT_FAILED.encode() in answer.content else 0.0

    def prepare_request(self, request: requests.Request) -> requests.PreparedRequest:
        prepared = super().prepare_request(request)
        path = urlsplit(prepared.url or "").path
        if namespaces.is_root_level(str(path).partition("/v1/")[2]):
            prepared.headers.pop(namespaces.HEADER, None)
        return prepared

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


class VaultApi:
    """Requests to one Vault server, over hvac. For its arguments see `VaultAdmin`."""

    def __init__(
        self,
        address: str,
        token: str | None = None,
        ca_cert: Path | str | None = None,
        timeout: float = 10.0,
        *,
        namespace: str | None = None,
        patience: float = 0.0,
    ) -> None:
        self.address = address.rstrip("/")
        self.ca_cert = Path(ca_cert) if ca_cert is not None else None
        self._timeout = timeout
        self.namespace = namespace or ""
        self._patience = patience
        session = _SameHostSession()
        session.patience = patience
        session.trust_env = not is_here(self.address)
        session.verify = str(ca_cert) if ca_cert is not None else True
        own = shown_beside(ca_cert)
        session.cert = str(own) if own is not None else None
        session.mount("http://", HTTPAdapter(pool_maxsize=4))
        # An empty token stops hvac from taking one from VAULT_TOKEN or ~/.vault-token.
        self.client = hvac.Client(
            url=self.address,
            token=token or "",
            timeout=timeout,
            verify=session.verify,
            cert=session.cert,
            session=session,
            namespace=self.namespace or None,
        )
        # Otherwise hvac takes VAULT_CLIENT_CERT from the shell, which is for another server.
        self.client.adapter._kwargs["cert"] = session.cert  # noqa: SLF001 -- no other way
        self._session = session

    def close(self) -> None:
        self._session.close()

    @contextlib.contextmanager
    def asking(self, what: str) -> Iterator[Any]:
        """Turn errors of hvac and requests into `OperatorError`. `what`: "read the policy"."""
        # Not chained: exceptions of hvac and requests hold the request, with token and body.
        try:
            yield self.client
        except hvac.exceptions.VaultError as error:
            refused = self._refused(what, error)
            refused.passing = isinstance(error, _UNABLE)
            raise refused from None
        except requests.RequestException as error:
            raise OperatorError(
                f"cannot {what}: {self.address} does not answer ({type(error).__name__})",
                looked_at=self.address,
                remedy=f"{named('doctor')} says which certificate is wrong"
                if isinstance(error, requests.exceptions.SSLError)
                else f"start it ({named('up')}), or wait until it answers",
            ) from None

    @without_frames
    def request(self, method: str, path: str, **body: object) -> dict[str, Any]:
        """Send one request to ``/v1/<path>``, and return the JSON of the answer.

        It is empty for an answer without a body, and for a 404 to ``GET`` or ``LIST``.
        """
        with self.asking(f"{method} {path}"):
            try:
                answer = self.client.adapter.request(method, f"/v1/{path}", json=body or None)
            except hvac.exceptions.InvalidPath as error:
                if method.upper() not in _READING or _NO_NAMESPACE in str(error):
                    raise
                return {}
        return answer if isinstance(answer, dict) else {}

    def _refused(self, what: str, error: hvac.exceptions.VaultError) -> OperatorError:
        said = (
            "; ".join(error.errors) if isinstance(error.errors, list) else str(error.args[0] or "")
        )
        if self.namespace and (_NO_NAMESPACE in said or _SEALED_NAMESPACE in said):
            return self._wrong_namespace(what, sealed=_SEALED_NAMESPACE in said)
        says_sealed = _SEALED_MESSAGE in said
        if says_sealed or isinstance(error, hvac.exceptions.VaultDown):
            status = self._status_if_known()
            if status is not None and not status.initialised:
                return NotInitialised(
                    f"cannot {what}: this Vault is not initialised",
                    looked_at=self.address,
                    remedy=f"initialise it ({named('up')} does)",
                )
            if says_sealed or status is None or status.sealed:
                return VaultIsSealed(
                    f"cannot {what}: this Vault is sealed",
                    looked_at=self.address,
                    remedy=f"unseal it: {named('unseal')}",
                )
        log = f"look at the server's log: {named('logs')}"
        if isinstance(error, hvac.exceptions.InternalServerError):
            log += ". A full disk under its audit log has this effect until there is space again"
        return OperatorError(
            f"cannot {what}: {' '.join(said.split()) or type(error).__name__}",
            looked_at=f"{self.address}, which answered {type(error).__name__}",
            remedy=_REMEDIES.get(type(error), log),
        )

    def _wrong_namespace(self, what: str, *, sealed: bool) -> NamespaceError:
        if sealed:
            above, _, name = self.namespace.rpartition("/")
            unseal = named(
                "vault", "--", "namespace", "unseal", f"-namespace={above or 'root'}", name
            )
            return NamespaceError(
                f"cannot {what}: the namespace {self.namespace} is sealed, or one above it is; the "
                "server itself is not",
                looked_at=self.address,
                remedy=f"unseal it with its keys: {unseal}",
            )
        return NamespaceError(
            f"cannot {what}: there is no namespace {self.namespace}",
            looked_at=self.address,
            remedy=f"correct VAULT_NAMESPACE; {named('seed')} makes one that a blueprint names",
        )

    def _status_if_known(self) -> SealStatus | None:
        try:
            return self.seal_status()
        except HarnessError:
            return None

    def seal_status(self) -> SealStatus:
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
            kind="recovery" if status.get("recovery_seal") else "shamir",
            seal=str(status.get("type") or "shamir"),
            migrating=bool(status.get("migration")),
        )


_UNABLE = (  # the server's own trouble, and the request may be right
    hvac.exceptions.InternalServerError,
    hvac.exceptions.BadGateway,
    hvac.exceptions.VaultDown,
)

_REMEDIES = {
    hvac.exceptions.Forbidden: "use a valid token whose policies allow this",
    hvac.exceptions.InvalidPath: "check the names: there is nothing at that path",
    hvac.exceptions.InvalidRequest: "correct what Vault says is wrong",
    hvac.exceptions.RateLimitExceeded: "it limits the rate of requests: wait a moment, then run "
    "this again",
    # It is unsealed, but the server or a proxy before it cannot serve this now.
    hvac.exceptions.VaultDown: "wait a moment, then run this again",
}
