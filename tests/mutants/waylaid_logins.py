"""Clients that believe whoever answers their login: a gateway, or a quota, for a word of Vault's.

`tests.mutants.prc` lists them (PRC-06).
"""

from __future__ import annotations

import threading
from collections.abc import Collection, Mapping
from typing import ClassVar

from tests.subjects.lazy_client import Credentials, LazyClient, Token, _mark
from tests.subjects.lazy_wire import DeniedError, UnavailableError, Wire


class _Noting(Wire):
    """Notes the status of each answer, by the thread that asked."""

    def __init__(self, environ: Mapping[str, str]) -> None:
        super().__init__(environ)
        self.seen = threading.local()

    def _exchange(self, request: bytes, deadline: float) -> bytes:
        raw = super()._exchange(request, deadline)
        self.seen.status = int(raw[9:12]) if raw[9:12].isdigit() else 0
        return raw


class _RefusedForGood(Credentials):
    """A secret-id that was refused once is not tried again."""

    def usable(self, secret_id: str) -> bool:
        return not self._failed.get(_mark(secret_id))


class TakesAPageForARefusal(LazyClient):
    """Whatever is answered 403 or 404 has refused its secret-id: it waits for another one."""

    wire_type, credentials_type = _Noting, _RefusedForGood
    refusals: ClassVar[Collection[int]] = (403, 404)

    def _log_in(self, deadline: float) -> Token:
        assert isinstance(self._wire, _Noting)
        self._wire.seen.status = 0
        try:
            return super()._log_in(deadline)
        except UnavailableError:
            if self._wire.seen.status not in self.refusals:
                raise
            self._credentials.refused(self._credentials.current()[1])
            raise DeniedError("Vault does not take this secret-id") from None


class TakesAQuotaForARefusal(TakesAPageForARefusal):
    """To be told that it asks too much is to be refused."""

    refusals = (429,)


class GivesUpAtAGateway(TakesAPageForARefusal):
    """What no server of its kind ever said ends what logs in."""

    refusals = (502,)
