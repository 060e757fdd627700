"""Clients that take a wrapping token for spent because somebody turned its opening away (SID-09).

Each deviates from the reference client; `tests.mutants.sid` lists them.
"""

from __future__ import annotations

import copy
from typing import ClassVar

from resilient_vault_client import RequestRefused, VaultUnavailable
from resilient_vault_client._api import Api
from resilient_vault_client._deadline import Deadline
from resilient_vault_client._transport import Answer
from resilient_vault_client._wrapped import WrappedSecretId
from tests.mutants.ids import UnwrapsBy


class _RefusedByAStatus(Api):
    """An answer with that status, which the client itself might try again, is Vault's refusal."""

    status: ClassVar[int]

    def unwrap(self, token: str, deadline: Deadline) -> Answer:
        try:
            return super().unwrap(token, deadline)
        except VaultUnavailable as error:
            if error.status != self.status:
                raise
            raise RequestRefused("the wrapping token is spent") from error


class _SpentAt(WrappedSecretId):
    api_type: type[_RefusedByAStatus]

    def _open(self, wrapping: str, deadline: Deadline, patience: float) -> str:
        self._api = copy.copy(self._api)
        self._api.__class__ = self.api_type
        return super()._open(wrapping, deadline, patience)


class _RefusedByAQuota(_RefusedByAStatus):
    status = 429


class _SpentAtAQuota(_SpentAt):
    api_type = _RefusedByAQuota


class TakesAQuotaForASpentToken(UnwrapsBy):
    """Whatever is answered with a status below 500 is Vault's word on its wrapping token."""

    wrapped_type = _SpentAtAQuota


class _RefusedByAGateway(_RefusedByAStatus):
    status = 502


class _SpentAtAGateway(_SpentAt):
    api_type = _RefusedByAGateway


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
