"""Clients that leave something behind each outage, which goes on in calm weather after it.

Each is listed in the module of the group whose scenario it meets.
"""

from __future__ import annotations

import contextlib
import select
import socket
import threading
import time
from collections.abc import Mapping
from typing import ClassVar

from tests.mutants.clients import CachesForTheRefreshTime, Shaken
from tests.subjects.lazy_client import LazyClient, Token
from tests.subjects.lazy_wire import ClientError

Request = tuple[str, str]
"""A method and a path."""

LOOK: Request = ("GET", "auth/token/lookup-self")
RIGHTS: Request = ("POST", "sys/capabilities-self")
SECRET: Request = ("GET", "ecommerce/data/backend/django")


class _Asks(LazyClient):
    """Can ask for something of its own accord, with the token of that moment."""

    def _ask_alone(self, request: Request) -> None:
        token = self._token
        if self._closed or token is None or token.left <= 0:
            return
        method, path = request
        with contextlib.suppress(ClientError):
            self._ask(method, path, time.monotonic() + 1.0, token, {"paths": ["sys"]})


class _Loops(_Asks):
    """Has loops that end with it and not before."""

    asks = SECRET
    every = 1.0

    def __init__(self, environ: Mapping[str, str]) -> None:
        super().__init__(environ)
        self._ended = threading.Event()

    def _begin_a_loop(self) -> None:
        threading.Thread(target=self._loop, daemon=True).start()

    def _loop(self) -> None:
        while not self._ended.wait(self.every):
            self._ask_alone(self.asks)

    def close(self) -> None:
        self._ended.set()
        super().close()


class LeavesARefresherForEachOutage(_Loops, Shaken):
    """When Vault is back it begins to keep its secret fresh, and has begun before."""

    def read(self, path: str, key: str) -> str:
        value = super().read(path, key)
        if self._shaken:
            self._shaken = False
            self._begin_a_loop()
        return value


class LeavesALookerForEachOutage(LeavesARefresherForEachOutage):
    """When Vault is back it begins to look after its token, and has begun before."""

    asks = LOOK
    every = 2.0


class LeavesARenewerForEachLogin(_Loops):
    """Each new token has a renewer, none of which ends with it: all renew the latest."""

    _logins = 0

    def _log_in(self, deadline: float) -> Token:
        token = super()._log_in(deadline)
        self._logins += 1
        if self._logins > 1:
            self.every = 0.6 * token.ttl
            self._begin_a_loop()
        return token

    def _ask_alone(self, request: Request) -> None:
        del request
        deadline = time.monotonic() + 1.0
        with contextlib.suppress(ClientError), self._held(deadline):
            token = self._token
            if not self._closed and token is not None and token.left > 0:
                self._ask("POST", "auth/token/renew-self", deadline, token, {})
                token.since = time.monotonic()


class LeavesARefresherForItsCache(LeavesARefresherForEachOutage, CachesForTheRefreshTime):
    """The same beside a cache, which is asked first."""

    every = 2.0


class _AsksAfterALogin(_Asks):
    """Makes sure of each token but its first, for a while after it has got it."""

    after: ClassVar[Mapping[float, tuple[Request, ...]]] = {2.0: (LOOK,), 4.0: (LOOK,)}

    def __init__(self, environ: Mapping[str, str]) -> None:
        super().__init__(environ)
        self._waiting: list[threading.Timer] = []
        self._had = False

    def _log_in(self, deadline: float) -> Token:
        token = super()._log_in(deadline)
        for timer in self._waiting:
            timer.cancel()
        self._waiting = [
            threading.Timer(seconds, self._ask_alone, (request,))
            for seconds, asked in self.after.items()
            for request in asked
            if self._had
        ]
        self._had = True
        for timer in self._waiting:
            timer.daemon = True
            timer.start()
        return token


class LooksTwiceAfterOutages(_AsksAfterALogin):
    """Twice in the life of a token that came after an outage."""


class LooksThriceAfterOutages(_AsksAfterALogin):
    """Once more."""

    after: ClassVar[Mapping[float, tuple[Request, ...]]] = {
        2.0: (LOOK,),
        4.0: (LOOK,),
        6.0: (LOOK,),
    }


class AsksFourTimesAfterOutages(_AsksAfterALogin):
    """Two looks at its token and two at what it may do."""

    after: ClassVar[Mapping[float, tuple[Request, ...]]] = {
        2.0: (LOOK, RIGHTS),
        4.0: (LOOK, RIGHTS),
    }


class AsksSixTimesAfterOutages(_AsksAfterALogin):
    """And two at its secret."""

    after: ClassVar[Mapping[float, tuple[Request, ...]]] = {
        2.0: (LOOK, RIGHTS, SECRET),
        4.0: (LOOK, RIGHTS, SECRET),
    }


class KeepsTwoConnections(Shaken):
    """Has two connections more after an outage, and no more with the next."""

    most = 2
    each = 2

    def __init__(self, environ: Mapping[str, str]) -> None:
        super().__init__(environ)
        self._kept: list[socket.socket] = []

    def read(self, path: str, key: str) -> str:
        value = super().read(path, key)
        if self._shaken:
            self._shaken = False
            for _ in range(min(self.each, self.most - len(self._kept))):
                self._kept.append(self._connect())
        return value

    def _connect(self) -> socket.socket:
        """A connection that was used once: Vault itself ends one that never was."""
        address = (self._wire._host, self._wire._port)
        connection = socket.create_connection(address, timeout=1.0)
        connection.sendall(b"GET /v1/sys/health HTTP/1.1\r\nHost: vault\r\n\r\n")
        connection.recv(65536)
        return connection

    def close(self) -> None:
        super().close()
        for connection in self._kept:
            connection.close()


class KeepsAConnectionForEachOutage(KeepsTwoConnections):
    """Reconnects after each, and lets go of nothing."""

    most = 99
    each = 1


class KeepsFiveInReserve(Shaken):
    """After an outage it has five connections in reserve, and makes up for each that ended."""

    reserve = 5

    def __init__(self, environ: Mapping[str, str]) -> None:
        super().__init__(environ)
        self._kept: list[socket.socket] = []
        self._made = 0.0
        self._keeping = threading.Lock()

    def read(self, path: str, key: str) -> str:
        value = super().read(path, key)
        if self._shaken:
            with self._keeping, contextlib.suppress(OSError):
                self._make_up()
        return value

    def _make_up(self) -> None:
        # Vault ends a connection over which nothing was asked for 10 s: all are made anew by then.
        old = time.monotonic() - self._made > 5.0
        for ended in list(self._kept) if old else select.select(self._kept, [], [], 0.0)[0]:
            self._kept.remove(ended)
            ended.close()
        if old:
            self._made = time.monotonic()
        address = (self._wire._host, self._wire._port)
        while len(self._kept) < self.reserve:
            self._kept.append(socket.create_connection(address, timeout=1.0))

    def close(self) -> None:
        super().close()
        for connection in self._kept:
            connection.close()


class KeepsNineInReserve(KeepsFiveInReserve):
    """Has nine."""

    reserve = 9


class LeavesAThreadForEachLostToken(LazyClient):
    """Each token that is lost leaves one thread behind, however many calls find that out."""

    def __init__(self, environ: Mapping[str, str]) -> None:
        super().__init__(environ)
        self._lost: Token | None = None

    def _was_dead(self, where: str, token: Token, deadline: float) -> bool:
        with self._held(deadline):
            dead = super()._was_dead(where, token, deadline)
            if dead and token is not self._lost:
                self._lost = token
                threading.Thread(target=threading.Event().wait, args=(600.0,), daemon=True).start()
            return dead
