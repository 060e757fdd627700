"""Clients at the edges of thresholds in the closing act, with which every scenario ends.

``thresholds.toml`` says which of them stands on which side of what. Each is listed in the module of
the group whose scenario it meets.
"""

from __future__ import annotations

import time
from collections.abc import Mapping

from tests.mutants.always import SendsOnceMore
from tests.mutants.clients import Tweaked


class UsesItsOldTokenForAMoment(SendsOnceMore):
    """Takes another token before it needs one, and lets the first, used once more, live on."""

    late = 0.1
    _reads = 0

    def read_all(self, path: str) -> dict[str, str]:
        self._reads += 1
        if self._reads == 2 and (old := self._token) is not None:
            deadline = time.monotonic() + self._deadline
            with self._held(deadline):
                self._log_in(deadline)
            self._later("auth/token/lookup-self", old)
        return super().read_all(path)


class UsesItsOldTokenForAWhile(UsesItsOldTokenForAMoment):
    """Uses the first when the second is long in use, so that both are its own until the end."""

    late = 0.7


class SaysIllForAWhile(Tweaked):
    """Says that it is well only some seconds after it was asked first, and has promised four."""

    after = 2.8
    _since = 0.0

    def __init__(self, environ: Mapping[str, str]) -> None:
        super().__init__(environ)
        self.declares = {**self.declares, "backoff_cap": 2.0}

    def health(self) -> bool:
        now = time.monotonic()
        self._since = self._since or now
        return super().health() and now - self._since >= self.after


class SaysIllForTooLong(SaysIllForAWhile):
    """For two seconds longer than it has promised."""

    after = 6.0


class SaysIllForAWhileUntold(SaysIllForAWhile):
    """Has promised nothing, and the life of its token is a minute."""

    after = 13.0

    def __init__(self, environ: Mapping[str, str]) -> None:
        super().__init__(environ)
        self.declares = {n: s for n, s in self.declares.items() if n != "backoff_cap"}


class SaysIllForTooLongUntold(SaysIllForAWhileUntold):
    """For longer than anybody's pauses are taken to be, and for less than half of that life."""

    after = 22.0


class SaysSlowlyHowItIs(Tweaked):
    """Takes nearly all the time of a call to say how it is."""

    lasts = 1.8

    def health(self) -> bool:
        began = time.monotonic()
        well = super().health()
        time.sleep(max(0.0, began + self.lasts - time.monotonic()))
        return well


class SaysTooSlowlyHowItIs(SaysSlowlyHowItIs):
    """Takes a second more than a call has."""

    lasts = 3.0
