"""Clients that stumble over a gateway: over a page for a login, or a connection that it ends.

Each is listed in the module of the group whose scenario it meets.
"""

from __future__ import annotations

import os
import select
import socket
import threading
import time
from collections import deque
from collections.abc import Mapping

from tests.mutants.edges_hangs import RenewsInACallersCall
from tests.mutants.unasked import Writes
from tests.subjects.lazy_client import LazyClient, Token
from tests.subjects.lazy_wire import (
    ClientError,
    GivenUpError,
    UnavailableError,
    Wire,
    _left,
    is_whole,
)

# What is answered 200 to a login, long after the start

NO_JSON, NO_AUTH = "none of Vault's", "login was answered with 200"
"""How the correct client calls a page, and JSON in which there is no token."""


class _AtALogin(LazyClient):
    """Does something of its own where a login fails in words that hold `word`."""

    word = NO_JSON

    def _log_in(self, deadline: float) -> Token:
        try:
            return super()._log_in(deadline)
        except UnavailableError as error:
            if self.word not in str(error):
                raise
            return self._met(error)

    def _met(self, error: UnavailableError) -> Token:
        raise error


class TakesAPageForALogin(_AtALogin):
    """Looks at the status of what its login is answered, and has no token then, for ever."""

    def _met(self, error: UnavailableError) -> Token:
        del error
        self._token = Token("", first_ttl=0.0, ttl=0.0, renewable=False, batch=True, uses=0)
        return self._token


class TakesJsonForALogin(TakesAPageForALogin):
    """Can tell a page from an answer, and takes all that is JSON for Vault's."""

    word = NO_AUTH


class _HearsOfItsEnd(LazyClient):
    """Has a refused read tell it that its token has ended, and not its own clock.

    Vault counts whole seconds, so which of the two comes first would be chance.
    """

    def _valid_token(self, deadline: float) -> Token:
        if self._token is not None:
            self._token.since = time.monotonic()
        return super()._valid_token(deadline)


class EndsItsRenewerAtAPageForALogin(_HearsOfItsEnd, _AtALogin):
    """Has a thread that replaces its token in time, and that ends by what it cannot read."""

    _ended = False

    def _met(self, error: UnavailableError) -> Token:
        self._ended = True
        raise error

    def _arm(self, seconds: float) -> None:
        if not self._ended:
            super()._arm(seconds)


class EndsItsRenewerAtJsonForALogin(EndsItsRenewerAtAPageForALogin):
    """By JSON without what it looks for, as ``body["auth"]["client_token"]`` does."""

    word = NO_AUTH


class DiesOfAPageForALogin(_AtALogin):
    """Has nobody who hears of what a thread of its own could not read: the process ends."""

    def _met(self, error: UnavailableError) -> Token:
        del error
        os._exit(1)


class TellsTheCallerOfItsLogin(RenewsInACallersCall):
    """Logs in in the call of whoever comes when it is time, which fails if that does."""

    def __init__(self, environ: Mapping[str, str]) -> None:
        super().__init__(environ)
        self._call = threading.local()

    def _log_in(self, deadline: float) -> Token:
        try:
            return super()._log_in(deadline)
        except ClientError:
            self._call.failed = True
            raise

    def _valid_token(self, deadline: float) -> Token:
        self._call.failed = False
        token = super()._valid_token(deadline)
        if self._call.failed:
            raise GivenUpError("a login that was due has failed")
        return token


class RestsAfterAFailedLogin(LazyClient):
    """Has promised nothing of its pauses, and tries a login that failed again in time."""

    rest = 2.5

    def __init__(self, environ: Mapping[str, str]) -> None:
        super().__init__(environ)
        self.declares = {"deadline": self._deadline}

    def _arm(self, seconds: float) -> None:
        super()._arm(self.rest if seconds < 2 * self._longest else seconds)


class RestsForTooLongAfterAFailedLogin(_HearsOfItsEnd, RestsAfterAFailedLogin):
    """Tries it again when the token has ended."""

    rest = 6.5


# Connections that the server has said to end


class _Pool(Wire):
    """Keeps its connections, and drops all that lie idle where one of them has failed.

    One that the server has ended is dropped before it is used.
    """

    heeds = True

    def __init__(self, environ: Mapping[str, str]) -> None:
        super().__init__(environ)
        self._idle: deque[socket.socket] = deque()

    def _exchange(self, request: bytes, deadline: float) -> bytes:
        peer = self._taken() or socket.create_connection(
            (self._host, self._port), timeout=_left(deadline)
        )
        received = bytearray()
        try:
            peer.settimeout(_left(deadline))
            peer.sendall(request.replace(b"Connection: close\r\n", b"", 1))
            while not is_whole(received):
                peer.settimeout(_left(deadline))
                piece = peer.recv(65536)
                if not piece:
                    raise ConnectionResetError
                received += piece
        except OSError:
            peer.close()
            self._forget()
            raise
        head = received.partition(b"\r\n\r\n")[0].lower()
        if self.heeds and b"\r\nconnection: close" in head:
            peer.close()
        else:
            self._idle.append(peer)
        return bytes(received)

    def _forget(self) -> None:
        while (idle := self._next()) is not None:
            idle.close()

    def _taken(self) -> socket.socket | None:
        while (peer := self._next()) is not None:
            if not select.select([peer], [], [], 0)[0]:
                return peer
            peer.close()
        return None

    def _next(self) -> socket.socket | None:
        try:
            return self._idle.pop()
        except IndexError:
            return None


class _DeafPool(_Pool):
    heeds = False


class _LoyalPool(_Pool):
    def _forget(self) -> None:
        """Believe the others."""


class HeedsAGoodbye(LazyClient):
    """Keeps its connections, but for those that the server has said to end."""

    wire_type = _Pool


class KeepsTheRestOfItsPool(LazyClient):
    """Drops a connection that has died, and meets the next one: as many as a busy hour left."""

    wire_type = _LoyalPool


class KeepsWhatWasSaidToEnd(LazyClient):
    """Looks whether a connection has ended, and never at what was said of it."""

    wire_type = _DeafPool


class WritesOverWhatWasSaidToEnd(Writes):
    """Loses a write by that, which it does not repeat, as it should not."""

    wire_type = _DeafPool


class HeedsAGoodbyeAtAWrite(Writes):
    """Writes over another one."""

    wire_type = _Pool
