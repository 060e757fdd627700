"""Clients that break what is promised always, whatever a scenario is about.

Each is listed in the module of the group whose scenario it meets.
"""

from __future__ import annotations

import contextlib
import os
import threading
import time
from collections.abc import Mapping

from tests.mutants.clients import Tweaked
from tests.subjects.lazy_client import LazyClient, Token
from tests.subjects.lazy_wire import ClientError, UnavailableError

# Its end


class RaisesAtItsEnd(LazyClient):
    """Ends, and then trips over what it has already let go of."""

    def close(self) -> None:
        super().close()
        raise RuntimeError("it is closed already")


class RaisesWhereItsTokenIsNotTaken(LazyClient):
    """Insists on giving its token back, and lets the failure of that escape."""

    def close(self) -> None:
        token, self._token = self._token, None
        super().close()
        if token is not None:
            deadline = time.monotonic() + 1.0
            self._wire.send("POST", "auth/token/revoke-self", deadline=deadline, token=token.value)


# Its health


class RaisesWhileItIsIll(Tweaked):
    """Has no answer to the question for its health as long as it is not well."""

    def health(self) -> bool:
        if not super().health():
            raise RuntimeError("Vault does not answer")
        return True


class RaisesOnceItWasIll(Tweaked):
    """Says that it is not well, and can say nothing of it any more after that."""

    _ill = False

    def health(self) -> bool:
        well = super().health()
        if well and self._ill:
            raise RuntimeError("it was not well a moment ago")
        self._ill = self._ill or not well
        return well


# A token that is dead


class LooksAfterItsOldToken(LazyClient):
    """Goes on looking whether its first token is still well, when it has the second."""

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


class RenewsItsOldToken(LooksAfterItsOldToken):
    """Goes on renewing it, by a renewer that was meant to end with it."""

    asks = ("POST", "auth/token/renew-self")

    def _may_ask(self) -> bool:
        first, token = self._first, self._token
        # As long as they are one, two renewers would be at work.
        old = first is not None and (token is None or token.value != first.value)
        return old and super()._may_ask()


class SendsOnceMore(LazyClient):
    """A queue of its own still has a request with the lost token when all else has moved on.

    What was about to be sent when the new token came may come; this is sent long after it.
    """

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


class SendsWhatWasOnItsWay(SendsOnceMore):
    """Has a request with the lost token on its way for a moment when the new one comes."""

    late = 0.1


class SendsWhatASlowLinkHeldUp(SendsOnceMore):
    """Has it wait for a connection, which a slow link does not give back for long."""

    late = 0.9


class GoesOnWithWhatItGaveBack(SendsOnceMore):
    """Gives its token back as soon as it has another, and has a caller who still reads with it."""

    def _log_in(self, deadline: float) -> Token:
        old = self._token
        token = super()._log_in(deadline)
        if old is not None:
            with contextlib.suppress(ClientError):
                self._ask("POST", "auth/token/revoke-self", deadline, old)
            self._later("sys/capabilities-self", old)
        return token


class FindsOutByARefusal(LazyClient):
    """Reckons with no end of a token: a refused read tells it, and is made again with another."""

    def _arm(self, seconds: float) -> None:
        pass

    def _valid_token(self, deadline: float) -> Token:
        if self._token is not None:
            self._token.since = time.monotonic()
        return super()._valid_token(deadline)


class DiesInAnOutage(LazyClient):
    """Ends its process when Vault has not answered three times."""

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


class DiesUnderASeal(DiesInAnOutage):
    """Takes a seal for the end of everything."""

    times = 2
