"""The client's way to Vault: one request, one JSON answer or one of the client's own errors."""

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
)
from resilient_vault_client._pool import Pool
from resilient_vault_client._tls import TlsFiles
from resilient_vault_client._translate import from_answer, from_exception, parse

Answer = dict[str, Any]

_log = logging.getLogger("resilient_vault_client")

_REDIRECTS = frozenset({301, 302, 307, 308})

_PORTS = {"http": 80, "https": 443}

# What Vault's answers have, one or the other at least.
_PARTS = frozenset({"auth", "data", "lease_id", "request_id"})


class Transport:
    """Sends requests and gives answers, or raises the client's own errors and nothing else.

    Only the client's own settings count: proxies and netrc of the process's environment are not
    looked at. Where no authorities are named, OpenSSL says which the system's are.

    Args:
        config: Where Vault is, and whom to trust.
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
        """Send one request, follow at most one redirect that is allowed, and give the JSON answer.

        A 404 with data is an answer too: of a deleted or destroyed version of a secret.

        Args:
            method: ``GET`` or ``POST``.
            path: Below ``/v1/``, without escapes.
            deadline: When it ends in any case.
            token: Whose request it is.
            params: The query.
            body: What to send as JSON.
            login: Whether it is a login, whose answer can repeat the secret-id.

        Raises:
            VaultError: It did not work out.
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
            url = self._redirected(url, response)
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
            named = f"{named}:{port}"  # the usual one goes without saying, and some proxies mind it
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
        self, asked: urllib.parse.SplitResult, response: httpcore.Response
    ) -> urllib.parse.SplitResult:
        """The redirect's target, if the token may travel there."""
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
        elif there.netloc != self._base.netloc and not self._may_see_the_token(there):
            refused = "which is not in VAULT_REDIRECT_HOSTS"
        if refused is not None:
            raise RedirectRefused(
                f"{self.address} redirects to {there.scheme}://{there.hostname}:"
                f"{there.port or _PORTS[there.scheme]}, {refused}: the token does not travel there",
                sent=False,
            )
        path = there.path or "/"
        return there._replace(path=f"{path}?{there.query}" if there.query else path)

    def _may_see_the_token(self, there: urllib.parse.SplitResult) -> bool:
        """Whether a redirect may lead there: what is meant counts, not how it is written."""
        names = {there.netloc.lower(), _written_out(there)}
        return not names.isdisjoint({_written_out(self._base), *self._trusted})

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
        """Break what is under way, so that nobody waits for it any longer."""
        self._pool.abort()

    def forget(self) -> None:
        """After a fork: close our copies of sockets that the parent goes on using."""
        self._pool.forget()

    def close(self) -> None:
        """Close the connections that are not in use."""
        self._pool.close()


def _written_out(url: urllib.parse.SplitResult) -> str:
    """``host:port``, with the port that goes without saying."""
    host = url.hostname or ""
    return f"{f'[{host}]' if ':' in host else host}:{url.port or _PORTS[url.scheme]}"


def _answers(parsed: dict[str, Any], status: int) -> bool:
    """Whether that is an answer of Vault's, and one that says something."""
    if any(not isinstance(parsed.get(part) or {}, dict) for part in ("auth", "data")):
        return False
    return not _PARTS.isdisjoint(parsed) if status < 300 else parsed.get("data") is not None


def _header(name: str, value: str) -> bytes:
    """A header's value.

    Raises:
        ConfigurationError: It cannot be one; the message does not repeat it.
    """
    if value.isascii() and value.isprintable():
        return value.encode()
    raise ConfigurationError(f"{name} has characters that no header can carry", sent=False)


def _texts(value: object) -> Iterator[str]:
    """Every text in a body, which a careless server could repeat in its complaint."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for one in value.values():
            yield from _texts(one)
    elif isinstance(value, list | tuple):
        for one in value:
            yield from _texts(one)
