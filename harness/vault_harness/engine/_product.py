"""Whose server it is: one product must not open the other's data, and lacks a seal of the other."""

from __future__ import annotations

from pathlib import Path

from vault_harness import files
from vault_harness.commands import named
from vault_harness.dialect import OPENBAO, VAULT, Dialect
from vault_harness.engine._configuration import DATA_NAME
from vault_harness.errors import CapabilityMissing, StackError

_NAME = "product"


def check_product(directory: Path, dialect: Dialect, *, looked_at: str) -> None:
    """Note in a node's directory whose server runs on it, and hold to that.

    Args:
        directory: The node's directory.
        dialect: Whose server is about to be started.
        looked_at: Where that server comes from, for the error.

    Raises:
        StackError: The data was written by the other product's server, which would take its own
            keys for wrong ones and may spoil the data.
    """
    note = directory / _NAME
    written = files.tail(note).strip()
    if not any((directory / DATA_NAME).glob("*")):
        files.write_private(note, f"{dialect.product}\n")
        return
    if written in {"", dialect.product}:
        return
    other = OPENBAO if written == OPENBAO.product else VAULT
    raise StackError(
        f"the data of this stack was written by {other.title}, and {dialect.title} would run on it",
        looked_at=f"{note}, {looked_at}",
        remedy=f"choose {other.title} again (HARNESS_VAULT_BINARY for processes, VAULT_IMAGE for "
        "containers), or another folder with HARNESS_DATA_DIR",
    )


def check_seal_of_product(kind: str, dialect: Dialect | None, *, looked_at: str) -> None:
    """See that a server knows a seal, before it is started with it and says so in its own words.

    Seals of a cloud are not looked at: only the server itself can tell.

    Args:
        kind: Of the seal.
        dialect: Whose server is about to be started; None if that is not known.
        looked_at: Where that server comes from, for the error.

    Raises:
        CapabilityMissing: The other product alone knows that seal.
    """
    if kind != "static" or dialect is None or dialect.static_seal:
        return
    raise CapabilityMissing(
        f"{dialect.title} has no seal static: it is {OPENBAO.title}'s alone",
        looked_at=looked_at,
        remedy=f"take the seal transit, which both have ({named('up', '--seal', 'transit')}, "
        f"{named('seal.migrate', 'transit')}); or for a new stack {OPENBAO.title} "
        "(HARNESS_VAULT_BINARY for processes, VAULT_IMAGE for containers)",
    )
