"""Where HashiCorp Vault and OpenBao differ, as data. Nothing else asks which one it talks to.

Sources: OpenBao 2.7 was run; HashiCorp Vault's column is from its documentation (configuration
    reference,
storage backends, release notes of 1.14 to 1.20) and was not run here.
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
    """One product's ways.

    Attributes:
        product: Which of the two.
        title: Its name for people.
        program: Name of its binary; in images it is on PATH, in a folder that changes.
        storages: Storage back ends of it that this project configures.
        audit_in_configuration: An audit device is declared in the configuration file, and the API
            refuses to make one. Otherwise the API makes it (``sys/audit/<path>``) and the file
            cannot.
        knows_disable_mlock: ``disable_mlock`` is a setting of it: raft needs it to be given.
        static_seal: Whether it knows the seal whose key is in a file; OpenBao since 2.4.
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
        """Top-level settings that this product needs to run unprivileged."""
        return {"disable_mlock": True} if self.knows_disable_mlock else {}

    def audit_configuration(
        self, path: Path | str, *, raw: bool, name: str = "file"
    ) -> dict[str, object]:
        """What declares a file audit device in the configuration; empty where the API does."""
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
    """The ways of a product."""
    return OPENBAO if product == OPENBAO.product else VAULT


def has_namespaces(product: Product, version: str) -> bool:
    """Whether a server has namespaces: OpenBao since 2.3, HashiCorp Vault if it is Enterprise.

    Args:
        product: Whose it is.
        version: As ``sys/seal-status`` says it: ``2.7.2``, ``1.21.4+ent``.
    """
    if product == "vault":
        return "+ent" in version
    numbers = re.match(r"v?(\d+)\.(\d+)", version)
    return numbers is None or (int(numbers[1]), int(numbers[2])) >= (2, 3)


def audit_options(path: Path | str, *, raw: bool) -> dict[str, str]:
    """Options of a file audit device, the same in a configuration file and over the API."""
    options = {"file_path": str(path)}
    if raw:
        options["log_raw"] = "true"
    return options


def of_version_output(text: str) -> Dialect | None:
    """Read what ``bao version`` or ``vault version`` printed; None if it is neither."""
    first = text.strip().splitlines()[0] if text.strip() else ""
    if first.startswith("OpenBao "):
        return OPENBAO
    return VAULT if first.startswith("Vault ") else None


def of_seal_status(status: Mapping[str, object]) -> Dialect:
    """Tell the product from ``sys/seal-status``.

    OpenBao starts at version 2.0 and gives a ``commit_date`` (2.3 and newer); HashiCorp Vault gives
    ``removed_from_cluster`` (1.19 and newer), and its older versions are below 2.0.
    """
    if "commit_date" in status:
        return OPENBAO
    major = re.match(r"v?(\d+)\.", str(status.get("version", "")))
    if "removed_from_cluster" in status or (major is not None and int(major[1]) < 2):
        return VAULT
    return OPENBAO
