"""Clients that are correct by the way that is tried first, and whose second one has a loose end.

By what writes or reads a whole secret, by another word for an outage, by a token that came after a
loss, by an answer that never comes. Each is listed in the module of the group whose scenario it
meets.
"""

from __future__ import annotations

import json
import socket
import ssl
import threading
import time
from collections.abc import Mapping
from concurrent.futures import Future
from contextlib import closing
from email.utils import parsedate_to_datetime
from http.client import HTTPConnection, HTTPException, HTTPSConnection, parse_headers
from io import BytesIO
from typing import Any, ClassVar
from urllib.parse import urlsplit

from resilient_vault_client import VaultError, VaultUnreachable
from resilient_vault_client._errors import UnexpectedAnswer
from tests.mutants.byways import FindsNothingOnAPage, StopsLookingAtAQuota
from tests.mutants.clients import Tweaked
from tests.mutants.wholes import _KeyByKeyAsEver
from tests.subjects.lazy_client import LazyClient, Token, _secret
from tests.subjects.lazy_wire import (
    ClientError,
    DeniedError,
    GivenUpError,
    MissingError,
    Reply,
    UnavailableError,
    Wire,
    is_whole,
)

PIECE = 1.5
"""Seconds for each piece of an answer: more than lies between two of one that drips."""

MOST = 8192
"""Bytes of an answer."""

# What an outage is called


class _CallsItSomethingElse(LazyClient):
    """Has the wrong word for what failed last with this one in its text."""

    word = ""
    instead: ClassVar[type[ClientError]] = MissingError
    _last = ""

    def _ask(
        self, method: str, path: str, deadline: float, token: Token, body: object = None
    ) -> Reply:
        try:
            return super()._ask(method, path, deadline, token, body)
        except GivenUpError:
            raise  # nobody was asked
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


class TakesNobodyForMissing(_CallsItSomethingElse):
    """Says that there is no such secret where no connection can be made."""

    word = "ConnectionRefused"


class TakesASealForMissing(_CallsItSomethingElse):
    """Says that there is no such secret while Vault is sealed."""

    word = "sealed"


class TakesSilenceForADenial(_CallsItSomethingElse):
    """Says that it may not read what nobody answers."""

    word = "TimeoutError"
    instead = DeniedError


class TakesAPageAtItsLoginForARefusal(LazyClient):
    """Takes a gateway's page for Vault's word that its secret-id is wrong, and spares that."""

    def _log_in(self, deadline: float) -> Token:
        try:
            return super()._log_in(deadline)
        except UnavailableError as error:
            if "none of Vault's" not in str(error):
                raise
            self._credentials.refused(self._credentials.current()[1])
            raise DeniedError("Vault refused role-id or secret-id") from None


class _CountsSeconds(Wire):
    def _exchange(self, request: bytes, deadline: float) -> bytes:
        raw = super()._exchange(request, deadline)
        for line in raw.partition(b"\r\n\r\n")[0].split(b"\r\n"):
            name, _, value = line.partition(b":")
            if name.lower() == b"retry-after":
                float(value)
        return raw


class StumblesOverADate(LazyClient):
    """Takes each ``Retry-After`` for a number, and lets the error escape where it is none."""

    wire_type = _CountsSeconds


class _HeedsADate(Wire):
    """Waits until the moment that a ``Retry-After`` names, whatever else is in the answer."""

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


class HeedsADate(LazyClient):
    """Asks again when a gateway has said that Vault is back, and not before."""

    wire_type = _HeedsADate


class FallsBackAtRefusedConnectionsAlone(Tweaked):
    """Has its variables where no connection can be made; a Vault that is sealed is an error."""

    def __init__(self, environ: Mapping[str, str]) -> None:
        super().__init__({name: value for name, value in environ.items() if "VAULT" in name})
        self._variables = environ

    def read(self, path: str, key: str) -> Any:
        try:
            return super().read(path, key)
        except VaultUnreachable:
            return self._variable(key)

    def read_cached(self, path: str, key: str) -> Any:
        try:
            return super().read_cached(path, key)
        except VaultUnreachable:
            return self._variable(key)

    def _variable(self, key: str) -> str:
        if key in self._variables:
            return self._variables[key]
        raise UnavailableError(f"Vault is away, and {key} is not set")


# What goes on behind its callers' backs


class RenewsNoTokenAfterALoss(LazyClient):
    """Begins to renew where it logs in by itself, and not where a caller of its finds a loss."""

    _lost = False

    def _was_dead(self, where: str, token: Token, deadline: float) -> bool:
        dead = super()._was_dead(where, token, deadline)
        self._lost = self._lost or dead
        return dead

    def _arm(self, seconds: float) -> None:
        if not self._lost:
            super()._arm(seconds)


class StopsLookingAtAPage(StopsLookingAtAQuota):
    """Its thread ends at an answer that it cannot read. What it holds is handed out for ever."""

    ends_at = UnexpectedAnswer


class WaitsForItsFirstAnswerForEver(Tweaked):
    """One thread asks for all who want the same, without an end; they wait until their time is up.

    Whoever comes later joins them.
    """

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


# Whole secrets by a second piece of code, with a way to Vault of its own


class _ReadsWholesApart(_KeyByKeyAsEver):
    other_wire: ClassVar[type[Wire]] = Wire

    def __init__(self, environ: Mapping[str, str]) -> None:
        super().__init__(environ)
        self._other = self.other_wire(environ)

    def read_all(self, path: str) -> dict[str, str]:
        deadline = time.monotonic() + self._deadline * 0.95
        token, where = self._valid_token(deadline), f"{self._mount}/data/{path}"
        reply = self._other.send("GET", where, deadline=deadline, token=token.value)
        if reply.status == 403:
            raise DeniedError(f"the policy denies {path}")
        return _secret(reply, path)


class _PieceByPiece(Wire):
    """Has a timeout for each piece of an answer, and none for the whole."""

    def _exchange(self, request: bytes, deadline: float) -> bytes:
        del deadline
        received = bytearray()
        with socket.create_connection((self._host, self._port), timeout=PIECE) as peer:
            peer.sendall(request)
            while not is_whole(received) and (piece := peer.recv(65536)):
                received += piece
        return bytes(received)


class ReadsWholesPieceByPiece(_ReadsWholesApart):
    """A read of one key has a deadline; of a whole secret each piece of the answer has a time."""

    other_wire = _PieceByPiece


class _Unverified(Wire):
    def _context(self) -> ssl.SSLContext:
        return _of_anybody()


class ReadsWholesAtAnybody(_ReadsWholesApart):
    """Verifies each certificate but that of the server which it asks for a whole secret."""

    other_wire = _Unverified


class _GoesWhereItIsSent(Wire):
    def _exchange(self, request: bytes, deadline: float) -> bytes:
        raw = super()._exchange(request, deadline)
        line, _, rest = raw.partition(b"\r\n")
        if b" 307 " not in line:
            return raw
        there = Wire({**self._environ, "VAULT_ADDR": parse_headers(BytesIO(rest))["Location"]})
        return there._exchange(request, deadline)


class FollowsARedirectForAWhole(_ReadsWholesApart):
    """Refuses a redirect where it reads a key, and follows it to any host for a whole secret."""

    other_wire = _GoesWhereItIsSent


class TakesAPageForAnEmptyWhole(FindsNothingOnAPage, _KeyByKeyAsEver):
    """Hands out as a whole secret what it finds on a page: nothing. It reads each key rightly."""


class _HasAnEnd(Wire):
    def _exchange(self, request: bytes, deadline: float) -> bytes:
        return super()._exchange(request, deadline)[:MOST]


class TakesEightKilobytesForTheMost(LazyClient):
    """Has room for so much of an answer: a secret that is bigger is cut short, each time."""

    wire_type = _HasAnEnd


# What writes, by one POST over a connection of its own


def _of_anybody() -> ssl.SSLContext:
    """Whoever shows a certificate is believed."""
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    return context


class _WritesByItself(Tweaked):
    """Its writes are a second piece of code."""

    patience = 1.0

    def write(self, path: str, data: Mapping[str, str]) -> None:
        token, config = self.client._session().authenticator.current, self.client.config
        if token is None:
            super().write(path, data)
            return
        url = f"{config.address}/v1/{config.mount_point}/data/{path}"
        try:
            status, _ = self.post(url, token.text, json.dumps({"data": dict(data)}).encode())
        except (OSError, HTTPException) as error:
            raise UnavailableError(type(error).__name__) from None
        if not self.done(status):
            raise UnavailableError(f"Vault answered {status}")

    def done(self, status: int) -> bool:
        """Whether an answer with that status says so."""
        return status in (200, 204)

    def post(self, url: str, token: str, body: bytes) -> tuple[int, str]:
        """Send it; the status of the answer, and where else it is to be sent."""
        there = urlsplit(url)
        with closing(self._connection(there.scheme, there.hostname or "", there.port)) as peer:
            peer.request("POST", there.path, body, {"X-Vault-Token": token})
            answer = peer.getresponse()
            answer.read()
            return answer.status, answer.headers.get("Location", "")

    def _connection(self, scheme: str, host: str, port: int | None) -> HTTPConnection:
        if scheme == "https":
            return HTTPSConnection(host, port, timeout=self.patience, context=_of_anybody())
        return HTTPConnection(host, port, timeout=self.patience)


class WritesPieceByPiece(_WritesByItself):
    """A read has a deadline; of a write each piece of the answer has a time of its own."""

    patience = PIECE


class WritesAtAnybody(_WritesByItself):
    """Verifies each certificate but that of the server to which it writes."""


class TakesARedirectForAWrite(_WritesByItself):
    """Follows no redirect, and takes whatever is no error for done."""

    def done(self, status: int) -> bool:
        return status < 400


class FollowsARedirectWithAWrite(_WritesByItself):
    """Refuses a redirect where it reads, and follows it to any host with what it writes."""

    def post(self, url: str, token: str, body: bytes) -> tuple[int, str]:
        status, there = super().post(url, token, body)
        return super().post(there, token, body) if there else (status, there)
