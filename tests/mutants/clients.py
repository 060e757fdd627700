"""What a mutant is, and broken clients that several groups use.

A mutant is a client that is broken on purpose, in a way seen in the wild. It deviates in a few
lines from a correct client: `tests.subjects.lazy_client`, or the reference client if the fault
needs a cache or a fallback. `tests.mutants.catalogue` joins the groups' modules.

To try one by hand::

    ./dev scenarios --only TOK-01 --subject python:tests.mutants.tok_renewal:MUTANTS.RenewsOnce
"""

from __future__ import annotations

import contextlib
import itertools
import re
import select
import socket
import ssl
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from http import HTTPStatus
from typing import Any, ClassVar, Self, TypeVar

import requests

from tests.subjects.lazy_client import Credentials, LazyClient, Token, _mark, _secret
from tests.subjects.lazy_wire import (
    ClientError,
    DeniedError,
    Gate,
    GivenUpError,
    MissingError,
    Reply,
    UnavailableError,
    Wire,
    _left,
)
from vault_harness.judge.subjects.reference import ReferenceSubject

LAZY = "python:tests.subjects.lazy_client:LazyClient"


REFERENCE = "reference"


WHOLES: dict[type, tuple[type, str]] = {
    Wire: (LazyClient, "wire_type"),
    Gate: (LazyClient, "gate_type"),
    Credentials: (LazyClient, "credentials_type"),
}
"""Parts of clients: a broken part is tested as a part of this client, in this attribute."""


@dataclass(frozen=True)
class Listed:
    """A client in a table.

    Attributes:
        factory: The client's class, or the class of a part of it (`WHOLES`).
        process: Whether it runs in a process of its own.
        attributes: Those that differ from the factory's.
        module: The module whose table has this client.
    """

    factory: Callable[..., Any]
    scenario: str
    process: bool = field(default=False, kw_only=True)
    name: str = field(default="", kw_only=True)
    attributes: Mapping[str, Any] = field(default_factory=dict, kw_only=True)
    module: str = field(default="", kw_only=True)

    table: ClassVar[str]

    def called(self, name: str, **attributes: Any) -> Self:
        """Return the client under another name than its class's, perhaps with other attributes."""
        unknown = [one for one in attributes if not hasattr(self.factory, one)]
        assert not unknown, f"{self.factory} has no {unknown}"
        return replace(self, name=name, attributes=attributes)

    @property
    def client(self) -> Callable[[Mapping[str, str]], Any]:
        """Return what makes the whole client."""
        made, name = self.factory, _camel(self.name)
        if not isinstance(made, type):
            return made
        if self.attributes:
            made = type(name, (made,), {"__module__": self.module, **self.attributes})
        for kind in made.__mro__:
            if kind in WHOLES:
                whole, place = WHOLES[kind]
                return type(name, (whole,), {"__module__": self.module, place: made})
        return made

    @property
    def subject(self) -> str:
        return _subject(
            f"python:{self.module}:{self.table}.{_camel(self.name)}", process=self.process
        )


@dataclass(frozen=True)
class Tolerated(Listed):
    """A client at the very edge of what a scenario allows, which must pass."""

    table: ClassVar[str] = "TOLERATED"


@dataclass(frozen=True)
class Mutant(Listed):
    """A broken client, and how its scenario must catch it.

    Attributes:
        reason: Must be in one of the findings.
        deviates_from: The correct client, as a subject, if it does not inherit from that.
    """

    reason: str
    deviates_from: str = field(default="", kw_only=True)

    table: ClassVar[str] = "MUTANTS"

    @property
    def base(self) -> str:
        """Return the correct client, as a subject, from which it deviates."""
        if self.deviates_from:
            return self.deviates_from
        assert isinstance(self.client, type)
        kinds = self.client.__mro__
        kind = next(one for one in kinds if not one.__module__.startswith("tests.mutants"))
        if kind is ReferenceSubject:
            return _subject(REFERENCE, process=self.process)
        return _subject(f"python:{kind.__module__}:{kind.__name__}", process=self.process)


def _subject(text: str, *, process: bool) -> str:
    return f"command:{sys.executable} -m vault_harness.judge.subjects {text}" if process else text


Client = TypeVar("Client", bound=Listed)


class Table(dict[str, Client]):
    """Clients by their names. ``caches-a-404`` is made by the attribute ``CachesA404``."""

    def __getattr__(self, name: str) -> Callable[[Mapping[str, str]], Any]:
        for one in self.values():
            if _camel(one.name) == name:
                return one.client
        raise AttributeError(name)


def by_name(*clients: Client) -> Table[Client]:
    """Return the table of the module that calls this. ``CachesA404`` is called ``caches-a-404``."""
    module = sys._getframe(1).f_globals["__name__"]
    table: Table[Client] = Table()
    for one in clients:
        name = one.name or _hyphened(one.factory.__name__)
        assert name not in table, f"two clients are called {name}"
        table[name] = replace(one, name=name, module=module)
    return table


def _camel(name: str) -> str:
    return "".join(word[:1].upper() + word[1:] for word in name.split("-"))


def _hyphened(name: str) -> str:
    return "-".join(re.findall(r"[A-Z]+(?![a-z])|[A-Z][a-z]*|[0-9]+[a-z]*", name)).lower()


class GivesUpRenewing(LazyClient):
    """The first failed renewal ends the renewer silently."""

    _broken = False

    def _renewed(self, token: Token, deadline: float) -> bool:
        try:
            return super()._renewed(token, deadline)
        except UnavailableError:
            self._broken = True
            raise

    def _arm(self, seconds: float) -> None:
        if not self._broken:
            super()._arm(seconds)


class LogsInOnEvery403(LazyClient):
    def _was_dead(self, *_: Any, **__: Any) -> bool:
        self._token = None
        return True


class LogsInThreeTimes(LazyClient):
    """Logs in three times for a lost token, and leaves two of the tokens to Vault."""

    _logins = 0

    def _log_in(self, deadline: float) -> Token:
        self._logins += 1
        for _ in range(2 if self._logins > 1 else 0):
            super()._log_in(deadline)
        return super()._log_in(deadline)


class LogsInOnceMoreLater(LazyClient):
    """A late thread logs in twice more after its second login."""

    later = 0.8
    _logins = 0

    def _log_in(self, deadline: float) -> Token:
        token = super()._log_in(deadline)
        self._logins += 1
        if self._logins == 2:
            again = threading.Timer(self.later, self._again)
            again.daemon = True
            again.start()
        return token

    def _again(self) -> None:
        with contextlib.suppress(ClientError):
            for _ in range(2):
                self._log_in(time.monotonic() + self._deadline)


class LogsInLaterAfterAFailure(LazyClient):
    """Recovers at once, but a late thread still takes another token."""

    later = 0.8
    _failed = False

    def _ask(self, *request: Any, **more: Any) -> Reply:
        try:
            reply = super()._ask(*request, **more)
        except UnavailableError:
            self._failed = True
            raise
        if self._failed:
            self._failed = False
            again = threading.Timer(self.later, self._again)
            again.daemon = True
            again.start()
        return reply

    def _again(self) -> None:
        with contextlib.suppress(ClientError):
            for _ in range(2):
                self._log_in(time.monotonic() + self._deadline)


class RenewsTwiceAtOnce(LazyClient):
    def _renewed(self, token: Token, deadline: float) -> bool:
        if not token.renewable:
            return super()._renewed(token, deadline)

        def again() -> None:
            with contextlib.suppress(ClientError):
                self._ask("POST", "auth/token/renew-self", deadline, token, {})

        others = [threading.Thread(target=again, daemon=True) for _ in range(3)]
        for other in others:
            other.start()
        renewed = super()._renewed(token, deadline)
        for other in others:
            other.join()
        return renewed


class HangsAtTheEnd(LazyClient):
    def close(self) -> None:
        threading.Event().wait(60.0)


class _ReadOnce(Credentials):
    def _one(self, name: str) -> str:
        return self._last.get(name) or super()._one(name)


class ReadsItsSecretIdOnce(LazyClient):
    credentials_type = _ReadOnce


class _NoGate(Gate):
    """Always open."""

    @contextlib.contextmanager
    def passage(self, *_: Any, **__: Any) -> Iterator[None]:
        yield


class RetriesWithoutAPause(LazyClient):
    gate_type = _NoGate


class _Latch(Gate):
    def _enter(self, deadline: float) -> bool:
        if self._failures >= 3:
            raise UnavailableError("too many failures")
        return super()._enter(deadline)


class NeverRecovers(LazyClient):
    """After three failures in a row its circuit opens for good."""

    gate_type = _Latch


class TreatsASealAsADeadToken(LazyClient):
    """Drops its token, and logs in again after the seal."""

    def _ask(
        self, method: str, path: str, deadline: float, token: Token, body: object = None
    ) -> Reply:
        try:
            return super()._ask(method, path, deadline, token, body)
        except UnavailableError:
            self._token = None
            raise


class LeavesAThreadForEachFailure(LazyClient):
    """Starts a thread at each failure to wait for Vault's return, and ends none."""

    def _ask(
        self, method: str, path: str, deadline: float, token: Token, body: object = None
    ) -> Reply:
        try:
            return super()._ask(method, path, deadline, token, body)
        except UnavailableError:
            for _ in range(2):
                threading.Thread(target=threading.Event().wait, args=(60.0,), daemon=True).start()
            raise


class _NoTimeout(Wire):
    def _exchange(self, request: bytes, deadline: float) -> bytes:
        del deadline
        return super()._exchange(request, time.monotonic() + 3600.0)


class HasNoTimeout(LazyClient):
    wire_type = _NoTimeout


class TriesNowAndThen(Credentials):
    """Tries a refused secret-id again every 4.7 s, for ever."""

    def usable(self, secret_id: str) -> bool:
        times = self._failed.get(_mark(secret_id), [])
        return not times or time.monotonic() - times[-1] >= 4.7


class Shaken(LazyClient):
    """Behaves differently once Vault has failed it."""

    _shaken = False

    def read(self, path: str, key: str) -> str:
        try:
            return super().read(path, key)
        except UnavailableError:
            self._shaken = True
            raise


class Remembers(LazyClient):
    def __init__(self, environ: Mapping[str, str]) -> None:
        super().__init__(environ)
        self._kept: dict[tuple[str, str], str] = {}

    def read(self, path: str, key: str) -> str:
        self._kept[path, key] = value = super().read(path, key)
        return value


class HasATenSecondDeadline(LazyClient):
    within = 10.0

    def __init__(self, environ: Mapping[str, str]) -> None:
        super().__init__({**environ, "VAULT_CLIENT_TIMEOUT": f"{self.within:g}"})


class LooksByItself(LazyClient):
    """Polls at a pace of its own, with or without callers."""

    every = 1.0

    def __init__(self, environ: Mapping[str, str]) -> None:
        super().__init__(environ)
        self._over = threading.Event()
        threading.Thread(target=self._look_on, name="looks", daemon=True).start()

    def _look_on(self) -> None:
        while not self._over.wait(self.every):
            token, deadline = self._token, time.monotonic() + self._deadline
            if token is not None:
                with contextlib.suppress(ClientError):
                    self._look(token, deadline)

    def _look(self, token: Token, deadline: float) -> None:
        raise NotImplementedError

    def close(self) -> None:
        self._over.set()
        super().close()


class AtShare(LazyClient):
    share = 0.5

    def _arm(self, seconds: float) -> None:
        token = self._token
        super()._arm(token.ttl * self.share if token is not None else seconds)


class AsksOften(Gate):
    """In an outage it asks twice a second for its caller, and half a time by itself."""

    pace = 0.4

    def __init__(self, longest: float) -> None:
        super().__init__(longest)
        self._turn = threading.Lock()
        self._next = 0.0

    @contextlib.contextmanager
    def passage(self, deadline: float) -> Iterator[None]:
        with self._turn:
            wait = self._next - time.monotonic()
            if time.monotonic() + wait >= deadline:
                raise GivenUpError("there is no time for another try")
            time.sleep(max(0.0, wait))
            self._next = time.monotonic() + self.pace
        yield


class AsksAgainLater(Gate):
    """Retries at a fixed time after a failure; may ignore the first."""

    pause = 0.0
    forgives = 0

    def _leave(self, *, probe: bool, failed: bool, pause: float) -> None:
        rests = failed and self._failures >= self.forgives
        super()._leave(probe=probe, failed=failed, pause=self.pause if rests else pause)


class _Reconnects(Wire):
    """Reconnects after a connection without an answer, within the call's time."""

    pause = 0.34

    def _exchange(self, request: bytes, deadline: float) -> bytes:
        while True:
            with contextlib.suppress(OSError):
                if answer := super()._exchange(request, deadline):
                    return answer
            if time.monotonic() + self.pause >= deadline:
                raise TimeoutError
            time.sleep(self.pause)


class LogsInOnTheFirst403(LazyClient):
    """Logs in once to see whether the role has another policy."""

    times = 1
    _done = 0

    def _was_dead(self, where: str, token: Token, deadline: float) -> bool:
        if self._done < self.times:
            self._done += 1
            self._token = None
            return True
        return super()._was_dead(where, token, deadline)


class LeavesFiveThreads(LazyClient):
    """Keeps a few threads from one outage, and starts no more in the next."""

    left = 5
    _started = 0

    def _ask(
        self, method: str, path: str, deadline: float, token: Token, body: object = None
    ) -> Reply:
        try:
            return super()._ask(method, path, deadline, token, body)
        except UnavailableError:
            if self._started < self.left:
                self._started += 1
                threading.Thread(target=threading.Event().wait, args=(600.0,), daemon=True).start()
            raise


class CachesForTheRefreshTime(LazyClient):
    """Keeps a value for nearly five seconds."""

    keeps = 4.8

    def __init__(self, environ: Mapping[str, str]) -> None:
        super().__init__(environ)
        self._values: dict[tuple[str, str], tuple[float, str]] = {}

    def read(self, path: str, key: str) -> str:
        asked = time.monotonic()
        at, value = self._values.get((path, key), (0.0, ""))
        if not at or asked - at >= self.keeps:
            value = super().read(path, key)
            self._values[path, key] = asked, value
        return value


class CachesForTooLong(CachesForTheRefreshTime):
    """Returns what it has read for three seconds too long.

    The age of a value when it changes is random, so a smaller excess would rarely show.
    """

    keeps = 8.0


class _Four(Credentials):
    """Tries a refused secret-id four times."""

    tries = 4

    def usable(self, secret_id: str) -> bool:
        return len(self._failed.get(_mark(secret_id), [])) < self.tries


class _Five(_Four):
    tries = 5


class TriesFourTimesInOneCall(LazyClient):
    """Stops one try before the lock, all in a single call."""

    credentials_type: type[Credentials] = _Four

    def _log_in(self, deadline: float) -> Token:
        while True:
            try:
                return super()._log_in(deadline)
            except DeniedError:
                if not self._credentials.usable(self._credentials.current()[1]):
                    raise
                time.sleep(0.1)


class TriesFiveTimesInOneCall(TriesFourTimesInOneCall):
    """The fifth failure locks the role for everybody."""

    credentials_type = _Five


class RepeatsEachDeniedRead(LazyClient):
    at_the_first = 1
    _denied_calls = 0

    def _was_dead(self, where: str, token: Token, deadline: float) -> bool:
        if super()._was_dead(where, token, deadline):
            return True
        self._denied_calls += 1
        for _ in range(self.at_the_first if self._denied_calls == 1 else 1):
            self._ask("GET", where, deadline, token)
        return False


class LooksAtEachDenial(LazyClient):
    """Looks up its token, and remembers nothing of it."""

    at_the_first = 1
    _denials = 0

    def _was_dead(self, where: str, token: Token, deadline: float) -> bool:
        self._denials += 1
        for _ in range(self.at_the_first - 1 if self._denials == 1 else 0):
            self._ask("GET", "auth/token/lookup-self", deadline, token)
        self._denied.pop(where, None)
        return super()._was_dead(where, token, deadline)


KEPT = ("backend/database", "backend/redis", "backend/celery")


class KeepsThreeSecretsFresh(LazyClient):
    """Polls secrets that no caller asks for four times a second."""

    every = 0.23

    def __init__(self, environ: Mapping[str, str]) -> None:
        super().__init__(environ)
        threading.Thread(target=self._poll, daemon=True).start()

    def _poll(self) -> None:
        for path in itertools.cycle(KEPT):
            time.sleep(self.every)
            if self._closed:
                return
            token, deadline = self._token, time.monotonic() + 1.0
            if token is not None and token.left > 0:
                where = f"{self._mount}/data/{path}"
                with contextlib.suppress(ClientError):
                    self._wire.send("GET", where, deadline=deadline, token=token.value)


class HasItsChangeMerged(LazyClient):
    """Changes a key without a read: Vault merges it (PATCH)."""

    capabilities = LazyClient.capabilities | {"update"}

    def update(self, path: str, data: Mapping[str, str]) -> None:
        deadline = time.monotonic() + 0.9 * self._deadline
        where, token = f"{self._mount}/data/{path}", self._valid_token(deadline)
        answer = self._patch(where, data, token, deadline)
        if answer.status_code == HTTPStatus.FORBIDDEN and self._was_dead(where, token, deadline):
            answer = self._patch(where, data, self._valid_token(deadline), deadline)
        answer.raise_for_status()

    def _patch(
        self, where: str, data: Mapping[str, str], token: Token, deadline: float
    ) -> requests.Response:
        return requests.patch(
            f"{self._environ['VAULT_ADDR']}/v1/{where}",
            json={"data": dict(data)},
            headers={
                "X-Vault-Token": token.value,
                "Content-Type": "application/merge-patch+json",
            },
            timeout=max(0.01, deadline - time.monotonic()),
        )


class KeepsFiveInReserve(Shaken):
    """Has five spare connections after an outage, and replaces each that ended."""

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
        # Vault closes a connection after 10 s without a request.
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


class _CallsItSomethingElse(LazyClient):
    """Reports a wrong outcome if the last failure has `word` in its text."""

    word = ""
    instead: ClassVar[type[ClientError]] = MissingError
    _last = ""

    def _ask(
        self, method: str, path: str, deadline: float, token: Token, body: object = None
    ) -> Reply:
        try:
            return super()._ask(method, path, deadline, token, body)
        except GivenUpError:
            raise  # no request was sent
        except UnavailableError as error:
            self._last = str(error)
            raise

    def read(self, path: str, key: str) -> str:
        try:
            return super().read(path, key)
        except UnavailableError:
            if self.word in self._last:
                raise self.instead(f"there is nothing at {path}") from None
            raise


class _KeyByKeyAsEver(LazyClient):
    """Does not use `read_all` for single keys."""

    def read(self, path: str, key: str) -> str:
        values = LazyClient.read_all(self, path)
        if key not in values:
            raise MissingError(f"there is no {key} in {path}")
        return values[key]


def _of_anybody() -> ssl.SSLContext:
    """Return a context that accepts every certificate."""
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    return context


class IgnoresRetryAfter(Gate):
    def _leave(self, **how: Any) -> None:
        super()._leave(**{**how, "pause": 0.0})


class GivesUpAtItsStart(LazyClient):
    """Logs in at its start or never."""

    def __init__(self, environ: Mapping[str, str]) -> None:
        super().__init__(environ)
        with contextlib.suppress(UnavailableError):
            self._log_in(time.monotonic() + 1.0)

    def _valid_token(self, deadline: float) -> Token:
        if self._token is None:
            raise UnavailableError("there was no Vault")
        return super()._valid_token(deadline)


class TrustsSysHealth(LazyClient):
    capabilities = frozenset({"read", "outcomes", "health"})

    def health(self) -> bool:
        deadline = time.monotonic() + 1.0
        try:
            return self._wire.send("GET", "sys/health", deadline=deadline).status == 200
        except UnavailableError:
            return False


class Writes(LazyClient):
    """The lazy client with correct writes."""

    capabilities = LazyClient.capabilities | {"write"}

    def write(self, path: str, data: Mapping[str, str]) -> None:
        deadline = time.monotonic() + self._deadline * 0.95
        where, token = f"{self._mount}/data/{path}", self._valid_token(deadline)
        reply = self._post(where, deadline, token, data)
        if reply.status == 403 and self._was_dead(where, token, deadline):
            reply = self._post(where, deadline, self._valid_token(deadline), data)
        if reply.status == 403:
            raise DeniedError(f"the policy denies writing {path}")
        if reply.status != 200:
            raise ClientError(f"Vault answered {reply.status}: {reply.says}")

    def _post(self, where: str, deadline: float, token: Token, data: Mapping[str, str]) -> Reply:
        return self._ask("POST", where, deadline, token, {"data": dict(data)})


class PausesBeforeItWritesAgain(Writes):
    """Has a circuit for writes, which an outage opens for some seconds."""

    rests = 60.0
    _broken = False
    _closes = 0.0

    def _ask(
        self, method: str, path: str, deadline: float, token: Token, body: object = None
    ) -> Reply:
        try:
            return super()._ask(method, path, deadline, token, body)
        except UnavailableError:
            self._broken = True
            raise

    def write(self, path: str, data: Mapping[str, str]) -> None:
        now = time.monotonic()
        if self._broken:
            self._broken, self._closes = False, now + self.rests
        if now < self._closes:
            raise UnavailableError("the circuit for writes is open")
        super().write(path, data)


def _kept_open(wire: Wire, deadline: float) -> socket.socket:
    """Return a connection that was used once: Vault closes an unused one."""
    kept = socket.create_connection((wire._host, wire._port), timeout=_left(deadline))
    kept.sendall(b"GET /v1/sys/health HTTP/1.1\r\nHost: vault\r\n\r\n")
    kept.recv(1)
    return kept


class TreatsAnOutageAsAnEmptySecret(_KeyByKeyAsEver):
    def read_all(self, path: str) -> dict[str, str]:
        try:
            return super().read_all(path)
        except UnavailableError:
            return {}


class ReadsWholeSecretsWithItsFirstToken(_KeyByKeyAsEver):
    """Takes a 403 for a denial."""

    _first: Token | None = None

    def read_all(self, path: str) -> dict[str, str]:
        deadline = time.monotonic() + self._deadline * 0.95
        if self._first is None:
            self._first = self._valid_token(deadline)
        reply = self._ask("GET", f"{self._mount}/data/{path}", deadline, self._first)
        if reply.status == 403:
            raise DeniedError(f"the policy denies {path}")
        return _secret(reply, path)
