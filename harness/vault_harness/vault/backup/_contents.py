"""What a Vault holds, as a digest for each secret: it can be compared and gives nothing away.

Digests are keyed (HMAC-SHA-256) with a random key that lies beside them in the encrypted part of a
backup.
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

from vault_harness.boundary import without_frames
from vault_harness.vault.kv import Kv, SecretVersion
from vault_harness.vault.operator import Operator


@dataclass(frozen=True)
class Contents:
    """Every secret's latest version, and the names of policies and AppRoles.

    Attributes:
        mounts: KV mounts that were read.
        secrets: ``mount/path`` to ``version:state:digest``.
        policies: Names.
        approles: Names.
        moving: Secrets that changed while the backup was made: they may be in it in either form.
        key: Of the digests.
        namespace: Where all of that is; empty for the root namespace.
        vault: The cluster id of the Vault that it is of, empty if nobody knows.
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
        """For the encrypted part of a backup."""
        return json.dumps(asdict(self)).encode()

    @classmethod
    def from_json(cls, raw: bytes) -> Contents:
        """What `to_json` made."""
        data = json.loads(raw)
        return cls(
            tuple(data["mounts"]),
            dict(data["secrets"]),
            tuple(data["policies"]),
            tuple(data["approles"]),
            tuple(data["moving"]),
            str(data["key"]),
            str(data.get("namespace") or ""),  # backups of before have none
            str(data.get("vault") or ""),  # likewise
        )


@dataclass(frozen=True)
class Comparison:
    """What a restored Vault has against what its backup says.

    Attributes:
        same: How many secrets are the same.
        different: One line for each thing that is not, without values.
    """

    same: int
    different: tuple[str, ...]


@without_frames
def take_contents(op: Operator, mounts: Iterable[str], *, key: str | None = None) -> Contents:
    """Read every secret of these mounts, and the names of policies and AppRoles.

    Args:
        op: May list and read all of them; acts in the namespace where they are.
        mounts: KV v2 mounts.
        key: Of the digests; None for a new one.
    """
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
def compare(op: Operator, wanted: Contents) -> Comparison:
    """Hold a Vault against the contents of a backup, secret by secret, in their namespace.

    Raises:
        OperatorError: It cannot be read.
    """
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
    """The contents before a snapshot, with what had changed by the time it was finished marked."""
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


def _names(op: Operator, path: str) -> tuple[str, ...]:
    data: dict[str, Any] = op.request("LIST", path).get("data", {})
    return tuple(sorted(data.get("keys", [])))
