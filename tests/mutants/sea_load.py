"""Clients that break SEA-05, 10 or 11: the load on Vault after a seal."""

from __future__ import annotations

import contextlib
import random
import socket
import sys
import threading
import time
from collections.abc import Callable, Mapping
from typing import Any, ClassVar

from tests.mutants.clients import (
    Mutant,
    NeverRecovers,
    Shaken,
    Tolerated,
    by_name,
)
from tests.mutants.login_clients import (
    AsksForAnHour,
    AsksForHealthFirst,
    LoadsAtItsFirstRead,
    LogsInAtAThird,
    LogsInAtHalfALife,
    LogsInInsteadOfRenewing,
    LooksEverySecond,
    PollsTwiceAMinute,
)
from tests.mutants.sea_seal import WaitsEverLonger
from tests.subjects.lazy_client import LazyClient, Token
from tests.subjects.lazy_wire import (
    ClientError,
    Gate,
    GivenUpError,
    UnavailableError,
    Wire,
    is_whole,
)

# SEA-05


class ProbesAtWholeSeconds(Gate):
    """Probes at each whole second of the time of day."""

    def _leave(self, **how: Any) -> None:
        super()._leave(**how)
        with self._changed:
            if self._failures:
                self._opens = time.monotonic() + 1.0 - time.time() % 1.0


class RefreshesEverythingAfterALogin(LazyClient):
    """Reads everything that it may need as soon as it has a token, once for each of its parts.

    It reads all at once, since a sequence would depend on the speed of each answer.
    """

    parts = 4

    def _log_in(self, deadline: float) -> Token:
        token = super()._log_in(deadline)
        for path in ("database", "redis", "celery", "django") * self.parts:
            threading.Thread(target=self._remember, args=(path, token), daemon=True).start()
        return token

    def _remember(self, path: str, token: Token) -> None:
        with contextlib.suppress(UnavailableError):
            where = f"{self._mount}/data/backend/{path}"
            self._ask("GET", where, time.monotonic() + self._deadline, token)


class LogsInOnceMore(LazyClient):
    """Twice more, after a read with a second token."""

    def read(self, path: str, key: str) -> str:
        before = self._token
        value = super().read(path, key)
        if before is not None and self._token is not before:
            deadline = time.monotonic() + self._deadline
            with contextlib.suppress(ClientError), self._held(deadline):
                self._log_in(deadline)
                self._log_in(deadline)
        return value


class LooksUpItsSecondTokenMoreOften(LooksEverySecond):
    """Looks five times a second."""

    _logins = 0

    def _log_in(self, deadline: float) -> Token:
        self._logins += 1
        self.every = 1.0 if self._logins == 1 else 0.2
        return super()._log_in(deadline)


class LosesALogin(LazyClient):
    """Its second one is too late for the call."""

    _logins = 0

    def _log_in(self, deadline: float) -> Token:
        token = super()._log_in(deadline)
        if isinstance(threading.current_thread(), threading.Timer):
            return token  # a timer's login has no call
        self._logins += 1
        if self._logins == 2:
            self._token = None
            raise GivenUpError("the answer to the login came when the call's time was up")
        return token


class LosesALoginAtAThirdInAHerd(LosesALogin, LogsInAtAThird):
    """As early as others may renew, also after a lost login."""


# SEA-10


COMES_BACK = "comes back"


class _OpenForTheFirstProbe(Gate):
    """Holds up callers. A login waits only for the common moment."""

    def _enter(self, deadline: float) -> bool:
        if threading.current_thread().name == COMES_BACK:
            return False
        return super()._enter(deadline)


LONG = 20.0
"""Seconds for a login that no call waits for."""


class _RecoversAtOnce(LazyClient):
    """Together with all its sisters, even without a caller."""

    gate_type = _OpenForTheFirstProbe
    _comes_back: threading.Thread | None = None

    def read_all(self, path: str) -> dict[str, str]:
        try:
            return super().read_all(path)
        except UnavailableError:
            with self._timing:
                if self._comes_back is None:
                    self._comes_back = threading.Thread(
                        target=self._come_back, name=COMES_BACK, daemon=True
                    )
                    self._comes_back.start()
            raise

    def _come_back(self) -> None:
        while not self._closed:
            with contextlib.suppress(ClientError), self._changing:
                self._log_in(time.monotonic() + LONG)
                break
        self._comes_back = None


class _Starter:
    """Sends all logins from one thread: two hundred threads or connections would spread them."""

    def __init__(self, wait: Callable[[Wire], None]) -> None:
        self._wait = wait
        self._changed = threading.Condition()
        self._ready: list[tuple[socket.socket, bytes]] = []
        self._runs = False

    def send(self, wire: Wire, peer: socket.socket, request: bytes) -> None:
        with self._changed:
            self._ready.append((peer, request))
            self._changed.notify()
            if not self._runs:
                self._runs = True
                threading.Thread(target=self._run, args=(wire,), daemon=True).start()

    def _run(self, wire: Wire) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._ready)
            self._wait(wire)
            with self._changed:
                ready, self._ready = self._ready, []
            usual = sys.getswitchinterval()
            sys.setswitchinterval(1e-5)  # otherwise answered threads would take the others' turn
            for peer, request in ready:
                with contextlib.suppress(OSError):
                    peer.sendall(request)
            sys.setswitchinterval(usual)


class _AtOnce(Wire):
    """Connects first, and sends its login with its sisters'."""

    starter: ClassVar[_Starter]

    def _exchange(self, request: bytes, deadline: float) -> bytes:
        if b"/login HTTP" not in request:
            return super()._exchange(request, deadline)
        left = deadline - time.monotonic()
        with socket.create_connection((self._host, self._port), timeout=left) as peer:
            self.starter.send(self, peer, request)
            received = bytearray()
            while not is_whole(received) and (piece := peer.recv(65536)):
                received += piece
            return bytes(received)


def _until_vault_serves(wire: Wire) -> None:
    while True:
        with contextlib.suppress(UnavailableError):
            wire.send("GET", "sys/health", deadline=time.monotonic() + 1.0)
            return
        time.sleep(0.25)


class _AfterOneProbe(_AtOnce):
    starter = _Starter(_until_vault_serves)


class LogsInWithAllOthersAfterOneProbe(_RecoversAtOnce):
    """Logs in when the one client that probes Vault finds that it serves."""

    wire_type = _AfterOneProbe


def _until_the_second_is_whole(_: Wire) -> None:
    time.sleep(1.0 - time.time() % 1.0)


class _AtAFullSecond(_AtOnce):
    starter = _Starter(_until_the_second_is_whole)


class LogsInAtWholeSeconds(_RecoversAtOnce):
    wire_type = _AtAFullSecond


class RecoversWithinASecond(Gate):
    """Probes after each whole second, with some jitter."""

    chance = 0.9

    def _leave(self, **how: Any) -> None:
        super()._leave(**how)
        with self._changed:
            if self._failures:
                whole = time.monotonic() + 1.0 - time.time() % 1.0
                self._opens = whole + random.uniform(0.0, self.chance)


class RecoversWithFullJitter(Gate):
    """Probes after a fully random pause of up to a second."""

    def _leave(self, **how: Any) -> None:
        super()._leave(**how)
        with self._changed:
            if self._failures:
                self._opens = time.monotonic() + random.uniform(0.0, 1.0)


# SEA-11


Request = tuple[str, str]
"""A method and a path."""


class _Asks(LazyClient):
    """Can send a request by itself, with its current token."""

    def _ask_alone(self, request: Request) -> None:
        token = self._token
        if self._closed or token is None or token.left <= 0:
            return
        method, path = request
        with contextlib.suppress(ClientError):
            self._ask(method, path, time.monotonic() + 1.0, token, {"paths": ["sys"]})


SECRET: Request = ("GET", "ecommerce/data/backend/django")


class _Loops(_Asks):
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
    def read(self, path: str, key: str) -> str:
        value = super().read(path, key)
        if self._shaken:
            self._shaken = False
            self._begin_a_loop()
        return value


LOOK: Request = ("GET", "auth/token/lookup-self")


class LeavesARenewerForEachLogin(_Loops):
    """All of them renew the latest token."""

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


class _AsksAfterALogin(_Asks):
    """Checks each token but its first for a while."""

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


RIGHTS: Request = ("POST", "sys/capabilities-self")


class KeepsTwoConnections(Shaken):
    """Has two more connections after an outage, and no more after the next one."""

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
        """Return a connection that was used once: Vault closes an unused one."""
        address = (self._wire._host, self._wire._port)
        connection = socket.create_connection(address, timeout=1.0)
        connection.sendall(b"GET /v1/sys/health HTTP/1.1\r\nHost: vault\r\n\r\n")
        connection.recv(65536)
        return connection

    def close(self) -> None:
        super().close()
        for connection in self._kept:
            connection.close()


class RenewsOnlyItsFirstToken(LazyClient):
    _first: Token | None = None

    def _arm(self, seconds: float) -> None:
        self._first = self._first or self._token
        if self._token is self._first:
            super()._arm(seconds)


class SpinsInAThreadAfterAnOutage(Shaken):
    """Checks its own flag, as Go code that reads a closed channel does."""

    rests = 0.0
    _spins = False

    def read(self, path: str, key: str) -> str:
        value = super().read(path, key)
        if self._shaken and not self._spins:
            self._spins = True
            threading.Thread(target=self._spin, daemon=True).start()
        return value

    def _spin(self) -> None:
        while not self._closed:
            until = time.monotonic() + 0.01
            while time.monotonic() < until and not self._closed:
                pass
            if self.rests:
                time.sleep(self.rests)


class LooksUpItsTokenTwiceAfterOutages(_AsksAfterALogin):
    """Looks twice in the life of a token."""


MUTANTS = by_name(
    Mutant(ProbesAtWholeSeconds, "SEA-05", "instances log in within"),
    Mutant(RefreshesEverythingAfterALogin, "SEA-05", "no stampede"),
    Mutant(LogsInOnceMore, "SEA-05", "logins").called("logs-in-three-times-in-a-herd"),
    Mutant(LooksUpItsSecondTokenMoreOften, "SEA-05", "no stampede"),
    Mutant(WaitsEverLonger, "SEA-05", "each caller has a good read").called(
        "recovers-too-late-in-all-clients"
    ),
    Mutant(LogsInWithAllOthersAfterOneProbe, "SEA-10", "instances log in within", process=True),
    Mutant(LogsInAtWholeSeconds, "SEA-10", "instances log in within", process=True),
    Mutant(WaitsEverLonger, "SEA-10", "each caller has a good read", process=True).called(
        "recovers-too-late-in-two-hundred-clients"
    ),
    Mutant(LogsInOnceMore, "SEA-10", "logins", process=True).called(
        "logs-in-three-times-in-a-crowd"
    ),
    Mutant(LeavesARefresherForEachOutage, "SEA-11", "read requests in"),
    Mutant(LeavesARefresherForEachOutage, "SEA-11", "lookup requests in").called(
        "leaves-a-lookup-thread-for-each-outage", asks=LOOK, every=2.0
    ),
    Mutant(LeavesARenewerForEachLogin, "SEA-11", "renew requests in"),
    Mutant(_AsksAfterALogin, "SEA-11", "lookup requests in").called(
        "looks-up-its-token-three-times-after-outages",
        after={2.0: (LOOK,), 4.0: (LOOK,), 6.0: (LOOK,)},
    ),
    Mutant(_AsksAfterALogin, "SEA-11", "requests of all kinds in").called(
        "asks-six-times-after-outages",
        after={2.0: (LOOK, RIGHTS, SECRET), 4.0: (LOOK, RIGHTS, SECRET)},
    ),
    Mutant(KeepsTwoConnections, "SEA-11", "connections that stay open").called(
        "keeps-a-connection-for-each-outage", most=99, each=1
    ),
    Mutant(RenewsOnlyItsFirstToken, "SEA-11", "the token is renewed, or replaced"),
    Mutant(SpinsInAThreadAfterAnOutage, "SEA-11", "seconds of a processor", process=True),
    Mutant(NeverRecovers, "SEA-11", "a good read within").called(
        "never-recovers-after-it-had-a-token"
    ),
)


TOLERATED = by_name(
    Tolerated(LoadsAtItsFirstRead, "SEA-05").called("loads-code-in-a-herd"),
    Tolerated(LogsInAtHalfALife, "SEA-05").called("logs-in-at-half-a-life-in-a-herd"),
    Tolerated(LosesALogin, "SEA-05").called("loses-a-login-in-a-herd"),
    Tolerated(LosesALoginAtAThirdInAHerd, "SEA-05"),
    Tolerated(LooksEverySecond, "SEA-05").called("looks-up-its-token-every-second-in-a-herd"),
    Tolerated(AsksForHealthFirst, "SEA-05").called("asks-for-health-in-a-herd"),
    Tolerated(LosesALogin, "SEA-10", process=True).called("loses-a-login-in-a-crowd"),
    Tolerated(RecoversWithinASecond, "SEA-10", process=True),
    Tolerated(RecoversWithFullJitter, "SEA-10", process=True),
    Tolerated(SpinsInAThreadAfterAnOutage, "SEA-11", process=True).called(
        "wakes-up-with-pauses-after-an-outage", rests=0.09
    ),
    Tolerated(LooksUpItsTokenTwiceAfterOutages, "SEA-11"),
    # Looks up its token and its capabilities, each twice.
    Tolerated(_AsksAfterALogin, "SEA-11").called(
        "asks-four-times-after-outages", after={2.0: (LOOK, RIGHTS), 4.0: (LOOK, RIGHTS)}
    ),
    Tolerated(KeepsTwoConnections, "SEA-11"),
    Tolerated(LogsInInsteadOfRenewing, "SEA-11").called("logs-in-instead-through-outages"),
    Tolerated(AsksForAnHour, "SEA-11").called("asks-for-an-hour-through-outages"),
    Tolerated(PollsTwiceAMinute, "SEA-11"),
)
