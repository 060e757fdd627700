"""How often a rejected secret-id may be tried again.

Vault locks a role for everybody after five failed logins within 15 minutes, by default. So one
client makes at most four with the same ids in that time, and leaves one of them to a new secret-id.
"""

from __future__ import annotations

import threading
import time
from collections import deque

from harness.client._credentials import Credentials

# Vault's default for counting failures and for the lock: 15 minutes.
WINDOW = 900.0

# One fewer than Vault's default limit, over all secret-ids of a role.
MOST_FOR_A_ROLE = 4

# After each failure with the same ids, seconds until they may be tried again. A role that is made a
# little late is found by the second or third try; the fourth failure is left to another secret-id.
_PAUSES = (5.0, 60.0)


class Ledger:
    """Counts failed logins of one client, for any number of threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._failures: dict[str, deque[tuple[float, str]]] = {}

    def wait(self, credentials: Credentials) -> float:
        """Seconds until a login with these ids may be tried; 0 for now."""
        now = time.monotonic()
        with self._lock:
            failures = self._recent(credentials.role_id, now)
            same = [at for at, fingerprint in failures if fingerprint == credentials.fingerprint]
            due = now
            if same:
                again = len(same) <= len(_PAUSES)
                due = same[-1] + _PAUSES[len(same) - 1] if again else same[0] + WINDOW
            if len(failures) >= MOST_FOR_A_ROLE:
                due = max(due, failures[0][0] + WINDOW)
            return max(0.0, due - now)

    def rejected(self, credentials: Credentials) -> None:
        """Vault refused these ids."""
        now = time.monotonic()
        with self._lock:
            self._recent(credentials.role_id, now).append((now, credentials.fingerprint))

    def accepted(self, credentials: Credentials) -> None:
        """Vault took these ids, and forgot what came before."""
        with self._lock:
            self._failures.pop(credentials.role_id, None)

    def _recent(self, role_id: str, now: float) -> deque[tuple[float, str]]:
        failures = self._failures.setdefault(role_id, deque())
        while failures and now - failures[0][0] >= WINDOW:
            failures.popleft()
        return failures
