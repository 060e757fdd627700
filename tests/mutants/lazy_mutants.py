"""Deviations from ``tests.subjects.lazy_client``: clients that are broken in one way each."""

from __future__ import annotations

import contextlib
import os
import socket
import threading
import time
from collections.abc import Iterator, Mapping
from typing import Any

from tests.subjects.lazy_client import Credentials, LazyClient, Token, log
from tests.subjects.lazy_wire import (
    DeletedError,
    DeniedError,
    Gate,
    Reply,
    UnavailableError,
    Wire,
)

# The token's life


class NeverRenews(LazyClient):
    """Logs in when the token has ended, and not before."""

    def _arm(self, seconds: float) -> None:
        pass


class RenewsTooLate(LazyClient):
    """Waits for the last moment, which a slow network misses."""

    def _arm(self, seconds: float) -> None:
        token = self._token
        super()._arm(token.ttl * 0.98 if token is not None else seconds)


class RenewsByTheClock(LazyClient):
    """Renews at half of its token's life to the millisecond, as all its sisters do."""

    def _arm(self, seconds: float) -> None:
        token = self._token
        super()._arm(token.ttl / 2 if token is not None else seconds)


class RenewsAllTheTime(LazyClient):
    """Renews every half second, however long the token lives."""

    def _arm(self, seconds: float) -> None:
        super()._arm(min(seconds, 0.5))


class RenewsOnce(LazyClient):
    """Its renewer works, and then ends."""

    _done = False

    def _renewed(self, token: Token, deadline: float) -> bool:
        self._done = True
        return super()._renewed(token, deadline)

    def _arm(self, seconds: float) -> None:
        if not self._done:
            super()._arm(seconds)


class RenewsInAHotLoop(LazyClient):
    """Takes a refused renewal for a hiccup, and forgets to pause before the next."""

    def _renewed(self, token: Token, deadline: float) -> bool:
        while token.left > 0:
            reply = self._ask("POST", "auth/token/renew-self", deadline, token, {})
            if reply.status == 200:
                token.since, token.ttl = time.monotonic(), float(reply.auth["lease_duration"])
                self._arm(token.due)
                return True
            time.sleep(0.02)
        return False


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


class IgnoresMaxTtl(LazyClient):
    """Renews on while the TTL shrinks; the first to notice the end is a caller."""

    def _renewed(self, token: Token, deadline: float) -> bool:
        token.first_ttl = 0.0
        super()._renewed(token, deadline)
        return True

    def _was_dead(self, where: str, token: Token, deadline: float) -> bool:
        super()._was_dead(where, token, deadline)
        return False

    def _valid_token(self, deadline: float) -> Token:
        if self._token is not None:
            self._token.since = time.monotonic()  # its own clock says nothing
        return super()._valid_token(deadline)


class RenewsTheUnrenewable(LazyClient):
    """Does not look at ``renewable``, and takes the 400 for a hiccup."""

    def _renewed(self, token: Token, deadline: float) -> bool:
        reply = self._ask("POST", "auth/token/renew-self", deadline, token, {})
        if reply.status != 200:
            raise UnavailableError("not renewed")
        token.since, token.ttl = time.monotonic(), float(reply.auth["lease_duration"])
        self._arm(token.due)
        return True


class LogsInForEveryRead(LazyClient):
    """Has no memory of its token."""

    def _valid_token(self, deadline: float) -> Token:
        with self._held(deadline):
            return self._log_in(deadline)


class LogsInOnEvery403(LazyClient):
    """Takes every denial for a dead token."""

    def _was_dead(self, *_: Any, **__: Any) -> bool:
        self._token = None
        return True


class LogsInOncePerThread(LazyClient):
    """Has no single flight: each thread that meets a dead token logs in for itself."""

    def _was_dead(self, _: str, token: Token, deadline: float) -> bool:
        looked = self._ask("GET", "auth/token/lookup-self", deadline, token)
        if looked.status != 403:
            return False
        self._log_in(deadline)
        return True


class LogsInTwice(LazyClient):
    """Logs in, and logs in once more to be sure; the first token is left to Vault."""

    def _log_in(self, deadline: float) -> Token:
        super()._log_in(deadline)
        return super()._log_in(deadline)


class NeverLogsInAgain(LazyClient):
    """Surfaces a dead token as a denial, for ever."""

    def _was_dead(self, *_: Any, **__: Any) -> bool:
        return False


class LeavesItsTokenBehind(LazyClient):
    """Ends without revoking its token."""

    def close(self) -> None:
        self._token = None
        super().close()


class HangsAtTheEnd(LazyClient):
    """Waits at its end for a thread that never ends."""

    def close(self) -> None:
        threading.Event().wait(60.0)


# Credentials


class _Unrestrained(Credentials):
    """Every secret-id is good for another try."""

    def usable(self, *_: Any, **__: Any) -> bool:
        return True


class HammersItsSecretId(LazyClient):
    """Tries a refused secret-id again at every call, until the role is locked for everybody."""

    credentials_type = _Unrestrained


class _ReadOnce(Credentials):
    """What was read first holds."""

    def _one(self, name: str) -> str:
        return self._last.get(name) or super()._one(name)


class ReadsItsSecretIdOnce(LazyClient):
    """Keeps the secret-id of its first login, whatever is in the file now."""

    credentials_type = _ReadOnce


class _Offended(Credentials):
    """One refusal is enough for all."""

    def usable(self, *_: Any, **__: Any) -> bool:
        return not self._failed


class NeverTriesANewSecretId(LazyClient):
    """Once refused, it takes no other secret-id either."""

    credentials_type = _Offended


# Outages


class _Patient(Wire):
    """A timeout for each piece."""

    def _exchange(self, request: bytes, *_: Any, **__: Any) -> bytes:
        received = []
        with socket.create_connection((self._host, self._port), timeout=1.5) as peer:
            peer.sendall(request)
            while piece := peer.recv(65536):
                received.append(piece)
        return b"".join(received)


class NoTotalDeadline(LazyClient):
    """Gives each piece of an answer a timeout, and the whole none."""

    wire_type = _Patient


class OneCallAtATime(LazyClient):
    """Lets callers queue behind one that hangs, without a deadline for the queue."""

    def __init__(self, environ: Mapping[str, str]) -> None:
        super().__init__(environ)
        self._one = threading.Lock()

    def read(self, path: str, key: str) -> str:
        with self._one:
            return super().read(path, key)


class _NoGate(Gate):
    """Always open."""

    @contextlib.contextmanager
    def passage(self, *_: Any, **__: Any) -> Iterator[None]:
        yield


class RetriesWithoutAPause(LazyClient):
    """Asks again as fast as the refusals come."""

    gate_type = _NoGate


class _Deaf(Gate):
    """Pauses by its own measure."""

    def _leave(self, **how: Any) -> None:
        super()._leave(**{**how, "pause": 0.0})


class IgnoresRetryAfter(LazyClient):
    """Backs off as it likes, not as Vault says."""

    gate_type = _Deaf


class _Latch(Gate):
    """Closes for good."""

    def _enter(self, deadline: float) -> bool:
        if self._failures >= 3:
            raise UnavailableError("too many failures")
        return super()._enter(deadline)


class NeverComesBack(LazyClient):
    """After three failures in a row its circuit opens, and nothing closes it."""

    gate_type = _Latch


class DiesInAnOutage(LazyClient):
    """Ends its process when Vault has not answered three times."""

    _failed = 0

    def read(self, path: str, key: str) -> str:
        try:
            return super().read(path, key)
        except UnavailableError:
            self._failed += 1
            if self._failed == 3:
                os._exit(1)
            raise


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


class StormsAtItsStart(LazyClient):
    """Will not start without a token, and asks for one without a pause."""

    def __init__(self, environ: Mapping[str, str]) -> None:
        super().__init__(environ)
        ids = self._credentials.current()
        body = dict(zip(("role_id", "secret_id"), ids, strict=True))
        while True:
            with contextlib.suppress(UnavailableError):
                self._wire.send(
                    "POST", "auth/approle/login", deadline=time.monotonic() + 1.0, body=body
                )
                return
            time.sleep(0.02)


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


# Data


class TakesHalfAnAnswer(LazyClient):
    """Finds no value in an answer that is cut short, and hands out the empty string."""

    def read(self, path: str, key: str) -> str:
        try:
            return super().read(path, key)
        except UnavailableError as error:
            if "cut short" in str(error):
                return ""
            raise


class TakesDeletedForEmpty(LazyClient):
    """Hands out the empty string for a secret whose data is null."""

    def read(self, path: str, key: str) -> str:
        try:
            return super().read(path, key)
        except DeletedError:
            return ""


class TakesDeniedForUnavailable(LazyClient):
    """Tells operators that Vault is down when a policy is wrong."""

    def read(self, path: str, key: str) -> str:
        try:
            return super().read(path, key)
        except DeniedError as error:
            raise UnavailableError(str(error)) from None


# What it says


class LogsItsToken(LazyClient):
    """Writes each token into its log, for debugging."""

    def _log_in(self, deadline: float) -> Token:
        token = super()._log_in(deadline)
        log.debug("got token %s", token.value)
        return token


class ShowsItsSecretId(LazyClient):
    """Puts what it sent into the error that it raises."""

    def _log_in(self, deadline: float) -> Token:
        try:
            return super()._log_in(deadline)
        except DeniedError as error:
            raise DeniedError(f"{error}: {self._credentials.current()}") from None
