"""Clients that are correct on the way that is tried first, and broken on another one.

In what they keep, in what they write, at their start and at their end. Each is listed in the module
of the group whose scenario it meets.
"""

from __future__ import annotations

import contextlib
import dataclasses
import socket
import threading
import time
from collections.abc import Mapping
from typing import Any, ClassVar

from resilient_vault_client import (
    PermissionDenied,
    RateLimited,
    Secret,
    ServerFailed,
    VaultError,
    VaultSealed,
    VaultTimeout,
    VaultUnavailable,
)
from resilient_vault_client._deadline import Deadline
from resilient_vault_client._denials import Denials
from tests.mutants.clients import Tweaked
from tests.mutants.own_pace import KeepsLongAndLogsInAtAThird
from tests.subjects.lazy_client import LazyClient, Token
from tests.subjects.lazy_wire import (
    ClientError,
    DeniedError,
    Gate,
    GivenUpError,
    Reply,
    UnavailableError,
    Wire,
    is_whole,
)

# What is kept


class AnswersFirstAndLooksLater(LazyClient):
    """Gives what it has kept, however old, and then looks whether it is still so.

    Who asks often gets a value that is a second old, who asks seldom one of the last time.
    """

    keeps = 1.0

    def __init__(self, environ: Mapping[str, str]) -> None:
        super().__init__(environ)
        self._kept: dict[tuple[str, str], tuple[float, str]] = {}

    def read(self, path: str, key: str) -> str:
        at, value = self._kept.get((path, key), (0.0, ""))
        if not at:
            return self._look(path, key)
        if time.monotonic() - at >= self.keeps:
            threading.Thread(target=self._look_later, args=(path, key), daemon=True).start()
        return value

    def _look(self, path: str, key: str) -> str:
        asked = time.monotonic()
        value = super().read(path, key)
        self._kept[path, key] = asked, value
        return value

    def _look_later(self, path: str, key: str) -> None:
        try:
            self._look(path, key)
        except ClientError:
            self._kept.pop((path, key), None)


class PapersOverADenialInItsCache(Tweaked):
    """Hands out what its cache held before, when Vault denies it."""

    def __init__(self, environ: Mapping[str, str]) -> None:
        super().__init__(environ)
        self._kept: dict[tuple[str, str], Secret] = {}

    def read_cached(self, path: str, key: str) -> Secret:
        try:
            self._kept[path, key] = secret = super().read_cached(path, key)
        except PermissionDenied:
            if (path, key) in self._kept:
                return self._kept[path, key]
            raise
        return secret


class NoDenials(Denials):
    """Remembers none."""

    def note(self, path: str, seconds: float) -> None:
        pass


class KeepsADenialInItsCache(Tweaked):
    """Has denials in its cache as it has values, but none that ever gets old."""

    keeps = float("inf")

    def __init__(self, environ: Mapping[str, str]) -> None:
        super().__init__(environ)
        # What it wraps would remember each for ten seconds, and the two memories would add up.
        self.client._session()._denials = NoDenials()
        self._denials: dict[tuple[str, str], tuple[float, PermissionDenied]] = {}

    def read_cached(self, path: str, key: str) -> Secret:
        at, denial = self._denials.get((path, key), (0.0, None))
        if denial is not None and time.monotonic() - at < self.keeps:
            raise denial
        try:
            return super().read_cached(path, key)
        except PermissionDenied as denied:
            self._denials[path, key] = time.monotonic(), denied
            raise


class KeepsADenialForTheRefreshTime(KeepsADenialInItsCache):
    """Asks anew what was denied when a value would be asked for anew."""

    keeps = 4.8


class FallsBackOnADenialInItsCache(Tweaked):
    """Papers over a policy with the environment variable, where it would have used its cache."""

    def __init__(self, environ: Mapping[str, str]) -> None:
        super().__init__(environ)
        self._environ = environ

    def read_cached(self, path: str, key: str) -> Any:
        try:
            return super().read_cached(path, key)
        except Exception:
            if key in self._environ:
                return self._environ[key]
            raise


class KeepsItsFallbackInItsCache(Tweaked):
    """Keeps in its cache what it fell back to, for good."""

    def __init__(self, environ: Mapping[str, str]) -> None:
        super().__init__(environ)
        self._fallen: dict[str, Secret] = {}

    def read_cached(self, path: str, key: str) -> Secret:
        secret = self._fallen.get(key) or super().read_cached(path, key)
        if secret.source == "environment":
            self._fallen[key] = secret
        return secret


class ServesStaleForEverInPlainReads(Tweaked):
    """Its cache knows how old a value may be; a plain read hands out the last one for ever."""

    def __init__(self, environ: Mapping[str, str]) -> None:
        super().__init__(environ)
        self._last: dict[tuple[str, str], Any] = {}

    def read(self, path: str, key: str) -> Any:
        try:
            found = self._last[path, key] = super().read(path, key)
        except VaultUnavailable:
            if (path, key) not in self._last:
                raise
            return dataclasses.replace(self._last[path, key], source="stale")
        return found


class ServesWholesForEver(Tweaked):
    """Its cache knows how old a value may be; a whole secret is the last one for ever."""

    def __init__(self, environ: Mapping[str, str]) -> None:
        super().__init__(environ)
        self._last: dict[str, Any] = {}

    def read_all(self, path: str) -> Any:
        try:
            found = self._last[path] = super().read_all(path)
        except VaultUnavailable:
            if path not in self._last:
                raise
            return dataclasses.replace(self._last[path], source="stale")
        return found


class FillsItsCacheWhateverRetryAfterSays(Tweaked):
    """Heeds Retry-After in plain reads; what fills its cache knows nothing of it."""

    def read_cached(self, path: str, key: str) -> Any:
        circuit = self.client._session().circuit
        with circuit._changed:
            for outage in circuit._outages.values():
                outage.next_attempt = 0.0
            circuit._changed.notify_all()
        return super().read_cached(path, key)


# What is written


class WritesWithADeadToken(Tweaked):
    """Finds out by its reads that its token is dead; a write that is refused is refused."""

    def write(self, path: str, data: Mapping[str, str]) -> None:
        session = self.client._session()
        token = session.authenticator.current
        if token is None or not token.usable:
            super().write(path, data)
            return
        session._api.write_secret(token.text, path, data, Deadline(1.9), cas=None)


class LogsInForEachDeniedWrite(Tweaked):
    """Takes a write that the policy denies for one with a dead token."""

    def write(self, path: str, data: Mapping[str, str]) -> None:
        session = self.client._session()
        try:
            super().write(path, data)
        except PermissionDenied:
            if (token := session.authenticator.current) is not None:
                session.authenticator.replace(token, Deadline(1.0), reason="rejected")
            super().write(path, data)


# Its start, its end


class ClosesThePoolOfAll(LazyClient):
    """All instances of a process have one pool, which the first that is closed closes for all."""

    _pool: ClassVar[dict[str, bool]] = {}

    def __init__(self, environ: Mapping[str, str]) -> None:
        super().__init__(environ)
        self._pool["open"] = True

    def _ask(
        self, method: str, path: str, deadline: float, token: Token, body: object = None
    ) -> Reply:
        if not self._pool["open"]:
            raise RuntimeError("the pool is closed")
        return super()._ask(method, path, deadline, token, body)

    def close(self) -> None:
        super().close()
        self._pool["open"] = False


class TakesAFailedLoginForTheEnd(LazyClient):
    """Waits out a seal; a Vault that fails at its login is one that will never take it."""

    _over = False

    def _log_in(self, deadline: float) -> Token:
        if self._over:
            raise DeniedError("Vault could not let it in")
        try:
            return super()._log_in(deadline)
        except UnavailableError as error:
            self._over = "answered 500" in str(error)
            raise


class EndsWithATokenOnly(LazyClient):
    """Waits at its end for the login that it has begun, however long that is in vain."""

    _asked = False

    def read(self, path: str, key: str) -> str:
        self._asked = True
        return super().read(path, key)

    def close(self) -> None:
        while self._asked and self._token is None and not self._closed:
            with contextlib.suppress(ClientError):
                self._valid_token(time.monotonic() + 1.0)
            time.sleep(0.2)
        super().close()


# Its connections, its time


class _TakesWhatComes(Wire):
    """Keeps its connections, one of which may have an answer to come that nobody waits for."""

    def __init__(self, environ: Mapping[str, str]) -> None:
        super().__init__(environ)
        self._idle: list[socket.socket] = []

    def _exchange(self, request: bytes, deadline: float) -> bytes:
        try:
            peer = self._idle.pop()
        except IndexError:
            peer = socket.create_connection((self._host, self._port), timeout=1.0)
        received = bytearray()
        try:
            peer.settimeout(max(0.01, deadline - time.monotonic()))
            peer.sendall(request.replace(b"Connection: close\r\n", b"", 1))
            while not is_whole(received):
                peer.settimeout(max(0.01, deadline - time.monotonic()))
                if not (piece := peer.recv(65536)):
                    raise ConnectionResetError
                received += piece
        except TimeoutError:
            self._idle.append(peer)
            raise
        except OSError:
            peer.close()
            raise
        self._idle.append(peer)
        return bytes(received)


class TakesALateAnswerForTheNext(LazyClient):
    """Uses a connection again whose answer did not come in time, and gets that one first."""

    wire_type = _TakesWhatComes

    def close(self) -> None:
        super().close()
        for peer in self._wire._idle:  # type: ignore[attr-defined]  # the wire above has them
            peer.close()


class BeginsItsTimeAnew(LazyClient):
    """A call that has found its token dead begins its time anew with the next one."""

    def _fetch(self, path: str, deadline: float) -> Reply:
        where = f"{self._mount}/data/{path}"
        token = self._valid_token(deadline)
        reply = self._ask("GET", where, deadline, token)
        if reply.status == 403 and self._was_dead(where, token, self._anew()):
            return super()._fetch(path, self._anew())
        if reply.status == 403:
            raise DeniedError(f"the policy denies {path}")
        return reply

    def _anew(self) -> float:
        return time.monotonic() + self._deadline * 0.95


class BeginsItsTimeAnewAtLast(BeginsItsTimeAnew, KeepsLongAndLogsInAtAThird):
    """Never renews, and answers from memory: what it has at its next look is mostly a new token."""


class FindsNothingOnAPage(LazyClient):
    """Finds nothing in an answer that is none of Vault's, and takes it for an empty secret."""

    def read_all(self, path: str) -> dict[str, str]:
        try:
            return super().read_all(path)
        except UnavailableError as error:
            if "none of Vault's" in str(error) and "cut short" not in str(error):
                return {}
            raise


class TakesForeignJsonForMissing(FindsNothingOnAPage):
    """Says of each key that there is none: it takes none from anywhere else."""


class StopsLookingAtADenial(Tweaked):
    """Keeps what it was asked for fresh by a thread, which ends when Vault denies it one."""

    ends_at: ClassVar[type[VaultError]] = PermissionDenied

    def __init__(self, environ: Mapping[str, str]) -> None:
        super().__init__(environ)
        self._asked: dict[tuple[str, str], Secret | None] = {}
        self._ended = threading.Event()
        threading.Thread(target=self._look, daemon=True).start()

    def read_cached(self, path: str, key: str) -> Secret:
        kept = self._asked.setdefault((path, key), None)
        if kept is None:
            kept = self._asked[path, key] = self.read(path, key)
        return kept

    def close(self) -> None:
        self._ended.set()
        super().close()

    def _look(self) -> None:
        while not self._ended.wait(0.7):
            for path, key in list(self._asked):
                try:
                    self._asked[path, key] = self.read(path, key)
                except self.ends_at:
                    return
                except VaultError:
                    self._asked[path, key] = None


class StopsLookingAtAQuota(StopsLookingAtADenial):
    """Its thread ends when a quota says: later. What it holds by then is handed out for ever."""

    ends_at: ClassVar[type[VaultError]] = RateLimited
    settings: ClassVar[Mapping[str, Any]] = {"max_stale": 0.0}


class StopsLookingAtAFailure(StopsLookingAtAQuota):
    """Its thread ends when Vault answers 500."""

    ends_at = ServerFailed


class StopsLookingAtASeal(StopsLookingAtAQuota):
    """Its thread ends when Vault is sealed."""

    ends_at = VaultSealed


class StopsLookingInSilence(StopsLookingAtAQuota):
    """Its thread ends when Vault does not answer."""

    ends_at = VaultTimeout


class KeepsByTheTimeOfDay(Tweaked):
    """Has a cache whose values get old by the time of day, which can be set back."""

    keeps = 1.0

    def __init__(self, environ: Mapping[str, str]) -> None:
        super().__init__(environ)
        self._kept: dict[tuple[str, str], tuple[float, Secret]] = {}

    def read_cached(self, path: str, key: str) -> Secret:
        kept = self._kept.get((path, key))
        if kept is not None and time.time() - kept[0] < self.keeps:
            return kept[1]
        secret = self.read(path, key)
        self._kept[path, key] = time.time(), secret
        return secret


class _PausesByTheTimeOfDay(Gate):
    def _enter(self, deadline: float) -> bool:
        with self._changed:
            while self._failures:
                now = time.monotonic()
                opens = now + max(0.0, self._opens - time.time())
                if max(opens, now) >= deadline:
                    raise GivenUpError("Vault does not answer, and the call's time is up")
                if now >= opens and not self._probing:
                    self._probing = True
                    return True
                waits = opens if now < opens else deadline
                self._changed.wait(min(waits, deadline) - now)
            return False

    def _leave(self, *, probe: bool, failed: bool, pause: float) -> None:
        with self._changed:
            before = self._opens
            super()._leave(probe=probe, failed=failed, pause=pause)
            if self._opens != before:
                self._opens += time.time() - time.monotonic()


class PausesByTheTimeOfDay(LazyClient):
    """Knows by the wall clock until when a Vault that did not answer has its rest."""

    gate_type = _PausesByTheTimeOfDay


class NeverLogsInAgainForItsCache(Tweaked):
    """Fills its cache with a request that knows nothing of a dead token."""

    def __init__(self, environ: Mapping[str, str]) -> None:
        super().__init__(environ)
        self._kept: dict[tuple[str, str], tuple[float, str]] = {}

    def read_cached(self, path: str, key: str) -> Any:
        at, value = self._kept.get((path, key), (0.0, ""))
        asked = time.monotonic()
        if asked - at < 1.0:
            return value
        session = self.client._session()
        token = session.authenticator.current
        if token is None or not token.usable:
            return str(self.read(path, key).value)
        answer = session._api.read_secret(token.text, path, Deadline(1.9))
        self._kept[path, key] = asked, str(answer["data"]["data"][key])
        return self._kept[path, key][1]


class TrustsRisingVersionsInItsCache(Tweaked):
    """Keeps in its cache the highest version that it has seen of each secret."""

    def __init__(self, environ: Mapping[str, str]) -> None:
        super().__init__(environ)
        self._newest: dict[tuple[str, str], Secret] = {}

    def read_cached(self, path: str, key: str) -> Secret:
        secret = super().read_cached(path, key)
        known = self._newest.get((path, key), secret)
        newest = max(known, secret, key=lambda one: one.version or 0)
        self._newest[path, key] = newest
        return newest
