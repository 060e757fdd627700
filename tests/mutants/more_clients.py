"""More clients that are broken on purpose: kinds of token, policies, slow and flaky networks."""

from __future__ import annotations

import contextlib
import socket
import sys
import threading
import time
from collections.abc import Iterator, Mapping
from http.client import HTTPMessage, parse_headers
from io import BytesIO
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from resilient_vault_client import VaultUnavailable
from tests.mutants.clients import LAZY, REFERENCE, Mutant
from tests.mutants.lazy_mutants import (
    HangsAtTheEnd,
    IgnoresMaxTtl,
    LogsInForEveryRead,
    LogsInOnEvery403,
    NeverComesBack,
    NeverRenews,
    ReadsItsSecretIdOnce,
    RenewsInAHotLoop,
    RenewsTheUnrenewable,
    RetriesWithoutAPause,
    TakesASealForADeadToken,
)
from tests.mutants.reference_mutants import AlwaysSaysWell, Tweaked
from tests.subjects.lazy_client import Credentials, LazyClient, Token
from tests.subjects.lazy_wire import (
    ClientError,
    DeniedError,
    Gate,
    Reply,
    UnavailableError,
    Wire,
    is_whole,
)

LAZY_PROCESS = f"command:{sys.executable} -m vault_harness.subjects {LAZY}"


# Kinds of token


class RevokesBatchTokens(LazyClient):
    """Gives every token back when it has the next, those that cannot be given back too."""

    def _log_in(self, deadline: float) -> Token:
        old = self._token
        token = super()._log_in(deadline)
        if old is not None:
            for _ in range(2):  # Vault says 400, so once more
                self._ask("POST", "auth/token/revoke-self", deadline, old, {})
        return token


class SurfacesTheEndOfUses(LazyClient):
    """Does not count its token's uses, and hands the 403 that ends them to whoever reads."""

    def _log_in(self, deadline: float) -> Token:
        token = super()._log_in(deadline)
        token.uses = 0
        return token

    def _was_dead(self, where: str, token: Token, deadline: float) -> bool:
        super()._was_dead(where, token, deadline)
        return False


class DropsItsTokenOnError(LazyClient):
    """Throws its token away when a renewal fails, though it lives on."""

    def _renewed(self, token: Token, deadline: float) -> bool:
        try:
            return super()._renewed(token, deadline)
        except UnavailableError:
            self._token = None
            raise


class AbandonsALogin(LazyClient):
    """Does not wait at its end for the login that is on its way."""

    def close(self) -> None:
        self._closed = True
        token = self._token
        if token is not None:
            deadline = time.monotonic() + 2.0
            with contextlib.suppress(ClientError):
                self._wire.send(
                    "POST", "auth/token/revoke-self", deadline=deadline, token=token.value
                )


# Policies


class RemembersADenialForEver(LazyClient):
    """What was denied once is not asked for again."""

    def __init__(self, environ: Mapping[str, str]) -> None:
        super().__init__(environ)
        self._never: set[str] = set()

    def read(self, path: str, key: str) -> str:
        if path in self._never:
            raise DeniedError(f"{path} was denied")
        try:
            return super().read(path, key)
        except DeniedError:
            self._never.add(path)
            raise


class TakesADenialForAnOutage(LazyClient):
    """Counts denials as failures of Vault, and spares it for a while."""

    _until = 0.0

    def read(self, path: str, key: str) -> str:
        if time.monotonic() < self._until:
            raise UnavailableError("Vault failed a moment ago")
        try:
            return super().read(path, key)
        except DeniedError:
            self._until = time.monotonic() + 0.5
            raise


# Credentials


class _Offended(Credentials):
    """One refusal is enough for all."""

    def usable(self, *_: Any, **__: Any) -> bool:
        return not self._failed


class TakesALockForABadSecretId(LazyClient):
    """Waits for another secret-id when the role is locked."""

    credentials_type = _Offended

    def _log_in(self, deadline: float) -> Token:
        secret_id = self._credentials.current()[1]
        try:
            return super()._log_in(deadline)
        except UnavailableError as error:
            if "no login of this role" in str(error):
                self._credentials.refused(secret_id)
            raise


class RetriesALoginBlindly(LazyClient):
    """Takes a login for something that can be repeated."""

    def _log_in(self, deadline: float) -> Token:
        for _ in range(9):
            with contextlib.suppress(UnavailableError):
                return super()._log_in(deadline)
            self._gate = self.gate_type(self._longest)
        return super()._log_in(deadline)


class _Verbatim(Credentials):
    """What is in the file is the secret-id, whatever it is."""

    def _one(self, name: str) -> str:
        if file := self._environ.get(f"{name}_FILE"):
            return Path(file).read_text(encoding="ascii")
        return super()._one(name)


class SendsAnEmptySecretId(LazyClient):
    """Logs in with what the file holds, and be it nothing."""

    credentials_type = _Verbatim


# Outages, and what stands in front of Vault


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


class _Page(dict[str, Any]):
    """A page, taken for a secret: it has a value for every key."""

    def __contains__(self, key: object) -> bool:
        return True

    def __getitem__(self, key: str) -> str:
        return "<!DOCTYPE html>"


class _TakesPages(Wire):
    """Asks for no more than the status."""

    def send(self, *args: Any, **how: Any) -> Reply:
        try:
            return super().send(*args, **how)
        except UnavailableError as error:
            if "none of Vault's" in str(error):
                return Reply(200, {"data": {"data": _Page()}})
            raise


class TakesAPageForASecret(LazyClient):
    """Hands out whatever came with 200."""

    wire_type = _TakesPages


class _Stumbles(Wire):
    """Knows no body but JSON."""

    def send(self, *args: Any, **how: Any) -> Reply:
        try:
            return super().send(*args, **how)
        except UnavailableError as error:
            if "none of Vault's" in str(error):
                raise ValueError("Expecting value: line 1 column 1 (char 0)") from None
            raise


class StumblesOverAPage(LazyClient):
    """Parses every body as JSON, and lets the parser's error escape."""

    wire_type = _Stumbles


class _KnowsNo412(Wire):
    """Everything below 500 is final."""

    def send(self, *args: Any, **how: Any) -> Reply:
        try:
            return super().send(*args, **how)
        except UnavailableError as error:
            if "answered 412" in str(error):
                raise ClientError(str(error)) from None
            raise


class KnowsNo412(LazyClient):
    """Surfaces the 412 of a standby that lags."""

    wire_type = _KnowsNo412


class _Follower(Wire):
    """Goes where it is sent."""

    def _exchange(self, request: bytes, deadline: float) -> bytes:
        raw = super()._exchange(request, deadline)
        line, _, rest = raw.partition(b"\r\n")
        if b" 307 " not in line:
            return raw
        headers: HTTPMessage = parse_headers(BytesIO(rest))
        there = urlsplit(headers["Location"])
        with socket.create_connection((there.hostname, there.port), timeout=1.0) as peer:
            peer.sendall(request)
            received = bytearray()
            while not is_whole(received) and (piece := peer.recv(65536)):
                received += piece
        return bytes(received)


class FollowsRedirects(LazyClient):
    """Follows a redirect to any host, with all that it would have sent to its own."""

    wire_type = _Follower


# Slow and flaky networks


class _Keeper(Wire):
    """One connection for each thread, kept whatever becomes of it."""

    def __init__(self, environ: Mapping[str, str]) -> None:
        super().__init__(environ)
        self._kept = threading.local()

    def _exchange(self, request: bytes, deadline: float) -> bytes:
        peer: socket.socket | None = getattr(self._kept, "peer", None)
        if peer is None:
            peer = self._kept.peer = socket.create_connection((self._host, self._port))
        peer.settimeout(max(0.01, deadline - time.monotonic()))
        peer.sendall(request.replace(b"Connection: close\r\n", b"", 1))
        received = bytearray()
        while not is_whole(received):
            piece = peer.recv(65536)
            if not piece:
                del self._kept.peer
                break
            received += piece
        return bytes(received)


class KeepsADeadConnection(LazyClient):
    """Keeps its connections, and those that do not answer any more too."""

    wire_type = _Keeper


class RetriesWrites(Tweaked):
    """Takes a write whose answer did not come for one that did not happen."""

    def write(self, path: str, data: Mapping[str, str]) -> None:
        try:
            super().write(path, data)
        except VaultUnavailable:
            super().write(path, data)


class RetriesWritesLater(Tweaked):
    """The same, after a while."""

    def write(self, path: str, data: Mapping[str, str]) -> None:
        try:
            super().write(path, data)
        except VaultUnavailable:
            time.sleep(1.2)
            super().write(path, data)


class _Impatient(Wire):
    """Half a second is long enough."""

    def send(self, *args: Any, deadline: float, **how: Any) -> Reply:
        return super().send(*args, deadline=min(deadline, time.monotonic() + 0.5), **how)


class IsImpatient(LazyClient):
    """Has a timeout for each try that only a quick network can keep."""

    wire_type = _Impatient


class _Frank(Gate):
    """Keeps no count of failures."""

    @contextlib.contextmanager
    def passage(self, deadline: float) -> Iterator[None]:
        del deadline
        yield


class TriesOnce(LazyClient):
    """Surfaces the first failure."""

    gate_type = _Frank

    def read(self, path: str, key: str) -> str:
        deadline = time.monotonic() + self._deadline
        reply = self._fetch(path, deadline)
        return str(reply.body["data"]["data"][key])


# Processes


class CatchesUpAfterSleep(LazyClient):
    """Looks at its token by a timetable, and after a sleep does all that it has missed."""

    def __init__(self, environ: Mapping[str, str]) -> None:
        super().__init__(environ)
        threading.Thread(target=self._by_timetable, daemon=True).start()

    def _by_timetable(self) -> None:
        due = time.monotonic()
        while not self._closed:
            due += 0.4
            time.sleep(max(0.0, due - time.monotonic()))
            if self._token is not None:
                with contextlib.suppress(ClientError):
                    self._wire.send(
                        "GET",
                        "auth/token/lookup-self",
                        deadline=time.monotonic() + 1.0,
                        token=self._token.value,
                    )


class NeverSaysWellAgain(Tweaked):
    """Once red, its health stays so."""

    _red = False

    def health(self) -> bool:
        self._red = self._red or not super().health()
        return not self._red


class ReadsEachSecretOnce(LazyClient):
    """Keeps every value that it has read, and never asks for it again."""

    def __init__(self, environ: Mapping[str, str]) -> None:
        super().__init__(environ)
        self._kept: dict[tuple[str, str], str] = {}

    def read(self, path: str, key: str) -> str:
        if (path, key) not in self._kept:
            self._kept[path, key] = super().read(path, key)
        return self._kept[path, key]


FURTHER: dict[str, Mutant] = {
    "ignores-explicit-max-ttl": Mutant(IgnoresMaxTtl, "TOK-05", "no read fails"),
    "renews-batch-tokens": Mutant(RenewsTheUnrenewable, "TOK-07", "at most 1 renewal"),
    "revokes-batch-tokens": Mutant(RevokesBatchTokens, "TOK-07", "requests (revoke)"),
    "never-renews-a-periodic-token": Mutant(NeverRenews, "TOK-08", "a renewal or a login between"),
    "surfaces-the-end-of-uses": Mutant(SurfacesTheEndOfUses, "TOK-10", "no read fails"),
    "renews-what-it-may-not": Mutant(RenewsInAHotLoop, "TOK-14", "renewals"),
    "drops-its-token-on-error": Mutant(DropsItsTokenOnError, "TOK-17", "no read fails"),
    "abandons-a-login": Mutant(AbandonsALogin, "TOK-20", "tokens alive"),
    "logs-in-for-all-secrets": Mutant(LogsInForEveryRead, "TOK-21", "at most 1 login"),
    "takes-a-policy-for-a-dead-token": Mutant(LogsInOnEvery403, "POL-02", "a denial costs"),
    "remembers-a-denial": Mutant(RemembersADenialForEver, "POL-02", "a good read within"),
    "remembers-a-denial-after-a-login": Mutant(
        RemembersADenialForEver, "POL-03", "a good read within"
    ),
    "takes-a-denial-for-an-outage": Mutant(TakesADenialForAnOutage, "POL-04", "no read of"),
    "takes-a-lock-for-a-bad-secret-id": Mutant(
        TakesALockForABadSecretId, "SID-04", "a good read within"
    ),
    "storms-a-locked-role": Mutant(RetriesWithoutAPause, "SID-04", "requests (login)"),
    "uses-a-secret-id-twice": Mutant(ReadsItsSecretIdOnce, "SID-06", "refused logins"),
    "retries-a-login-blindly": Mutant(
        RetriesALoginBlindly, "SID-07", "logins with the same secret-id"
    ),
    "sends-an-empty-secret-id": Mutant(
        SendsAnEmptySecretId, "SID-08", "no login without a secret-id"
    ),
    "never-comes-back-after-a-failover": Mutant(NeverComesBack, "HA-02", "a good read within"),
    "takes-a-failover-for-a-dead-token": Mutant(
        TakesASealForADeadToken, "HA-02", "the token survives"
    ),
    "waits-for-a-silent-leader": Mutant(HasNoTimeout, "HA-03", "every call ends within"),
    "takes-silence-for-a-dead-token": Mutant(
        TakesASealForADeadToken, "HA-03", "the token survives"
    ),
    "leaves-a-thread-for-each-seal": Mutant(
        LeavesAThreadForEachFailure, "SEA-04", "leave nothing behind"
    ),
    "takes-a-restart-for-a-dead-token": Mutant(
        TakesASealForADeadToken, "SEA-06", "the token survives"
    ),
    "never-comes-back-after-a-restart": Mutant(NeverComesBack, "SEA-06", "a good read within"),
    "hangs-at-a-sealed-end": Mutant(HangsAtTheEnd, "SEA-08", "it ends cleanly"),
    "has-no-timeout": Mutant(HasNoTimeout, "SRV-01", "every call ends within"),
    "says-well-like-vault": Mutant(AlwaysSaysWell, "SRV-01", "health says not well", REFERENCE),
    "takes-500-for-a-dead-token": Mutant(TakesASealForADeadToken, "SRV-02", "the token survives"),
    "storms-a-quota": Mutant(RetriesWithoutAPause, "SRV-06", "no request storm"),
    "takes-a-page-for-a-secret": Mutant(TakesAPageForASecret, "SRV-08", "no wrong value"),
    "stumbles-over-a-page": Mutant(StumblesOverAPage, "SRV-08", "a failure then is unavailable"),
    "knows-no-412": Mutant(KnowsNo412, "SRV-09", "a 412 is tried again"),
    "storms-a-lagging-standby": Mutant(RetriesWithoutAPause, "SRV-09", "for one call"),
    "follows-redirects": Mutant(FollowsRedirects, "HA-05", "no token and no secret-id"),
    "keeps-a-dead-connection": Mutant(
        KeepsADeadConnection, "NET-04", "1 read of each caller", REFERENCE
    ),
    "retries-a-stalled-write": Mutant(
        RetriesWritesLater, "NET-05", "applied at most once", REFERENCE
    ),
    "is-impatient": Mutant(IsImpatient, "NET-06", "no read fails"),
    "waits-for-late-answers": Mutant(HasNoTimeout, "NET-07", "every call ends within"),
    "waits-for-a-big-answer": Mutant(HasNoTimeout, "NET-09", "every call ends within"),
    "tries-once": Mutant(TriesOnce, "NET-11", "at most 20 reads fail"),
    "retries-a-lost-write": Mutant(RetriesWrites, "NET-13", "applied at most once", REFERENCE),
    "leaves-a-thread-for-each-flap": Mutant(
        LeavesAThreadForEachFailure, "NET-15", "leaves nothing behind"
    ),
    "logs-in-at-a-wrong-mount": Mutant(LogsInOnEvery403, "KV-05", "at most 2 logins"),
    "catches-up-after-sleep": Mutant(
        CatchesUpAfterSleep, "PRC-03", "requests (all kinds)", LAZY_PROCESS, process=True
    ),
    "says-well-under-a-seal": Mutant(AlwaysSaysWell, "PRC-05", "health tells the truth", REFERENCE),
    "never-says-well-again": Mutant(
        NeverSaysWellAgain, "PRC-05", "health tells the truth", REFERENCE
    ),
    "hangs-with-a-call": Mutant(HangsAtTheEnd, "PRC-07", "it ends cleanly"),
    "waits-in-a-black-hole": Mutant(HasNoTimeout, "NET-03", "every call ends within"),
    "sleeps-through-a-seal": Mutant(NeverComesBack, "SEA-02", "a good read within"),
    "storms-a-dead-upstream": Mutant(RetriesWithoutAPause, "NET-18", "no connection storm"),
    "outlives-its-secret-id": Mutant(ReadsItsSecretIdOnce, "OPS-01", "no read fails"),
    "outlives-a-password": Mutant(ReadsEachSecretOnce, "OPS-02", "the new value of"),
}
"""As `tests.mutants.clients.MUTANTS`."""
