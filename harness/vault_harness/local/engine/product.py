"""Keep Vault's and OpenBao's data apart, and refuse a seal that the product lacks."""

from __future__ import annotations

from pathlib import Path

from vault_harness import files
from vault_harness.errors import CapabilityMissing, StackError, named
from vault_harness.local.dialect import OPENBAO, VAULT, Dialect
from vault_harness.local.engine.configuration import DATA_NAME

_NAME = "product"


def check_product(directory: Path, dialect: Dialect, *, looked_at: str) -> None:
    """Note in a node's directory which product runs on it, and refuse the other one later.

    The other product would reject the keys and may damage the data. `dialect` and `looked_at`
    describe the server that is about to start, and its origin for the error.
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
    """Refuse a seal that the product does not have, before its server starts.

    Seals of a cloud are not checked here: only the server knows them.

    Args:
        dialect: The product of the server that is about to start; None if unknown.
        looked_at: Where that server comes from, for the error.
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
