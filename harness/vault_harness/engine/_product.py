"""Whose server wrote a node's data: the other product's must not open it."""

from __future__ import annotations

from pathlib import Path

from vault_harness import files
from vault_harness.dialect import OPENBAO, VAULT, Dialect
from vault_harness.engine._configuration import DATA_NAME
from vault_harness.errors import StackError

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
