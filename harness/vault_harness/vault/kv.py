"""Secrets of a KV v2 mount as an operator needs them: versions, check-and-set, every path."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import hvac.exceptions

from vault_harness.commands import named
from vault_harness.errors import OperatorError
from vault_harness.vault.operator import Operator

DEFAULT_MOUNT = "ecommerce"


class CheckAndSetError(OperatorError):
    """Check-and-set found a newer version: somebody wrote since it was read."""


@dataclass(frozen=True)
class Secret:
    """One version of a secret.

    Attributes:
        version: Its number; 0 for a path that never held anything.
        data: Its keys and values, never shown by ``repr``; empty if it cannot be read.
        state: ``present``, ``missing``, ``deleted`` (can be undeleted) or ``destroyed``.
    """

    version: int
    data: Mapping[str, Any] = field(repr=False)
    state: str = "present"


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

    def read(self, path: str, *, version: int | None = None) -> Secret:
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
                if "route" in str(error):  # no such mount, which is not the same as no such secret
                    raise
                # hvac lets a deleted version pass, and not a destroyed one.
                answer = error.json if isinstance(error.json, dict) else {}
        if not answer.get("data"):
            return Secret(0, {}, "missing")
        data, metadata = answer["data"]["data"], answer["data"]["metadata"]
        if data is not None:
            return Secret(int(metadata["version"]), data)
        return Secret(
            int(metadata["version"]), {}, "destroyed" if metadata["destroyed"] else "deleted"
        )

    def write(self, path: str, data: Mapping[str, Any], *, cas: int) -> int:
        """Write a new version if ``cas`` is still the latest one (0: if there is none).

        Returns:
            The number of the new version.

        Raises:
            CheckAndSetError: ``cas`` is not the latest version any more.
            OperatorError: It may not be written.
        """
        with self.op.asking(f"write {self.mount}/{path}") as client:
            try:
                answer = client.secrets.kv.v2.create_or_update_secret(
                    path, secret=dict(data), cas=cas, mount_point=self.mount
                )
            except hvac.exceptions.InvalidRequest as error:
                if "check-and-set" not in str(error):
                    raise
                raise CheckAndSetError(
                    f"{self.mount}/{path} has changed since it was read",
                    looked_at=f"version {cas} was expected to be the latest",
                    remedy=f"Look at it ({named('vault', '--', 'kv', 'get')}), and run this again.",
                ) from None
        return int(answer["data"]["version"])

    def delete(self, path: str, version: int) -> None:
        """Soft-delete one version; ``kv undelete`` brings it back."""
        with self.op.asking(f"delete version {version} of {self.mount}/{path}") as client:
            client.secrets.kv.v2.delete_secret_versions(
                path, versions=[version], mount_point=self.mount
            )

    def paths(self, prefix: str = "") -> Iterator[str]:
        """Every path that has or had a secret, in order.

        Raises:
            OperatorError: It may not be listed, or there is no such mount.
        """
        with self.op.asking(f"list {self.mount}/{prefix}") as client:
            try:
                answer = client.secrets.kv.v2.list_secrets(path=prefix, mount_point=self.mount)
            except hvac.exceptions.InvalidPath as error:
                if "route" in str(error):
                    raise
                return
        for key in sorted(answer["data"]["keys"]):
            if key.endswith("/"):
                yield from self.paths(f"{prefix}{key}")
            else:
                yield f"{prefix}{key}"
