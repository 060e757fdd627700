"""Clients that break STA: static roles, whose passwords Vault rotates."""

from __future__ import annotations

import contextlib
import math
import threading
import time
from collections.abc import Mapping
from dataclasses import replace

from resilient_vault_client import (
    SecretNotFound,
    StaticCredential,
    VaultClient,
    VaultError,
    VaultUnavailable,
)
from resilient_vault_client._deadline import Deadline
from tests.mutants.clients import Mutant, Tolerated, by_name
from vault_harness.judge.subjects.reference import ReferenceSubject

# STA-01


class GoesByTtl(ReferenceSubject):
    """Keeps a password until `ttl` has passed, or it is refused."""

    def __init__(self, environ: Mapping[str, str]) -> None:
        super().__init__(VaultClient(environ=environ))
        self._known: dict[str, tuple[StaticCredential, float]] = {}

    def static(self, path: str, failed: str | None = None) -> StaticCredential:
        known, until = self._known.get(self.name_of(path), (None, 0.0))
        refused = known is not None and self.believes(known.password, failed)
        if known is not None and not refused and time.monotonic() < until:
            return known
        if refused:
            self.forget(path)
        try:
            fresh = self.ask(path)
        except VaultUnavailable as failure:
            if known is None:
                raise
            return self.instead(known, failure, until)
        self._known[self.name_of(path)] = fresh, time.monotonic() + self.lasts(fresh)
        return fresh

    def name_of(self, path: str) -> str:
        """Return the name under which a password is remembered."""
        return path

    def believes(self, password: str, failed: str | None) -> bool:
        return password == failed

    def forget(self, path: str) -> None:
        self._known.pop(path, None)

    def ask(self, path: str) -> StaticCredential:
        self.client._session().static.forget(path)
        return self.client.static_credential(path)

    def lasts(self, credential: StaticCredential) -> float:
        return max(1.0, float(credential.data["ttl"]))

    def instead(
        self, known: StaticCredential, failure: VaultError, until: float
    ) -> StaticCredential:
        del known, until
        raise failure


OVER, WORKS = "a password that is over is not handed out", "a credential that works"


class TreatsATtlOfZeroAsEndless(GoesByTtl):
    """Vault reports that `ttl` while a rotation is due."""

    def lasts(self, credential: StaticCredential) -> float:
        return float(credential.data["ttl"]) or math.inf


class SeesIt(GoesByTtl):
    """Hands a new password out with a delay."""

    late = 6.0

    def __init__(self, environ: Mapping[str, str]) -> None:
        super().__init__(environ)
        self._new: dict[str, tuple[float, StaticCredential]] = {}
        self._shown: dict[str, StaticCredential] = {}

    def static(self, path: str, failed: str | None = None) -> StaticCredential:
        del failed
        fresh, now = self.ask(path), time.monotonic()
        since, new = self._new.get(path, (0.0, None))
        if new is None or new.password != fresh.password:
            since = now if new is not None else 0.0
            self._new[path] = since, fresh
        if now - since >= self.late or path not in self._shown:
            self._shown[path] = fresh
        return self._shown[path]


class _AsksByItself(GoesByTtl):
    """At each call, and in a thread."""

    every = 0.0

    def __init__(self, environ: Mapping[str, str]) -> None:
        super().__init__(environ)
        self._end = threading.Event()
        self._thread: threading.Thread | None = None

    def static(self, path: str, failed: str | None = None) -> StaticCredential:
        del failed
        if self._thread is None:
            self._thread = threading.Thread(target=self._look_on, args=(path,), daemon=True)
            self._thread.start()
        return self.ask(path)

    def _look_on(self, path: str) -> None:
        while not self._end.wait(self.every):
            with contextlib.suppress(VaultError):
                self.client._session().fetch_static(path, self._deadline())

    def _deadline(self) -> Deadline:
        return Deadline(self.client.config.timeout)

    def close(self) -> None:
        self._end.set()
        if self._thread is not None:
            self._thread.join()
        super().close()


# STA-02


class IgnoresRefusals(GoesByTtl):
    """If the `ttl` has not passed."""

    def believes(self, password: str, failed: str | None) -> bool:
        del password, failed
        return False


class ActsOnARefusedPasswordTooLate(GoesByTtl):
    """After six seconds of refusals."""

    after = 6.0

    def __init__(self, environ: Mapping[str, str]) -> None:
        super().__init__(environ)
        self._first: dict[str, float] = {}

    def believes(self, password: str, failed: str | None) -> bool:
        if password != failed:
            return False
        return time.monotonic() - self._first.setdefault(password, time.monotonic()) >= self.after


# STA-03


class _StandsIn(GoesByTtl):
    """Hands out its last password in an outage, marked stale, for `max_stale`."""

    def instead(
        self, known: StaticCredential, failure: VaultError, until: float
    ) -> StaticCredential:
        if time.monotonic() > until + self.client.config.max_stale:
            raise failure
        return replace(known, source="stale")


class HandsOutARefusedPassword(_StandsIn):
    def forget(self, path: str) -> None:
        """Keep the password, but end its time."""
        known, _ = self._known[path]
        self._known[path] = known, time.monotonic()


class HandsOutAnOldPasswordWithoutAMark(_StandsIn):
    def instead(
        self, known: StaticCredential, failure: VaultError, until: float
    ) -> StaticCredential:
        super().instead(known, failure, until)
        return known


class ServesAnOldPasswordForever(GoesByTtl):
    """Marked stale, as long as Vault is away."""

    def instead(
        self, known: StaticCredential, failure: VaultError, until: float
    ) -> StaticCredential:
        del failure, until
        return replace(known, source="stale")


class ReportsAnOutageAsAMissingRole(GoesByTtl):
    def ask(self, path: str) -> StaticCredential:
        try:
            return super().ask(path)
        except VaultUnavailable:
            raise SecretNotFound("there is no such role", path=path) from None


class KeepsOnePasswordForAllStaticRoles(_StandsIn):
    def name_of(self, path: str) -> str:
        del path
        return "the password"

    def forget(self, path: str) -> None:
        super().forget(self.name_of(path))


class PausesForTooLongWithoutAPassword(_StandsIn):
    """Pauses for half a minute after a failure."""

    def __init__(self, environ: Mapping[str, str]) -> None:
        super().__init__(environ)
        self._rests_until = 0.0

    def ask(self, path: str) -> StaticCredential:
        if time.monotonic() < self._rests_until:
            raise VaultUnavailable("it rests", sent=False)
        try:
            return super().ask(path)
        except VaultUnavailable:
            self._rests_until = time.monotonic() + 60.0
            raise


# STA-04


class ActsOnTheFourthReport(GoesByTtl):
    """After seven refused logins: each connection tries twice."""

    ignores = 3

    def __init__(self, environ: Mapping[str, str]) -> None:
        super().__init__(environ)
        self._told: dict[str, int] = {}

    def believes(self, password: str, failed: str | None) -> bool:
        if password != failed:
            return False
        self._told[password] = self._told.get(password, 0) + 1
        return self._told[password] > self.ignores


MUTANTS = by_name(
    Mutant(TreatsATtlOfZeroAsEndless, "STA-01", OVER),
    Mutant(SeesIt, "STA-01", OVER).called("sees-a-rotation-too-late"),
    Mutant(_AsksByItself, "STA-01", "credentials").called(
        "asks-three-times-a-second-for-a-password", every=0.3
    ),
    Mutant(IgnoresRefusals, "STA-02", WORKS).called("ignores-a-refused-password"),
    Mutant(ActsOnARefusedPasswordTooLate, "STA-02", WORKS),
    Mutant(HandsOutARefusedPassword, "STA-03", OVER),
    Mutant(HandsOutAnOldPasswordWithoutAMark, "STA-03", "as if it were good"),
    Mutant(ServesAnOldPasswordForever, "STA-03", OVER),
    Mutant(ReportsAnOutageAsAMissingRole, "STA-03", "a failure then is unavailable"),
    Mutant(KeepsOnePasswordForAllStaticRoles, "STA-03", "a role gives its own user"),
    Mutant(PausesForTooLongWithoutAPassword, "STA-03", WORKS),
    Mutant(ActsOnTheFourthReport, "STA-04", "logins refused"),
    Mutant(IgnoresRefusals, "STA-04", "logins refused").called("ignores-refused-logins-of-a-pool"),
)


TOLERATED = by_name(
    Tolerated(GoesByTtl, "STA-01").called("refreshes-a-password-after-its-ttl"),
    Tolerated(SeesIt, "STA-01").called("sees-a-rotation-just-in-time", late=4.5),
    Tolerated(_AsksByItself, "STA-01").called("asks-twice-a-second-for-a-password", every=0.55),
    Tolerated(ActsOnARefusedPasswordTooLate, "STA-02").called(
        "acts-on-a-refused-password-just-in-time", after=4.0
    ),
    Tolerated(GoesByTtl, "STA-03").called("hands-out-no-old-password"),
    Tolerated(_StandsIn, "STA-03").called("hands-out-an-old-password-for-a-while"),
    # That is after five refused logins.
    Tolerated(ActsOnTheFourthReport, "STA-04").called("acts-on-the-third-report", ignores=2),
)
