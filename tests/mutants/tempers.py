"""Correct clients with a pace of their own: how they wait, try again, rest and keep what they read.

Each is listed in the module of the group whose scenario once took its pace for a fault, and beside
it those that overdo it.
"""

from __future__ import annotations

import contextlib
import random
import threading
import time
from collections.abc import Iterator, Mapping

from tests.mutants.clients import LogsInOnTheFirst403
from tests.subjects.http2_client import Http2Client, Http2Wire
from tests.subjects.lazy_client import LazyClient, Token, _secret
from tests.subjects.lazy_wire import ClientError, Gate, GivenUpError, UnavailableError

FIRST = 0.1
"""Seconds of the first pause of many libraries, which doubles."""


class _Unguarded(Gate):
    """Leaves all pauses to whoever asks."""

    @contextlib.contextmanager
    def passage(self, deadline: float) -> Iterator[None]:
        del deadline
        yield


class StartsWithAToken(LazyClient):
    """Is not there before it has a token, for which it asks with full jitter, up to a second."""

    longest = 1.0

    def __init__(self, environ: Mapping[str, str]) -> None:
        super().__init__(environ)
        gate, self._gate = self._gate, _Unguarded(self.longest)
        pause = FIRST
        while self._token is None:
            with contextlib.suppress(ClientError):
                self._valid_token(time.monotonic() + self._deadline)
                break
            time.sleep(random.uniform(0.0, pause))
            pause = min(2 * pause, self.longest)
        self._gate = gate


class StartsInHaste(StartsWithAToken):
    """The same, with pauses that end at a third of a second."""

    longest = 0.3


class TriesUntilItsDeadline(LazyClient):
    """Tries again within a call for as long as that has, with pauses that double from 0.1 s."""

    gate_type = _Unguarded

    def read_all(self, path: str) -> dict[str, str]:
        deadline = time.monotonic() + self._deadline * 0.95
        pause = FIRST
        while True:
            try:
                return _secret(self._fetch(path, deadline), path)
            except UnavailableError:
                if time.monotonic() + pause >= deadline:
                    raise
            time.sleep(pause)
            pause *= 2


class IsSlowAtItsFirstRequest(LogsInOnTheFirst403):
    """Says at once that it is there, and takes longer for its first login than a call may.

    As on a virtual machine that loads what it needs for TLS and JSON when that is used first.
    """

    _warm = False

    def _log_in(self, deadline: float) -> Token:
        token = super()._log_in(deadline)
        if not self._warm:
            self._warm = True
            time.sleep(max(0.0, deadline - time.monotonic()))
            self._token = None
            raise UnavailableError("the first login took too long")
        return token


class AnswersFromMemory(LazyClient):
    """Hands out what it keeps fresh behind its callers' backs, and in an outage what it had last.

    It marks nothing as old.
    """

    every = (2.0, 3.0)

    def __init__(self, environ: Mapping[str, str]) -> None:
        super().__init__(environ)
        self._kept: dict[str, dict[str, str]] = {}
        self._over = threading.Event()
        threading.Thread(target=self._refresh, name="refreshes", daemon=True).start()

    def read_all(self, path: str) -> dict[str, str]:
        kept = self._kept.get(path)
        if kept is None:
            kept = self._kept[path] = super().read_all(path)
        return kept

    def _refresh(self) -> None:
        while not self._over.wait(random.uniform(*self.every)):
            for path in list(self._kept):
                try:
                    self._kept[path] = super().read_all(path)
                except UnavailableError:
                    continue  # what there is may be right still
                except ClientError:
                    self._kept.pop(path, None)

    def close(self) -> None:
        self._over.set()
        super().close()


class PollsTwiceAMinute(AnswersFromMemory):
    """Looks whether a secret has changed every 20 to 28 s, and says so."""

    every = (20.0, 28.0)

    def __init__(self, environ: Mapping[str, str]) -> None:
        super().__init__(environ)
        self.declares = {**self.declares, "refresh": 30.0}


class _Breaker(Gate):
    """A failure opens it for four seconds, in which nobody waits and nothing is sent; then one."""

    rests = 4.0

    @contextlib.contextmanager
    def passage(self, deadline: float) -> Iterator[None]:
        del deadline
        with self._changed:
            if time.monotonic() < self._opens or self._probing:
                raise GivenUpError("Vault failed a moment ago")
            self._probing = self._opens > 0
        opens = 0.0
        try:
            yield
        except UnavailableError:
            opens = time.monotonic() + self.rests
            raise
        finally:
            with self._changed:
                self._opens, self._probing = opens, False


class _Tidy(Http2Wire):
    def close(self) -> None:
        """End the connections that lie idle."""
        while self._idle:
            self._idle.pop().close()


class BreaksItsCircuit(Http2Client):
    """Tries once for each call, over connections that it keeps, and rests after a failure."""

    wire_type, gate_type = _Tidy, _Breaker

    def __init__(self, environ: Mapping[str, str]) -> None:
        super().__init__(environ)
        self.declares = {**self.declares, "backoff_cap": _Breaker.rests}

    def read_all(self, path: str) -> dict[str, str]:
        return _secret(self._fetch(path, time.monotonic() + self._deadline * 0.95), path)

    def close(self) -> None:
        super().close()
        assert isinstance(self._wire, _Tidy)
        self._wire.close()
