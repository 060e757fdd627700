"""Clients that break KV-04: changes of one key."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Mapping
from functools import partial
from typing import Any, ClassVar

from resilient_vault_client import VaultClient, VaultUnavailable, WriteConflict
from resilient_vault_client._deadline import Deadline
from tests.mutants.clients import HasItsChangeMerged, Mutant, Tolerated, by_name
from tests.mutants.reference_clients import JoinsByPath, Tweaked
from vault_harness.judge.subjects.reference import ReferenceSubject

# KV-04


class TreatsAFailedReadAsAnEmptySecret(Tweaked):
    """All other keys are lost."""

    settings: ClassVar[Mapping[str, Any]] = {"max_stale": 0.0}

    def update(self, path: str, data: Mapping[str, str]) -> None:
        try:
            self.client.read(path, timeout=0.8)
        except VaultUnavailable:
            self.client.put_secret(path, data, timeout=0.8)
        else:
            super().update(path, data)


class ChangesAKeyOfItsCachedSecretWithoutCas(Tweaked):
    """Does so if it cannot read."""

    checks = False

    def update(self, path: str, data: Mapping[str, str]) -> None:
        until = time.monotonic() + self.client.config.timeout
        for tries_left in (2, 1, 0):
            read = self.client.read(path, timeout=max(0.0, until - time.monotonic()))
            changed, left = {**read.value, **data}, max(0.0, until - time.monotonic())
            cas = read.version if self.checks or not read.stale else None
            try:
                self.client.put_secret(path, changed, cas=cas, timeout=left)
            except WriteConflict:
                if not tries_left:
                    raise
            else:
                return


class NeverLogsInAgainForAChange(Tweaked):
    """It notices a dead token in reads and writes."""

    def update(self, path: str, data: Mapping[str, str]) -> None:
        session = self.client._session()
        token = session.authenticator.current
        if token is None:
            super().update(path, data)
            return
        deadline = Deadline(self.client.config.timeout)
        for tries_left in (2, 1, 0):
            inner = session._api.read_secret(token.text, path, deadline)["data"]
            cas, changed = inner["metadata"]["version"], {**inner["data"], **data}
            try:
                session._api.write_secret(token.text, path, changed, deadline, cas=cas)
            except WriteConflict:
                if not tries_left:
                    raise
            else:
                return


class ReportsAFailedChangeAsDone(Tweaked):
    """It forgets the change."""

    settings: ClassVar[Mapping[str, Any]] = {"max_stale": 0.0}

    def update(self, path: str, data: Mapping[str, str]) -> None:
        with contextlib.suppress(VaultUnavailable):
            super().update(path, data)


class ChangesAKeyWithoutCas(Tweaked):
    """Writes what it has read over any newer version."""

    def update(self, path: str, data: Mapping[str, str]) -> None:
        self.client.put_secret(path, {**self.client.read(path).value, **data})


class OverwritesAllOtherKeys(Tweaked):
    def update(self, path: str, data: Mapping[str, str]) -> None:
        self.client.put_secret(path, data)


class MakesAClientForEachChange(ReferenceSubject):
    """As a script does: it logs in, writes, and ends cleanly."""

    def __init__(self, environ: Mapping[str, str]) -> None:
        super().__init__(VaultClient(environ=environ))
        self._environ = environ

    def update(self, path: str, data: Mapping[str, str]) -> None:
        own = ReferenceSubject(VaultClient(environ=self._environ))
        try:
            own.update(path, data)
        finally:
            own.close()


class ConvertsLineEndsInAChange(Tweaked):
    def update(self, path: str, data: Mapping[str, str]) -> None:
        super().update(path, {key: text.replace("\r\n", "\n") for key, text in data.items()})


class ChangesInThreeWrites(Tweaked):
    """Its change is refused twice before it reads again."""

    refused = 2

    def update(self, path: str, data: Mapping[str, str]) -> None:
        read = self.client.read(path)
        for _ in range(self.refused):
            with contextlib.suppress(WriteConflict):
                self.client.put_secret(path, {**read.value, **data}, cas=read.version)
                return
        read = self.client.read(path)
        self.client.put_secret(path, {**read.value, **data}, cas=read.version)


class SharesOneChangeBetweenCallers(JoinsByPath):
    """A caller that changes another key gets that change's result."""

    def update(self, path: str, data: Mapping[str, str]) -> None:
        self.joined(path, partial(super().update, path, data))


class _ChangesMore(Tweaked):
    """Passes a secret's other keys through its own code."""

    def __init__(self, environ: Mapping[str, str]) -> None:
        super().__init__(environ)
        api = self.client._session()._api
        write = api.write_secret

        def changed(
            token: str, path: str, data: Mapping[str, Any], deadline: Any, *, cas: int | None
        ) -> Any:
            return write(token, path, self.leave(data), deadline, cas=cas)

        api.write_secret = changed  # type: ignore[method-assign]  # that is its fault

    def leave(self, data: Mapping[str, str]) -> dict[str, str]:
        raise NotImplementedError


class DropsEmptyKeysInAChange(_ChangesMore):
    """Drops the secret's other empty keys."""

    def leave(self, data: Mapping[str, str]) -> dict[str, str]:
        return {key: value for key, value in data.items() if value}


MUTANTS = by_name(
    Mutant(TreatsAFailedReadAsAnEmptySecret, "KV-04", "loses none of it"),
    Mutant(ChangesAKeyOfItsCachedSecretWithoutCas, "KV-04", "loses none of it"),
    Mutant(NeverLogsInAgainForAChange, "KV-04", "of the loss of its token"),
    Mutant(ReportsAFailedChangeAsDone, "KV-04", "said to be made is made"),
    Mutant(ChangesAKeyWithoutCas, "KV-04", "no change of another is lost"),
    Mutant(OverwritesAllOtherKeys, "KV-04", "the keys that it does not change"),
    Mutant(MakesAClientForEachChange, "KV-04", "at most 2 logins"),
    Mutant(ConvertsLineEndsInAChange, "KV-04", "not there as it was given: mine"),
    Mutant(ChangesInThreeWrites, "KV-04", "at most 3 requests (write)").called(
        "changes-in-four-writes", refused=3
    ),
    Mutant(SharesOneChangeBetweenCallers, "KV-04", "of two changes at once"),
    Mutant(DropsEmptyKeysInAChange, "KV-04", "the keys that it does not change"),
)


TOLERATED = by_name(
    Tolerated(ChangesAKeyOfItsCachedSecretWithoutCas, "KV-04").called(
        "changes-a-key-of-its-cached-secret-with-cas", checks=True
    ),
    Tolerated(HasItsChangeMerged, "KV-04").called("changes-a-key-by-patch"),
    Tolerated(ChangesInThreeWrites, "KV-04"),
)
