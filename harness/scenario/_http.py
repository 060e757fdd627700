"""Reading Vault's HTTP traffic: what a request is for, and what an answer says of a token."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from email.utils import parsedate_to_datetime
from time import time
from urllib.parse import unquote, urlsplit

import httptools

from harness.scenario.history import Kind

_KINDS: tuple[tuple[str, str, Kind], ...] = (
    # method pattern, path pattern below /v1/, kind; the first that fits wins
    (r"POST|PUT", r"auth/.+/login(/.*)?", "login"),
    (r"POST|PUT", r"auth/token/renew.*", "renew"),
    (r".*", r"auth/token/lookup.*", "lookup"),
    (r"POST|PUT", r"auth/token/revoke.*", "revoke"),
    (r".*", r"sys/capabilities.*", "capabilities"),
    (r"POST|PUT", r"sys/wrapping/unwrap", "unwrap"),
    (r".*", r"sys/(health|seal-status|leader|init|internal/.*)", "status"),
    (r".*", r"sys/leases/.*", "lease"),
    (r".*", r"[^/]+/metadata/.*", "metadata"),
    (r"GET|HEAD", r"(?!auth/|sys/|identity/|cubbyhole/)[^/]+/.+", "read"),
    (r"POST|PUT|PATCH|DELETE", r"(?!auth/|sys/|identity/|cubbyhole/)[^/]+/.+", "write"),
)


def kind_of(method: str, target: str) -> Kind:
    """What a request to Vault is for.

    Args:
        method: HTTP method.
        target: Request target, with or without a query.
    """
    path = unquote(urlsplit(target).path).removeprefix("/v1/").lstrip("/")
    for methods, pattern, kind in _KINDS:
        if re.fullmatch(methods, method) and re.fullmatch(pattern, path):
            return kind
    return "other"


@dataclass
class Message:
    """One HTTP request or response, complete."""

    raw: bytearray = field(default_factory=bytearray)
    method: str = ""
    target: str = ""
    status: int = 0
    headers: dict[str, str] = field(default_factory=dict)
    body: bytearray = field(default_factory=bytearray)
    headers_done: bool = False
    complete: bool = False

    def json(self) -> Mapping[str, object]:
        """The body as a JSON object; empty if it is none."""
        try:
            found = json.loads(bytes(self.body) or b"{}")
        except ValueError:
            return {}
        return found if isinstance(found, dict) else {}

    def token(self) -> str | None:
        """The token that a request presents."""
        if token := self.headers.get("x-vault-token"):
            return token
        scheme, _, credential = self.headers.get("authorization", "").partition(" ")
        return credential.strip() or None if scheme.lower() == "bearer" else None

    def retry_after(self) -> float | None:
        """An answer's ``Retry-After`` in seconds, from either of its two forms."""
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


class _Parser:
    """Callbacks of httptools that fill a `Message`."""

    def __init__(self) -> None:
        self.message = Message()

    def on_header(self, name: bytes, value: bytes) -> None:
        self.message.headers[name.decode("latin-1").lower()] = value.decode("latin-1")

    def on_headers_complete(self) -> None:
        self.message.headers_done = True

    def on_body(self, body: bytes) -> None:
        self.message.body += body

    def on_message_complete(self) -> None:
        self.message.complete = True


class RequestReader(_Parser):
    """Collects one request from the bytes of a connection.

    Feed it until `message.complete`; a client that waits for answers sends nothing beyond that.
    """

    def __init__(self) -> None:
        super().__init__()
        self._parser = httptools.HttpRequestParser(self)

    def on_url(self, url: bytes) -> None:
        """Called by the parser."""
        self.message.target += url.decode("latin-1")

    def feed(self, data: bytes) -> None:
        """Take more bytes.

        Raises:
            ValueError: They are not HTTP.
        """
        self.message.raw += data
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserUpgrade:
            self.message.complete = True
        except httptools.HttpParserError as error:
            raise ValueError(str(error)) from None
        self.message.method = self._parser.get_method().decode("latin-1")


class ResponseReader(_Parser):
    """Collects one response to a request of the given method."""

    def __init__(self, method: str) -> None:
        super().__init__()
        self._parser = httptools.HttpResponseParser(self)
        self._bodiless = method == "HEAD"

    def feed(self, data: bytes) -> None:
        """Take more bytes.

        Raises:
            ValueError: They are not HTTP.
        """
        self.message.raw += data
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserError as error:
            raise ValueError(str(error)) from None
        if self.message.headers_done:
            self.message.status = self._parser.get_status_code()
            if self._bodiless or self.message.status in (204, 304):
                self.message.complete = True


def render(status: int, headers: Mapping[str, str], body: bytes, reason: str = "") -> bytes:
    """An HTTP/1.1 response as bytes, with its length."""
    lines = [f"HTTP/1.1 {status} {reason or 'Status'}"]
    lines += [f"{name}: {value}" for name, value in headers.items()]
    lines.append(f"Content-Length: {len(body)}")
    return "\r\n".join(lines).encode("latin-1") + b"\r\n\r\n" + body
