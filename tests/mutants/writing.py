"""Clients that read well, and are broken where they write, or write in a way of their own.

Each deviates from the reference client, and is listed in the module of the group whose scenario it
meets.
"""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable, Mapping
from concurrent.futures import Future
from functools import partial
from typing import Any

from resilient_vault_client import PermissionDenied, SecretNotFound, WriteConflict
from resilient_vault_client._deadline import Deadline
from resilient_vault_client._errors import AnswerTruncated, UnexpectedAnswer
from tests.mutants.clients import Tweaked

# What the answer says


class TakesAnyPageForAWrite(Tweaked):
    """Looks at the status of the answer to a write, and at nothing else."""

    def write(self, path: str, data: Mapping[str, str]) -> None:
        with contextlib.suppress(UnexpectedAnswer, AnswerTruncated):
            super().write(path, data)


class TakesHalfAnAnswerForAWrite(Tweaked):
    """Looks at the status where the rest of the answer is cut off: Vault has done it."""

    def write(self, path: str, data: Mapping[str, str]) -> None:
        with contextlib.suppress(AnswerTruncated):
            super().write(path, data)


class WritesAgainWhatWasCut(Tweaked):
    """Takes a status with half a body for a failure of the line, and writes once more."""

    def write(self, path: str, data: Mapping[str, str]) -> None:
        try:
            super().write(path, data)
        except AnswerTruncated:
            super().write(path, data)


# What is written, and what becomes of it


class TakesARefusedWriteForDone(Tweaked):
    """Says of a write that Vault refuses with 400 that it is done: somebody else has written."""

    def write(self, path: str, data: Mapping[str, str]) -> None:
        with contextlib.suppress(WriteConflict):
            super().write(path, data)


class WritesKeyByKey(Tweaked):
    """Writes each key by a request of its own: each is a version of its own, with one key."""

    def write(self, path: str, data: Mapping[str, str]) -> None:
        for key, value in data.items():
            super().write(path, {key: value})


class KeepsWhatItCouldNotWrite(Tweaked):
    """Puts what it is to write into its cache first; where the write fails it stays there."""

    def __init__(self, environ: Mapping[str, str]) -> None:
        super().__init__(environ)
        self._mine: dict[str, Mapping[str, str]] = {}

    def write(self, path: str, data: Mapping[str, str]) -> None:
        self._mine[path] = data
        super().write(path, data)
        del self._mine[path]  # from here on Vault has it

    def read_cached(self, path: str, key: str) -> Any:
        mine = self._mine.get(path, {})
        return mine[key] if key in mine else super().read_cached(path, key)


class JoinsByPath(Tweaked):
    """Asks once for all who ask for one path at once, whatever each of them has to say."""

    def __init__(self, environ: Mapping[str, str]) -> None:
        super().__init__(environ)
        self._under_way: dict[str, Future[None]] = {}
        self._joining = threading.Lock()

    def joined(self, path: str, ask: Callable[[], None]) -> None:
        """Ask, or be told what comes of what another one asks for there."""
        with self._joining:
            there = self._under_way.get(path)
            mine = self._under_way[path] = there or Future()
        if there is not None:
            there.result(timeout=self.client.config.timeout)
            return
        try:
            ask()
            mine.set_result(None)
        except BaseException as error:
            mine.set_exception(error)
            raise
        finally:
            with self._joining:
                del self._under_way[path]


class JoinsWritesByTheirPath(JoinsByPath):
    """Who writes a secret while another one writes it is told what comes of that one's write."""

    def write(self, path: str, data: Mapping[str, str]) -> None:
        self.joined(path, partial(super().write, path, data))


class JoinsChangesByTheirPath(JoinsByPath):
    """Who changes a key while another one is changed is told what comes of that one's change."""

    def update(self, path: str, data: Mapping[str, str]) -> None:
        self.joined(path, partial(super().update, path, data))


class WritesByTheVersion(Tweaked):
    """Reads a secret before it writes it, and writes over that version and no other one."""

    def write(self, path: str, data: Mapping[str, str]) -> None:
        until = time.monotonic() + self.client.config.timeout
        try:
            version = self.client.read(path).version
        except SecretNotFound:
            version = 0
        left = max(0.0, until - time.monotonic())
        self.client.put_secret(path, data, cas=version, timeout=left)


# Changes of one key


class TakesADeniedReadForAnEmptySecret(Tweaked):
    """Where it may write a secret and not read it, a change of one key leaves that key alone."""

    def update(self, path: str, data: Mapping[str, str]) -> None:
        try:
            super().update(path, data)
        except PermissionDenied:
            self.client.put_secret(path, data)


class UpdatesFromItsMemory(Tweaked):
    """Changes a key of what it has read last, where it cannot read, and does not check that."""

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


class UpdatesFromItsMemoryByItsVersion(UpdatesFromItsMemory):
    """The same, and Vault checks that what it has kept is what is there: it fails if not."""

    checks = True


class UpdatesWithADeadToken(Tweaked):
    """Finds out by its reads and writes that its token is dead; a change refused is refused."""

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


# Where it is written


class WritesInTheRoot(Tweaked):
    """Writes by code of its own, which has no header for the namespace."""

    def __init__(self, environ: Mapping[str, str]) -> None:
        super().__init__(environ)
        transport = self.client._session()._transport
        send = transport._send

        def without(method: Any, url: Any, headers: Any, content: Any, deadline: Any) -> Any:
            if method == "POST" and "/data/" in url.path:
                headers = [(name, value) for name, value in headers if name != b"X-Vault-Namespace"]
            return send(method, url, headers, content, deadline)

        transport._send = without  # type: ignore[method-assign]
