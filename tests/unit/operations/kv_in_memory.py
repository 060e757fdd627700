"""A KV v2 mount in memory."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from vault_harness.local.vault.kv import CheckAndSetError, Kv, SecretVersion


class KvInMemory(Kv):
    """Versions by path; ``refuse`` has read-only paths, ``keeps`` is the number of versions."""

    def __init__(self, secrets: Mapping[str, Mapping[str, Any]] | None = None) -> None:
        self.mount = "ecommerce"
        self.refuse: set[str] = set()
        self.keeps = 10
        self._clock = 0
        self._versions: dict[str, list[SecretVersion]] = {}
        for path, data in (secrets or {}).items():
            self.write(path, data, cas=0)

    def __repr__(self) -> str:
        return f"<KvInMemory {self.mount}/>"

    def uuid(self) -> str:
        return "of-the-test"

    def read(self, path: str, *, version: int | None = None) -> SecretVersion:
        kept = self._versions.get(path, [])
        number = len(kept) if version is None else version
        there = max(0, len(kept) - self.keeps) < number <= len(kept)
        return kept[number - 1] if there else SecretVersion(0, {}, "missing")

    def limit(self) -> tuple[int, str]:
        return 2**20, "of the test"

    def keeps_the_one_before(self, path: str) -> bool:  # noqa: ARG002 -- Kv's shape
        return self.keeps > 1

    def write_version(self, path: str, data: Mapping[str, Any], *, cas: int) -> SecretVersion:
        kept = self._versions.setdefault(path, [])
        if cas != len(kept) or path in self.refuse:
            raise CheckAndSetError(f"{path} has changed since it was read")
        self._clock += 1
        kept.append(SecretVersion(cas + 1, dict(data), created=f"moment {self._clock}"))
        return kept[-1]

    def delete(self, path: str, version: int) -> None:
        made = self._versions[path][version - 1]
        self._versions[path][version - 1] = SecretVersion(version, {}, "deleted", made.created)

    def paths(self, prefix: str = "") -> Iterator[str]:
        yield from sorted(path for path in self._versions if path.startswith(prefix))
