"""Read Vault's HTTP traffic."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from email.utils import parsedate_to_datetime
from functools import lru_cache
from http.client import responses
from time import time
from urllib.parse import unquote, urlsplit

import h11

from vault_harness.recorder.fault import RequestKind

_KINDS: tuple[tuple[str, str, RequestKind], ...] = (
    # method, path below /v1/, kind; the first match wins
    (r"POST|PUT", r"auth/.+/login(/.*)?", "login"),
    (r"POST|PUT", r"auth/token/renew.*", "renew"),
    (r".*", r"auth/token/lookup.*", "lookup"),
    (r"POST|PUT", r"auth/token/revoke.*", "revoke"),
    (r".*", r"sys/capabilities.*", "capabilities"),
    (r"POST|PUT", r"sys/wrapping/unwrap", "unwrap"),
    (r".*", r"sys/(health|seal-status|leader|init|internal/.*)", "status"),
    (r".*", r"sys/(leases/.*|(renew|revoke)(/.*)?)", "lease"),  # the old names too
    (r".*", r"[^/]+/metadata/.*", "metadata"),
    (r"GET|POST|PUT", r"(?!auth/|sys/|identity/|cubbyhole/)[^/]+/(static-)?creds/.+", "credential"),
    (r"GET|HEAD", r"(?!auth/|sys/|identity/|cubbyhole/)[^/]+/.+", "read"),
    (r"POST|PUT|PATCH|DELETE", r"(?!auth/|sys/|identity/|cubbyhole/)[^/]+/.+", "write"),
)


def kind_of(method: str, target: str) -> RequestKind:
    return _kind_of(method, unquote(urlsplit(target).path).removeprefix("/v1/").lstrip("/"))


@lru_cache(maxsize=256)  # clients repeat their requests
def _kind_of(method: str, path: str) -> RequestKind:
    for methods, pattern, kind in _KINDS:
        if re.fullmatch(methods, method) and re.fullmatch(pattern, path):
            return kind
    return "other"


def in_ascii(target: bytes) -> bytes:
    """Percent-encode each byte beyond ASCII."""
    return re.sub(rb"[\x80-\xff]", lambda found: b"%%%02X" % found[0][0], target)


class NotHttp(Exception):
    """A peer's data is not HTTP, or does not answer the request."""


GO_ON = b"HTTP/1.1 100 Continue\r\n\r\n"
"""Lets a client that waits send the body."""

WITHOUT_BODY = frozenset({204, 304})

MAX_HEAD = 1 << 20
"""Bytes of a message's head, as in Vault."""


@dataclass
class Message:
    """An HTTP request or response, in part or whole."""

    method: str = ""
    target: str = ""
    status: int = 0
    version: str = "1.1"
    headers: dict[str, str] = field(default_factory=dict)
    body: bytearray = field(default_factory=bytearray)
    headers_done: bool = False
    complete: bool = False

    def json(self) -> Mapping[str, object]:
        """Return the body if it is a JSON object, else an empty dict."""
        try:
            found = json.loads(bytes(self.body) or b"{}")
        except ValueError:
            return {}
        return found if isinstance(found, dict) else {}

    def token(self) -> str | None:
        if token := self.headers.get("x-vault-token"):
            return token
        scheme, _, credential = self.headers.get("authorization", "").partition(" ")
        return credential.strip() or None if scheme.lower() == "bearer" else None

    def retry_after(self) -> float | None:
        """Return ``Retry-After`` in seconds, from either of its forms."""
        given = self.headers.get("retry-after")
        if given is None:
            return None
        try:
            return float(given)
        except ValueError:
            pass
        try:
            return max(0.0, parsedate_to_datetime(given).timestamp() - time())
        except ValueError:
            return None

    @property
    def path(self) -> str:
        return unquote(urlsplit(self.target).path).removeprefix("/v1/").lstrip("/")

    def place(self, namespace: str) -> tuple[str, str]:
        """Return the namespace that a request names, by header or path, and the path in it.

        Only the configured `namespace` counts at the beginning of a path; any other is a mount.
        """
        header = self.headers.get("x-vault-namespace", "").strip("/")
        whole = f"{header}/{self.path}" if header else self.path
        if namespace and whole.startswith(f"{namespace}/"):
            return namespace, whole.removeprefix(f"{namespace}/")
        return header, self.path

    @property
    def expects(self) -> bool:
        """Whether the client waits for ``100 Continue`` before it sends the body."""
        return self.version != "1.0" and self.headers.get("expect", "").lower() == "100-continue"

    @property
    def closes(self) -> bool:
        said = self.headers.get("connection", "").lower()
        return "close" in said or (self.version == "1.0" and "keep-alive" not in said)


class _Reader:
    def __init__(self, connection: h11.Connection) -> None:
        self.message = Message()
        self._connection = connection

    def feed(self, data: bytes) -> tuple[bytes, bytes]:
        self._receive(data)
        if not self.message.complete:
            return data, b""
        beyond = bytes(self._connection.trailing_data[0])
        return data[: len(data) - len(beyond)], beyond

    def _receive(self, data: bytes) -> None:
        try:
            self._connection.receive_data(data)
            while not self.message.complete:
                event = self._connection.next_event()
                if event is h11.NEED_DATA:
                    return
                self._note(event)
        except (h11.RemoteProtocolError, RuntimeError) as error:
            raise NotHttp(str(error)) from None

    def _note(self, event: object) -> None:
        message = self.message
        if isinstance(event, h11.Data):
            message.body += event.data
        elif isinstance(event, h11.Request | h11.Response):
            message.headers = {
                name.decode("latin-1"): value.decode("latin-1") for name, value in event.headers
            }
            message.version = event.http_version.decode("ascii")
            message.headers_done = True
            if isinstance(event, h11.Request):
                message.method = event.method.decode("ascii")
                message.target = event.target.decode("latin-1")
            else:
                message.status = event.status_code
        elif not isinstance(event, h11.InformationalResponse):  # not "100 Continue"
            message.complete = True


class RequestReader(_Reader):
    """Collects one request."""

    def __init__(self) -> None:
        super().__init__(h11.Connection(h11.SERVER, max_incomplete_event_size=MAX_HEAD))
        self._begun = False
        self._in_first_line = True

    def feed(self, data: bytes) -> tuple[bytes, bytes]:
        """Take more bytes. Empty lines before a request belong to it (RFC 9112, 2.2)."""
        rest = data if self._begun else data.lstrip(b"\r\n")
        self._begun = self._begun or bool(rest)
        if not rest:
            return data, b""
        mine, beyond = super().feed(rest)
        return data[: len(data) - len(rest)] + mine, beyond

    def _receive(self, data: bytes) -> None:
        if self._in_first_line:
            # Vault takes any byte in a path, and some clients send plain UTF-8.
            line, newline, rest = data.partition(b"\n")
            data = in_ascii(line) + newline + rest
            self._in_first_line = not newline
        super()._receive(data)


@lru_cache(maxsize=32)
def _asked(method: str) -> h11.Request:
    return h11.Request(method=method, target="/", headers=[("Host", "vault")])


class ResponseReader(_Reader):
    """Collects one response; `interim` counts its leading bytes of ``100 Continue``."""

    def __init__(self, method: str) -> None:
        connection = h11.Connection(h11.CLIENT, max_incomplete_event_size=MAX_HEAD)
        connection.send(_asked(method))
        connection.send(h11.EndOfMessage())
        super().__init__(connection)
        self.interim = 0
        self._came = 0

    def _receive(self, data: bytes) -> None:
        self._came += len(data)
        super()._receive(data)

    def _note(self, event: object) -> None:
        super()._note(event)
        if isinstance(event, h11.InformationalResponse):
            self.interim = self._came - len(self._connection.trailing_data[0])

    def end(self) -> bool:
        """Handle the server's close; return whether the answer is complete."""
        try:
            self._receive(b"")
        except NotHttp:
            return False
        return self.message.complete


def render(
    status: int, headers: Mapping[str, str], body: bytes, *, bodiless: bool = False
) -> bytes:
    """Return an HTTP/1.1 response with its ``Content-Length``.

    A 204 or 304 gets no body, because the client would read it as the next answer. `bodiless` keeps
    the body's length, as for HEAD.
    """
    reason = responses.get(status, "Unknown")
    lines = [f"HTTP/1.1 {status} {reason}"]
    lines += [f"{name}: {value}" for name, value in headers.items()]
    if status != 204:
        lines.append(f"Content-Length: {len(body)}")
    if bodiless or status in WITHOUT_BODY:
        body = b""
    return "\r\n".join(lines).encode("latin-1") + b"\r\n\r\n" + body
