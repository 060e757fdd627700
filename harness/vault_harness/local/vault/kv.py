"""Read and write secrets of a KV v2 mount."""

from __future__ import annotations

import contextlib
import functools
import itertools
import json
from collections.abc import Container, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import hvac.exceptions

from vault_harness.errors import OperatorError, named, without_frames
from vault_harness.local.blueprint import Blueprint
from vault_harness.local.vault.admin import VaultAdmin

DEFAULT_MOUNT = "ecommerce"

_ENTRY = 2**20
_REQUEST = 2**25
_AROUND = 512
"""OpenBao 2.7.2 needs 219 bytes for a version beside its data."""


class CheckAndSetError(OperatorError):
    """Somebody wrote a newer version since the read."""


@dataclass(frozen=True)
class SecretVersion:
    """One version of a secret.

    Attributes:
        version: 0 for a path that never held anything.
        data: Not in the repr. Empty if it cannot be read.
        state: ``present``, ``missing``, ``deleted`` (can be undeleted) or ``destroyed``.
        created: As Vault prints it. After a restore, or after all versions of a path were deleted,
            a number may occur again, but not with the same time.
    """

    version: int
    data: Mapping[str, Any] = field(repr=False)
    state: str = "present"
    created: str = ""


class Kv:
    """One KV v2 mount."""

    def __init__(self, op: VaultAdmin, mount: str = DEFAULT_MOUNT) -> None:
        self.op = op
        self.mount = mount.strip("/")

    def __repr__(self) -> str:
        return f"<Kv {self.mount}/ at {self.op.address}>"

    def uuid(self) -> str:
        """Return an id that survives restarts and travels with a snapshot."""
        found: dict[str, Any] = {}
        try:
            found = self.op.request("GET", f"sys/internal/ui/mounts/{self.mount}").get("data", {})
        except OperatorError as error:
            if "preflight" not in error.cause:  # Vault's word for a missing mount
                raise
        options = found.get("options") or {}
        if found.get("type") != "kv" or options.get("version") != "2":
            raise OperatorError(
                f"{self.mount}/ is not a KV v2 mount",
                looked_at=f"sys/internal/ui/mounts/{self.mount}: type {found.get('type')}, "
                f"{options}",
                remedy=f"Run `{named('seed')}`, or name the right mount in the blueprint.",
            )
        return str(found.get("uuid") or found.get("accessor"))

    @without_frames
    def read(self, path: str, *, version: int | None = None) -> SecretVersion:
        with self.op.asking(f"read {self.mount}/{path}") as client:
            try:
                answer = client.secrets.kv.v2.read_secret_version(
                    path, version=version, mount_point=self.mount, raise_on_deleted_version=False
                )
            except hvac.exceptions.InvalidPath as error:
                if _no_such_place(error):  # the mount is missing, not only the secret
                    raise
                # hvac returns a deleted version but raises for a destroyed one.
                answer = error.json if isinstance(error.json, dict) else {}
        if not answer.get("data"):
            return SecretVersion(0, {}, "missing")
        data, metadata = answer["data"]["data"], answer["data"]["metadata"]
        number, created = int(metadata["version"]), str(metadata["created_time"])
        if data is not None:
            return SecretVersion(number, data, created=created)
        state = "destroyed" if metadata["destroyed"] else "deleted"
        return SecretVersion(number, {}, state, created)

    @without_frames
    def write(self, path: str, data: Mapping[str, Any], *, cas: int) -> int:
        """Write a version if ``cas`` is the latest one (0 for none). Return its number."""
        return self.write_version(path, data, cas=cas).version

    @without_frames
    def write_version(self, path: str, data: Mapping[str, Any], *, cas: int) -> SecretVersion:
        """Write as `write` does, and return the version with its time."""
        try:
            with self.op.asking(f"write {self.mount}/{path}") as client:
                answer = client.secrets.kv.v2.create_or_update_secret(
                    path, secret=dict(data), cas=cas, mount_point=self.mount
                )
        except OperatorError as error:
            if "check-and-set" in error.cause:
                raise CheckAndSetError(
                    f"{self.mount}/{path} has changed since it was read",
                    looked_at=f"version {cas} was expected to be the latest",
                    remedy=f"Look at it ({named('vault', '--', 'kv', 'get')}), and run this again.",
                ) from None
            if "too large" in error.cause:
                raise OperatorError(
                    f"{self.mount}/{path} is larger than this Vault takes: {stored_size(data)} "
                    "bytes with all of its keys",
                    # Vault's message has only a useful limit, not a useful size.
                    looked_at="its storage takes 1 MiB a secret unless max_entry_size says more",
                    remedy="Split it over several paths, or keep the file elsewhere, encrypted, "
                    "and its key in Vault. Nothing was written to this path.",
                ) from None
            raise
        return SecretVersion(
            int(answer["data"]["version"]), dict(data), created=str(answer["data"]["created_time"])
        )

    @without_frames
    def delete(self, path: str, version: int) -> None:
        """Soft-delete one version. ``kv undelete`` restores it."""
        with self.op.asking(f"delete version {version} of {self.mount}/{path}") as client:
            client.secrets.kv.v2.delete_secret_versions(
                path, versions=[version], mount_point=self.mount
            )

    def limit(self) -> tuple[int, str]:
        """Return the largest `stored_size`, and what sets it."""
        state: dict[str, Any] = {}
        with contextlib.suppress(OperatorError):  # without permission, assume the defaults
            found = self.op.request("GET", "sys/config/state/sanitized")
            state = (found.get("data") or {}).get("storage") or {}
        if state.get("type", "raft") != "raft":
            return _REQUEST - _AROUND, "the listener takes 32 MiB a request"
        entry = str((state.get("raft") or {}).get("max_entry_size") or "")
        most = int(entry) if entry.isdigit() else _ENTRY
        return most - _AROUND, f"max_entry_size of raft storage is {most} bytes"

    def keeps_the_one_before(self, path: str) -> bool:
        """Return whether a write keeps the version before it. True if the token may not know.

        Of mount and secret the greater number of versions to keep counts, else ten.
        """
        places = (f"{self.mount}/config", f"{self.mount}/metadata/{path}")
        try:
            found = [self.op.request("GET", place).get("data") or {} for place in places]
        except OperatorError:
            return True
        return max(int(each.get("max_versions") or 0) for each in found) != 1

    def paths(self, prefix: str = "") -> Iterator[str]:
        """Yield every path that has or had a secret, in order."""
        with self.op.asking(f"list {self.mount}/{prefix}") as client:
            try:
                answer = client.secrets.kv.v2.list_secrets(path=prefix, mount_point=self.mount)
            except hvac.exceptions.InvalidPath as error:
                if _no_such_place(error):
                    raise
                return
        for key in sorted(answer["data"]["keys"]):
            if key.endswith("/"):
                yield from self.paths(f"{prefix}{key}")
            else:
                yield f"{prefix}{key}"


def stored_size(data: Mapping[str, Any]) -> int:
    """Return the size in bytes as Vault stores it: Go's JSON, which escapes more."""
    text = json.dumps(dict(data), ensure_ascii=False, separators=(",", ":"))
    return len(text.encode()) + sum(
        text.count(each) * (6 - len(each.encode())) for each in "<>&\u2028\u2029"
    )


@dataclass(frozen=True)
class MovedMount:
    """Secrets of a blueprint that are in another mount than it says.

    `in_the_way` is the type of an engine in their place, `aside` a free mount name for it.
    """

    mount: str
    found_at: str
    found: int
    wanted: int
    in_the_way: str
    aside: str

    def commands_back(self) -> list[str]:
        """Return the commands that move them back. They delete nothing."""
        move = functools.partial(named, "vault", "--", "secrets", "move")
        first = [move(f"{self.mount}/", f"{self.aside}/")] if self.in_the_way else []
        return [*first, move(f"{self.found_at}/", f"{self.mount}/")]


def moved_mount(op: VaultAdmin, blueprint: Blueprint, mount: str) -> MovedMount | None:
    """Find a mount's secrets, if it has none of them and another KV mount has most."""
    answer = op.request("GET", "sys/mounts")["data"]
    present = {str(name).rstrip("/"): body for name, body in answer.items()}
    versioned = [
        name
        for name, body in present.items()
        if body.get("type") == "kv" and (body.get("options") or {}).get("version") == "2"
    ]
    others = [name for name in versioned if name not in blueprint.mounts]
    wanted = list(blueprint.secrets.get(mount, ()))
    if not others or (mount in versioned and any(_has(op, mount, path) for path in wanted)):
        return None
    counts = {other: sum(_has(op, other, path) for path in wanted) for other in others}
    found_at = max(counts, key=lambda other: counts[other])
    if not wanted or 2 * counts[found_at] < len(wanted):
        return None
    in_the_way = str(present[mount].get("type")) if mount in present else ""
    aside = free_mount(f"{mount}-{in_the_way}", present)
    return MovedMount(mount, found_at, counts[found_at], len(wanted), in_the_way, aside)


def free_mount(name: str, present: Container[str]) -> str:
    numbered = (f"{name}-{number}" for number in itertools.count(2))
    return next(each for each in itertools.chain([name], numbered) if each not in present)


def _has(op: VaultAdmin, mount: str, path: str) -> bool:
    return bool(op.request("GET", f"{mount}/metadata/{path}").get("data"))


def _no_such_place(error: hvac.exceptions.InvalidPath) -> bool:
    return "no handler for route" in str(error) or "namespace not found" in str(error)
