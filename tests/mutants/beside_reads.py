"""Clients that read well, and are broken in what stands beside reads: writes, changes, health.

Each deviates from the reference client, and is listed in the module of the group whose scenario it
meets.
"""

from __future__ import annotations

import time
from collections.abc import Mapping

from resilient_vault_client import SecretNotFound
from tests.mutants.clients import Tweaked

# What is written


class MergesWhatItWrites(Tweaked):
    """Takes a write for a change of some keys: a key that is to go lives on."""

    def write(self, path: str, data: Mapping[str, str]) -> None:
        until = time.monotonic() + self.client.config.timeout
        try:
            kept = self.client.read(path).value
        except SecretNotFound:
            kept = {}
        left = max(0.0, until - time.monotonic())
        self.client.put_secret(path, {**kept, **data}, timeout=left)
