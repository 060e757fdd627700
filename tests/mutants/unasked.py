"""Clients that break what nobody asked of them: beside a slow answer, at a write, at a certificate.

Each is listed in the module of the group whose scenario it meets.
"""

from __future__ import annotations

import ssl
import threading
import time
from collections.abc import Mapping
from typing import ClassVar

from resilient_vault_client._memory import Memory, Remembered
from tests.mutants.clients import Tweaked
from tests.mutants.loose_ends import _CallsItSomethingElse
from tests.mutants.wholes import _KeyByKeyAsEver
from tests.subjects.lazy_client import LazyClient, Token, _secret
from tests.subjects.lazy_wire import ClientError, DeniedError, Reply, UnavailableError, Wire

# A cache that takes whatever comes last


class _LastCome(Memory):
    def keep(self, entry: Remembered) -> None:
        with self._lock:
            self.entries[entry.path] = entry


class LetsAnOlderAnswerWin(Tweaked):
    """Keeps the answer that came last, and not the one to what was asked last."""

    def __init__(self, environ: Mapping[str, str]) -> None:
        super().__init__(environ)
        self.client._session().memory.__class__ = _LastCome


class KeepsWhatComesLast(LazyClient):
    """Its cache alone does so: a plain read looks nowhere else."""

    capabilities = LazyClient.capabilities | {"cached"}
    keeps = 1.0

    def __init__(self, environ: Mapping[str, str]) -> None:
        super().__init__(environ)
        self._kept: dict[tuple[str, str], tuple[float, str]] = {}

    def read_cached(self, path: str, key: str) -> str:
        asked = time.monotonic()
        at, value = self._kept.get((path, key), (-self.keeps, ""))
        if asked - at >= self.keeps:
            value = self.read(path, key)
            self._keep((path, key), asked, value)
        return value

    def _keep(self, one: tuple[str, str], asked: float, value: str) -> None:
        del asked
        self._kept[one] = time.monotonic(), value


class KeepsWhatItAskedForLast(KeepsWhatComesLast):
    """An answer to what was asked earlier than what it has finds its place taken.

    Who comes waits a moment for the one who is asking: of two that are sent at once nobody knows
    which Vault answers first.
    """

    waits = 0.25

    def __init__(self, environ: Mapping[str, str]) -> None:
        super().__init__(environ)
        self._asking = threading.Lock()

    def read_cached(self, path: str, key: str) -> str:
        held = self._asking.acquire(timeout=self.waits)
        try:
            return super().read_cached(path, key)
        finally:
            if held:
                self._asking.release()

    def _keep(self, one: tuple[str, str], asked: float, value: str) -> None:
        if asked >= self._kept.get(one, (0.0, ""))[0]:
            self._kept[one] = asked, value


# Readers of others, beside a secret that is slow


class _InOrder(Wire):
    """One request after the other, for so many seconds of waiting."""

    patience = 60.0

    def __init__(self, environ: Mapping[str, str]) -> None:
        super().__init__(environ)
        self._one = threading.Lock()

    def send(
        self, method: str, path: str, *, deadline: float, token: str = "", body: object = None
    ) -> Reply:
        left = max(0.0, deadline - time.monotonic())
        held = self._one.acquire(timeout=min(self.patience, left))
        try:
            return super().send(method, path, deadline=deadline, token=token, body=body)
        finally:
            if held:
                self._one.release()


class _InOrderForAMoment(_InOrder):
    patience = 0.3


class AsksForOneThingAtATime(LazyClient):
    """Has one request under way: who asks for anything else waits until its answer is there."""

    wire_type = _InOrder


class AsksForOneThingForAMoment(LazyClient):
    """Goes by another way when that has lasted for a moment."""

    wire_type = _InOrderForAMoment


# Writes after a fault


class Writes(LazyClient):
    """The lazy client, which can write as well, and rightly: once, with a token that lives."""

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


class WritesWithItsFirstToken(Writes):
    """Reads with the token of the moment, and writes with the one that it had at first."""

    _first: Token | None = None

    def _log_in(self, deadline: float) -> Token:
        token = super()._log_in(deadline)
        self._first = self._first or token
        return token

    def write(self, path: str, data: Mapping[str, str]) -> None:
        deadline = time.monotonic() + self._deadline * 0.95
        token = self._first or self._valid_token(deadline)
        reply = self._post(f"{self._mount}/data/{path}", deadline, token, data)
        if reply.status != 200:
            raise DeniedError(f"the policy denies writing {path}")


class RestsBeforeItWritesAgain(Writes):
    """Has a circuit for writes, which the first write after an outage opens for so many seconds."""

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


class RestsForLongBeforeItWritesAgain(RestsBeforeItWritesAgain):
    """Six seconds, where three are granted."""

    rests = 6.0


class RestsForAWhileBeforeItWritesAgain(RestsBeforeItWritesAgain):
    """Two."""

    rests = 2.0


# Who does not heed how long Vault asks to wait


class ReadsWholesWhateverRetryAfterSays(_KeyByKeyAsEver):
    """Whole secrets come by code of their own, which knows of no pause."""

    def read_all(self, path: str) -> dict[str, str]:
        deadline = time.monotonic() + self._deadline * 0.95
        token, where = self._valid_token(deadline), f"{self._mount}/data/{path}"
        reply = self._wire.send("GET", where, deadline=deadline, token=token.value)
        if reply.status == 403 and self._was_dead(where, token, deadline):
            return super().read_all(path)
        if reply.status == 403:
            raise DeniedError(f"the policy denies {path}")
        return _secret(reply, path)


class WritesWhateverRetryAfterSays(Writes):
    """Writes do."""

    def _post(self, where: str, deadline: float, token: Token, data: Mapping[str, str]) -> Reply:
        body = {"data": dict(data)}
        return self._wire.send("POST", where, deadline=deadline, token=token.value, body=body)


# Certificates, and the file of those whom it trusts


class _Blind(Wire):
    """Whoever shows a certificate is believed."""

    def _context(self) -> ssl.SSLContext:
        context = ssl.create_default_context()
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        return context


class _Forgives(Wire):
    """Goes on without verifying where nothing but this is wrong."""

    what: ClassVar[int] = 0

    def _exchange(self, request: bytes, deadline: float) -> bytes:
        try:
            return super()._exchange(request, deadline)
        except ssl.SSLCertVerificationError as error:
            if error.verify_code != self.what:
                raise
        return _Blind(self._environ)._exchange(request, deadline)


class _ForgivesAnEnd(_Forgives):
    what = 10  # X509_V_ERR_CERT_HAS_EXPIRED


class _ForgivesABeginning(_Forgives):
    what = 9  # X509_V_ERR_CERT_NOT_YET_VALID


class TakesACertificateThatHasEnded(LazyClient):
    """Whoever was the right host once is still."""

    wire_type = _ForgivesAnEnd


class TakesACertificateThatIsNotGoodYet(LazyClient):
    """Thinks that the clock is slow, its own or the other one's."""

    wire_type = _ForgivesABeginning


class TakesACertificateForADenial(_CallsItSomethingElse):
    """Says that it may not read what it asks of a server that it does not believe."""

    word = "CertVerification"
    instead = DeniedError


class _FailsOpen(Wire):
    """Where its files cannot be read there is nothing to verify by."""

    def _context(self) -> ssl.SSLContext:
        try:
            return super()._context()
        except ssl.SSLError:
            return _Blind(self._environ)._context()


class TrustsAnybodyByHalfAFile(LazyClient):
    """Takes a CA file that it cannot read for none."""

    wire_type = _FailsOpen


class _KeepsTheFailure(Wire):
    _failed: ssl.SSLError | None = None

    def _context(self) -> ssl.SSLContext:
        if self._failed is not None:
            raise self._failed
        try:
            return super()._context()
        except ssl.SSLError as error:
            self._failed = error
            raise


class ReadsHalfAFileForGood(LazyClient):
    """A CA file that it could not read once is not read again."""

    wire_type = _KeepsTheFailure


# A renewal that is refused in the words of a seal


class EndsItsRenewerInASeal(LazyClient):
    """Ends its renewer where Vault says that it is sealed: the next login makes another."""

    _ended = False

    def _renewed(self, token: Token, deadline: float) -> bool:
        try:
            return super()._renewed(token, deadline)
        except UnavailableError as error:
            self._ended = "sealed" in str(error)
            raise

    def _arm(self, seconds: float) -> None:
        if not self._ended:
            super()._arm(seconds)

    def _log_in(self, deadline: float) -> Token:
        self._ended = False
        return super()._log_in(deadline)
