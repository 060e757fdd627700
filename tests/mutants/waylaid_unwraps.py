"""Clients that take a wrapping token for spent because somebody turned its opening away (SID-09).

Each deviates from the reference client; `tests.mutants.sid` lists them.
"""

from __future__ import annotations

from typing import ClassVar

from resilient_vault_client import VaultUnavailable
from resilient_vault_client._deadline import Deadline
from resilient_vault_client._wrapped import WrappedSecretId
from tests.mutants.ids import UnwrapsBy


class _SpentAt(WrappedSecretId):
    status: ClassVar[int | None] = None

    def _open(self, wrapping: str, deadline: Deadline, patience: float) -> str:
        try:
            return super()._open(wrapping, deadline, patience)
        except VaultUnavailable as error:
            if error.status != self.status:
                raise
            return ""


class _SpentAtAQuota(_SpentAt):
    status = 429


class TakesAQuotaForASpentToken(UnwrapsBy):
    """Whatever is answered with a status below 500 is Vault's word on its wrapping token."""

    wrapped_type = _SpentAtAQuota


class _SpentAtAGateway(_SpentAt):
    status = 502


class TakesAGatewayForASpentToken(UnwrapsBy):
    """One that was sent and not opened is spent, whoever answered."""

    wrapped_type = _SpentAtAGateway


class _SpentByAnybody(WrappedSecretId):
    def _open(self, wrapping: str, deadline: Deadline, patience: float) -> str:
        try:
            return super()._open(wrapping, deadline, patience)
        except VaultUnavailable as error:
            if "about the wrapping token" not in str(error):
                raise
            return ""


class TakesNoSecretIdForASpentToken(UnwrapsBy):
    """What holds no secret-id was the answer to its wrapping token, whoever gave it."""

    wrapped_type = _SpentByAnybody
