"""Paths that the policy denied a moment ago, so that nobody asks again and again."""

from __future__ import annotations

import time

from resilient_vault_client._errors import PermissionDenied

# Paths that are remembered; the ones denied longest ago make way.
_MOST = 1024


class Denials:
    """Denied paths, each for a while."""

    def __init__(self) -> None:
        self._until: dict[str, float] = {}

    def check(self, path: str) -> None:
        """Raise what is known.

        Raises:
            PermissionDenied: The path was denied a moment ago.
        """
        until = self._until.get(path)
        if until is None:
            return
        left = until - time.monotonic()
        if left <= 0:
            self._until.pop(path, None)
            return
        raise PermissionDenied(
            f"the policy denies {path} (found out a moment ago)",
            path=path,
            retry_in=left,
            status=403,
        )

    def note(self, path: str, seconds: float) -> None:
        """Leave a path alone for so long."""
        if len(self._until) >= _MOST:
            now = time.monotonic()
            known = sorted(((until, path) for path, until in list(self._until.items())))
            ended = [path for until, path in known if until <= now]
            for old in ended or [path for _, path in known[: _MOST // 4]]:
                self._until.pop(old, None)
        self._until[path] = time.monotonic() + seconds
