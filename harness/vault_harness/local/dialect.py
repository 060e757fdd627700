"""The differences between HashiCorp Vault and OpenBao, as data. No other module asks.

OpenBao 2.7 was run. HashiCorp Vault was not: see its configuration reference, storage back ends,
and release notes of 1.14 to 1.20.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

Product = Literal["openbao", "vault"]


@dataclass(frozen=True, kw_only=True)
class Dialect:
    """The properties of one product.

    Attributes:
        program: The name of its binary, which images have on PATH.
        audit_in_configuration: Whether the configuration file declares audit devices, and the API
            refuses them. Otherwise only the API makes them.
        knows_disable_mlock: Whether ``disable_mlock`` is a setting, which raft then needs.
        static_seal: The key in a file; OpenBao since 2.4.
        namespaces: HashiCorp Vault has them only in Enterprise, see `has_namespaces`.
        dead_token_message: What a 403 says about a dead token beyond ``permission denied``.
    """

    product: Product
    title: str
    program: str
    storages: frozenset[str]
    audit_in_configuration: bool
    knows_disable_mlock: bool
    static_seal: bool
    namespaces: bool
    dead_token_message: str | None

    def base_configuration(self) -> dict[str, object]:
        """Return the settings that this product needs to run unprivileged."""
        return {"disable_mlock": True} if self.knows_disable_mlock else {}

    def audit_configuration(
        self, path: Path | str, *, raw: bool, name: str = "file"
    ) -> dict[str, object]:
        """Return the settings of a file audit device; empty if the API makes it."""
        if not self.audit_in_configuration:
            return {}
        return {"audit": [{"type": "file", "path": name, "options": audit_options(path, raw=raw)}]}


OPENBAO = Dialect(
    product="openbao",
    title="OpenBao",
    program="bao",
    storages=frozenset({"inmem", "raft"}),
    audit_in_configuration=True,
    knows_disable_mlock=False,
    static_seal=True,
    namespaces=True,
    dead_token_message=None,
)

VAULT = Dialect(
    product="vault",
    title="HashiCorp Vault",
    program="vault",
    storages=frozenset({"inmem", "raft"}),
    audit_in_configuration=False,
    knows_disable_mlock=True,
    static_seal=False,
    namespaces=False,
    dead_token_message="invalid token",  # noqa: S106 -- a message, not a password
)


def of_product(product: Product) -> Dialect:
    return OPENBAO if product == OPENBAO.product else VAULT


def has_namespaces(product: Product, version: str) -> bool:
    """Return whether a server has namespaces: OpenBao since 2.3, Vault if it is Enterprise.

    ``version`` is as in ``sys/seal-status``: ``2.7.2``, ``1.21.4+ent``.
    """
    if product == "vault":
        return "+ent" in version
    numbers = re.match(r"v?(\d+)\.(\d+)", version)
    return numbers is None or (int(numbers[1]), int(numbers[2])) >= (2, 3)


def audit_options(path: Path | str, *, raw: bool) -> dict[str, str]:
    options = {"file_path": str(path)}
    if raw:
        options["log_raw"] = "true"
    return options


def of_version_output(text: str) -> Dialect | None:
    first = text.strip().splitlines()[0] if text.strip() else ""
    if first.startswith("OpenBao "):
        return OPENBAO
    return VAULT if first.startswith("Vault ") else None


def of_seal_status(status: Mapping[str, object]) -> Dialect:
    """Tell the product from ``sys/seal-status``.

    OpenBao starts at version 2.0 and reports a ``commit_date`` (2.3 and newer). HashiCorp Vault
    reports ``removed_from_cluster`` (1.19 and newer); older ones are below 2.0.
    """
    if "commit_date" in status:
        return OPENBAO
    major = re.match(r"v?(\d+)\.", str(status.get("version", "")))
    if "removed_from_cluster" in status or (major is not None and int(major[1]) < 2):
        return VAULT
    return OPENBAO
