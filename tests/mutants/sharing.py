"""Clients that lease well for one caller and one path, and are wrong as soon as there are several.

Each deviates from the reference client, and is listed in ``lease.py``.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

from resilient_vault_client import Credential
from resilient_vault_client._deadline import Deadline
from resilient_vault_client._grant import Grant
from resilient_vault_client._held import Held
from resilient_vault_client._leases import Leases
from tests.mutants.clients import Leasing

# Several who report


class _ForEachReport(Leases):
    def failed(self, path: str, username: str) -> None:
        held, deadline = self._by_path[path], Deadline(self._timeout)
        with held.alone(deadline):
            if self._heeds(held, username):
                self._replace(held, deadline, self._timeout, "refused")

    def _heeds(self, held: Held, username: str) -> bool:
        """Whether a report of that user is a reason to take another."""
        del held, username
        return True


class LeasesForEachReport(Leasing):
    """Takes a new credential for each report of a refusal, whoever is the current user by then."""

    leases_type: ClassVar[type[Leases]] = _ForEachReport


class _WithoutALock(Leases):
    def failed(self, path: str, username: str) -> None:
        held = self._by_path[path]
        if held.grant is not None and held.grant.credential.username == username:
            self._replace(held, Deadline(self._timeout), self._timeout, "refused")


class LeasesForReportsAtOnce(Leasing):
    """Looks whether the reported user is the current one, and lets others look before it acts."""

    leases_type: ClassVar[type[Leases]] = _WithoutALock


class BelievesALateReport(Leasing):
    """Takes each report for one of the current user, but for those that come at once."""

    def lease(self, path: str, failed: str | None = None) -> Credential:
        if failed is not None:
            failed = super().lease(path).username
        return super().lease(path, failed)


# Several paths


class KeepsOneLease(Leasing):
    """Has one lease, for whatever path it is asked."""

    def __init__(self, environ: Mapping[str, str]) -> None:
        super().__init__(environ)
        self._path = ""

    def lease(self, path: str, failed: str | None = None) -> Credential:
        self._path = self._path or path
        return super().lease(self._path, failed)


class _EndsWithOne(Leases):
    _over = False

    def _renew(self, held: Held, grant: Grant, deadline: Deadline) -> str | None:
        reason = super()._renew(held, grant, deadline)
        self._over |= reason == "not_found"
        return reason

    def _step(self) -> float | None:
        return None if self._over else super()._step()


class EndsAllRenewalsWithOne(Leasing):
    """The thread that renews its leases does not outlive the loss of one of them."""

    leases_type: ClassVar[type[Leases]] = _EndsWithOne


class _LosesAll(Leases):
    def _renew(self, held: Held, grant: Grant, deadline: Deadline) -> str | None:
        reason = super()._renew(held, grant, deadline)
        if reason == "not_found":
            for other in self._by_path.values():
                if other.grant is not None:
                    other.grant.lost = reason
        return reason


class LosesAllWithOne(Leasing):
    """Takes new credentials for all its paths where the lease of one is gone."""

    leases_type: ClassVar[type[Leases]] = _LosesAll


class RenewsInCalls(Leasing):
    """Has no thread for its leases: whoever asks for a credential renews what is due there."""

    def __init__(self, environ: Mapping[str, str]) -> None:
        super().__init__(environ)
        self.client._session().leases._threaded = False
