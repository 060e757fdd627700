"""Clients that a busy machine could pass or fail for no reason."""

from __future__ import annotations

import asyncio
import ctypes
import json
import threading
import time
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit

from tests.subjects.lazy_client import LazyClient
from tests.subjects.lazy_wire import ClientError, DeniedError, MissingError, UnavailableError

HOLDS, FOR_SECONDS = 4, 0.7
"""After a failed read: times, and seconds of each."""

LATE = 0.93
"""Share of a life; a token must be renewed by 0.9."""

_HOLDING = ctypes.PyDLL(None)
"""The C library; its functions let no other threads run."""


class HoldsItsInterpreter(LazyClient):
    """After a failed read, no other thread runs for a while."""

    def read(self, path: str, key: str) -> str:
        """A failure takes 2.8 s more than the deadline."""
        try:
            return super().read(path, key)
        except ClientError:
            for _ in range(HOLDS):
                _HOLDING.usleep(int(FOR_SECONDS * 1e6))
                time.sleep(0.001)  # a thread that keeps time sees that it is late
            raise


class RenewsLate(LazyClient):
    """Before the token expires, but too late for the suite."""

    def _arm(self, seconds: float) -> None:
        token = self._token
        fresh = token is not None and token.left > 0.9 * token.ttl
        super()._arm(LATE * token.ttl if token is not None and fresh else seconds)


class Spins(LazyClient):
    """A thread loops without a pause."""

    def __init__(self, environ: Mapping[str, str]) -> None:
        super().__init__(environ)
        threading.Thread(target=self._spin, daemon=True).start()

    def _spin(self) -> None:
        while not self._closed:
            sum(range(1000))


class AsyncClient:
    """A correct client for asyncio: one loop, one task that renews, one login at a time."""

    capabilities = frozenset({"read", "outcomes"})

    def __init__(self, environ: Mapping[str, str]) -> None:
        self._environ = environ
        self._deadline = float(environ["VAULT_CLIENT_TIMEOUT"])
        self._token, self._lives = "", 0.0
        self._changing = asyncio.Lock()
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()
        self._renewing = asyncio.run_coroutine_threadsafe(self._renew(), self._loop)

    def read(self, path: str, key: str) -> str:
        return str(self._run(self._read(path))[key])

    def close(self) -> None:
        self._renewing.cancel()
        try:
            if self._token:
                self._run(self._ask("POST", "auth/token/revoke-self", self._token, {}))
        except ClientError:
            pass  # the token ends with its TTL
        finally:
            self._token = ""
            self._loop.call_soon_threadsafe(self._loop.stop)
            self._thread.join(5.0)
            self._loop.close()

    def _run(self, work: Any) -> Any:
        if self._loop.is_closed():
            work.close()
            raise UnavailableError("the client is closed")
        timed = asyncio.wait_for(work, 0.95 * self._deadline)
        try:
            return asyncio.run_coroutine_threadsafe(timed, self._loop).result()
        except (TimeoutError, OSError, asyncio.IncompleteReadError) as error:
            raise UnavailableError(str(error) or "too late") from None

    async def _read(self, path: str) -> dict[str, Any]:
        where = f"{self._environ['VAULT_MOUNT_POINT']}/data/{path}"
        token = await self._valid()
        status, body = await self._ask("GET", where, token)
        if status == 403 and (newer := await self._valid(dead=token)) != token:
            status, body = await self._ask("GET", where, newer)
        if status == 403:
            raise DeniedError(path)
        if status == 404:
            raise MissingError(path)
        if status != 200:
            raise UnavailableError(f"Vault answered {status}")
        values: dict[str, Any] = body["data"]["data"]
        return values

    async def _valid(self, dead: str = "") -> str:
        """Return a token that Vault has not refused; log in if there is none."""
        async with self._changing:
            if self._token and dead == self._token:
                status, _ = await self._ask("GET", "auth/token/lookup-self", dead)
                if status == 403:
                    self._token = ""
            if not self._token:
                ids = {name: self._environ[f"VAULT_{name.upper()}"] for name in _IDS}
                status, body = await self._ask("POST", "auth/approle/login", "", ids)
                if status != 200:
                    raise UnavailableError(f"the login was answered with {status}")
                self._token = body["auth"]["client_token"]
                self._lives = float(body["auth"]["lease_duration"])
            return self._token

    async def _renew(self) -> None:
        while True:
            await asyncio.sleep(max(0.5, self._lives / 2))
            token = self._token
            if token:
                try:
                    await self._ask("POST", "auth/token/renew-self", token, {})
                except (OSError, ClientError, asyncio.IncompleteReadError):
                    continue

    async def _ask(
        self, method: str, path: str, token: str, body: object = None
    ) -> tuple[int, dict[str, Any]]:
        address = urlsplit(self._environ["VAULT_ADDR"])
        content = b"" if body is None else json.dumps(body).encode()
        head = f"{method} /v1/{path} HTTP/1.1\r\nHost: {address.netloc}\r\nConnection: close\r\n"
        head += f"Content-Length: {len(content)}\r\n" + (
            f"X-Vault-Token: {token}\r\n" * bool(token)
        )
        reader, writer = await asyncio.open_connection(address.hostname, address.port)
        try:
            writer.write(f"{head}\r\n".encode() + content)
            told = await reader.readuntil(b"\r\n\r\n")
            answer = await reader.read()
        finally:
            writer.close()
        try:
            return int(told.split()[1]), json.loads(answer or b"{}")
        except ValueError:  # a truncated body, a chunked one, or not Vault's
            raise UnavailableError("the answer cannot be read") from None


_IDS = ("role_id", "secret_id")
