"""Clients that no fault of the suite had met: each is right wherever it had been looked at.

Each is listed in the module of the group whose scenario it meets.
"""

from __future__ import annotations

import contextlib
import ctypes
import signal
import socket
import ssl
import threading
import time
from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any, ClassVar

from resilient_vault_client import (
    PermissionDenied,
    Secret,
    VaultClient,
    VaultError,
)
from resilient_vault_client._clock import clock
from resilient_vault_client._deadline import Deadline
from resilient_vault_client._grant import Grant
from resilient_vault_client._held import Held
from resilient_vault_client._leases import Leases
from tests.mutants.clients import AtShare, Leasing, Shaken
from tests.mutants.edges_refusals import _Four
from tests.subjects.lazy_client import Credentials, LazyClient, Token
from tests.subjects.lazy_wire import (
    DeniedError,
    GivenUpError,
    Reply,
    UnavailableError,
    Wire,
    _left,
    is_whole,
)
from vault_harness.subjects.reference import ReferenceSubject

# The network


class _ConnectsAtLeisure(Wire):
    def _exchange(self, request: bytes, deadline: float) -> bytes:
        received = bytearray()
        with socket.create_connection((self._host, self._port)) as peer:
            peer.settimeout(_left(deadline))
            peer.sendall(request)
            while not is_whole(received):
                peer.settimeout(_left(deadline))
                if not (piece := peer.recv(65536)):
                    break
                received += piece
        return bytes(received)


class ConnectsAtLeisure(LazyClient):
    """A request and its answer have a deadline; the connection before them has none.

    Where nobody takes it and nobody refuses it the kernel tries for two minutes.
    """

    wire_type = _ConnectsAtLeisure


class _Unhurried(ssl.SSLContext):
    def wrap_socket(self, sock: socket.socket, *args: Any, **more: Any) -> ssl.SSLSocket:
        sock.settimeout(None)
        return super().wrap_socket(sock, *args, **more)


class _ShakesHandsAtLeisure(Wire):
    def _context(self) -> ssl.SSLContext:
        context = _Unhurried(ssl.PROTOCOL_TLS_CLIENT)
        context.load_verify_locations(self._environ.get("VAULT_CACERT"))
        return context


class ShakesHandsAtLeisure(LazyClient):
    """To connect has a deadline, and so has a request; the handshake between them has none."""

    wire_type = _ShakesHandsAtLeisure


class _AnsweredInItsWay(Wire):
    """Sends a request as often, and in as much time, as its own `_answered` makes of it."""

    def send(
        self, method: str, path: str, *, deadline: float, token: str = "", body: object = None
    ) -> Reply:
        send = super().send

        def ask(until: float) -> Reply:
            return send(method, path, deadline=until, token=token, body=body)

        return self._answered(ask, deadline)

    def _answered(self, ask: Callable[[float], Reply], deadline: float) -> Reply:
        raise NotImplementedError


class _SleepsAsItIsTold(_AnsweredInItsWay):
    def _answered(self, ask: Callable[[float], Reply], deadline: float) -> Reply:
        while True:
            try:
                return ask(deadline)
            except UnavailableError as error:
                pause = float(getattr(error, "pause", 0.0))
                if not pause:
                    raise
            time.sleep(pause)
            deadline = max(deadline, time.monotonic() + 1.0)


class SleepsAsItIsTold(LazyClient):
    """Heeds ``Retry-After`` within the call, whatever a call may take: a minute, if told so.

    A library that repeats by itself does so: urllib3, by its default.
    """

    wire_type = _SleepsAsItIsTold


class _ReadsHeadersAsTheyAreSpelled(_AnsweredInItsWay):
    def _answered(self, ask: Callable[[float], Reply], deadline: float) -> Reply:
        try:
            return ask(deadline)
        except UnavailableError as error:
            if getattr(error, "pause", 0.0) and not self._spelled:
                error.pause = 0.0  # type: ignore[attr-defined]  # as what raised it has set it
            raise

    def _exchange(self, request: bytes, deadline: float) -> bytes:
        received = super()._exchange(request, deadline)
        self._spelled = b"\r\nRetry-After:" in received
        return received

    _spelled = False


class ReadsHeadersAsTheyAreSpelled(LazyClient):
    """Looks for ``Retry-After``, and finds no ``retry-after``, which is the same."""

    wire_type = _ReadsHeadersAsTheyAreSpelled


class _AsksOnceMoreAtOnce(_AnsweredInItsWay):
    def _answered(self, ask: Callable[[float], Reply], deadline: float) -> Reply:
        try:
            return ask(deadline)
        except UnavailableError as error:
            if not getattr(error, "pause", 0.0):
                raise
        return ask(deadline)


class AsksAQuotaOnceMoreAtOnce(LazyClient):
    """Tries a request that a quota turns away once more, at once, over a connection of its own.

    After that it heeds ``Retry-After``. Its callers come two at a time.
    """

    capabilities = LazyClient.capabilities | {"cached"}
    wire_type = _AsksOnceMoreAtOnce

    def read_cached(self, path: str, key: str) -> str:
        return self.read(path, key)


# Tokens


class LetsAllWaitForAnotherToken(AtShare):
    """Throws a token away that was not renewed once, and has each call wait for another one.

    A login is tried in each, and refused: four in all, which is no more than it may. Its token
    lives, and none of its callers has anything of that.
    """

    share = 0.3
    credentials_type = _Four

    def _renewed(self, token: Token, deadline: float) -> bool:
        with contextlib.suppress(UnavailableError):
            if super()._renewed(token, deadline):
                return True
        self._token = None
        return False

    def _valid_token(self, deadline: float) -> Token:
        if self._token is not None:
            return super()._valid_token(deadline)
        time.sleep(0.6)
        try:
            return super()._valid_token(deadline)
        except DeniedError:
            time.sleep(max(0.0, deadline - time.monotonic()))
            raise


class LooksWhileItLogsIn(LazyClient):
    """Looks at its token under the lock that a login holds, also where the token has not ended.

    A renewal holds nobody up: that is no login.
    """

    def __init__(self, environ: Mapping[str, str]) -> None:
        super().__init__(environ)
        self._logging_in = threading.RLock()

    def _log_in(self, deadline: float) -> Token:
        with self._logging_in:
            return super()._log_in(deadline)

    def _valid_token(self, deadline: float) -> Token:
        if not self._logging_in.acquire(timeout=max(0.0, deadline - time.monotonic())):
            raise GivenUpError("another thread still waits for Vault")
        self._logging_in.release()
        return super()._valid_token(deadline)


class _HasOneRoleId(Credentials):
    def _one(self, name: str) -> str:
        known = self._last.get(name) if name == "VAULT_ROLE_ID" else None
        return known or super()._one(name)


class ReadsItsRoleIdOnce(LazyClient):
    """Looks for a new secret-id at each login, and takes its role-id for one that never changes.

    A role that is made anew has another one.
    """

    credentials_type = _HasOneRoleId


class ReckonsByLocalTime(LazyClient):
    """Takes the moment at which Vault says that a token ends for one of its own time zone.

    Right where that is UTC, as on most servers, and hours off elsewhere.
    """

    def _log_in(self, deadline: float) -> Token:
        token = super()._log_in(deadline)
        told = self._ask("GET", "auth/token/lookup-self", deadline, token).body["data"]
        ends = datetime.fromisoformat(told["expire_time"][:19])
        token.since = time.monotonic()
        token.ttl = (ends - datetime.now()).total_seconds()  # noqa: DTZ005 - its very fault
        self._arm(token.due)
        return token


# Its end


class DiesOfASignal(LazyClient):
    """Gives its token back where it is told to close; the signal of a deployment just ends it."""

    def read(self, path: str, key: str) -> str:
        # Whoever serves a Python object listens to SIGTERM for it. C sets that from any thread.
        ctypes.CDLL(None).signal(int(signal.SIGTERM), None)
        return super().read(path, key)


# Secrets


class AsksOnForWhatIsMissing(LazyClient):
    """Takes any answer but 200 for one that may be another in a moment, and asks on in its call."""

    tries = 99

    def _fetch(self, path: str, deadline: float) -> Reply:
        reply = super()._fetch(path, deadline)
        for _ in range(self.tries - 1):
            if reply.status != 404 or time.monotonic() + 0.4 > deadline:
                break
            time.sleep(0.3)
            reply = super()._fetch(path, deadline)
        return reply


class AsksTwiceForWhatIsMissing(AsksOnForWhatIsMissing):
    """Makes sure that it is missing, once."""

    tries = 2


class LogsInForALateCaller(LazyClient):
    """Gives its token back at its end, and gets another for whoever calls after that."""

    def _log_in(self, deadline: float) -> Token:
        closed, self._closed = self._closed, False
        try:
            return super()._log_in(deadline)
        finally:
            self._closed = closed


# Changes


class ChangesByClientsOfTheirOwn(ReferenceSubject):
    """Makes a client for each change, as a script does: it logs in, writes, and ends cleanly."""

    def __init__(self, environ: Mapping[str, str]) -> None:
        super().__init__(VaultClient(environ=environ))
        self._environ = environ

    def update(self, path: str, data: Mapping[str, str]) -> None:
        own = ReferenceSubject(VaultClient(environ=self._environ))
        try:
            own.update(path, data)
        finally:
            own.close()


class HoldsUpItsReadersWhileItWrites(ReferenceSubject):
    """Has a lock for readers and writers, and holds it while it waits for Vault: alone to write."""

    def __init__(self, environ: Mapping[str, str]) -> None:
        super().__init__(VaultClient(environ=environ))
        self._writing = threading.Lock()

    def read(self, path: str, key: str) -> Secret:
        with self._writing:
            pass  # readers do not wait for each other
        return super().read(path, key)

    def write(self, path: str, data: Mapping[str, str]) -> None:
        with self._writing:
            super().write(path, data)


# Leases


class LeasesInTheRoot(Leasing):
    """Leases by code of its own, which has no header for the namespace."""

    def __init__(self, environ: Mapping[str, str]) -> None:
        super().__init__(environ)
        transport = self.client._session()._transport
        send = transport._send

        def without(method: Any, url: Any, headers: Any, content: Any, deadline: Any) -> Any:
            if "/creds/" in url.path:
                headers = [(name, value) for name, value in headers if name != b"X-Vault-Namespace"]
            return send(method, url, headers, content, deadline)

        transport._send = without  # type: ignore[method-assign]


class _LogsInForEachFailure(Leases):
    def _ask_for_more(self, grant: Grant, deadline: Deadline) -> dict[str, Any]:
        try:
            return super()._ask_for_more(grant, deadline)
        except VaultError:
            with contextlib.suppress(VaultError):
                self._authenticator._method.log_in(Deadline(self._timeout), 0.0)
            raise


class LogsInForEachFailedLease(Leasing):
    """Takes a lease that is not renewed for a login that is no good any more, and makes another.

    Its leases stay with the token that they have. Nobody asks for anything with the others, each of
    which lives for as long as a token does.
    """

    leases_type: ClassVar[type[Leases]] = _LogsInForEachFailure


class _LogsInForDeniedRenewals(Leases):
    most = 99
    _logged_in = 0

    def _denied(
        self, held: Held, grant: Grant, denial: PermissionDenied, deadline: Deadline
    ) -> str | None:
        if self._logged_in < self.most:
            self._logged_in += 1
            with contextlib.suppress(VaultError):
                self._authenticator._method.log_in(Deadline(self._timeout), 0.0)
        if self._logged_in < self.most and grant.remaining > 0.15 * grant.life:
            held.due = clock() + 0.5
            return None
        return super()._denied(held, grant, denial, deadline)


class LogsInForDeniedRenewals(Leasing):
    """Takes a policy that allows no renewal of leases for a dead token, and logs in at each try.

    It tries twice a second, until the lease's end is near.
    """

    leases_type: ClassVar[type[Leases]] = _LogsInForDeniedRenewals


class _LogsInOnceForThem(_LogsInForDeniedRenewals):
    most = 1


class LogsInOnceForDeniedRenewals(Leasing):
    """Looks once whether its role may do more by now."""

    leases_type: ClassVar[type[Leases]] = _LogsInOnceForThem


# What outages leave behind


class SpinsAfterAnOutage(Shaken):
    """A thread of its waits for Vault's return, and asks nobody but itself whether that has come.

    So does whoever reads a channel that is closed, in Go, or waits for a flag that nobody sets.
    """

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


class LooksAboutAfterAnOutage(SpinsAfterAnOutage):
    """Has a pause between its looks, and takes a tenth of a core."""

    rests = 0.09


class LeavesAConnectionForEachRenewal(LazyClient):
    """Makes a client for each renewal, and closes none of them."""

    most = 99

    def __init__(self, environ: Mapping[str, str]) -> None:
        super().__init__(environ)
        self._left: list[socket.socket] = []

    def _renewed(self, token: Token, deadline: float) -> bool:
        if len(self._left) < self.most:
            self._left.append(_kept_open(self._wire, deadline))
        return super()._renewed(token, deadline)

    def close(self) -> None:
        super().close()
        for kept in self._left:
            kept.close()


class LeavesTwoConnectionsForRenewals(LeavesAConnectionForEachRenewal):
    """For four and no more, as a pool that has come to its size: two of them in its first life."""

    most = 4


def _kept_open(wire: Wire, deadline: float) -> socket.socket:
    """A connection that was used once: Vault itself ends one that never was."""
    kept = socket.create_connection((wire._host, wire._port), timeout=_left(deadline))
    kept.sendall(b"GET /v1/sys/health HTTP/1.1\r\nHost: vault\r\n\r\n")
    kept.recv(1)
    return kept


class LeavesAConnectionForWhatIsMissing(LazyClient):
    """Reads no answer to its end that says that a secret is not there, and closes none of those.

    So does a function in Go that returns for a 404 before it has said who closes the body.
    """

    def __init__(self, environ: Mapping[str, str]) -> None:
        super().__init__(environ)
        self._left: list[socket.socket] = []

    def _fetch(self, path: str, deadline: float) -> Reply:
        reply = super()._fetch(path, deadline)
        if reply.status == 404:
            self._left.append(_kept_open(self._wire, deadline))
        return reply

    def close(self) -> None:
        super().close()
        for kept in self._left:
            kept.close()
