"""A correct Vault client that owes nothing to ``harness.client``: the suite must pass others too.

It is made as differently as the rules allow. It has no cache, no pool and no thread that runs on:
each request has a connection of its own, the token is renewed by one-shot timers, and looked at
again on access. All requests pass one gate, which lets a single probe through while Vault fails.
The standard library is all that it needs.

``--subject python:tests.subjects.lazy_client:LazyClient``
"""

from __future__ import annotations

import contextlib
import hashlib
import http.client
import io
import json
import logging
import random
import re
import socket
import ssl
import threading
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlsplit

log = logging.getLogger(__name__)

FIRST_PAUSE, LONGEST_PAUSE = 0.5, 2.0  # seconds between probes while Vault fails, at most D/2
TRIES_PER_SECRET_ID = 3  # the fifth failure locks the role for everybody, so stay well below
LOCKOUT = 15 * 60.0  # seconds after which Vault forgets failed logins
PAST_MAX_TTL = "past the max TTL"  # a renewal in the last second of a token is answered 500
DENIAL_KEPT = 5.0  # seconds for which a path stays denied without another look at the token
GOODBYE = 2.0  # seconds for revoking the token at the end


class ClientError(Exception):
    """A read that gave no secret; ``outcome`` says why."""

    outcome: str | None = None


class UnavailableError(ClientError):
    outcome = "unavailable"


class GivenUpError(UnavailableError):
    """Trying again within this call makes no sense."""


class DeniedError(ClientError):
    outcome = "denied"


class MissingError(ClientError):
    outcome = "missing"


class DeletedError(ClientError):
    outcome = "deleted"


@dataclass(frozen=True)
class Reply:
    """Status and parsed body of an answer that came whole."""

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
    """Open while Vault answers; after a failure one probe at a time passes, ever less often."""

    def __init__(self, longest: float) -> None:
        self._longest = longest
        self._changed = threading.Condition()
        self._failures = 0
        self._opens = 0.0
        self._probing = False

    @contextlib.contextmanager
    def passage(self, deadline: float) -> Iterator[None]:
        """Wait for a turn. Leaving by `UnavailableError` closes the gate, else it opens."""
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
            if not failed:
                self._failures = 0
            elif probe or not self._failures:  # those who failed together count once
                grown = min(FIRST_PAUSE * 2**self._failures, self._longest)
                self._failures += 1
                self._opens = time.monotonic() + max(grown * random.uniform(0.95, 1.05), pause)
            self._changed.notify_all()


class Wire:
    """Requests over HTTP, each on its own connection, each over by its deadline."""

    def __init__(self, environ: Mapping[str, str]) -> None:
        address = urlsplit(environ.get("VAULT_ADDR", "http://127.0.0.1:8200"))
        self._host = address.hostname or "127.0.0.1"
        self._port = address.port or (443 if address.scheme == "https" else 80)
        self._authority = address.netloc
        self._namespace = environ.get("VAULT_NAMESPACE", "")
        self._tls: ssl.SSLContext | None = None
        if address.scheme == "https":
            self._tls = ssl.create_default_context(cafile=environ.get("VAULT_CACERT") or None)
            if environ.get("VAULT_CLIENT_CERT"):
                key = environ.get("VAULT_CLIENT_KEY") or None
                self._tls.load_cert_chain(environ["VAULT_CLIENT_CERT"], key)

    def send(
        self, method: str, path: str, *, deadline: float, token: str = "", body: object = None
    ) -> Reply:
        """One request, one answer. Anything but a whole answer of Vault's is `UnavailableError`."""
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
        except OSError as error:
            raise UnavailableError(f"{type(error).__name__} at {self._authority}") from None
        return _parse(method, raw)

    def _exchange(self, request: bytes, deadline: float) -> bytes:
        received = bytearray()
        with contextlib.ExitStack() as stack:
            plain = socket.create_connection((self._host, self._port), timeout=_left(deadline))
            stack.callback(plain.close)
            peer = plain
            if self._tls is not None:
                plain.settimeout(_left(deadline))
                peer = self._tls.wrap_socket(plain, server_hostname=self._host)
                stack.callback(peer.close)
            peer.settimeout(_left(deadline))
            peer.sendall(request)
            while not _is_whole(received):
                # A socket's timeout is for each piece; this makes it one for all.
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


def _is_whole(received: bytearray) -> bool:
    """Whether the answer is all there: what follows on the connection, a reset too, is nobody's."""
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
        body = json.loads(content) if content else {}
    except (http.client.HTTPException, ValueError, OSError):
        raise UnavailableError("the answer is cut short, or none of Vault's") from None
    if not isinstance(body, dict):
        raise UnavailableError("the answer is none of Vault's")
    status = response.status
    wait = response.getheader("Retry-After") or ""
    reply = Reply(status, body, float(wait) if wait.isdigit() else 0.0)
    if status in {307, 412, 429, 472, 473} or status >= 500:
        error = UnavailableError(f"Vault answered {status}: {reply.says}")
        error.pause = reply.retry_after  # type: ignore[attr-defined]  # read by the gate alone
        raise error
    return reply


class Credentials:
    """Role-id and secret-id, read anew at each login, and which secret-ids were refused."""

    def __init__(self, environ: Mapping[str, str]) -> None:
        self._environ = environ
        self._last: dict[str, str] = {}
        self._failed: dict[str, list[float]] = {}

    def current(self) -> tuple[str, str]:
        """Both ids; a file that is empty or gone for the moment leaves the last one in force."""
        return self._one("VAULT_ROLE_ID"), self._one("VAULT_SECRET_ID")

    def usable(self, secret_id: str) -> bool:
        """Whether another login with it is safe."""
        now = time.monotonic()
        times = [at for at in self._failed.get(_mark(secret_id), []) if now - at < LOCKOUT]
        if not times:
            return True
        return len(times) < TRIES_PER_SECRET_ID and now - times[-1] >= 2.0 ** len(times)

    def refused(self, secret_id: str) -> None:
        """Vault did not take it."""
        self._failed.setdefault(_mark(secret_id), []).append(time.monotonic())

    def _one(self, name: str) -> str:
        value = self._environ.get(name, "")
        if file := self._environ.get(f"{name}_FILE"):
            with contextlib.suppress(OSError):
                value = Path(file).read_text().strip() or value
        if value:
            self._last[name] = value
        try:
            return self._last[name]
        except KeyError:
            raise DeniedError(f"there is no {name}") from None


def _mark(secret_id: str) -> str:
    return hashlib.sha256(secret_id.encode()).hexdigest()


@dataclass
class Token:
    """A token and its clock, from ``lease_duration`` alone."""

    value: str = field(repr=False)
    first_ttl: float
    ttl: float
    renewable: bool
    batch: bool
    uses: int
    since: float = field(default_factory=time.monotonic)

    @property
    def left(self) -> float:
        """Seconds to live; for ever if it has no end."""
        return self.since + self.ttl - time.monotonic() if self.ttl else float("inf")

    @property
    def due(self) -> float:
        """Seconds until about two thirds of its life are over."""
        return self.since + self.ttl * random.uniform(0.58, 0.68) - time.monotonic()


class LazyClient:
    """The client; see the module."""

    capabilities = frozenset({"read", "outcomes"})
    wire_type, gate_type, credentials_type = Wire, Gate, Credentials

    def __init__(self, environ: Mapping[str, str]) -> None:
        self._environ = environ
        self._mount = environ.get("VAULT_MOUNT_POINT", "ecommerce")
        self._deadline = float(environ.get("VAULT_CLIENT_TIMEOUT", "10"))
        self._on = environ.get("USE_VAULT", "true").lower() not in {"false", "0", "no", "off"}
        self._wire = self.wire_type(environ)
        self._longest = min(LONGEST_PAUSE, self._deadline / 2)
        self._gate = self.gate_type(self._longest)
        self._credentials = self.credentials_type(environ)
        self._changing = threading.RLock()  # whoever changes the token
        self._timing = threading.Lock()  # whoever changes the timer
        self._token: Token | None = None
        self._timer: threading.Timer | None = None
        self._pause = FIRST_PAUSE
        self._denied: dict[str, tuple[str, float]] = {}
        self._closed = False
        self.declares = {"deadline": self._deadline, "backoff_cap": self._longest}

    def read(self, path: str, key: str) -> str:
        """The value of one key, from Vault at every call."""
        if not self._on:
            if key in self._environ:
                return self._environ[key]
            raise MissingError(f"{key} is not set, and Vault is not used")
        deadline = time.monotonic() + self._deadline * 0.95
        while True:
            try:
                return _value(self._fetch(path, deadline), path, key)
            except GivenUpError:
                raise
            except UnavailableError:
                if time.monotonic() + FIRST_PAUSE >= deadline:
                    raise

    def close(self) -> None:
        """Give the token back if Vault takes it soon, and end in any case."""
        self._closed = True
        held = self._changing.acquire(timeout=GOODBYE)  # a login on its way leaves a token as well
        try:
            with self._timing:
                if self._timer is not None:
                    self._timer.cancel()
            token, self._token = self._token, None
            if token is not None and not token.batch and token.left > 0 and token.uses >= 0:
                deadline = time.monotonic() + GOODBYE
                with contextlib.suppress(ClientError):
                    self._wire.send(
                        "POST", "auth/token/revoke-self", deadline=deadline, token=token.value
                    )
        finally:
            if held:
                self._changing.release()

    # reading

    def _fetch(self, path: str, deadline: float) -> Reply:
        where = f"{self._mount}/data/{path}"
        token = self._valid_token(deadline)
        reply = self._ask("GET", where, deadline, token)
        if reply.status == 403 and self._was_dead(where, token, deadline):
            reply = self._ask("GET", where, deadline, self._valid_token(deadline))
        if reply.status == 403:
            raise DeniedError(f"the policy denies {path}")
        return reply

    def _was_dead(self, where: str, token: Token, deadline: float) -> bool:
        """Whether a 403 was the token's fault; if so it is dropped, by the first who finds out."""
        with self._held(deadline):
            if self._token is not token:
                return True
            mark, until = self._denied.get(where, ("", 0.0))
            if mark == _mark(token.value) and time.monotonic() < until:
                return False
            looked = self._ask("GET", "auth/token/lookup-self", deadline, token)
            # "1 error occurred" is a policy's denial: the token lives, but may not look at itself.
            if looked.status == 403 and "1 error occurred" not in looked.says:
                log.warning("the token is dead before its time; logging in anew")
                self._token = None
                return True
            self._denied[where] = _mark(token.value), time.monotonic() + DENIAL_KEPT
            return False

    def _ask(
        self, method: str, path: str, deadline: float, token: Token, body: object = None
    ) -> Reply:
        if token.uses > 0:
            token.uses -= 1 if token.uses > 1 else 2  # 0 means without limit, so the end is -1
        with self._gate.passage(deadline):
            return self._wire.send(method, path, deadline=deadline, token=token.value, body=body)

    # the token's life

    def _valid_token(self, deadline: float) -> Token:
        token = self._token
        if token is not None and token.left > 0 and token.uses >= 0:
            if self._timer is None or not self._timer.is_alive():
                self._arm(max(0.0, min(token.due, self._pause)))
            return token
        with self._held(deadline):
            token = self._token
            if token is None or token.left <= 0 or token.uses < 0:
                token = self._log_in(deadline)
            return token

    @contextlib.contextmanager
    def _held(self, deadline: float) -> Iterator[None]:
        if not self._changing.acquire(timeout=max(0.0, deadline - time.monotonic())):
            raise GivenUpError("another thread still waits for Vault")
        try:
            yield
        finally:
            self._changing.release()

    def _log_in(self, deadline: float) -> Token:
        if self._closed:
            raise GivenUpError("the client is closed")
        role_id, secret_id = self._credentials.current()
        if not self._credentials.usable(secret_id):
            raise DeniedError(
                "Vault refuses this secret-id; more tries would lock the role: a new one is awaited"
            )
        body = {"role_id": role_id, "secret_id": secret_id}
        with self._gate.passage(deadline):
            reply = self._wire.send("POST", "auth/approle/login", deadline=deadline, body=body)
            if reply.status == 403:  # the role is locked, or its auth mount is off: for a while
                raise UnavailableError("Vault takes no login of this role at present")
        if reply.status == 400:
            self._credentials.refused(secret_id)
            log.error("Vault refused the secret-id; deliver a new one")
            raise DeniedError("Vault refused role-id or secret-id")
        auth = reply.auth
        if reply.status != 200 or not auth.get("client_token"):
            raise UnavailableError(f"the login was answered with {reply.status}")
        ttl = float(auth.get("lease_duration") or 0)
        self._token = token = Token(
            value=str(auth["client_token"]),
            first_ttl=ttl,
            ttl=ttl,
            renewable=bool(auth.get("renewable")),
            batch=auth.get("token_type") == "batch",
            uses=int(auth.get("num_uses") or 0),
        )
        self._pause = FIRST_PAUSE
        log.info("logged in, token lives %.0f s", ttl)
        self._arm(token.due)
        return token

    def _arm(self, seconds: float) -> None:
        with self._timing:
            if self._timer is not None:
                self._timer.cancel()
            token = self._token
            if self._closed or token is None or not token.ttl:
                return
            self._timer = threading.Timer(seconds, self._tick)
            self._timer.daemon = True
            self._timer.start()

    def _tick(self) -> None:
        """The time has come to renew, or to log in while the old token still lives."""
        deadline = time.monotonic() + self._deadline
        try:
            with self._held(deadline):
                token = self._token
                if token is None or self._closed or token.left <= 0:
                    return  # the next read logs in
                if not self._renewed(token, deadline):
                    self._log_in(deadline)
        except ClientError as error:
            log.warning("the token was not renewed: %s", error)
            self._arm(self._pause * random.uniform(0.9, 1.1))
            self._pause = min(self._pause * 2, self._longest)

    def _renewed(self, token: Token, deadline: float) -> bool:
        """Whether this token lives on; if not, another is needed before its end."""
        if not token.renewable or token.batch:
            return False
        asked = time.monotonic()
        try:
            reply = self._ask("POST", "auth/token/renew-self", deadline, token, {})
        except UnavailableError as error:
            if PAST_MAX_TTL not in str(error):
                raise
            reply = Reply(500, {})
        if reply.status != 200:
            log.warning("Vault refused to renew the token (%d)", reply.status)
            token.renewable = False
            return False
        token.since, token.ttl = asked, float(reply.auth.get("lease_duration") or 0)
        self._pause = FIRST_PAUSE
        if token.ttl < token.first_ttl * 0.9:  # its max TTL is near
            token.renewable = False
            return False
        self._arm(token.due)
        return True


def _value(reply: Reply, path: str, key: str) -> str:
    inner = reply.body.get("data") or {}
    if reply.status == 404:
        if inner.get("metadata"):
            raise DeletedError(f"{path} is deleted")
        raise MissingError(f"there is no {path}")
    if reply.status != 200:
        raise ClientError(f"Vault answered {reply.status}: {reply.says}")
    secret = inner.get("data")
    if not isinstance(secret, dict):
        raise GivenUpError("the answer is none of Vault's")
    if key not in secret:
        raise MissingError(f"there is no {key} in {path}")
    return str(secret[key])
