"""Clients that break RST: a Vault restored to an earlier state."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Mapping
from typing import Any

from tests.mutants.clients import (
    LogsInThreeTimes,
    Mutant,
    ReadsWholeSecretsWithItsFirstToken,
    _KeyByKeyAsEver,
    by_name,
)
from tests.mutants.login_clients import LooksUpItsOldToken
from tests.subjects.lazy_client import LazyClient, Token
from tests.subjects.lazy_wire import ClientError, DeletedError, MissingError, Reply

# RST-01


class KeepsAValueUntilAHigherVersion(LazyClient):
    def __init__(self, environ: Mapping[str, str]) -> None:
        super().__init__(environ)
        self._newest: dict[str, tuple[int, Reply]] = {}

    def _fetch(self, path: str, deadline: float) -> Reply:
        reply = super()._fetch(path, deadline)
        metadata = (reply.body.get("data") or {}).get("metadata") or {}
        version = int(metadata.get("version") or 0)
        known, kept = self._newest.get(path, (0, reply))
        if version < known:
            return kept
        self._newest[path] = version, reply
        return reply


class TreatsA403AsADenialWhileItsTokenHasTimeLeft(LazyClient):
    def _was_dead(self, *_: Any, **__: Any) -> bool:
        return False


class _CountsItsTokens(_KeyByKeyAsEver):
    _tokens = 0

    def __init__(self, environ: Mapping[str, str]) -> None:
        super().__init__(environ)
        self._had: dict[str, dict[str, str]] = {}

    def _log_in(self, deadline: float) -> Token:
        token = super()._log_in(deadline)
        self._tokens += 1
        return token


class TreatsADeletedWholeSecretAsDeniedWithItsSecondToken(_CountsItsTokens):
    def read_all(self, path: str) -> dict[str, str]:
        try:
            found = self._had[path] = super().read_all(path)
        except (DeletedError, MissingError):
            if self._tokens > 1 and path in self._had:
                return self._had[path]
            raise
        return found


class LooksUpItsSecondTokenWithoutAPause(LazyClient):
    _tokens = 0

    def _log_in(self, deadline: float) -> Token:
        token = super()._log_in(deadline)
        self._tokens += 1
        for _ in range(2 if self._tokens > 1 else 0):
            threading.Thread(target=self._look, args=(token,), daemon=True).start()
        return token

    def _look(self, token: Token) -> None:
        until = time.monotonic() + 3.0
        while time.monotonic() < until and not self._closed:
            with contextlib.suppress(ClientError):
                self._wire.send(
                    "GET",
                    "auth/token/lookup-self",
                    deadline=time.monotonic() + 1.0,
                    token=token.value,
                )


MUTANTS = by_name(
    Mutant(KeepsAValueUntilAHigherVersion, "RST-01", "gave the value v2"),
    Mutant(TreatsA403AsADenialWhileItsTokenHasTimeLeft, "RST-01", "a good read within"),
    Mutant(LogsInThreeTimes, "RST-01", "at most 1 login").called(
        "logs-in-three-times-after-a-restore"
    ),
    Mutant(LooksUpItsOldToken, "RST-01", "known to be dead").called(
        "looks-up-its-old-token-after-a-restore"
    ),
    Mutant(
        TreatsADeletedWholeSecretAsDeniedWithItsSecondToken, "RST-01", "a deleted secret is gone"
    ),
    Mutant(ReadsWholeSecretsWithItsFirstToken, "RST-01", "go on: 6 in a row").called(
        "reads-whole-secrets-with-its-first-token-after-a-restore"
    ),
    Mutant(LooksUpItsSecondTokenWithoutAPause, "RST-01", "no loop without a pause"),
)
