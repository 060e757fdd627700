"""Use the reference client as a subject: ``--subject reference``."""

from __future__ import annotations

from collections.abc import Mapping
from time import monotonic

from resilient_vault_client import (
    Credential,
    Secret,
    StaticCredential,
    VaultClient,
    WriteConflict,
)


class ReferenceSubject:
    """``resilient_vault_client.VaultClient`` with the methods of a subject."""

    capabilities = frozenset(
        {
            *("read", "read_all", "cached", "fallback", "health", "write", "update"),
            *("outcomes", "tls", "lease", "static", "fork", "herd"),
        }
    )

    def __init__(self, client: VaultClient) -> None:
        self.client = client
        # There is no backoff_cap: pauses about double, up to 10 s and a fifth of the token's life,
        # which is less than the suite grants.
        self.declares = {
            "deadline": client.config.timeout,
            "refresh": client.config.cache_ttl,
            "max_stale": client.config.max_stale,
        }
        self.auth = {"approle", "jwt", "token-file", "wrapped-secret-id", "namespace"}

    def read(self, path: str, key: str) -> Secret:
        """Return one key, from Vault or a fallback."""
        return self.client.read(path, key)

    def read_cached(self, path: str, key: str) -> Secret:
        return self.client.read_cached(path, key)

    def read_all(self, path: str) -> Secret:
        return self.client.read(path)

    def write(self, path: str, data: Mapping[str, str]) -> None:
        self.client.put_secret(path, data)

    def lease(self, path: str, failed: str | None = None) -> Credential:
        lease = self.client.lease(path)
        if failed is not None:
            lease.failed(failed)
        return lease.current()

    def static(self, path: str, failed: str | None = None) -> StaticCredential:
        return self.client.static_credential(path, failed=failed)

    def update(self, path: str, data: Mapping[str, str]) -> None:
        """Read, then write over the version that was read; try three times."""
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
        return self.client.health().ok

    def close(self) -> None:
        self.client.close()


def factory(environ: Mapping[str, str]) -> ReferenceSubject:
    """Configure the client by this environment alone."""
    return ReferenceSubject(VaultClient(environ=environ))
