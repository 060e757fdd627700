"""A correct client that shares nothing with the reference client.

It is as different as the rules allow: no cache, no pool, no lasting thread, only the standard
library. Each request has a connection of its own. One-shot timers renew the token. All requests
pass one gate, which lets a single probe through while Vault fails.

``--subject python:tests.subjects.lazy_client:LazyClient``
"""

from __future__ import annotations

import contextlib
import hashlib
import logging
import random
import threading
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from tests.subjects.lazy_wire import (
    FIRST_PAUSE,
    ClientError,
    DeletedError,
    DeniedError,
    Gate,
    GivenUpError,
    MissingError,
    Reply,
    UnavailableError,
    Wire,
)

log = logging.getLogger(__name__)

LONGEST_PAUSE = 2.0  # seconds between probes while Vault fails, at most D/2
TRIES_PER_SECRET_ID = 3  # the fifth failure locks the role for everybody
LOCKOUT = 15 * 60.0  # seconds after which Vault forgets failed logins
PAST_MAX_TTL = "past the max TTL"  # answered with 500, in the last second of a token
DENIAL_KEPT = 5.0  # seconds until a denied path is asked for again
GOODBYE = 2.0  # seconds for the last revocation


class Credentials:
    """Role-id and secret-id, read at each login, and the refused secret-ids."""

    def __init__(self, environ: Mapping[str, str]) -> None:
        self._environ = environ
        self._last: dict[str, str] = {}
        self._failed: dict[str, list[float]] = {}

    def current(self) -> tuple[str, str]:
        """Return both ids; the last ones while a file is empty or missing."""
        return self._one("VAULT_ROLE_ID"), self._one("VAULT_SECRET_ID")

    def usable(self, secret_id: str) -> bool:
        """Return whether another login with it is safe."""
        now = time.monotonic()
        times = [at for at in self._failed.get(_mark(secret_id), []) if now - at < LOCKOUT]
        if not times:
            return True
        return len(times) < TRIES_PER_SECRET_ID and now - times[-1] >= 2.0 ** len(times)

    def refused(self, secret_id: str) -> None:
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
        """Seconds to live; infinity if it has no end."""
        return self.since + self.ttl - time.monotonic() if self.ttl else float("inf")

    @property
    def due(self) -> float:
        """Seconds until about two thirds of its life are over."""
        return self.since + self.ttl * random.uniform(0.58, 0.68) - time.monotonic()


class LazyClient:
    capabilities = frozenset({"read", "read_all", "outcomes", "tls", "herd"})
    auth = frozenset({"approle", "namespace"})
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
        self._changing = threading.RLock()  # held while the token changes
        self._timing = threading.Lock()  # held while the timer changes
        self._token: Token | None = None
        self._timer: threading.Timer | None = None
        self._pause = FIRST_PAUSE
        self._denied: dict[str, tuple[str, float]] = {}
        self._closed = False
        self.declares = {"deadline": self._deadline, "backoff_cap": self._longest}

    def read(self, path: str, key: str) -> str:
        if not self._on:
            if key in self._environ:
                return self._environ[key]
            raise MissingError(f"{key} is not set, and Vault is not used")
        values = self.read_all(path)
        if key not in values:
            raise MissingError(f"there is no {key} in {path}")
        return values[key]

    def read_all(self, path: str) -> dict[str, str]:
        """Return all keys and values, by one request."""
        deadline = time.monotonic() + self._deadline * 0.95
        while True:
            try:
                return _secret(self._fetch(path, deadline), path)
            except GivenUpError:
                raise
            except UnavailableError:
                if time.monotonic() + FIRST_PAUSE >= deadline:
                    raise

    def close(self) -> None:
        """Revoke the token if Vault answers soon, and end in any case."""
        self._closed = True
        held = self._changing.acquire(timeout=GOODBYE)  # a login in flight leaves a token too
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
        """Return whether a 403 was the token's fault; the first to find out drops it."""
        with self._held(deadline):
            if self._token is not token:
                return True
            mark, until = self._denied.get(where, ("", 0.0))
            if mark == _mark(token.value) and time.monotonic() < until:
                return False
            looked = self._ask("GET", "auth/token/lookup-self", deadline, token)
            # "1 error occurred" is a policy's denial: the token lives.
            if looked.status == 403 and "1 error occurred" not in looked.says:
                log.warning("the token is dead before its time; logging in again")
                self._token = None
                return True
            self._denied[where] = _mark(token.value), time.monotonic() + DENIAL_KEPT
            return False

    def _ask(
        self, method: str, path: str, deadline: float, token: Token, body: object = None
    ) -> Reply:
        if token.uses > 0:
            token.uses -= 1 if token.uses > 1 else 2  # 0 means without limit, so "used up" is -1
        with self._gate.passage(deadline):
            return self._wire.send(method, path, deadline=deadline, token=token.value, body=body)

    # the token's life

    def _valid_token(self, deadline: float) -> Token:
        token = self._token
        if token is not None and token.left > 0 and token.uses >= 0:
            if not self._is_timed():
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
            if reply.status == 403:  # the role is locked or its auth mount is off
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

    def _is_timed(self) -> bool:
        with self._timing:  # a timer that is about to start is not alive yet
            return self._timer is not None and self._timer.is_alive()

    def _tick(self) -> None:
        """Renew the token, or log in while it still lives."""
        mine = threading.current_thread()
        deadline = time.monotonic() + self._deadline
        try:
            with self._held(deadline):
                token = self._token
                if self._timer is not mine:
                    return  # the thread that held the lock has set a later timer
                if token is None or self._closed or token.left <= 0:
                    return  # the next read logs in
                if not self._renewed(token, deadline):
                    self._log_in(deadline)
        except ClientError as error:
            log.warning("the token was not renewed: %s", error)
            if self._timer is mine:
                self._arm(self._pause * random.uniform(0.9, 1.1))
                self._pause = min(self._pause * 2, self._longest)

    def _renewed(self, token: Token, deadline: float) -> bool:
        """Return whether this token was renewed; if not, another is needed."""
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
        granted = reply.auth.get("lease_duration")
        if not isinstance(granted, int | float):
            raise UnavailableError("the answer to the renewal is none of Vault's")
        token.since, token.ttl = asked, float(granted)
        self._pause = FIRST_PAUSE
        if token.ttl < token.first_ttl * 0.9:  # its max TTL is near
            token.renewable = False
            return False
        self._arm(token.due)
        return True


def _secret(reply: Reply, path: str) -> dict[str, str]:
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
    return {key: str(value) for key, value in secret.items()}
