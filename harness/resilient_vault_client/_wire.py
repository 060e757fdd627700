"""The client's way to Vault: one pool of connections, and adapters for hvac's API classes."""

from __future__ import annotations

import json as _json
import logging
import urllib.parse
from collections.abc import Iterator, Mapping
from typing import Any

import requests
import requests.adapters
import urllib3

from resilient_vault_client._config import Config
from resilient_vault_client._deadline import seconds_left
from resilient_vault_client._errors import AnswerTruncated, RedirectRefused, UnexpectedAnswer
from resilient_vault_client._socket import OpenSockets, Resolver, pool_classes
from resilient_vault_client._tls import TlsFiles
from resilient_vault_client._translate import from_answer, from_exception

Answer = dict[str, Any]

_log = logging.getLogger("resilient_vault_client")

# Threads of one application that ask at the same time and keep their connections.
_POOL_SIZE = 64


class Wire:
    """Sends requests and gives answers, or raises the client's own errors and nothing else.

    Args:
        config: Where Vault is, and whom to trust.
    """

    def __init__(self, config: Config) -> None:
        self._base = config.address.rstrip("/")
        self._namespace = config.namespace
        self._trusted = config.redirect_hosts
        self._sockets = OpenSockets()
        if not config.verify:
            _log.warning("vault: VAULT_SKIP_VERIFY is set: anybody can pose as %s", self._base)
        self._session = requests.Session()
        # Proxies, netrc and CA bundles of the process are not the client's: its environment is
        # passed to it.
        self._session.trust_env = False
        adapter = _Pools(pool_classes(Resolver(), self._sockets, TlsFiles(config).context))
        self._session.mount("http://", adapter)
        self._session.mount("https://", adapter)

    @property
    def address(self) -> str:
        """Vault's address."""
        return self._base

    def adapter(self, token: str | None = None) -> HvacAdapter:
        """What hvac's API classes need to make requests with ``token``."""
        headers = {"X-Vault-Request": "true"}
        if self._namespace is not None:
            headers["X-Vault-Namespace"] = self._namespace
        if token is not None:
            headers["X-Vault-Token"] = token
        return HvacAdapter(self, headers, hide=() if token is None else (token,))

    def request(
        self,
        method: str,
        url: str,
        *,
        headers: Mapping[str, str],
        params: Mapping[str, Any] | None = None,
        json: object = None,
        hide: tuple[str, ...] = (),
        login: bool = False,
    ) -> Answer:
        """Send one request, follow at most one redirect that is allowed, and give the JSON answer.

        A 404 with data is an answer too: of a deleted or destroyed version of a secret.

        Raises:
            VaultError: It did not work out.
        """
        target = self._base + url
        response = self._send(method, target, headers=headers, params=params, json=json)
        if response.status_code in (301, 302, 307, 308):
            target = self._redirected(response)
            response = self._send(method, target, headers=headers, params=params, json=json)
            if 300 <= response.status_code < 400:
                raise RedirectRefused(f"{self._base} redirects more than once", sent=False)
        return self._answer(response, hide, login)

    def _send(self, method: str, url: str, **rest: Any) -> requests.Response:
        # Raised outside of the handler: inside, Python would attach the lower exception, which
        # holds the request.
        try:
            return self._session.request(
                method, url, timeout=seconds_left(), allow_redirects=False, **rest
            )
        except (OSError, ValueError, urllib3.exceptions.HTTPError) as error:
            failure = from_exception(error, self._base)
            if failure is None:
                raise
        raise failure

    def _redirected(self, response: requests.Response) -> str:
        """The redirect's target, if the token may travel there."""
        location = urllib.parse.urljoin(response.url, response.headers.get("Location", ""))
        here, there = urllib.parse.urlsplit(self._base), urllib.parse.urlsplit(location)
        refused = None
        if there.scheme != here.scheme and there.scheme != "https":
            refused = "without encryption"
        elif there.netloc != here.netloc and there.netloc not in self._trusted:
            refused = "which is not in VAULT_REDIRECT_HOSTS"
        if refused is not None:
            raise RedirectRefused(
                f"{self._base} redirects to {there.scheme}://{there.netloc}, {refused}: the token "
                "does not travel there",
                sent=False,
            )
        # Its query is the one that was sent, and would be sent twice.
        return urllib.parse.urlunsplit((there.scheme, there.netloc, there.path, "", ""))

    def _answer(self, response: requests.Response, hide: tuple[str, ...], login: bool) -> Answer:
        status, body = response.status_code, response.content
        if status == 204:
            return {}
        parsed: Any = None
        if status == 404 or status < 300:
            try:
                parsed = _json.loads(body)
            except ValueError:
                parsed = None
            if isinstance(parsed, dict) and (status < 300 or parsed.get("data") is not None):
                return parsed
        if status < 300 and (not body or "json" in response.headers.get("Content-Type", "json")):
            raise AnswerTruncated(f"the answer of {self._base} was cut short", status=status)
        if status < 300:
            raise UnexpectedAnswer(
                f"{self._base} answered {status}, but not as Vault does", status=status
            )
        raise from_answer(
            status, body, response.headers, address=self._base, hide=hide, login=login
        )

    def abort(self) -> None:
        """Break what is under way, so that nobody waits for it any longer."""
        self._sockets.abort()

    def forget(self) -> None:
        """After a fork: close our copies of sockets that the parent goes on using."""
        self._sockets.forget()

    def close(self) -> None:
        """Close the connections that are not in use."""
        self._session.close()


class HvacAdapter:
    """An adapter as hvac's API classes want it, with one fixed token, for any number of threads.

    hvac's own adapters hold a token that changes under the threads that use it, follow redirects
    with it, and give a web page for a secret.
    """

    def __init__(self, wire: Wire, headers: dict[str, str], *, hide: tuple[str, ...]) -> None:
        self._wire = wire
        self._headers = headers
        self._hide = hide

    def get(self, url: str, params: Mapping[str, Any] | None = None) -> Answer:
        """Read."""
        return self._wire.request("GET", url, headers=self._headers, params=params, hide=self._hide)

    def post(self, url: str, json: object = None, wrap_ttl: str | None = None) -> Answer:
        """Write; nothing that the client asks for is wanted wrapped."""
        del wrap_ttl
        return self._wire.request(
            "POST", url, headers=self._headers, json=json, hide=(*self._hide, *_texts(json))
        )

    def login(self, url: str, use_token: bool = False, json: object = None) -> Answer:
        """Log in; the token is the caller's business, and the server's words are nobody's."""
        del use_token
        return self._wire.request("POST", url, headers=self._headers, json=json, login=True)


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


class _Pools(requests.adapters.HTTPAdapter):
    """requests' adapter over connections of our own, which know the deadline and the TLS files."""

    def __init__(self, classes: dict[str, type[urllib3.HTTPConnectionPool]]) -> None:
        self._classes = classes
        super().__init__(pool_maxsize=_POOL_SIZE)

    def init_poolmanager(self, *args: Any, **kwargs: Any) -> None:
        """As in requests, with our own pools."""
        super().init_poolmanager(*args, **kwargs)
        self.poolmanager.pool_classes_by_scheme = dict(self._classes)

    def close(self) -> None:
        """Close idle connections now; at exit the clean-up of urllib3 may be over already."""
        for key in self.poolmanager.pools.keys():  # noqa: SIM118 - not iterable
            pool = self.poolmanager.pools.get(key)
            if pool is not None:
                pool.close()
        super().close()

    def cert_verify(self, conn: Any, url: str, verify: Any, cert: Any) -> None:
        """Nothing: the connection takes its context from the TLS files."""
