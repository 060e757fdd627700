"""Secrets of a KV v2 mount as an operator needs them: versions, check-and-set, every path."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import hvac.exceptions

from vault_harness.boundary import without_frames
from vault_harness.commands import named
from vault_harness.errors import OperatorError
from vault_harness.vault.operator import Operator

DEFAULT_MOUNT = "ecommerce"


class CheckAndSetError(OperatorError):
    """Check-and-set found a newer version: somebody wrote since it was read."""


@dataclass(frozen=True)
class SecretVersion:
    """One version of a secret.

    Attributes:
        version: Its number; 0 for a path that never held anything.
        data: Its keys and values, never shown by ``repr``; empty if it cannot be read.
        state: ``present``, ``missing``, ``deleted`` (can be undeleted) or ``destroyed``.
        created: When it was written, in Vault's words. Numbers come again after a restore, and
            after a path was deleted with all of its versions; a number with its time does not.
    """

    version: int
    data: Mapping[str, Any] = field(repr=False)
    state: str = "present"
    created: str = ""


class Kv:
    """One KV v2 mount.

    Args:
        op: An operator whose token may do what is asked.
        mount: Where it is mounted, without slashes at the ends.
    """

    def __init__(self, op: Operator, mount: str = DEFAULT_MOUNT) -> None:
        self.op = op
        self.mount = mount.strip("/")

    def __repr__(self) -> str:
        return f"<Kv {self.mount}/ at {self.op.address}>"

    def uuid(self) -> str:
        """What tells this mount from one of the same name in another Vault.

        It outlives restarts and travels with a snapshot.

        Raises:
            OperatorError: There is no such mount, or it is not KV v2.
        """
        found: dict[str, Any] = {}
        try:
            found = self.op.request("GET", f"sys/internal/ui/mounts/{self.mount}").get("data", {})
        except OperatorError as error:
            if "preflight" not in error.cause:  # Vault's word for a mount that is not there
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
        """A version of a secret, the latest for None.

        Raises:
            OperatorError: It may not be read, or there is no such mount.
        """
        with self.op.asking(f"read {self.mount}/{path}") as client:
            try:
                answer = client.secrets.kv.v2.read_secret_version(
                    path, version=version, mount_point=self.mount, raise_on_deleted_version=False
                )
            except hvac.exceptions.InvalidPath as error:
                if _no_such_place(error):  # which is not the same as no such secret
                    raise
                # hvac lets a deleted version pass, and not a destroyed one.
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
        """Write a new version if ``cas`` is still the latest one (0: if there is none).

        Returns:
            The number of the new version.

        Raises:
            CheckAndSetError: ``cas`` is not the latest version any more.
            OperatorError: It may not be written, or it is larger than Vault takes.
        """
        return self.write_version(path, data, cas=cas).version

    @without_frames
    def write_version(self, path: str, data: Mapping[str, Any], *, cas: int) -> SecretVersion:
        """As `write`; gives the new version with the moment that Vault wrote it."""
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
                size = len(json.dumps(dict(data)).encode())
                raise OperatorError(
                    f"{self.mount}/{path} is larger than this Vault takes: {size} bytes with all "
                    "of its keys",
                    # Of the size that Vault names itself, only the limit means anything.
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
        """Soft-delete one version; ``kv undelete`` brings it back."""
        with self.op.asking(f"delete version {version} of {self.mount}/{path}") as client:
            client.secrets.kv.v2.delete_secret_versions(
                path, versions=[version], mount_point=self.mount
            )

    def keeps_the_one_before(self, path: str) -> bool:
        """Whether a write to a secret leaves the version before it; so too if nobody may know here.

        Mount and secret each say how many are kept, and the greater number counts; without either
        it is ten.
        """
        places = (f"{self.mount}/config", f"{self.mount}/metadata/{path}")
        try:
            found = [self.op.request("GET", place).get("data") or {} for place in places]
        except OperatorError:
            return True
        return max(int(each.get("max_versions") or 0) for each in found) != 1

    def paths(self, prefix: str = "") -> Iterator[str]:
        """Every path that has or had a secret, in order.

        Raises:
            OperatorError: It may not be listed, or there is no such mount.
        """
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


def _no_such_place(error: hvac.exceptions.InvalidPath) -> bool:
    """Whether the mount is not there, or the namespace."""
    return "no handler for route" in str(error) or "namespace not found" in str(error)
