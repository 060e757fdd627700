"""Broken clients that several groups use: logins, renewals, starts and memory."""

from __future__ import annotations

import contextlib
import os
import random
import threading
import time
from collections.abc import Iterator, Mapping
from typing import Any

from tests.mutants.clients import AtShare, LooksByItself
from tests.subjects.http2_client import Http2Client, Http2Wire
from tests.subjects.lazy_client import LazyClient, Token, _secret
from tests.subjects.lazy_wire import ClientError, Gate, GivenUpError, Reply, UnavailableError


class LooksUpItsOldToken(LazyClient):
    asks = ("GET", "auth/token/lookup-self")

    def __init__(self, environ: Mapping[str, str]) -> None:
        super().__init__(environ)
        self._first: Token | None = None
        threading.Thread(target=self._look, daemon=True).start()

    def _look(self) -> None:
        while not self._closed:
            time.sleep(0.3)
            self._first = self._first or self._token
            if self._first is not None and self._may_ask():
                method, path = self.asks
                deadline = time.monotonic() + 1.0
                with contextlib.suppress(ClientError):
                    self._wire.send(method, path, deadline=deadline, token=self._first.value)

    def _may_ask(self) -> bool:
        return not self._closed


class RenewsItsOldToken(LooksUpItsOldToken):
    asks = ("POST", "auth/token/renew-self")

    def _may_ask(self) -> bool:
        first, token = self._first, self._token
        # While the first token is in use, two renewers would run.
        old = first is not None and (token is None or token.value != first.value)
        return old and super()._may_ask()


class SendsOnceMore(LazyClient):
    """A queue sends the lost token long after the new one came; at that moment is allowed."""

    late = 0.7
    _lost: tuple[str, Token] | None = None

    def _was_dead(self, where: str, token: Token, deadline: float) -> bool:
        dead = super()._was_dead(where, token, deadline)
        if dead:
            self._lost = where, token
        return dead

    def _log_in(self, deadline: float) -> Token:
        token = super()._log_in(deadline)
        lost, self._lost = self._lost, None
        if lost is not None:
            self._later(*lost)
        return token

    def _later(self, where: str, token: Token) -> None:
        timer = threading.Timer(self.late, self._send, (where, token))
        timer.daemon = True
        timer.start()

    def _send(self, where: str, token: Token) -> None:
        with contextlib.suppress(ClientError):
            self._wire.send("GET", where, deadline=time.monotonic() + 1.0, token=token.value)


class ReadsWithATokenThatItHasRevoked(SendsOnceMore):
    """Revokes its token when it has another, while a caller still reads with the old one."""

    def _log_in(self, deadline: float) -> Token:
        old = self._token
        token = super()._log_in(deadline)
        if old is not None:
            with contextlib.suppress(ClientError):
                self._ask("POST", "auth/token/revoke-self", deadline, old)
            self._later("sys/capabilities-self", old)
        return token


class ExitsInAnOutage(LazyClient):
    """Ends its process after three unanswered requests."""

    times = 3
    _failed = 0

    def read(self, path: str, key: str) -> str:
        try:
            return super().read(path, key)
        except UnavailableError:
            self._failed += 1
            if self._failed == self.times:
                os._exit(1)
            raise


class RenewsInACallersCall(LazyClient):
    """Has no timer: the first caller after the time renews, and all others use the old token."""

    others_wait = False

    def __init__(self, environ: Mapping[str, str]) -> None:
        super().__init__(environ)
        self._renewing = threading.Lock()
        self._due = float("inf")

    def _arm(self, seconds: float) -> None:
        self._due = time.monotonic() + seconds

    def _is_timed(self) -> bool:
        return True

    def _valid_token(self, deadline: float) -> Token:
        token = super()._valid_token(deadline)
        left = max(0.0, deadline - time.monotonic()) if self.others_wait else 0.0
        if time.monotonic() < self._due or not self._renewing.acquire(timeout=left):
            return token
        try:
            if time.monotonic() >= self._due and not self._renewed(token, deadline):
                with self._held(deadline):
                    return self._log_in(deadline)
            return token
        except ClientError:  # the token lives
            self._arm(self._longest)
            return token
        finally:
            self._renewing.release()


class GivesUpInACallersCall(RenewsInACallersCall):
    def _renewed(self, token: Token, deadline: float) -> bool:
        try:
            return super()._renewed(token, deadline)
        except UnavailableError:
            self._due = float("inf")
            return True


class LogsInInsteadOfRenewing(AtShare):
    """When three fifths of a life are over."""

    share = 0.6

    def _renewed(self, *_: Any) -> bool:
        return False


class LogsInAtHalfALife(LogsInInsteadOfRenewing):
    """By the clock, in any case."""

    share = 0.5


class LogsInAtAThird(LogsInInsteadOfRenewing):
    """As early as others may renew."""

    share = 0.33


class LogsInAtAQuarter(LogsInInsteadOfRenewing):
    share = 0.27


class AsksForAnHour(LazyClient):
    """Renews a new token at once, as HashiCorp's example of a LifetimeWatcher does."""

    increment = 3600

    def _log_in(self, deadline: float) -> Token:
        token = super()._log_in(deadline)
        with contextlib.suppress(ClientError):
            self._renewed(token, deadline)
        return token

    def _ask(
        self, method: str, path: str, deadline: float, token: Token, body: object = None
    ) -> Reply:
        if path == "auth/token/renew-self":
            body = {"increment": self.increment}
        return super()._ask(method, path, deadline, token, body)


class _Loading:
    """Takes some time once; calls wait."""

    def __init__(self, takes: float) -> None:
        self._takes = takes
        self._turn = threading.Lock()

    def wait(self) -> None:
        with self._turn:
            time.sleep(self._takes)
            self._takes = 0.0


class LoadsWhileItIsFirstAsked(LazyClient):
    """Loads for nearly as long as a call may take, and then gives Vault a call's time."""

    takes = 1.7

    def __init__(self, environ: Mapping[str, str]) -> None:
        super().__init__(environ)
        self._loading = _Loading(self.takes)

    def read_all(self, path: str) -> dict[str, str]:
        self._loading.wait()
        return super().read_all(path)


class StartsSlowly(LazyClient):
    """Starts as slowly as a JVM, and asks for nothing before that."""

    takes = 4.0

    def __init__(self, environ: Mapping[str, str]) -> None:
        threading.Event().wait(self.takes)
        super().__init__(environ)


class LoadsAtItsFirstRead(LazyClient):
    """Takes longer for its first read than a call may, like a JVM that loads classes."""

    times, takes = 1, 3.0

    def __init__(self, environ: Mapping[str, str]) -> None:
        super().__init__(environ)
        self._left = [self.takes] * self.times

    def read_all(self, path: str) -> dict[str, str]:
        if self._left:
            time.sleep(self._left.pop())
        return super().read_all(path)


class WantsVaultAtItsSlowStart(StartsSlowly):
    """Fails without a token; its supervisor starts it again."""

    takes = 7.0

    def __init__(self, environ: Mapping[str, str]) -> None:
        super().__init__(environ)
        self._valid_token(time.monotonic() + self._deadline)


class LooksEverySecond(LooksByItself):
    """Looks up its token, besides the looks that denials cause."""

    def _look(self, token: Token, deadline: float) -> None:
        self._ask("GET", "auth/token/lookup-self", deadline, token)


class AsksForHealthFirst(LazyClient):
    """Logs in only if Vault says that it serves, and then looks up its token."""

    def _log_in(self, deadline: float) -> Token:
        self._ask_for_health(deadline)
        token = super()._log_in(deadline)
        self._ask("GET", "auth/token/lookup-self", deadline, token)
        return token

    def _ask_for_health(self, deadline: float) -> None:
        with self._gate.passage(deadline):
            named, self._wire._namespace = self._wire._namespace, ""  # health has no namespace
            try:
                self._wire.send("GET", "sys/health", deadline=deadline)
            finally:
                self._wire._namespace = named


class ProbesItselfNowAndThen(LazyClient):
    """Every five seconds. It declares no back-off, since its health has that pace."""

    capabilities = LazyClient.capabilities | {"health"}
    every = 5.0

    def __init__(self, environ: Mapping[str, str]) -> None:
        super().__init__(environ)
        self.declares = {"deadline": self._deadline}
        self._well = True
        self._over = threading.Event()
        threading.Thread(target=self._probe, name="probe", daemon=True).start()

    def _probe(self) -> None:
        while not self._over.wait(self.every):
            deadline = time.monotonic() + self._deadline * 0.95
            try:
                token = self._valid_token(deadline)
                look = self._ask("GET", "auth/token/lookup-self", deadline, token)
            except ClientError:
                self._well = False
            else:
                self._well = look.status == 200

    def health(self) -> bool:
        return self._well

    def close(self) -> None:
        self._over.set()
        super().close()


class PausesForFourSeconds(LazyClient):
    """Pauses after a failure like a circuit breaker, and declares for how long."""

    rests = 4.0

    def __init__(self, environ: Mapping[str, str]) -> None:
        super().__init__(environ)
        self.declares = {**self.declares, "backoff_cap": self.rests}
        self._until = 0.0

    def read_all(self, path: str) -> dict[str, str]:
        if time.monotonic() < self._until:
            raise UnavailableError("Vault failed a moment ago")
        try:
            return super().read_all(path)
        except UnavailableError:
            self._until = time.monotonic() + self.rests
            raise


SOON_OVER = 2.0
"""Seconds to live below which a token counts as dead: a look-up tells whole ones."""


class LogsInForEachCall(LazyClient):
    """Revokes its token, as External Secrets does at each refresh."""

    def _fetch(self, path: str, deadline: float) -> Reply:
        with self._held(deadline):
            token = self._log_in(deadline)
            try:
                return super()._fetch(path, deadline)
            finally:
                self._token = None
                with contextlib.suppress(ClientError):
                    self._ask("POST", "auth/token/revoke-self", deadline, token)

    def _arm(self, seconds: float) -> None:
        """Renew nothing: a token does not live long."""


class LooksBeforeEachRead(LazyClient):
    """Logs in if the token is dead, as Airflow does."""

    def _fetch(self, path: str, deadline: float) -> Reply:
        with self._held(deadline):
            token = self._token
            if token is not None:
                looked = self._ask("GET", "auth/token/lookup-self", deadline, token)
                if looked.status == 403 or float(looked.body["data"]["ttl"]) < SOON_OVER:
                    self._token = None
        return super()._fetch(path, deadline)

    def _arm(self, seconds: float) -> None:
        """Renew nothing: a read finds a dead token in time."""


class PollsItsSecrets(LazyClient):
    """Polls each secret that it was asked for now and then, and answers from memory."""

    every = 4.8

    def __init__(self, environ: Mapping[str, str]) -> None:
        super().__init__(environ)
        self._kept: dict[str, dict[str, str]] = {}
        self._over = threading.Event()
        threading.Thread(target=self._poll, name="polls", daemon=True).start()

    def read_all(self, path: str) -> dict[str, str]:
        kept = self._kept.get(path)
        if kept is None:
            kept = self._kept[path] = super().read_all(path)
        return dict(kept)

    def _poll(self) -> None:
        while not self._over.wait(self.every):
            for path in list(self._kept):
                try:
                    self._kept[path] = super().read_all(path)
                except ClientError:
                    self._kept.pop(path, None)  # the next caller gets the reason

    def close(self) -> None:
        self._over.set()
        super().close()


class AsksOnceItIsOld(LazyClient):
    """Answers from memory for a while, and asks in the first call after that, never by itself."""

    keeps = 4.5

    def __init__(self, environ: Mapping[str, str]) -> None:
        super().__init__(environ)
        self._kept: dict[str, tuple[float, dict[str, str]]] = {}

    def read_all(self, path: str) -> dict[str, str]:
        began = time.monotonic()
        since, values = self._kept.get(path, (began - self.keeps, {}))
        if began - since >= self.keeps:
            self._kept.pop(path, None)
            values = super().read_all(path)
            self._kept[path] = (began, values)
        return dict(values)


class KeepsAndLogsInAtAThird(AsksOnceItIsOld, LogsInAtAThird):
    """It may have replaced a lost token before it asks again."""


class KeepsLongAndLogsInAtAThird(KeepsAndLogsInAtAThird):
    """Keeps values for longer than a third of a token's 20 s, and declares it."""

    keeps = 9.0

    def __init__(self, environ: Mapping[str, str]) -> None:
        super().__init__(environ)
        self.declares = {**self.declares, "refresh": self.keeps + 1.0}


class PollsSeldom(PollsItsSecrets):
    """Polls once in twelve seconds, and declares it."""

    every = 12.0

    def __init__(self, environ: Mapping[str, str]) -> None:
        super().__init__(environ)
        self.declares = {**self.declares, "refresh": self.every + 1.0}


class ReportsTheHealthOfItsLastPoll(PollsSeldom):
    capabilities = LazyClient.capabilities | {"health"}
    _well = True

    def _fetch(self, path: str, deadline: float) -> Reply:
        try:
            reply = super()._fetch(path, deadline)
        except UnavailableError:
            self._well = False
            raise
        self._well = True
        return reply

    def health(self) -> bool:
        return self._well


class LogsInFourSecondsAfterASleep(LazyClient):
    after = 4.2
    _first = True
    _since = 0.0

    def _log_in(self, deadline: float) -> Token:
        if not self._first:
            self._since = self._since or time.monotonic()
            left = self._since + self.after - time.monotonic()
            if time.monotonic() + left >= deadline:
                time.sleep(max(0.0, deadline - time.monotonic() - 0.05))
                raise GivenUpError("the network may not be there yet")
            time.sleep(max(0.0, left))
        self._first = False
        return super()._log_in(deadline)


class _EndsWithACall(LazyClient):
    """Revokes its token, and takes some time."""

    lasts = 6.6

    def close(self) -> None:
        began = time.monotonic()
        super().close()
        threading.Event().wait(began + self.lasts - time.monotonic())


class EndsWithACallInTime(_EndsWithACall):
    """Ends within the deadline of its last call plus its five seconds."""


FIRST = 0.1
"""Seconds; the first pause of many libraries, which doubles."""


class _Unguarded(Gate):
    @contextlib.contextmanager
    def passage(self, deadline: float) -> Iterator[None]:
        del deadline
        yield


class StartsWithAToken(LazyClient):
    """Asks with full jitter, up to a second, before it is ready."""

    longest = 1.0

    def __init__(self, environ: Mapping[str, str]) -> None:
        super().__init__(environ)
        gate, self._gate = self._gate, _Unguarded(self.longest)
        pause = FIRST
        while self._token is None:
            with contextlib.suppress(ClientError):
                self._valid_token(time.monotonic() + self._deadline)
                break
            time.sleep(random.uniform(0.0, pause))
            pause = min(2 * pause, self.longest)
        self._gate = gate


class TriesTwiceInEachCall(LazyClient):
    """Tries twice in each call, 0.15 s apart, and shares nothing between calls."""

    gate_type = _Unguarded

    def read_all(self, path: str) -> dict[str, str]:
        deadline = time.monotonic() + self._deadline * 0.95
        try:
            return _secret(self._fetch(path, deadline), path)
        except UnavailableError:
            if time.monotonic() + 0.15 >= deadline:
                raise
        time.sleep(0.15)
        return _secret(self._fetch(path, deadline), path)


class AnswersFromMemory(LazyClient):
    """Refreshes in the background, and returns the last values in an outage, unmarked."""

    every = (2.0, 3.0)

    def __init__(self, environ: Mapping[str, str]) -> None:
        super().__init__(environ)
        self._kept: dict[str, dict[str, str]] = {}
        self._over = threading.Event()
        threading.Thread(target=self._refresh, name="refreshes", daemon=True).start()

    def read_all(self, path: str) -> dict[str, str]:
        kept = self._kept.get(path)
        if kept is None:
            kept = self._kept[path] = super().read_all(path)
        return kept

    def _refresh(self) -> None:
        while not self._over.wait(random.uniform(*self.every)):
            for path in list(self._kept):
                try:
                    self._kept[path] = super().read_all(path)
                except UnavailableError:
                    continue  # the old value may still be right
                except ClientError:
                    self._kept.pop(path, None)

    def close(self) -> None:
        self._over.set()
        super().close()


class PollsTwiceAMinute(AnswersFromMemory):
    """Polls its secrets every 20 to 28 s, and declares it."""

    every = (20.0, 28.0)

    def __init__(self, environ: Mapping[str, str]) -> None:
        super().__init__(environ)
        self.declares = {**self.declares, "refresh": 30.0}


class _Breaker(Gate):
    """Opens for four seconds at a failure: calls fail at once. Then it lets one request through."""

    rests = 4.0

    @contextlib.contextmanager
    def passage(self, deadline: float) -> Iterator[None]:
        del deadline
        with self._changed:
            if time.monotonic() < self._opens or self._probing:
                raise GivenUpError("Vault failed a moment ago")
            self._probing = self._opens > 0
        opens = 0.0
        try:
            yield
        except UnavailableError:
            opens = time.monotonic() + self.rests
            raise
        finally:
            with self._changed:
                self._opens, self._probing = opens, False


class _Tidy(Http2Wire):
    def close(self) -> None:
        while self._idle:
            self._idle.pop().close()


class BreaksItsCircuit(Http2Client):
    """Tries once for each call, over kept connections, and pauses after a failure."""

    wire_type, gate_type = _Tidy, _Breaker

    def __init__(self, environ: Mapping[str, str]) -> None:
        super().__init__(environ)
        self.declares = {**self.declares, "backoff_cap": _Breaker.rests}

    def read_all(self, path: str) -> dict[str, str]:
        return _secret(self._fetch(path, time.monotonic() + self._deadline * 0.95), path)

    def close(self) -> None:
        super().close()
        assert isinstance(self._wire, _Tidy)
        self._wire.close()


class RefusesToStart(LazyClient):
    def __init__(self, environ: Mapping[str, str]) -> None:
        super().__init__(environ)
        self._valid_token(time.monotonic() + self._deadline)


class DropsItsTokenOnError(LazyClient):
    """Drops a living token when a renewal fails."""

    def _renewed(self, token: Token, deadline: float) -> bool:
        try:
            return super()._renewed(token, deadline)
        except UnavailableError:
            self._token = None
            raise
