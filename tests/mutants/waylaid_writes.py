"""Clients that misread who turns a write away: a quota, or a gateway (NET-13).

Each deviates from the reference client; `tests.mutants.net` lists them.
"""

from __future__ import annotations

import contextlib
from collections.abc import Mapping

from resilient_vault_client import PermissionDenied
from resilient_vault_client._errors import RateLimited, UnexpectedAnswer
from tests.mutants.clients import Tweaked


class TakesAQuotaForDone(Tweaked):
    """Has words for what Vault refuses and for what it fails in, and takes all else for done."""

    def write(self, path: str, data: Mapping[str, str]) -> None:
        with contextlib.suppress(RateLimited):
            super().write(path, data)


class CallsAPageADeniedWrite(Tweaked):
    """Tells whoever writes that he may not, where a gateway said 403."""

    def write(self, path: str, data: Mapping[str, str]) -> None:
        try:
            super().write(path, data)
        except UnexpectedAnswer as error:
            if error.status != 403:
                raise
            raise PermissionDenied(str(error)) from error


class DropsItsTokenAtAPageForAWrite(Tweaked):
    """Takes its token for dead where a gateway said 403 to a write."""

    def write(self, path: str, data: Mapping[str, str]) -> None:
        try:
            super().write(path, data)
        except UnexpectedAnswer as error:
            authenticator = self.client._session().authenticator
            if error.status == 403 and authenticator.current is not None:
                authenticator._lose(authenticator.current, "rejected")
            raise
