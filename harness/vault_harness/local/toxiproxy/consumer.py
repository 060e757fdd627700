"""Requests to one Toxiproxy server, with toxiproxy-python.

toxiproxy-python keeps the server's address in a class attribute of `APIConsumer`, has no timeouts,
and accepts a 500. So each server has its own subclass here.
"""

from __future__ import annotations

import json
import os
import time
import weakref
from collections.abc import Callable
from typing import Any, ClassVar, Literal
from urllib.parse import quote, urlsplit

import requests
from toxiproxy.api import APIConsumer, validate_response
from toxiproxy.exceptions import InvalidToxic, NotFound, ProxyExists

from vault_harness.errors import ToxiproxyError

Method = Literal["get", "post", "delete"]

_STATUS: dict[type[Exception], int] = {InvalidToxic: 400, NotFound: 404, ProxyExists: 409}
_REMEDY = {
    400: "correct the name, stream, type or attributes",
    403: "the server refuses browsers; send another User-Agent",
    404: "look at what exists with proxies() and toxics()",
    409: "choose another name, or remove the old one first",
    500: "the address is taken or invalid: choose another one to listen on",
}


class Refused(ToxiproxyError):
    """The server answered with an error; `text` is its own message."""

    def __init__(self, status: int, text: str, *, looked_at: str) -> None:
        super().__init__(
            f"Toxiproxy refused: HTTP {status}: {text}",
            looked_at=looked_at,
            remedy=_REMEDY.get(status, "see the server's log"),
        )
        self.status = status
        self.text = text


class Unreachable(ToxiproxyError):
    """The server does not answer, or is not a Toxiproxy server."""


IDLE = 20.0
"""Seconds after which an unused connection is not used again. A server closes idle connections
(ours after 60 s), and a request at that moment would be lost."""


class _Connections:
    """The connections of one process to one server."""

    def __init__(self) -> None:
        self._ours: tuple[int, requests.Session] | None = None
        self._used = time.monotonic()

    def session(self) -> requests.Session:
        """Return the session of this process; a fork makes its own."""
        ours, now = self._ours, time.monotonic()
        idle, self._used = now - self._used, now
        if ours is None or ours[0] != os.getpid():
            session = requests.Session()
            # A proxy for the internet (HTTP_PROXY) must not get requests to a local server.
            session.trust_env = False
            self._ours = ours = os.getpid(), session  # one assignment: several threads may run this
        elif idle > IDLE:
            ours[1].close()  # closes idle connections; those in use by other threads stay
        return ours[1]

    def close(self) -> None:
        if self._ours is not None:
            self._ours[1].close()


class _KeepsAlive(APIConsumer):  # type: ignore[misc] # toxiproxy-python has no types
    """Keeps connections, which takes a third of the time."""

    connections: ClassVar[_Connections]

    @classmethod
    def _ask(cls, method: str, path: str, **options: Any) -> requests.Response:
        url = f"http://{cls.host}:{cls.port}{path}"
        answer: requests.Response = cls.connections.session().request(method, url, **options)
        return validate_response(answer)  # type: ignore[no-any-return] # as above

    @classmethod
    def get(cls, path: str, **options: Any) -> requests.Response:
        return cls._ask("get", path, **options)

    @classmethod
    def post(cls, path: str, **options: Any) -> requests.Response:
        return cls._ask("post", path, **options)

    @classmethod
    def delete(cls, path: str, **options: Any) -> requests.Response:
        return cls._ask("delete", path, **options)


class Consumer:
    """Sends requests to one server. `timeout` is in seconds, to connect and while reading."""

    def __init__(self, url: str, timeout: float) -> None:
        parts = urlsplit(url if "//" in url else f"http://{url}")
        try:
            port = parts.port
        except ValueError:
            port = -1
        if parts.scheme != "http" or not parts.hostname or port == -1 or parts.path.strip("/"):
            raise ToxiproxyError(
                f"{url!r} is not the address of a Toxiproxy server",
                looked_at="the scheme (http), the host, the port, and that there is no path",
                remedy="give it as http://HOST:PORT",
            )
        host = f"[{parts.hostname}]" if ":" in parts.hostname else parts.hostname
        self.url = f"http://{host}:{port or 8474}"
        self.timeout = timeout
        connections = _Connections()
        weakref.finalize(self, connections.close)
        own = {"host": host, "port": port or 8474, "connections": connections}
        self._api = type("APIConsumer", (_KeepsAlive,), own)

    def request(self, method: Method, path: str, body: object = None) -> Any:
        response = self._send(method, path, body)
        if not response.content:
            return None
        try:
            return response.json()
        except ValueError:
            raise self._unreachable(method, path, "this is not a Toxiproxy server") from None

    def text(self, path: str) -> str:
        return self._send("get", path, None).text

    def _send(self, method: Method, path: str, body: object) -> requests.Response:
        call: Callable[..., requests.Response] = getattr(self._api, method)
        options: dict[str, Any] = {
            "timeout": self.timeout,
            "allow_redirects": False,
            "headers": {"User-Agent": "vault-harness"},
        }
        if body is not None:
            options["json"] = body
        try:
            response = call(path, **options)
        except (InvalidToxic, NotFound, ProxyExists) as error:
            raise self._refused(method, path, _STATUS[type(error)], error.args[0]) from None
        except requests.Timeout:
            raise self._unreachable(method, path, f"no answer within {self.timeout:g} s") from None
        except requests.RequestException as error:
            raise self._unreachable(method, path, _reason(error)) from None
        if not response.ok or response.is_redirect:
            raise self._refused(method, path, response.status_code, response.content)
        return response

    def _refused(self, method: str, path: str, status: int, content: bytes) -> Refused:
        return Refused(status, _error_text(content), looked_at=f"{method.upper()} {self.url}{path}")

    def _unreachable(self, method: str, path: str, why: str) -> Unreachable:
        return Unreachable(
            f"Toxiproxy does not answer at {self.url}: {why}",
            looked_at=f"{method.upper()} {self.url}{path}",
            remedy="start it (python -m vault_harness.local.toxiproxy), or correct its address",
        )


def quoted(name: str) -> str:
    """Return the name of a proxy or toxic as part of a path."""
    if not name or "/" in name or name in {".", ".."}:
        raise ToxiproxyError(
            f"{name!r} cannot name a proxy or toxic",
            looked_at="the path in which the API addresses it",
            remedy="use a name that is not empty, '.' or '..', and has no slash",
        )
    return quote(name, safe="")


def _error_text(content: bytes) -> str:
    # Errors are JSON, whatever their content type says.
    try:
        decoded = json.loads(content)
    except ValueError:
        decoded = None
    if isinstance(decoded, dict) and "error" in decoded:
        return str(decoded["error"])
    return content.decode("utf-8", "replace").strip()[:200]


def _reason(error: requests.RequestException) -> str:
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, OSError) and cause.strerror:
            return cause.strerror.lower()
        inner = cause.args[0] if cause.args and isinstance(cause.args[0], BaseException) else None
        cause = inner or getattr(cause, "reason", None) or cause.__cause__ or cause.__context__
    return type(error).__name__
