"""Clients that have leased something, and wake up after it has ended (PRC-03).

Each deviates from the reference client, in a process of its own; `tests.mutants.prc` lists them.
"""

from __future__ import annotations

import math
import threading
from typing import ClassVar

from resilient_vault_client import Credential, VaultUnavailable
from resilient_vault_client._clock import clock
from resilient_vault_client._deadline import Deadline
from resilient_vault_client._leases import Leases
from tests.mutants.clients import Leasing


class _LooksRound(Leases):
    """Looks at its leases four times a second, and so knows that it stood still."""

    every = 0.25
    gathers_itself = 0.0
    """Seconds until it looks again, once it has stood still."""

    _looked = math.inf
    _stood_still = False

    def current(self, path: str, deadline: Deadline) -> Credential:
        credential = super().current(path, deadline)
        if self._looked == math.inf:  # it may fall asleep before its first round
            self._looked = clock()
        return credential

    def _has_slept(self) -> bool:
        """Whether it stood still at some time; a call may find that before the next round does."""
        self._stood_still |= clock() - self._looked > 5.0
        return self._stood_still

    def _step(self) -> float | None:
        if not self._stood_still and self._has_slept():
            threading.Event().wait(self.gathers_itself)
        wait = super()._step()
        self._looked = clock()
        return self.every if wait is None else min(wait, self.every)


class _TrustsItsRounds(_LooksRound):
    gathers_itself = 1.0

    def current(self, path: str, deadline: Deadline) -> Credential:
        held = self._by_path.get(path)
        if held is not None and held.grant is not None and held.grant.lost is None:
            return held.grant.credential
        return super().current(path, deadline)


class TrustsItsLeasesAfterASleep(Leasing):
    """Whatever keeps its leases will have replaced them: it does so a second after it woke up."""

    leases_type: ClassVar[type[Leases]] = _TrustsItsRounds


class _DoesNotWakeUp(_LooksRound):
    def current(self, path: str, deadline: Deadline) -> Credential:
        if self._has_slept():
            raise VaultUnavailable("what was leased has ended")
        return super().current(path, deadline)


class LeasesNothingAfterASleep(Leasing):
    """Knows that what it leased has ended, and asks for nothing else."""

    leases_type: ClassVar[type[Leases]] = _DoesNotWakeUp
