"""What a mutant is, and the broken clients that several groups of scenarios have in common.

A mutant is a client that is broken on purpose, in one way that was seen in the wild. It deviates
in a few lines from a client that is correct: from ``tests.subjects.lazy_client``, or from the
reference client where the fault needs a cache or a fallback. A group of scenarios has a module of
its own beside this one, `tests.mutants.catalogue` joins them, and each can be tried by hand::

    ./dev scenarios --only TOK-01 --subject python:tests.mutants.tok:RenewsOnce
"""

from __future__ import annotations

import contextlib
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from resilient_vault_client import VaultClient
from resilient_vault_client._leases import Leases
from tests.subjects.lazy_client import Credentials, LazyClient, Token, _mark
from tests.subjects.lazy_wire import (
    ClientError,
    Gate,
    GivenUpError,
    Reply,
    UnavailableError,
    Wire,
)
from vault_harness.subjects.reference import ReferenceSubject

LAZY = "python:tests.subjects.lazy_client:LazyClient"
LAZY_PROCESS = f"command:{sys.executable} -m vault_harness.subjects {LAZY}"
REFERENCE = "reference"
REFERENCE_PROCESS = f"command:{sys.executable} -m vault_harness.subjects {REFERENCE}"


@dataclass(frozen=True)
class Tolerated:
    """A client at the very edge of what a scenario allows: it keeps the promise, just so.

    Attributes:
        factory: Makes it from an environment.
        scenario: The id of the scenario that must pass it.
        base: The correct client, as a subject, from which it deviates.
        process: Whether it runs in a process of its own.
    """

    factory: Callable[[Mapping[str, str]], Any]
    scenario: str
    base: str = LAZY
    process: bool = False

    @property
    def subject(self) -> str:
        """What to give as ``--subject``."""
        return _subject(self.factory, process=self.process)


@dataclass(frozen=True)
class Mutant:
    """A broken client, and how it must be caught.

    Attributes:
        factory: Makes it from an environment.
        scenario: The id of the scenario that must fail it.
        reason: What one of the findings must say.
        base: The correct client, as a subject, from which it deviates.
        process: Whether it runs in a process of its own.
    """

    factory: Callable[[Mapping[str, str]], Any]
    scenario: str
    reason: str
    base: str = LAZY
    process: bool = False

    @property
    def subject(self) -> str:
        """What to give as ``--subject``."""
        return _subject(self.factory, process=self.process)


def _subject(factory: Callable[[Mapping[str, str]], Any], *, process: bool) -> str:
    text = f"python:{factory.__module__}:{factory.__name__}"
    return f"command:{sys.executable} -m vault_harness.subjects {text}" if process else text


class GivesUpRenewing(LazyClient):
    """The first failed renewal ends the renewer, quietly."""

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
    """Takes every denial for a dead token."""

    def _was_dead(self, *_: Any, **__: Any) -> bool:
        self._token = None
        return True


class LogsInTwice(LazyClient):
    """Logs in, and logs in once more to be sure; the first token is left to Vault."""

    def _log_in(self, deadline: float) -> Token:
        super()._log_in(deadline)
        return super()._log_in(deadline)


class LogsInOnceMoreLater(LazyClient):
    """Its second login is followed by one of a thread that woke a little later, by itself."""

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
            self._log_in(time.monotonic() + self._deadline)


class LogsInLaterAfterAFailure(LazyClient):
    """Is well again at once, and a thread that woke later makes sure of a token all the same."""

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
            self._log_in(time.monotonic() + self._deadline)


class RenewsTwiceAtOnce(LazyClient):
    """Two renewers of one token, which know nothing of each other."""

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


class LeavesItsTokenBehind(LazyClient):
    """Ends without revoking its token."""

    def close(self) -> None:
        self._token = None
        super().close()


class HangsAtTheEnd(LazyClient):
    """Waits at its end for a thread that never ends."""

    def close(self) -> None:
        threading.Event().wait(60.0)


class IsEndedByASignal(HangsAtTheEnd):
    """Would wait so too, and knows no signal: as a program it is torn out of that."""

    def close(self) -> None:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        super().close()


class _ReadOnce(Credentials):
    """What was read first holds."""

    def _one(self, name: str) -> str:
        return self._last.get(name) or super()._one(name)


class ReadsItsSecretIdOnce(LazyClient):
    """Keeps the secret-id of its first login, whatever is in the file now."""

    credentials_type = _ReadOnce


class _NoGate(Gate):
    """Always open."""

    @contextlib.contextmanager
    def passage(self, *_: Any, **__: Any) -> Iterator[None]:
        yield


class RetriesWithoutAPause(LazyClient):
    """Asks again as fast as the refusals come."""

    gate_type = _NoGate


class _Latch(Gate):
    """Closes for good."""

    def _enter(self, deadline: float) -> bool:
        if self._failures >= 3:
            raise UnavailableError("too many failures")
        return super()._enter(deadline)


class NeverComesBack(LazyClient):
    """After three failures in a row its circuit opens, and nothing closes it."""

    gate_type = _Latch


class TakesASealForADeadToken(LazyClient):
    """Drops its token when Vault is sealed, and logs in anew afterwards."""

    def _ask(
        self, method: str, path: str, deadline: float, token: Token, body: object = None
    ) -> Reply:
        try:
            return super()._ask(method, path, deadline, token, body)
        except UnavailableError:
            self._token = None
            raise


class Tweaked(ReferenceSubject):
    """The reference client with other settings than it declares."""

    settings: ClassVar[Mapping[str, Any]] = {}

    def __init__(self, environ: Mapping[str, str]) -> None:
        super().__init__(VaultClient(environ=environ))
        self.client.close()
        self.client = VaultClient(environ=environ, **self.settings)


class Leasing(ReferenceSubject):
    """The reference client, whose leases are of another kind."""

    leases_type: ClassVar[type[Leases]] = Leases

    def __init__(self, environ: Mapping[str, str]) -> None:
        super().__init__(VaultClient(environ=environ))
        self.client._session().leases.__class__ = self.leases_type


class LeavesItsCredentialsBehind(Leasing):
    """Ends without a word to Vault."""

    def close(self) -> None:
        self.client._session().authenticator.surrender(1.0)
        super().close()


class AlwaysSaysWell(Tweaked):
    """Its health is a constant."""

    def health(self) -> bool:
        return True


class LeavesAThreadForEachFailure(LazyClient):
    """Starts a thread to wait for Vault's return at each failure, and ends none."""

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
    """Waits as long as it takes."""

    def _exchange(self, request: bytes, deadline: float) -> bytes:
        del deadline
        return super()._exchange(request, time.monotonic() + 3600.0)


class HasNoTimeout(LazyClient):
    """Waits for an answer for ever."""

    wire_type = _NoTimeout


class TriesNowAndThen(Credentials):
    """A refused secret-id is tried again after 4.7 s, for ever."""

    def usable(self, secret_id: str) -> bool:
        times = self._failed.get(_mark(secret_id), [])
        return not times or time.monotonic() - times[-1] >= 4.7


class Shaken(LazyClient):
    """Knows that Vault has failed it, and is another client from then on."""

    _shaken = False

    def read(self, path: str, key: str) -> str:
        try:
            return super().read(path, key)
        except UnavailableError:
            self._shaken = True
            raise


class Remembers(LazyClient):
    """Keeps the last good value of each key."""

    def __init__(self, environ: Mapping[str, str]) -> None:
        super().__init__(environ)
        self._kept: dict[tuple[str, str], str] = {}

    def read(self, path: str, key: str) -> str:
        self._kept[path, key] = value = super().read(path, key)
        return value


# Clients whose calls may take longer than the suite's own


class TakesItsTime(LazyClient):
    """Gives each call ten seconds, and says so."""

    within = 10.0

    def __init__(self, environ: Mapping[str, str]) -> None:
        super().__init__({**environ, "VAULT_CLIENT_TIMEOUT": f"{self.within:g}"})


class TakesALotOfTime(TakesItsTime):
    """Half a minute."""

    within = 30.0


class TakesAMinute(TakesItsTime):
    """As much as the suite waits for."""

    within = 60.0


class HasNoTimeoutOfTen(TakesItsTime, HasNoTimeout):
    """Waits for an answer for ever, where it says that a call takes ten seconds at most."""


# Clients at the edge of a threshold


class LooksByItself(LazyClient):
    """Looks at something by itself, at a pace of its own, whether anybody calls or not."""

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
    """Looks after its token at a fixed share of its life."""

    share = 0.5

    def _arm(self, seconds: float) -> None:
        token = self._token
        super()._arm(token.ttl * self.share if token is not None else seconds)


class _Paced(Gate):
    """Lets requests through at a fixed pace, whatever became of the last one."""

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


class _Hasty(_Paced):
    pace = 0.14


class AsksAgainLater(Gate):
    """Asks again so many seconds after a failure, and not before; the first ones it may forgive."""

    pause = 0.0
    forgives = 0

    def _leave(self, *, probe: bool, failed: bool, pause: float) -> None:
        rests = failed and self._failures >= self.forgives
        super()._leave(probe=probe, failed=failed, pause=self.pause if rests else pause)


class AsksOften(LazyClient):
    """In an outage it asks two and a half times a second: two are its caller's, one its own."""

    gate_type = _Paced


class AsksTooOften(LazyClient):
    """In an outage it asks seven times a second."""

    gate_type = _Hasty


class _Knocks(Wire):
    """Comes again where a connection ends without an answer, for as long as the call has time."""

    pause = 0.34

    def _exchange(self, request: bytes, deadline: float) -> bytes:
        while True:
            with contextlib.suppress(OSError):
                if answer := super()._exchange(request, deadline):
                    return answer
            if time.monotonic() + self.pause >= deadline:
                raise TimeoutError
            time.sleep(self.pause)


class _KnocksInHaste(_Knocks):
    pause = 0.1


class KnocksOften(LazyClient):
    """At a dead server it tries three connections a second; an answer that fails it waits out."""

    wire_type = _Knocks


class KnocksTooOften(LazyClient):
    """At a dead server it tries ten connections a second."""

    wire_type = _KnocksInHaste


class LogsInOnTheFirst403(LazyClient):
    """Looks once whether the role has got another policy."""

    times = 1
    _done = 0

    def _was_dead(self, where: str, token: Token, deadline: float) -> bool:
        if self._done < self.times:
            self._done += 1
            self._token = None
            return True
        return super()._was_dead(where, token, deadline)


class LogsInOnTwo403s(LogsInOnTheFirst403):
    """Looks twice whether the role has got another policy."""

    times = 2


class LeavesFiveThreads(LazyClient):
    """Keeps a few threads that it started in an outage, and no more with the next."""

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


class LeavesNineThreads(LeavesFiveThreads):
    """Keeps nine."""

    left = 9


class CachesForTheRefreshTime(LazyClient):
    """Hands out what it has read for nearly five seconds."""

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
    """Hands out what it has read for three seconds longer than it may.

    How old a value is when it is changed is chance, so a smaller excess would show only now and
    then.
    """

    keeps = 8.0
