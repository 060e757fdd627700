"""Clients that break SRV-01 to 04, 07, 08 or 10: servers that fail, hang or refuse."""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping
from concurrent.futures import Future
from contextlib import closing
from email.utils import parsedate_to_datetime
from http.client import HTTPConnection
from typing import Any, ClassVar
from urllib.parse import urlsplit

from resilient_vault_client import PermissionDenied, ServerFailed, VaultError, VaultTimeout
from resilient_vault_client._deadline import Deadline
from resilient_vault_client._errors import UnexpectedAnswer
from tests.mutants.clients import (
    AsksAgainLater,
    AsksOften,
    HasNoTimeout,
    LogsInLaterAfterAFailure,
    Mutant,
    Tolerated,
    TreatsASealAsADeadToken,
    TrustsSysHealth,
    _KeyByKeyAsEver,
    by_name,
)
from tests.mutants.login_clients import PollsSeldom, ProbesItselfNowAndThen
from tests.mutants.reference_clients import (
    ReportsUnhealthyLate,
    SaysSlowlyHowItIs,
    StopsRefreshingAfterA429,
    Tweaked,
)
from tests.subjects.lazy_client import LazyClient, _secret
from tests.subjects.lazy_wire import FIRST_PAUSE, Gate, Reply, UnavailableError, Wire

# SRV-01


# SRV-02


class _SevenSeconds(AsksAgainLater):
    pause = 7.0
    forgives = 1  # the first may have come before the fault was known


class RecoversLateWithoutDeclaringIt(LazyClient):
    """Five seconds after an outage of three."""

    gate_type = _SevenSeconds

    def __init__(self, environ: Mapping[str, str]) -> None:
        super().__init__(environ)
        self.declares = {"deadline": self._deadline}


class _NearlyTwelveSeconds(_SevenSeconds):
    pause = 11.5


class RecoversTooLateWithoutDeclaringIt(RecoversLateWithoutDeclaringIt):
    gate_type = _NearlyTwelveSeconds


# SRV-04


class ReadsWholeSecretsWithoutADeadline(_KeyByKeyAsEver):
    def read_all(self, path: str) -> dict[str, str]:
        return _secret(self._fetch(path, time.monotonic() + 3600.0), path)


class AsksForHealthWithoutADeadline(LazyClient):
    """In a call of its own, which waits for a minute."""

    capabilities = LazyClient.capabilities | {"health"}
    patience = 60.0

    def health(self) -> bool:
        until = time.monotonic() + self.patience
        try:
            return self._wire.send("GET", "sys/health", deadline=until).status == 200
        except UnavailableError:
            return False


class QueuesCallersBehindAHangingCall(LazyClient):
    """Without a deadline for the queue."""

    def __init__(self, environ: Mapping[str, str]) -> None:
        super().__init__(environ)
        self._one = threading.Lock()

    def read(self, path: str, key: str) -> str:
        with self._one:
            return super().read(path, key)


class EndsAtItsDeadline(LazyClient):
    """Uses all the time of a call."""

    share = 1.0

    def __init__(self, environ: Mapping[str, str]) -> None:
        super().__init__(environ)
        self._deadline *= self.share / 0.95  # the client keeps a twentieth back itself


class WaitsForeverForItsFirstAnswer(Tweaked):
    """One thread asks for all callers of a secret, without a deadline."""

    def __init__(self, environ: Mapping[str, str]) -> None:
        super().__init__(environ)
        self._joining = threading.Lock()
        self._asking: dict[str, Future[Mapping[str, str]]] = {}

    def read_cached(self, path: str, key: str) -> Any:
        with self._joining:
            answer = self._asking.get(path)
            if answer is None:
                answer = self._asking[path] = Future()
                threading.Thread(target=self._ask, args=(path, answer), daemon=True).start()
        try:
            return answer.result(timeout=self.client.config.timeout * 0.9)[key]
        except TimeoutError:
            raise UnavailableError("the answer that all wait for has not come") from None

    def _ask(self, path: str, answer: Future[Mapping[str, str]]) -> None:
        try:
            answer.set_result(self.client.read(path, timeout=3600.0).value)
        except VaultError as error:
            answer.set_exception(error)
        finally:
            with self._joining:
                del self._asking[path]


# SRV-07


def _health(environ: Mapping[str, str], query: str = "") -> int:
    address = urlsplit(environ["VAULT_ADDR"])
    with closing(HTTPConnection(address.hostname or "", address.port, timeout=1.0)) as connection:
        connection.request("GET", f"/v1/sys/health{query}")
        return connection.getresponse().status


class ReportsUnhealthyAtAStandby(Tweaked):
    """If Vault's health is not 200."""

    def __init__(self, environ: Mapping[str, str]) -> None:
        super().__init__(environ)
        self._environ = environ

    def health(self) -> bool:
        return _health(self._environ) == 200


class TreatsAStandbyAsARateLimit(LazyClient):
    """Takes the 429 of its health."""

    def read(self, path: str, key: str) -> str:
        if (status := _health(self._environ)) in {429, 472, 473}:
            raise UnavailableError(f"Vault wants no more requests ({status})")
        return super().read(path, key)


class AsksSysHealthWithStandbyok(ReportsUnhealthyAtAStandby):
    """Is well only if Vault's health is 200."""

    def health(self) -> bool:
        return _health(self._environ, "?standbyok=true&perfstandbyok=true") == 200


# SRV-08


class NeverResetsItsPauses(Gate):
    """Doubles its pause with each failure."""

    def __init__(self, longest: float) -> None:
        super().__init__(longest)
        self._rests = FIRST_PAUSE

    def _leave(self, *, probe: bool, failed: bool, pause: float) -> None:
        with self._changed:
            counts = failed and (probe or not self._failures)
        super()._leave(probe=probe, failed=failed, pause=max(pause, self._rests * counts))
        self._rests *= 1 + counts


class _Page(dict[str, Any]):
    """Taken for a secret, it has a value for every key."""

    def __contains__(self, key: object) -> bool:
        return True

    def __getitem__(self, key: str) -> str:
        return "<!DOCTYPE html>"


class _TakesPages(Wire):
    """Checks only the status."""

    def send(self, *args: Any, **how: Any) -> Reply:
        try:
            return super().send(*args, **how)
        except UnavailableError as error:
            if "none of Vault's" in str(error):
                return Reply(200, {"data": {"data": _Page()}})
            raise


class ReturnsAGatewayPageAsASecret(LazyClient):
    """Takes any body with status 200."""

    wire_type = _TakesPages

    def read_all(self, path: str) -> dict[str, str]:
        return super().read_all(path) or _Page()


class CrashesOnAGatewayPage(Wire):
    """Raises the JSON parser's error."""

    def send(self, *args: Any, **how: Any) -> Reply:
        try:
            return super().send(*args, **how)
        except UnavailableError as error:
            if "none of Vault's" in str(error):
                raise ValueError("Expecting value: line 1 column 1 (char 0)") from None
            raise


class TreatsAGatewayPageAsAMissingSecret(Wire):
    """Takes any answer with such a status for a missing secret, or a denial."""

    words: ClassVar[Mapping[bytes, bytes]] = {b"404": b'{"errors":[]}'}

    def _exchange(self, request: bytes, deadline: float) -> bytes:
        raw = super()._exchange(request, deadline)
        says = self.words.get(raw[9:12])
        if says is None or b"text/html" not in raw:
            return raw
        head = b"HTTP/1.1 %s As Vault says\r\nContent-Length: %d\r\n\r\n"
        return head % (raw[9:12], len(says)) + says


class _TreatsARefusalAsMissing(TreatsAGatewayPageAsAMissingSecret):
    statuses: ClassVar[tuple[bytes, ...]] = (b"400",)

    def _exchange(self, request: bytes, deadline: float) -> bytes:
        raw = super()._exchange(request, deadline)
        if raw[9:12] not in self.statuses or not request.startswith(b"GET"):
            return raw
        says = b'{"errors":[]}'
        return b"HTTP/1.1 404 Not Found\r\nContent-Length: %d\r\n\r\n" % len(says) + says


class FindsNothingOnAPage(LazyClient):
    """Takes an answer that is not Vault's for an empty secret."""

    def read_all(self, path: str) -> dict[str, str]:
        try:
            return super().read_all(path)
        except UnavailableError as error:
            if "none of Vault's" in str(error) and "cut short" not in str(error):
                return {}
            raise


class TreatsAGatewayPageAsAnEmptySecret(FindsNothingOnAPage, _KeyByKeyAsEver):
    """It reads single keys correctly."""


class CrashesOnARetryAfterDate(Wire):
    """Takes each ``Retry-After`` for a number."""

    def _exchange(self, request: bytes, deadline: float) -> bytes:
        raw = super()._exchange(request, deadline)
        for line in raw.partition(b"\r\n\r\n")[0].split(b"\r\n"):
            name, _, value = line.partition(b":")
            if name.lower() == b"retry-after":
                float(value)
        return raw


class ObeysARetryAfterDate(Wire):
    """Waits until the date of any ``Retry-After``."""

    _moment = 0.0

    def _exchange(self, request: bytes, deadline: float) -> bytes:
        raw = super()._exchange(request, deadline)
        for line in raw.partition(b"\r\n\r\n")[0].decode("latin-1").split("\r\n"):
            name, _, value = line.partition(":")
            if name.lower() == "retry-after" and value.endswith("GMT"):
                self._moment = parsedate_to_datetime(value).timestamp()
        return raw

    def send(
        self, method: str, path: str, *, deadline: float, token: str = "", body: object = None
    ) -> Reply:
        try:
            return super().send(method, path, deadline=deadline, token=token, body=body)
        except UnavailableError as error:
            pause = max(0.0, self._moment - time.time())
            error.pause = pause  # type: ignore[attr-defined]  # read by the gate alone
            raise


# SRV-10


class RetriesAWriteThatIsTooLarge(Tweaked):
    """Retries each failed write once."""

    def write(self, path: str, data: Mapping[str, str]) -> None:
        try:
            super().write(path, data)
        except VaultError:
            super().write(path, data)


class ReportsA413AsAnOutage(Tweaked):
    """Tells its callers to come back later."""

    def write(self, path: str, data: Mapping[str, str]) -> None:
        try:
            super().write(path, data)
        except VaultError as error:
            raise UnavailableError(f"try again later: {type(error).__name__}") from None


class LogsInForEachDeniedWrite(Tweaked):
    def write(self, path: str, data: Mapping[str, str]) -> None:
        session = self.client._session()
        try:
            super().write(path, data)
        except PermissionDenied:
            if (token := session.authenticator.current) is not None:
                session.authenticator.replace(token, Deadline(1.0), reason="rejected")
            super().write(path, data)


class AsksForItsCapabilitiesBeforeAWrite(Tweaked):
    """Writes only if it may."""

    def write(self, path: str, data: Mapping[str, str]) -> None:
        session, deadline = self.client._session(), Deadline(1.0)
        where = f"{session._api._mount}/data/{path}"
        may = session._api._transport.request(
            "POST",
            "sys/capabilities-self",
            token=session.authenticator.token(deadline).text,
            body={"paths": [where]},
            deadline=deadline,
        )
        if may["capabilities"] == ["deny"]:
            raise PermissionDenied(f"the policy denies {path}", path=path)
        super().write(path, data)


MUTANTS = by_name(
    Mutant(HasNoTimeout, "SRV-01", "every call ends within"),
    Mutant(ReportsUnhealthyLate, "SRV-01", "health says not well").called(
        "reports-unhealthy-too-late-while-all-hangs", after=9.0
    ),
    Mutant(StopsRefreshingAfterA429, "SRV-01", "a rotated secret is seen").called(
        "stops-refreshing-after-silence", ends_at=VaultTimeout
    ),
    Mutant(LogsInLaterAfterAFailure, "SRV-02", "the token survives").called(
        "logs-in-later-after-a-500"
    ),
    Mutant(TreatsASealAsADeadToken, "SRV-02", "the token survives").called(
        "treats-a-500-as-a-dead-token"
    ),
    Mutant(StopsRefreshingAfterA429, "SRV-02", "a rotated secret is seen").called(
        "stops-refreshing-after-a-500", ends_at=ServerFailed
    ),
    Mutant(RecoversTooLateWithoutDeclaringIt, "SRV-02", "a good read within"),
    Mutant(TreatsASealAsADeadToken, "SRV-03", "the token survives").called(
        "treats-lost-storage-as-a-dead-token"
    ),
    Mutant(TrustsSysHealth, "SRV-03", "health tells the truth"),
    Mutant(AsksOften, "SRV-03", "requests in").called(
        "asks-too-often-without-a-storage", pace=0.01
    ),
    Mutant(ReadsWholeSecretsWithoutADeadline, "SRV-04", "read_all of"),
    Mutant(AsksForHealthWithoutADeadline, "SRV-04", "health ends within 2 s"),
    Mutant(QueuesCallersBehindAHangingCall, "SRV-04", "every call ends within"),
    Mutant(EndsAtItsDeadline, "SRV-04", "every call ends within").called(
        "ends-after-its-deadline", share=1.17
    ),
    Mutant(WaitsForeverForItsFirstAnswer, "SRV-04", "a good read_cached within"),
    Mutant(ReportsUnhealthyAtAStandby, "SRV-07", "health says well"),
    Mutant(TreatsAStandbyAsARateLimit, "SRV-07", "no read fails"),
    Mutant(NeverResetsItsPauses, "SRV-08", "a good read within"),
    Mutant(ReturnsAGatewayPageAsASecret, "SRV-08", "no wrong value"),
    Mutant(CrashesOnAGatewayPage, "SRV-08", "a failure then is unavailable"),
    Mutant(TreatsAGatewayPageAsAMissingSecret, "SRV-08", "the first is missing"),
    Mutant(TreatsAGatewayPageAsAMissingSecret, "SRV-08", "the token survives").called(
        "treats-a-gateway-403-as-a-dead-token", words={b"403": b'{"errors":["permission denied"]}'}
    ),
    Mutant(_TreatsARefusalAsMissing, "SRV-08", "never called missing or deleted").called(
        "treats-a-504-as-a-missing-secret", statuses=(b"408", b"409")
    ),
    Mutant(TreatsAGatewayPageAsAnEmptySecret, "SRV-08", "none of its keys"),
    Mutant(StopsRefreshingAfterA429, "SRV-08", "a rotated secret is seen").called(
        "stops-refreshing-after-a-gateway-page", ends_at=UnexpectedAnswer
    ),
    Mutant(CrashesOnARetryAfterDate, "SRV-08", "a failure then is unavailable"),
    Mutant(RetriesAWriteThatIsTooLarge, "SRV-10", "at most 1 requests (write)"),
    Mutant(ReportsA413AsAnOutage, "SRV-10", "a failure then is"),
    Mutant(LogsInForEachDeniedWrite, "SRV-10", "at most 1 login"),
)


TOLERATED = by_name(
    Tolerated(ReportsUnhealthyLate, "SRV-01").called("reports-unhealthy-late-while-all-hangs"),
    Tolerated(ProbesItselfNowAndThen, "SRV-01").called("reports-the-health-of-its-last-own-probe"),
    Tolerated(RecoversLateWithoutDeclaringIt, "SRV-02"),
    Tolerated(AsksOften, "SRV-03").called("asks-often-without-a-storage"),
    Tolerated(EndsAtItsDeadline, "SRV-04"),
    Tolerated(SaysSlowlyHowItIs, "SRV-04").called(
        "answers-a-health-question-at-its-deadline-in-silence"
    ),
    Tolerated(PollsSeldom, "SRV-07").called("polls-seldom-at-a-standby"),
    Tolerated(AsksSysHealthWithStandbyok, "SRV-07"),
    Tolerated(ObeysARetryAfterDate, "SRV-08"),
    Tolerated(AsksForItsCapabilitiesBeforeAWrite, "SRV-10"),
)
