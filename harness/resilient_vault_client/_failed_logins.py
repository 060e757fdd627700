"""How often a rejected secret-id may be tried again.

Vault locks a role for everybody after five failed logins within 15 minutes, by default. So one
client makes at most four with the same role in that time, of which one is left to a new secret-id.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import json
import logging
import os
import time
from collections.abc import Iterator
from pathlib import Path

from resilient_vault_client._credentials import Credentials
from resilient_vault_client._deadline import Deadline

# Vault's default for counting failures and for the lock: 15 minutes.
WINDOW = 900.0

# One fewer than Vault's default limit, over all secret-ids of a role.
MOST_FOR_A_ROLE = 4

# After each failure with the same ids, seconds until they may be tried again. A role that is made
# a little late is found by the second or third try.
_PAUSES = (5.0, 60.0)

# Who holds the shared count does so for a moment; one who holds it longer stands still.
_LOCK_SECONDS = 0.5
_LOCK_EVERY = 0.01

_log = logging.getLogger("resilient_vault_client")

Failure = tuple[float, str]


class FailedLogins:
    """Counts failed logins; one thread at a time asks, since one logs in at a time.

    Args:
        directory: Where to keep the count, so that all processes of a machine which use it count
            together, one after another and side by side; None counts for this process alone.
        server: Vault's address: each server counts for itself.
    """

    def __init__(self, directory: Path | None = None, *, server: str = "") -> None:
        self._directory = directory
        self._server = server
        self._own: dict[str, list[Failure]] = {}

    def wait(self, credentials: Credentials, deadline: Deadline) -> float:
        """Seconds until a login with these ids may be tried; 0 for now."""
        now = _now()
        with self._failures(credentials.role_id, now, deadline) as failures:
            same = [at for at, fingerprint in failures if fingerprint == credentials.fingerprint]
            due = now
            if same:
                again = len(same) <= len(_PAUSES)
                due = same[-1] + _PAUSES[len(same) - 1] if again else same[0] + WINDOW
            if len(failures) >= MOST_FOR_A_ROLE:
                due = max(due, failures[0][0] + WINDOW)
            return max(0.0, due - now)

    def rejected(self, credentials: Credentials, deadline: Deadline) -> None:
        """Vault refused these ids."""
        now = _now()
        with self._failures(credentials.role_id, now, deadline) as failures:
            failures.append((now, credentials.fingerprint))

    def accepted(self, credentials: Credentials, deadline: Deadline) -> None:
        """Vault took these ids, and forgot what came before."""
        if not self._own.get(credentials.role_id):
            return  # there was nothing to forget when the login began
        with self._failures(credentials.role_id, _now(), deadline) as failures:
            failures.clear()

    @contextlib.contextmanager
    def _failures(self, role_id: str, now: float, deadline: Deadline) -> Iterator[list[Failure]]:
        """The failures with a role that still count; what is done to the list is kept.

        Where the shared count cannot be had, or is held by a process that stands still, the one
        that this process saw last stands in for it.
        """
        with self._shared(role_id, deadline) as shared:
            found = self._own.get(role_id, []) if shared is None else _parse(_read(shared))
            known = _recent(found, now)
            before = list(known)
            yield known
            self._own[role_id] = list(known)
            if shared is not None and known != before:
                _write(shared, json.dumps(known))

    @contextlib.contextmanager
    def _shared(self, role_id: str, deadline: Deadline) -> Iterator[int | None]:
        """The file for a role, open and locked; None if there is none to be had in time."""
        descriptor = self._open(role_id)
        if descriptor is None:
            yield None
            return
        try:
            locked = _lock(descriptor, deadline.sooner(_LOCK_SECONDS))
            if not locked:
                _log.warning("vault: another process holds the count of failed logins")
            try:
                yield descriptor if locked else None
            finally:
                if locked:
                    # Not by closing alone: a child that was forked meanwhile has a copy.
                    fcntl.flock(descriptor, fcntl.LOCK_UN)
        finally:
            os.close(descriptor)

    def _open(self, role_id: str) -> int | None:
        if self._directory is None:
            return None
        name = hashlib.sha256(f"{self._server}\0{role_id}".encode()).hexdigest()[:32]
        try:
            self._directory.mkdir(mode=0o700, parents=True, exist_ok=True)
            flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW
            return os.open(self._directory / f"logins-{name}.json", flags, 0o600)
        except OSError as error:
            _log.warning("vault: failed logins are not counted together: %s", error.strerror)
            self._directory = None
            return None


def _lock(descriptor: int, deadline: Deadline) -> bool:
    """Lock a file, within the time that there is; whether that worked."""
    while True:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if deadline.passed:
                return False
            time.sleep(min(_LOCK_EVERY, deadline.remaining()))
        else:
            return True


def _now() -> float:
    """A clock that all processes of a machine share, and that nobody sets."""
    return time.clock_gettime(time.CLOCK_MONOTONIC)


def _recent(failures: list[Failure], now: float) -> list[Failure]:
    # A time to come is one from before the last boot.
    return [(at, fingerprint) for at, fingerprint in failures if 0 <= now - at < WINDOW]


def _read(descriptor: int) -> bytes:
    return os.pread(descriptor, 65536, 0)


def _parse(content: bytes) -> list[Failure]:
    """What a file says; one that makes no sense says nothing."""
    try:
        return [(float(at), str(fingerprint)) for at, fingerprint in json.loads(content or b"[]")]
    except (ValueError, TypeError):
        return []


def _write(descriptor: int, text: str) -> None:
    os.ftruncate(descriptor, 0)
    os.pwrite(descriptor, text.encode(), 0)
