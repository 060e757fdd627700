"""How often a rejected secret-id may be tried again.

Vault locks a role for everybody after five failed logins within 15 minutes, by default. So one
client makes at most four with the same role in that time, of which one is left to a new secret-id.
"""

from __future__ import annotations

import contextlib
import errno
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

# Of a file: more than all processes of a machine write in a quarter of an hour.
_MOST_BYTES = 65536

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

        Where the shared count cannot be had, makes no sense, or is held by a process that stands
        still, the one that this process saw last stands in for it.
        """
        with self._shared(role_id, deadline) as shared:
            found = None if shared is None else self._read(shared)
            known = _recent(self._own.get(role_id, []) if found is None else found, now)
            before = list(known)
            yield known
            self._own[role_id] = list(known)
            if shared is not None and known != before:
                self._write(shared, json.dumps(known).encode())

    @contextlib.contextmanager
    def _shared(self, role_id: str, deadline: Deadline) -> Iterator[int | None]:
        """The file for a role, open and locked; None if there is none to be had in time."""
        descriptor = self._open(role_id)
        if descriptor is None:
            yield None
            return
        try:
            locked = self._lock(descriptor, deadline.sooner(_LOCK_SECONDS))
            try:
                yield descriptor if locked else None
            finally:
                if locked:
                    self._let_go(descriptor)
        finally:
            try:
                os.close(descriptor)
            except OSError as error:  # a server on the network tells here what it did not keep
                self._go_alone(error)

    def _open(self, role_id: str) -> int | None:
        if self._directory is None:
            return None
        name = hashlib.sha256(f"{self._server}\0{role_id}".encode()).hexdigest()[:32]
        try:
            self._directory.mkdir(mode=0o700, parents=True, exist_ok=True)
            flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW
            return os.open(self._directory / f"logins-{name}.json", flags, 0o600)
        except OSError as error:
            self._go_alone(error)
            return None

    def _lock(self, descriptor: int, deadline: Deadline) -> bool:
        """Lock a file, within the time that there is; whether that worked."""
        while True:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                if deadline.passed:
                    _log.warning("vault: another process holds the count of failed logins")
                    return False
                time.sleep(min(_LOCK_EVERY, deadline.remaining()))
            except OSError as error:
                self._go_alone(error)
                return False
            else:
                return True

    def _let_go(self, descriptor: int) -> None:
        """Not by closing alone: a child that was forked meanwhile has a copy."""
        try:
            fcntl.flock(descriptor, fcntl.LOCK_UN)
        except OSError as error:
            self._go_alone(error)

    def _read(self, descriptor: int) -> list[Failure] | None:
        """What the file says; None if it cannot be read or makes no sense."""
        try:
            return _parse(os.pread(descriptor, _MOST_BYTES, 0))
        except OSError as error:
            self._go_alone(error)
            return None

    def _write(self, descriptor: int, content: bytes) -> None:
        try:
            # Before the rest is cut off: on a full disk what was there is not lost for nothing.
            if os.pwrite(descriptor, content, 0) < len(content):
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            os.ftruncate(descriptor, len(content))
        except OSError as error:
            self._go_alone(error)

    def _go_alone(self, error: OSError) -> None:
        """Count for this process alone from now on, since the files cannot be used.

        Not every file system knows locks, and a disk may be full: that is no reason not to log in.
        """
        if self._directory is not None:
            _log.warning("vault: failed logins are not counted together: %s", error.strerror)
        self._directory = None


def _now() -> float:
    """A clock that all processes of a machine share, and that nobody sets."""
    return time.clock_gettime(time.CLOCK_MONOTONIC)


def _recent(failures: list[Failure], now: float) -> list[Failure]:
    # A time to come is one from before the last boot.
    return [(at, fingerprint) for at, fingerprint in failures if 0 <= now - at < WINDOW]


def _parse(content: bytes) -> list[Failure] | None:
    """What a file says; None if that makes no sense, as in a new one or one half written."""
    try:
        return [(float(at), str(fingerprint)) for at, fingerprint in json.loads(content)]
    except (ValueError, TypeError):
        return None
