"""Keep Vault's and OpenBao's data apart."""

from __future__ import annotations

from pathlib import Path

from vault_harness import files
from vault_harness.errors import CapabilityMissing, EngineError, StackError, named
from vault_harness.local.dialect import OPENBAO, VAULT, Dialect
from vault_harness.local.engine.configuration import DATA_NAME

_NAME = "product"


def check_product(directory: Path, dialect: Dialect, *, looked_at: str) -> None:
    """Note which product runs on a node's directory, and refuse the other one later.

    The other one would reject the keys and may damage the data.
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


def check_storage(storage: str, dialect: Dialect, *, looked_at: str) -> None:
    if storage not in dialect.storages:
        raise EngineError(
            f"{dialect.title} has no storage {storage}",
            looked_at=looked_at,
            remedy=f"choose one of {', '.join(sorted(dialect.storages))}",
        )


def check_seal_of_product(kind: str, dialect: Dialect | None, *, looked_at: str) -> None:
    """Refuse a seal that the product lacks. Only the server knows the seals of a cloud."""
    if kind != "static" or dialect is None or dialect.static_seal:
        return
    raise CapabilityMissing(
        f"{dialect.title} has no seal static: it is {OPENBAO.title}'s alone",
        looked_at=looked_at,
        remedy=f"take the seal transit, which both have ({named('up', '--seal', 'transit')}, "
        f"{named('seal.migrate', 'transit')}); or for a new stack {OPENBAO.title} "
        "(HARNESS_VAULT_BINARY for processes, VAULT_IMAGE for containers)",
    )
