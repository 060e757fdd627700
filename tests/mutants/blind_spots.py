"""Clients that keep a promise wherever it used to be asked, and break it in a state next to that.

In whole secrets, after a second token, in a value without a letter, for a second path, at a second
verb. Each is listed in the module of the group whose scenario it meets.
"""

from __future__ import annotations

import contextlib
import math
import socket
import threading
import time
from collections.abc import Mapping
from http import HTTPStatus
from typing import Any, ClassVar

from resilient_vault_client import Credential, VaultError
from resilient_vault_client._deadline import Deadline
from resilient_vault_client._grant import Grant
from resilient_vault_client._leases import Leases
from resilient_vault_client._token import Token as LeaseToken
from tests.mutants.clients import Leasing, Tweaked
from tests.mutants.second_leases import _Unbound
from tests.mutants.wholes import _KeyByKeyAsEver
from tests.subjects.lazy_client import LazyClient, Token, _secret, log
from tests.subjects.lazy_wire import (
    ClientError,
    DeletedError,
    DeniedError,
    MissingError,
    Reply,
    UnavailableError,
)

# Its end


class RevokesAsAnOperatorWould(LazyClient):
    """Gives its token back by what revokes any token, which takes a right that it has not got."""

    def close(self) -> None:
        token, self._token = self._token, None
        super().close()
        if token is not None:
            deadline, body = time.monotonic() + 1.0, {"token": token.value}
            with contextlib.suppress(ClientError):
                self._wire.send(
                    "POST", "auth/token/revoke", deadline=deadline, token=token.value, body=body
                )


class EndsAfterItsWhole(_KeyByKeyAsEver):
    """Asks for a whole secret until it has it, under a lock that its end needs."""

    def __init__(self, environ: Mapping[str, str]) -> None:
        super().__init__(environ)
        self._asking = threading.Lock()

    def read_all(self, path: str) -> dict[str, str]:
        with self._asking:
            while True:
                try:
                    return super().read_all(path)
                except UnavailableError:
                    if self._closed:
                        raise

    def close(self) -> None:
        if self._asking.acquire(timeout=60.0):
            self._asking.release()
        super().close()


# Whole secrets, once there was a second token


class _CountsItsTokens(_KeyByKeyAsEver):
    """Knows how many tokens it had, and what it was given of whole secrets."""

    _tokens = 0

    def __init__(self, environ: Mapping[str, str]) -> None:
        super().__init__(environ)
        self._had: dict[str, dict[str, str]] = {}

    def _log_in(self, deadline: float) -> Token:
        token = super()._log_in(deadline)
        self._tokens += 1
        return token


class KeepsItsWholesFromItsSecondTokenOn(_CountsItsTokens):
    """What fills its memory of whole secrets ends with its first token: what is there stays."""

    def read_all(self, path: str) -> dict[str, str]:
        if self._tokens > 1 and path in self._had:
            return self._had[path]
        found = super().read_all(path)
        if self._tokens > 1:
            self._had[path] = found
        return found


class HasDeletedWholesFromItsSecondTokenOn(_CountsItsTokens):
    """With its second token it takes a whole secret that is gone for one that it may not see."""

    def read_all(self, path: str) -> dict[str, str]:
        try:
            found = self._had[path] = super().read_all(path)
        except (DeletedError, MissingError):
            if self._tokens > 1 and path in self._had:
                return self._had[path]
            raise
        return found


class TrustsRisingVersionsInItsWholes(_KeyByKeyAsEver):
    """Keeps the highest version that it has seen of each whole secret."""

    def __init__(self, environ: Mapping[str, str]) -> None:
        super().__init__(environ)
        self._newest: dict[str, tuple[int, dict[str, str]]] = {}

    def read_all(self, path: str) -> dict[str, str]:
        reply = self._fetch(path, time.monotonic() + self._deadline * 0.95)
        values = _secret(reply, path)
        metadata = (reply.body.get("data") or {}).get("metadata") or {}
        version = int(metadata.get("version") or 0)
        known, kept = self._newest.get(path, (0, values))
        if version < known:
            return kept
        self._newest[path] = version, values
        return values


class AnswersWholesFirstAndLooksLater(_KeyByKeyAsEver):
    """Gives the whole secret that it has kept, however old, and then looks whether it is so."""

    def __init__(self, environ: Mapping[str, str]) -> None:
        super().__init__(environ)
        self._kept: dict[str, dict[str, str]] = {}

    def read_all(self, path: str) -> dict[str, str]:
        if path not in self._kept:
            self._kept[path] = super().read_all(path)
        else:
            threading.Thread(target=self._look, args=(path,), daemon=True).start()
        return self._kept[path]

    def _look(self, path: str) -> None:
        with contextlib.suppress(ClientError):
            self._kept[path] = LazyClient.read_all(self, path)


# Values that are not like others


class TakesAnEmptyValueForMissing(LazyClient):
    """Asks of a value whether it is true, and not whether it is there."""

    def read(self, path: str, key: str) -> str:
        value = super().read(path, key)
        if not value:
            raise MissingError(f"there is no {key} in {path}")
        return value


class DropsEmptyKeysOfAWhole(_KeyByKeyAsEver):
    """Leaves out of a whole secret what is empty."""

    def read_all(self, path: str) -> dict[str, str]:
        return {key: value for key, value in super().read_all(path).items() if value}


class StripsItsValues(LazyClient):
    """Takes blanks and a line's end around a value for an editor's."""

    def read_all(self, path: str) -> dict[str, str]:
        return {key: value.strip() for key, value in super().read_all(path).items()}


# Loops without a pause, while nothing is broken


class LooksAtANewVersionWithoutAPause(LazyClient):
    """Makes sure for three seconds of what has changed, by two threads, at the pace of answers."""

    pause = 0.0

    def __init__(self, environ: Mapping[str, str]) -> None:
        super().__init__(environ)
        self._over = threading.Event()
        self._had: dict[str, dict[str, str]] = {}

    def read_all(self, path: str) -> dict[str, str]:
        found = super().read_all(path)
        known = self._had.get(path, found)
        self._had[path] = found
        for _ in range(2 if known != found else 0):
            threading.Thread(target=self._make_sure, args=(path,), daemon=True).start()
        return found

    def _make_sure(self, path: str) -> None:
        until = time.monotonic() + 3.0
        while time.monotonic() < until and not self._over.wait(self.pause):
            with contextlib.suppress(ClientError):
                LazyClient.read_all(self, path)

    def close(self) -> None:
        self._over.set()
        super().close()


class LooksAtANewVersionEightTimesASecond(LooksAtANewVersionWithoutAPause):
    """Has a pause, if a short one."""

    pause = 0.12


class LooksAtItsSecondTokenWithoutAPause(LazyClient):
    """Makes sure for three seconds of a token that came in place of another, by two threads."""

    _tokens = 0

    def _log_in(self, deadline: float) -> Token:
        token = super()._log_in(deadline)
        self._tokens += 1
        for _ in range(2 if self._tokens > 1 else 0):
            threading.Thread(target=self._look, args=(token,), daemon=True).start()
        return token

    def _look(self, token: Token) -> None:
        until = time.monotonic() + 3.0
        while time.monotonic() < until and not self._closed:
            with contextlib.suppress(ClientError):
                self._wire.send(
                    "GET",
                    "auth/token/lookup-self",
                    deadline=time.monotonic() + 1.0,
                    token=token.value,
                )


# What it says, and what it leaves behind, by another verb than that which is tried first


class ShowsWhatItCouldNotChange(Tweaked):
    """Logs what it was to change, where it could not."""

    def update(self, path: str, data: Mapping[str, str]) -> None:
        try:
            super().update(path, data)
        except VaultError as error:
            log.error("PATCH %s %r failed: %s", path, dict(data), error)
            raise


class LogsItsWholes(_KeyByKeyAsEver):
    """Writes what it has of a whole secret into its log, for debugging."""

    def read_all(self, path: str) -> dict[str, str]:
        found = super().read_all(path)
        log.debug("%s is %r", path, found)
        return found


class LeavesAConnectionForEachProbe(Tweaked):
    """Asks Vault itself how it is over a connection of its own, and closes none of them."""

    def __init__(self, environ: Mapping[str, str]) -> None:
        super().__init__(environ)
        host, _, port = environ["VAULT_ADDR"].rpartition("/")[2].partition(":")
        self._address = host, int(port)
        self._left: list[socket.socket] = []

    def health(self) -> bool:
        with contextlib.suppress(OSError):
            connection = socket.create_connection(self._address, timeout=0.5)
            self._left.append(connection)
            connection.sendall(b"GET /v1/sys/health HTTP/1.1\r\nHost: vault\r\n\r\n")
            connection.recv(65536)
        return super().health()

    def close(self) -> None:
        super().close()
        for connection in self._left:
            connection.close()


class LeavesAThreadForEachWhole(_KeyByKeyAsEver):
    """Sets a timer for each whole secret that it asks for, and cancels none."""

    def read_all(self, path: str) -> dict[str, str]:
        threading.Thread(target=threading.Event().wait, args=(120.0,), daemon=True).start()
        return super().read_all(path)


# Leases: what is reported, and what is not


class ReplacesAllForAReport(Leasing):
    """Takes the refusal of one path's user for one of all its users."""

    def lease(self, path: str, failed: str | None = None) -> Credential:
        by_path = self.client._session().leases._by_path
        held = by_path.get(path)
        grant = held.grant if held is not None else None
        if grant is not None and grant.credential.username == failed:
            for other in by_path.values():
                if other is not held and other.grant is not None:
                    other.grant.lost = "refused"
        return super().lease(path, failed)


class _MovesWhatIsReported(Leases):
    def _ask(self, path: str, token: LeaseToken, deadline: Deadline) -> Grant:
        grant = super()._ask(path, token, deadline)
        grant.__class__ = _Unbound
        return grant

    def _on_current_token(self, grant: Grant) -> bool:
        return grant.token.lost is not None or super()._on_current_token(grant)


class MovesWhatIsReportedAlone(Leasing):
    """When it has lost its token, and not replaced it in time, one path alone moves to the next."""

    leases_type: ClassVar[type[Leases]] = _MovesWhatIsReported


class HandsOutTheRefusedAgain(Leasing):
    """Gives what it gave last, where it has no other: whoever asks has at least something."""

    lasts = math.inf

    def __init__(self, environ: Mapping[str, str]) -> None:
        super().__init__(environ)
        self._last: dict[str, Credential] = {}
        self._since: dict[str, float] = {}

    def lease(self, path: str, failed: str | None = None) -> Any:
        try:
            found = self._last[path] = super().lease(path, failed)
        except VaultError:
            now = time.monotonic()
            since = self._since.setdefault(path, now)
            if path not in self._last or now - since >= self.lasts:
                raise
            return self._last[path]
        self._since.pop(path, None)
        return found


class HandsOutTheRefusedForAMoment(HandsOutTheRefusedAgain):
    """For as long as it takes others to find out that there is no other."""

    lasts = 1.0


# Some of its connections


class ReadsInTurnOverADeadConnection(LazyClient):
    """Takes two connections in turn, one of which it does not make anew when Vault was away."""

    _failed = False
    _turn = 0

    def _ask(self, *request: Any, **more: Any) -> Reply:
        try:
            return super()._ask(*request, **more)
        except UnavailableError:
            self._failed = True
            raise

    def read_all(self, path: str) -> dict[str, str]:
        self._turn += 1
        if self._failed and self._turn % 2:
            raise UnavailableError("the connection is closed")
        return super().read_all(path)


# What is there, and is said not to be


class TakesARefusedConnectionForMissing(LazyClient):
    """Has no secret where nobody listens, and says that there is none."""

    _refused = False

    def _ask(self, *request: Any, **more: Any) -> Reply:
        try:
            reply = super()._ask(*request, **more)
        except UnavailableError as error:
            self._refused |= "ConnectionRefused" in str(error)
            raise
        self._refused = False
        return reply

    def read_all(self, path: str) -> dict[str, str]:
        try:
            return super().read_all(path)
        except UnavailableError:
            if self._refused:
                raise MissingError(f"there is no {path}") from None
            raise


class TakesADeadTokenForMissing(LazyClient):
    """The call that finds its token dead has no secret: the next one logs in."""

    def _fetch(self, path: str, deadline: float) -> Reply:
        where, token = f"{self._mount}/data/{path}", self._valid_token(deadline)
        reply = self._ask("GET", where, deadline, token)
        if reply.status == HTTPStatus.FORBIDDEN:
            if self._was_dead(where, token, deadline):
                raise MissingError(f"there is no {path}")
            raise DeniedError(f"the policy denies {path}")
        return reply
