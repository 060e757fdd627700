"""A digest (HMAC-SHA-256) of each secret in a Vault, without values.

Its random key is in the encrypted part of a backup.
"""

from __future__ import annotations

import contextlib
import hashlib
import hmac
import json
import secrets
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import Any

from vault_harness.errors import without_frames
from vault_harness.local.vault.admin import VaultAdmin
from vault_harness.local.vault.kv import Kv, SecretVersion


@dataclass(frozen=True)
class Contents:
    """The latest version of every secret, and the names of policies and AppRoles.

    Attributes:
        secrets: ``mount/path`` to ``version:state:digest``.
        moving: Secrets that changed during the backup, which may hold either value.
        vault: Cluster id, or "".
    """

    mounts: tuple[str, ...]
    secrets: Mapping[str, str]
    policies: tuple[str, ...]
    approles: tuple[str, ...]
    moving: tuple[str, ...] = ()
    key: str = field(default="", repr=False)
    namespace: str = ""
    vault: str = ""

    def to_json(self) -> bytes:
        return json.dumps(asdict(self)).encode()

    @classmethod
    def from_json(cls, raw: bytes) -> Contents:
        data = json.loads(raw)
        return cls(
            tuple(data["mounts"]),
            dict(data["secrets"]),
            tuple(data["policies"]),
            tuple(data["approles"]),
            tuple(data["moving"]),
            str(data["key"]),
            str(data.get("namespace") or ""),
            str(data.get("vault") or ""),  # both missing in older backups
        )


@dataclass(frozen=True)
class Comparison:
    """How a restored Vault differs from its backup, without values."""

    same: int
    different: tuple[str, ...]


@without_frames
def take_contents(op: VaultAdmin, mounts: Iterable[str], *, key: str | None = None) -> Contents:
    key = key or secrets.token_hex(32)
    mounts = tuple(mounts)
    found = {}
    for mount in mounts:
        kv = Kv(op, mount)
        for path in kv.paths():
            found[f"{kv.mount}/{path}"] = _digest(kv.read(path), key)
    policies, approles = _names(op, "sys/policies/acl"), _names(op, "auth/approle/role")
    return Contents(mounts, found, policies, approles, (), key, op.namespace)


@without_frames
def compare(op: VaultAdmin, wanted: Contents) -> Comparison:
    with contextlib.closing(op.within(wanted.namespace)) as inside:
        present = take_contents(inside, wanted.mounts, key=wanted.key)
    different = []
    same = 0
    for name in sorted(set(wanted.secrets) | set(present.secrets)):
        before, now = wanted.secrets.get(name), present.secrets.get(name)
        if before == now:
            same += 1
        elif name not in wanted.moving:
            different.append(f"{name}: {_difference(before, now)}")
    for kind, old, new in (
        ("policy", wanted.policies, present.policies),
        ("AppRole", wanted.approles, present.approles),
    ):
        different += [f"{kind} {name}: missing" for name in sorted(set(old) - set(new))]
        different += [f"{kind} {name}: not in the backup" for name in sorted(set(new) - set(old))]
    return Comparison(same, tuple(different))


def moving_between(before: Contents, after: Contents) -> Contents:
    """Return the contents before a snapshot, with what changed during it as moving."""
    names = set(before.secrets) | set(after.secrets)
    moving = sorted(n for n in names if before.secrets.get(n) != after.secrets.get(n))
    return replace(before, moving=tuple(moving))


def _digest(secret: SecretVersion, key: str) -> str:
    canonical = json.dumps(dict(secret.data), sort_keys=True, ensure_ascii=False).encode()
    digest = hmac.new(bytes.fromhex(key), canonical, hashlib.sha256).hexdigest()
    return f"{secret.version}:{secret.state}:{digest}"


def _difference(before: str | None, now: str | None) -> str:
    if before is None:
        return "not in the backup"
    if now is None:
        return "missing"
    (old_version, old_state, _), (version, state, _) = before.split(":"), now.split(":")
    if old_version != version:
        return f"version {version}, in the backup {old_version}"
    return f"{state}, in the backup {old_state}" if state != old_state else "another value"


def _names(op: VaultAdmin, path: str) -> tuple[str, ...]:
    data: dict[str, Any] = op.request("LIST", path).get("data", {})
    return tuple(sorted(data.get("keys", [])))
