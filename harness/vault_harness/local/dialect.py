"""The differences between HashiCorp Vault and OpenBao, as data. No other module asks.

OpenBao 2.7 was run. The column of HashiCorp Vault is from its documentation (configuration
reference, storage back ends, release notes of 1.14 to 1.20) and was not run.
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
        product: Which of the two.
        title: Its name for people.
        program: The name of its binary, which images have on PATH.
        storages: The storage back ends that this project configures.
        audit_in_configuration: Whether the configuration file declares audit devices, and the API
            refuses them. Otherwise only the API makes them (``sys/audit/<path>``).
        knows_disable_mlock: Whether ``disable_mlock`` is a setting, which raft then needs.
        static_seal: Whether it has the seal with a key in a file; OpenBao since 2.4.
        namespaces: Whether it has them; HashiCorp Vault only in its Enterprise edition, see
            `has_namespaces`.
        dead_token_message: What a 403 says about a dead token beyond ``permission denied``, or
            None.
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
        """Return the top-level settings that this product needs to run unprivileged."""
        return {"disable_mlock": True} if self.knows_disable_mlock else {}

    def audit_configuration(
        self, path: Path | str, *, raw: bool, name: str = "file"
    ) -> dict[str, object]:
        """Return the settings that declare a file audit device; empty if the API does that."""
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
    """Return the dialect of a product."""
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
    """Return the options of a file audit device, for a configuration file or the API."""
    options = {"file_path": str(path)}
    if raw:
        options["log_raw"] = "true"
    return options


def of_version_output(text: str) -> Dialect | None:
    """Read the output of ``bao version`` or ``vault version``; None if it is neither."""
    first = text.strip().splitlines()[0] if text.strip() else ""
    if first.startswith("OpenBao "):
        return OPENBAO
    return VAULT if first.startswith("Vault ") else None


def of_seal_status(status: Mapping[str, object]) -> Dialect:
    """Tell the product from ``sys/seal-status``.

    OpenBao starts at version 2.0 and reports a ``commit_date`` (2.3 and newer). HashiCorp Vault
    reports ``removed_from_cluster`` (1.19 and newer), and its older versions are below 2.0.
    """
    if "commit_date" in status:
        return OPENBAO
    major = re.match(r"v?(\d+)\.", str(status.get("version", "")))
    if "removed_from_cluster" in status or (major is not None and int(major[1]) < 2):
        return VAULT
    return OPENBAO
