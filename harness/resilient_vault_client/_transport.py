"""Send one request to Vault, and return JSON or raise one of the client's errors."""

from __future__ import annotations

import json
import logging
import urllib.parse
from collections.abc import Iterator, Mapping
from typing import Any

import httpcore

from resilient_vault_client._config import Config, ascii_host
from resilient_vault_client._deadline import Deadline
from resilient_vault_client._errors import (
    AnswerTruncated,
    ConfigurationError,
    RedirectRefused,
    UnexpectedAnswer,
    VaultError,
)
from resilient_vault_client._network import Pool, TlsFiles
from resilient_vault_client._translate import from_answer, from_exception, parse

Answer = dict[str, Any]

_log = logging.getLogger("resilient_vault_client")

_REDIRECTS = frozenset({301, 302, 307, 308})

_PORTS = {"http": 80, "https": 443}

# Every answer of Vault has at least one of these.
_PARTS = frozenset({"auth", "data", "lease_id", "request_id"})


class Transport:
    """Send requests and return answers; raise only the client's own errors.

    Proxies and netrc in the environment are ignored.
    """

    def __init__(self, config: Config) -> None:
        self.address = config.address.rstrip("/")
        self._base = urllib.parse.urlsplit(self.address)
        self._trusted = frozenset(host.lower() for host in config.redirect_hosts)
        self._authorities = config.ca_cert
        self._pool = Pool(TlsFiles(config))
        self._headers = [(b"Accept", b"*/*"), (b"X-Vault-Request", b"true")]
        if config.namespace is not None:
            namespace = _header("VAULT_NAMESPACE", config.namespace)
            self._headers.append((b"X-Vault-Namespace", namespace))
        if not config.verify:
            _log.warning("vault: VAULT_SKIP_VERIFY is set: anybody can pose as %s", self.address)

    def request(
        self,
        method: str,
        path: str,
        *,
        deadline: Deadline,
        token: str | None = None,
        params: Mapping[str, Any] | None = None,
        body: object = None,
        login: bool = False,
    ) -> Answer:
        """Send one request, follow at most one allowed redirect, and return the JSON answer.

        A 404 with data is an answer too: a deleted or destroyed version.

        Args:
            path: Below ``/v1/``, without escapes.
            login: The answer can repeat the secret-id.
        """
        target = f"{self._base.path}/v1/{urllib.parse.quote(path)}"
        if params:
            target += "?" + urllib.parse.urlencode(params)
        url = self._base._replace(path=target)
        headers, content = list(self._headers), None
        if token is not None:
            headers.append((b"X-Vault-Token", _header("the token", token)))
        if body is not None:
            content = json.dumps(body).encode()
            headers.append((b"Content-Type", b"application/json"))
        response = self._send(method, url, headers, content, deadline)
        if response.status in _REDIRECTS:
            url = self._redirected(url, response, deadline)
            response = self._send(method, url, headers, content, deadline)
            if 300 <= response.status < 400:
                raise RedirectRefused(f"{self.address} redirects more than once", sent=False)
        hide = () if login else (token or "", *_texts(body))
        return self._answer(response, hide, login)

    def _send(
        self,
        method: str,
        url: urllib.parse.SplitResult,
        headers: list[tuple[bytes, bytes]],
        content: bytes | None,
        deadline: Deadline,
    ) -> httpcore.Response:
        length = len(content or b"")
        if content is not None or method != "GET":
            headers = [*headers, (b"Content-Length", b"%d" % length)]
        host, port = ascii_host(url.hostname or ""), url.port or _PORTS[url.scheme]
        named = f"[{host}]" if ":" in host else host
        if port != _PORTS[url.scheme]:
            named = f"{named}:{port}"  # without the default port, which some proxies reject
        request = httpcore.Request(
            method,
            httpcore.URL(scheme=url.scheme, host=host, port=port, target=url.path),
            headers=[(b"Host", named.encode()), *headers],
            content=content,
        )
        try:
            return self._pool.exchange(request, deadline)
        except Exception as error:
            asked = self.address
            if url.netloc != self._base.netloc:
                asked = f"{url.scheme}://{named} (to which {self.address} redirects)"
            failure = from_exception(error, asked, self._authorities)
            if failure is None:
                raise
            raise failure from error

    def _redirected(
        self, asked: urllib.parse.SplitResult, response: httpcore.Response, deadline: Deadline
    ) -> urllib.parse.SplitResult:
        location = next((v for k, v in response.headers if k.lower() == b"location"), b"")
        target = urllib.parse.urljoin(asked.geturl(), location.decode("latin-1"))
        refused = None
        try:
            there = urllib.parse.urlsplit(target)
            named = bool(ascii_host(there.hostname or "")) and location.isascii()
            known = named and there.scheme in _PORTS and there.port != 0
        except ValueError:
            known = False
        if not known:
            raise RedirectRefused(f"{self.address} redirects to nowhere", sent=False)
        if there.scheme != self._base.scheme and there.scheme != "https":
            refused = "without encryption"
        elif not self._may_see_the_token(there) and not (
            response.status == 307 and self._leads(there, deadline)
        ):
            refused = "which is neither the cluster's leader nor in VAULT_REDIRECT_HOSTS"
        if refused is not None:
            raise RedirectRefused(
                f"{self.address} redirects to {there.scheme}://{there.hostname}:"
                f"{there.port or _PORTS[there.scheme]}, {refused}: the token does not travel there",
                sent=False,
            )
        path = there.path or "/"
        return there._replace(path=f"{path}?{there.query}" if there.query else path)

    def _may_see_the_token(self, there: urllib.parse.SplitResult) -> bool:
        """Return whether a redirect may lead there, however its address is written."""
        names = {there.netloc.lower(), _written_out(there)}
        return not names.isdisjoint({_written_out(self._base), *self._trusted})

    def _leads(self, there: urllib.parse.SplitResult, deadline: Deadline) -> bool:
        """Ask Vault whether its leader is there.

        A standby that cannot forward redirects to its leader, which no client's configuration
        names. A gateway or captive portal does not know `sys/leader`.
        """
        url = self._base._replace(path=f"{self._base.path}/v1/sys/leader")
        try:
            answer = parse(self._send("GET", url, self._headers[:2], None, deadline).content)
            leader = urllib.parse.urlsplit(str(answer.get("leader_address", "")))
            return leader.scheme == there.scheme and _written_out(leader) == _written_out(there)
        except (AttributeError, KeyError, ValueError, VaultError):  # the answer names no leader
            return False

    def _answer(self, response: httpcore.Response, hide: tuple[str, ...], login: bool) -> Answer:
        status, content = response.status, response.content
        if status == 204:
            return {}
        if status == 404 or status < 300:
            parsed = parse(content)
            if isinstance(parsed, dict) and _answers(parsed, status):
                return parsed
            if isinstance(parsed, dict) and status < 300:
                raise UnexpectedAnswer(
                    f"{self.address} answered {status}, but not as Vault does: does VAULT_ADDR "
                    "lead to Vault, or is that a gateway's notice?",
                    status=status,
                )
        headers = {k.decode("latin-1").lower(): v.decode("latin-1") for k, v in response.headers}
        if status >= 300:
            raise from_answer(
                status, content, headers, address=self.address, hide=hide, login=login
            )
        if not content or "json" in headers.get("content-type", "json"):
            raise AnswerTruncated(f"the answer of {self.address} was cut short", status=status)
        raise UnexpectedAnswer(
            f"{self.address} answered {status}, but not as Vault does", status=status
        )

    def abort(self) -> None:
        """Break all requests, so that no thread waits for them."""
        self._pool.abort()

    def forget(self) -> None:
        """Close a forked child's copies of the sockets."""
        self._pool.forget()

    def close(self) -> None:
        """Close idle connections."""
        self._pool.close()


def _written_out(url: urllib.parse.SplitResult) -> str:
    """Return ``host:port``, also for the default port."""
    host = url.hostname or ""
    return f"{f'[{host}]' if ':' in host else host}:{url.port or _PORTS[url.scheme]}"


def _answers(parsed: dict[str, Any], status: int) -> bool:
    """Return whether this is Vault's, with content."""
    if any(not isinstance(parsed.get(part) or {}, dict) for part in ("auth", "data")):
        return False
    return not _PARTS.isdisjoint(parsed) if status < 300 else parsed.get("data") is not None


def _header(name: str, value: str) -> bytes:
    """Return a header's value; raise `ConfigurationError`, without the value, if it is invalid."""
    if value.isascii() and value.isprintable():
        return value.encode()
    raise ConfigurationError(f"{name} has characters that no header can carry", sent=False)


def _texts(value: object) -> Iterator[str]:
    """Yield every text in a body: a careless server could repeat it in an error."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for one in value.values():
            yield from _texts(one)
    elif isinstance(value, list | tuple):
        for one in value:
            yield from _texts(one)


class Api:
    """Vault's API: each method makes one request.

    ``mount`` is that of the KV version 2 engine.
    """

    def __init__(self, transport: Transport, mount: str) -> None:
        self._transport = transport
        self._mount = mount

    def read_secret(
        self, token: str, path: str, deadline: Deadline, *, version: int | None = None
    ) -> Answer:
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
        body = {"data": dict(data), "options": {} if cas is None else {"cas": cas}}
        return self._transport.request(
            "POST", f"{self._mount}/data/{path}", token=token, body=body, deadline=deadline
        )

    def log_in(self, mount: str, credentials: Mapping[str, str], deadline: Deadline) -> Answer:
        """Log in; ``auth`` of the answer holds the token."""
        return self._transport.request(
            "POST",
            f"auth/{mount}/login",
            body=dict(credentials),
            login=True,
            deadline=deadline,
        )

    def renew(self, token: str, deadline: Deadline) -> Answer:
        return self._transport.request(
            "POST", "auth/token/renew-self", token=token, body={}, deadline=deadline
        )

    def look_up(self, token: str, deadline: Deadline) -> Answer:
        return self._transport.request(
            "GET", "auth/token/lookup-self", token=token, deadline=deadline
        )

    def revoke(self, token: str, deadline: Deadline) -> None:
        self._transport.request("POST", "auth/token/revoke-self", token=token, deadline=deadline)

    def lease(self, token: str, path: str, deadline: Deadline) -> Answer:
        """Ask a dynamic secrets engine for a credential and its lease."""
        return self._transport.request("GET", path, token=token, deadline=deadline)

    def renew_lease(self, token: str, lease_id: str, increment: int, deadline: Deadline) -> Answer:
        """Ask for ``increment`` seconds, counted from now."""
        body = {"lease_id": lease_id, "increment": increment}
        return self._transport.request(
            "POST", "sys/leases/renew", token=token, body=body, deadline=deadline
        )

    def revoke_lease(self, token: str, lease_id: str, deadline: Deadline) -> None:
        """Revoke a lease, if the policy allows it, which few do."""
        self._transport.request(
            "POST",
            "sys/leases/revoke",
            token=token,
            body={"lease_id": lease_id},
            deadline=deadline,
        )

    def unwrap(self, token: str, deadline: Deadline) -> Answer:
        return self._transport.request(
            "POST", "sys/wrapping/unwrap", token=token, deadline=deadline
        )

    def look_up_wrapping(self, token: str, deadline: Deadline) -> Answer:
        """Return which path a wrapping token was made for, without using it up."""
        return self._transport.request(
            "POST", "sys/wrapping/lookup", body={"token": token}, deadline=deadline
        )
