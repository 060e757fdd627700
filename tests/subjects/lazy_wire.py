"""How the lazy client talks to Vault."""

from __future__ import annotations

import contextlib
import http.client
import io
import json
import random
import re
import socket
import ssl
import threading
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote, urlsplit

FIRST_PAUSE = 0.5  # seconds between the first two probes while Vault fails


class ClientError(Exception):
    """A read gave no secret; ``outcome`` says why."""

    outcome: str | None = None


class UnavailableError(ClientError):
    outcome = "unavailable"


class GivenUpError(UnavailableError):
    """Another try within this call makes no sense."""


class DeniedError(ClientError):
    outcome = "denied"


class MissingError(ClientError):
    outcome = "missing"


class DeletedError(ClientError):
    outcome = "deleted"


@dataclass(frozen=True)
class Reply:
    status: int
    body: dict[str, Any]
    retry_after: float = 0.0

    @property
    def auth(self) -> dict[str, Any]:
        return self.body.get("auth") or {}

    @property
    def says(self) -> str:
        return " ".join(map(str, self.body.get("errors") or []))[:200]


class Gate:
    """Open while Vault answers; after a failure it passes one probe at a time, ever less often."""

    def __init__(self, longest: float) -> None:
        self._longest = longest
        self._changed = threading.Condition()
        self._failures = 0
        self._opens = 0.0
        self._told = 0.0  # until when Vault has asked to wait, even if a later answer is good
        self._probing = False

    @contextlib.contextmanager
    def passage(self, deadline: float) -> Iterator[None]:
        """Wait for a turn. `UnavailableError` closes the gate; anything else opens it."""
        probe = self._enter(deadline)
        pause = 0.0
        failed = True
        try:
            yield
            failed = False
        except UnavailableError as error:
            pause = getattr(error, "pause", 0.0)
            raise
        except ClientError:
            failed = False
            raise
        finally:
            self._leave(probe=probe, failed=failed, pause=pause)

    def _enter(self, deadline: float) -> bool:
        with self._changed:
            while self._failures:
                now = time.monotonic()
                if max(self._opens, now) >= deadline:
                    raise GivenUpError("Vault does not answer, and the call's time is up")
                if now >= self._opens and not self._probing:
                    self._probing = True
                    return True
                waits = self._opens if now < self._opens else deadline
                self._changed.wait(min(waits, deadline) - now)
            return False

    def _leave(self, *, probe: bool, failed: bool, pause: float) -> None:
        with self._changed:
            if probe:
                self._probing = False
            now = time.monotonic()
            if not failed:
                self._failures = self._failures if now < self._told else 0
                self._changed.notify_all()
                return
            self._told = max(self._told, now + pause)
            self._opens = max(self._opens, self._told)
            if probe or not self._failures:  # requests that failed together count once
                grown = min(FIRST_PAUSE * 2**self._failures, self._longest)
                self._failures += 1
                self._opens = max(now + grown * random.uniform(0.95, 1.05), self._told)
            self._changed.notify_all()


class Wire:
    """Requests over HTTP, each on its own connection and with a deadline."""

    def __init__(self, environ: Mapping[str, str]) -> None:
        address = urlsplit(environ.get("VAULT_ADDR", "http://127.0.0.1:8200"))
        self._host = address.hostname or "127.0.0.1"
        self._port = address.port or (443 if address.scheme == "https" else 80)
        self._authority = address.netloc
        self._namespace = environ.get("VAULT_NAMESPACE", "")
        self._secure = address.scheme == "https"
        self._environ = environ

    def send(
        self, method: str, path: str, *, deadline: float, token: str = "", body: object = None
    ) -> Reply:
        """Send a request and return Vault's whole answer, or raise `UnavailableError`."""
        data = b"" if body is None else json.dumps(body).encode()
        head = [
            f"{method} /v1/{quote(path)} HTTP/1.1",
            f"Host: {self._authority}",
            "Connection: close",
            "X-Vault-Request: true",
            f"Content-Length: {len(data)}",
        ]
        if token:
            head.append(f"X-Vault-Token: {token}")
        if self._namespace:
            head.append(f"X-Vault-Namespace: {self._namespace}")
        request = "\r\n".join([*head, "", ""]).encode() + data
        try:
            raw = self._exchange(request, deadline)
            if leader := self._leader(raw):
                old, new = (f"Host: {wire._authority}".encode() for wire in (self, leader))
                raw = leader._exchange(request.replace(old, new, 1), deadline)
        except OSError as error:
            raise UnavailableError(f"{type(error).__name__} at {self._authority}") from None
        return _parse(method, raw)

    def _leader(self, raw: bytes) -> Wire | None:
        """Return the wire to which a standby redirects (307), never without TLS."""
        line, _, rest = raw.partition(b"\r\n")
        if b" 307 " not in line:
            return None
        there = http.client.parse_headers(io.BytesIO(rest))["Location"] or ""
        if urlsplit(there).scheme != ("https" if self._secure else "http"):
            return None
        return Wire({**self._environ, "VAULT_ADDR": there})

    def _context(self) -> ssl.SSLContext:
        """Return a context with the present files."""
        context = ssl.create_default_context(cafile=self._environ.get("VAULT_CACERT") or None)
        if certificate := self._environ.get("VAULT_CLIENT_CERT"):
            context.load_cert_chain(certificate, self._environ.get("VAULT_CLIENT_KEY") or None)
        return context

    def _exchange(self, request: bytes, deadline: float) -> bytes:
        received = bytearray()
        with contextlib.ExitStack() as stack:
            plain = socket.create_connection((self._host, self._port), timeout=_left(deadline))
            stack.callback(plain.close)
            peer = plain
            if self._secure:
                plain.settimeout(_left(deadline))
                peer = self._context().wrap_socket(plain, server_hostname=self._host)
                stack.callback(peer.close)
            peer.settimeout(_left(deadline))
            peer.sendall(request)
            while not is_whole(received):
                # A socket's timeout is for each piece.
                peer.settimeout(_left(deadline))
                piece = peer.recv(65536)
                if not piece:
                    break
                received += piece
            return bytes(received)


def _left(deadline: float) -> float:
    left = deadline - time.monotonic()
    if left <= 0:
        raise TimeoutError
    return left


_LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)", re.IGNORECASE)


def is_whole(received: bytearray) -> bool:
    """Return whether the answer is complete, whatever follows."""
    end = received.find(b"\r\n\r\n")
    if end < 0:
        return False
    length = _LENGTH.search(received, 0, end)
    if length is not None:
        return len(received) >= end + 4 + int(length[1])
    return received.endswith(b"\r\n0\r\n\r\n") or received.startswith(b"HTTP/1.1 204")


class _Received:
    """What `http.client` wants instead of a socket."""

    def __init__(self, raw: bytes) -> None:
        self._raw = raw

    def makefile(self, *_: object, **__: object) -> io.BytesIO:
        return io.BytesIO(self._raw)


def _parse(method: str, raw: bytes) -> Reply:
    source: Any = _Received(raw)
    response = http.client.HTTPResponse(source, method=method)
    try:
        response.begin()
        content = response.read()
        if b"\r\n\r\n" not in raw or not (content or response.status == 204):
            raise http.client.IncompleteRead(content)
    except (http.client.HTTPException, ValueError, OSError):
        raise UnavailableError("the answer is cut short, or none of Vault's") from None
    return understood(response.status, content, response.getheader("Retry-After") or "")


def understood(status: int, content: bytes, wait: str) -> Reply:
    """Return what a whole answer says; raise `UnavailableError` if it is not Vault's last word."""
    try:
        body = json.loads(content) if content else {}
    except ValueError:
        raise UnavailableError("the answer is cut short, or none of Vault's") from None
    if not isinstance(body, dict):
        raise UnavailableError("the answer is none of Vault's")
    reply = Reply(status, body, float(wait) if wait.isdigit() else 0.0)
    if status in {307, 412, 429, 472, 473} or status >= 500:
        error = UnavailableError(f"Vault answered {status}: {reply.says}")
        error.pause = reply.retry_after  # type: ignore[attr-defined]  # read by the gate alone
        raise error
    return reply
