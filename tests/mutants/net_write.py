"""Clients that break NET-05 or 13: writes over a bad network."""

from __future__ import annotations

import contextlib
import json
import threading
import time
from collections.abc import Mapping
from functools import partial
from typing import Any

from resilient_vault_client import (
    PermissionDenied,
    Secret,
    SecretNotFound,
    ServerFailed,
    VaultClient,
    VaultError,
    VaultSealed,
    VaultUnavailable,
    VaultUnreachable,
)
from resilient_vault_client._deadline import Deadline
from resilient_vault_client._errors import AnswerTruncated, UnexpectedAnswer
from tests.mutants.clients import Mutant, Tolerated, Writes, by_name
from tests.mutants.net_answers import IgnoresConnectionClose, ObeysConnectionClose
from tests.mutants.reference_clients import JoinsByPath, Tweaked
from vault_harness.judge.subjects.reference import ReferenceSubject

# NET-05


class RetriesAStalledWrite(Tweaked):
    def write(self, path: str, data: Mapping[str, str]) -> None:
        try:
            super().write(path, data)
        except VaultUnavailable:
            time.sleep(1.2)
            super().write(path, data)


class GivesUpWriting(Tweaked):
    """It still reads."""

    _failed: VaultUnavailable | None = None

    def write(self, path: str, data: Mapping[str, str]) -> None:
        if self._failed is not None:
            raise self._failed
        try:
            super().write(path, data)
        except VaultUnavailable as error:
            self._failed = error
            raise


# NET-13


class KeepsRemovedKeysInAWrite(Tweaked):
    """Takes a write for a change of some keys."""

    def write(self, path: str, data: Mapping[str, str]) -> None:
        until = time.monotonic() + self.client.config.timeout
        try:
            kept = self.client.read(path).value
        except SecretNotFound:
            kept = {}
        left = max(0.0, until - time.monotonic())
        self.client.put_secret(path, {**kept, **data}, timeout=left)


class StripsValuesInAWrite(Tweaked):
    """A key file loses its last line end."""

    def write(self, path: str, data: Mapping[str, str]) -> None:
        super().write(path, {key: value.strip() for key, value in data.items()})


class _SpellsItsWrites(Tweaked):
    """Builds the body of a write by itself."""

    def __init__(self, environ: Mapping[str, str]) -> None:
        super().__init__(environ)
        transport = self.client._session()._transport
        send = transport._send

        def spelled(method: Any, url: Any, headers: Any, content: Any, deadline: Any) -> Any:
            if method == "POST" and "/data/" in url.path:
                content = self.spell(json.loads(content)["data"])
            return send(method, url, headers, content, deadline)

        transport._send = spelled  # type: ignore[method-assign]  # that is its fault

    def spell(self, data: Mapping[str, str]) -> bytes:
        raise NotImplementedError


class CountsCharactersAsBytes(_SpellsItsWrites):
    """So Vault reads only part of a body."""

    def spell(self, data: Mapping[str, str]) -> bytes:
        text = json.dumps({"data": dict(data)}, ensure_ascii=False)
        return text.encode()[: len(text)]


class WritesASpaceForAPlus(Tweaked):
    def write(self, path: str, data: Mapping[str, str]) -> None:
        super().write(path.replace("+", " "), data)


class CutsThePathOfAWriteAtAQuestionMark(Tweaked):
    """What follows the mark is a query."""

    def write(self, path: str, data: Mapping[str, str]) -> None:
        super().write(path.partition("?")[0], data)


class _WritesOtherTexts(Tweaked):
    """Changes each text that it writes."""

    def write(self, path: str, data: Mapping[str, str]) -> None:
        super().write(path, self.other(data))

    def other(self, data: Mapping[str, str]) -> dict[str, Any]:
        raise NotImplementedError


class WritesDigitsAsANumber(_WritesOtherTexts):
    def other(self, data: Mapping[str, str]) -> dict[str, Any]:
        return {key: str(int(text)) if text.isdecimal() else text for key, text in data.items()}


class DropsEmptyKeysInAWrite(_WritesOtherTexts):
    def other(self, data: Mapping[str, str]) -> dict[str, Any]:
        return {key: text for key, text in data.items() if text}


class ConvertsLineEndsInAWrite(_WritesOtherTexts):
    def other(self, data: Mapping[str, str]) -> dict[str, Any]:
        return {key: text.replace("\r\n", "\n") for key, text in data.items()}


class RetriesALostWrite(Tweaked):
    """If the answer did not come."""

    def write(self, path: str, data: Mapping[str, str]) -> None:
        try:
            super().write(path, data)
        except VaultUnavailable:
            super().write(path, data)


class RetriesAWriteAfterAGateway502(Tweaked):
    """Assumes that nothing was written."""

    def write(self, path: str, data: Mapping[str, str]) -> None:
        try:
            super().write(path, data)
        except VaultError as error:
            if (error.status or 0) < 500:
                raise
            super().write(path, data)


class ReportsAnUnreceivedWriteAsDone(Tweaked):
    """A write that no server received."""

    swallows: tuple[type[VaultUnavailable], ...] = (VaultUnreachable,)

    def write(self, path: str, data: Mapping[str, str]) -> None:
        with contextlib.suppress(*self.swallows):
            super().write(path, data)


class ReportsAWriteAsDoneAfterAGatewayPage(Tweaked):
    """Looks only at the status."""

    def write(self, path: str, data: Mapping[str, str]) -> None:
        with contextlib.suppress(UnexpectedAnswer, AnswerTruncated):
            super().write(path, data)


class WritesEachKeySeparately(Tweaked):
    """Each version has one key."""

    def write(self, path: str, data: Mapping[str, str]) -> None:
        for key, value in data.items():
            super().write(path, {key: value})


class CachesAValueThatItFailedToWrite(Tweaked):
    """Caches it before it writes."""

    def __init__(self, environ: Mapping[str, str]) -> None:
        super().__init__(environ)
        self._mine: dict[str, Mapping[str, str]] = {}

    def write(self, path: str, data: Mapping[str, str]) -> None:
        self._mine[path] = data
        super().write(path, data)
        del self._mine[path]

    def read_cached(self, path: str, key: str) -> Any:
        mine = self._mine.get(path, {})
        return mine[key] if key in mine else super().read_cached(path, key)


class BlocksReadersWhileItWrites(ReferenceSubject):
    """Has a readers-writer lock, held while it waits for Vault."""

    def __init__(self, environ: Mapping[str, str]) -> None:
        super().__init__(VaultClient(environ=environ))
        self._writing = threading.Lock()

    def read(self, path: str, key: str) -> Secret:
        with self._writing:
            pass  # readers do not wait for each other
        return super().read(path, key)

    def write(self, path: str, data: Mapping[str, str]) -> None:
        with self._writing:
            super().write(path, data)


class SharesOneWriteBetweenCallers(JoinsByPath):
    """A caller that writes during another write gets that one's result."""

    def write(self, path: str, data: Mapping[str, str]) -> None:
        self.joined(path, partial(super().write, path, data))


class WritesAfterConnectionClose(Writes):
    """Loses the write, and rightly does not repeat it."""

    wire_type = IgnoresConnectionClose


class ReportsAGatewayPageAsADeniedWrite(Tweaked):
    def write(self, path: str, data: Mapping[str, str]) -> None:
        try:
            super().write(path, data)
        except UnexpectedAnswer as error:
            if error.status != 403:
                raise
            raise PermissionDenied(str(error)) from error


class DropsItsTokenAfterAGateway403ToAWrite(Tweaked):
    def write(self, path: str, data: Mapping[str, str]) -> None:
        try:
            super().write(path, data)
        except UnexpectedAnswer as error:
            authenticator = self.client._session().authenticator
            if error.status == 403 and authenticator.current is not None:
                authenticator._lose(authenticator.current, "rejected")
            raise


class NeverLogsInAgainForAWrite(Tweaked):
    """It learns only from reads that its token is dead."""

    def write(self, path: str, data: Mapping[str, str]) -> None:
        session = self.client._session()
        token = session.authenticator.current
        if token is None or not token.usable:
            super().write(path, data)
            return
        session._api.write_secret(token.text, path, data, Deadline(1.9), cas=None)


class ObeysConnectionCloseAtAWrite(Writes):
    """Uses another connection."""

    wire_type = ObeysConnectionClose


class WritesByTheVersion(Tweaked):
    """It reads a secret first, and writes only over that version."""

    def write(self, path: str, data: Mapping[str, str]) -> None:
        until = time.monotonic() + self.client.config.timeout
        try:
            version = self.client.read(path).version
        except SecretNotFound:
            version = 0
        left = max(0.0, until - time.monotonic())
        self.client.put_secret(path, data, cas=version, timeout=left)


class AcceptsACutAnswerToAWrite(Tweaked):
    """Rightly: its status tells that the write is done."""

    def write(self, path: str, data: Mapping[str, str]) -> None:
        with contextlib.suppress(AnswerTruncated):
            super().write(path, data)


MUTANTS = by_name(
    Mutant(RetriesAStalledWrite, "NET-05", "applied at most once"),
    Mutant(GivesUpWriting, "NET-05", "a good write within").called("stops-writing-after-a-stall"),
    Mutant(GivesUpWriting, "NET-13", "a good write within").called(
        "stops-writing-after-a-lost-answer"
    ),
    Mutant(KeepsRemovedKeysInAWrite, "NET-13", "left what it does not name: retired"),
    Mutant(StripsValuesInAWrite, "NET-13", "and is not there: password"),
    Mutant(CountsCharactersAsBytes, "NET-13", "whatever is text can be written"),
    Mutant(WritesASpaceForAPlus, "NET-13", "is not in backend/ledger+x"),
    Mutant(CutsThePathOfAWriteAtAQuestionMark, "NET-13", "a write changes no other secret"),
    Mutant(WritesDigitsAsANumber, "NET-13", ": PIN"),
    Mutant(DropsEmptyKeysInAWrite, "NET-13", ": EMPTY"),
    Mutant(ConvertsLineEndsInAWrite, "NET-13", ": LINES"),
    Mutant(RetriesALostWrite, "NET-13", "applied at most once"),
    Mutant(RetriesAWriteAfterAGateway502, "NET-13", "applied at most once"),
    Mutant(ReportsAnUnreceivedWriteAsDone, "NET-13", "made no version").called(
        "reports-a-failed-write-as-done", swallows=(VaultSealed, ServerFailed)
    ),
    Mutant(ReportsAWriteAsDoneAfterAGatewayPage, "NET-13", "made no version"),
    Mutant(WritesEachKeySeparately, "NET-13", "and is not there: user"),
    Mutant(
        CachesAValueThatItFailedToWrite, "NET-13", "read_cached of backend/ledger (password) gave"
    ),
    Mutant(BlocksReadersWhileItWrites, "NET-13", "no reader of another secret waits"),
    Mutant(SharesOneWriteBetweenCallers, "NET-13", "of two writes at once"),
    Mutant(WritesAfterConnectionClose, "NET-13", "no connection that was said to end"),
    Mutant(ReportsAGatewayPageAsADeniedWrite, "NET-13", "a failure then is unavailable"),
    Mutant(DropsItsTokenAfterAGateway403ToAWrite, "NET-13", "the token survives"),
    Mutant(NeverLogsInAgainForAWrite, "NET-13", "a good write within"),
)


TOLERATED = by_name(
    Tolerated(ObeysConnectionCloseAtAWrite, "NET-13"),
    Tolerated(WritesByTheVersion, "NET-13"),
    Tolerated(AcceptsACutAnswerToAWrite, "NET-13"),
)
