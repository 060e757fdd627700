"""The reference client as a subject: what ``--subject reference`` means."""

from __future__ import annotations

from collections.abc import Mapping
from time import monotonic

from resilient_vault_client import Credential, Secret, VaultClient, WriteConflict


class ReferenceSubject:
    """``resilient_vault_client.VaultClient``, in the words of a subject.

    Args:
        client: The client.
    """

    capabilities = frozenset(
        {
            *("read", "read_all", "cached", "fallback", "health", "write", "update"),
            *("outcomes", "tls", "lease", "fork", "herd"),
        }
    )

    def __init__(self, client: VaultClient) -> None:
        self.client = client
        # No backoff_cap: its pauses about double, up to 10 s and a fifth of the token's life, which
        # is less than the suite grants.
        self.declares = {
            "deadline": client.config.timeout,
            "refresh": client.config.cache_ttl,
            "max_stale": client.config.max_stale,
        }
        self.auth = {"approle", "jwt", "token-file", "wrapped-secret-id", "namespace"}

    def read(self, path: str, key: str) -> Secret:
        """One key, from Vault or what stands in for it."""
        return self.client.read(path, key)

    def read_cached(self, path: str, key: str) -> Secret:
        """One key, from memory if it is fresh."""
        return self.client.read_cached(path, key)

    def read_all(self, path: str) -> Secret:
        """All keys, by one request, or what stands in for the answer to it."""
        return self.client.read(path)

    def write(self, path: str, data: Mapping[str, str]) -> None:
        """Write a new version, once."""
        self.client.put_secret(path, data)

    def lease(self, path: str, failed: str | None = None) -> Credential:
        """The credential of this path that works now."""
        lease = self.client.lease(path)
        if failed is not None:
            lease.failed(failed)
        return lease.current()

    def update(self, path: str, data: Mapping[str, str]) -> None:
        """Change some keys: read, then write over what was read; three times at most."""
        until = monotonic() + self.client.config.timeout
        for tries_left in (2, 1, 0):
            read = self.client.read(path, timeout=max(0.0, until - monotonic()))
            changed, left = {**read.value, **data}, max(0.0, until - monotonic())
            try:
                self.client.put_secret(path, changed, cas=read.version, timeout=left)
            except WriteConflict:
                if not tries_left:
                    raise
            else:
                return

    def health(self) -> bool:
        """Whether secrets can be read."""
        return self.client.health().ok

    def close(self) -> None:
        """Revoke the token and end."""
        self.client.close()


def factory(environ: Mapping[str, str]) -> ReferenceSubject:
    """The reference client, configured by this environment alone."""
    return ReferenceSubject(VaultClient(environ=environ))
