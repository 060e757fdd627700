"""A home folder in which a subject finds no token of the developer's own."""

from __future__ import annotations

import contextlib
from pathlib import Path

from vault_harness.files import private_directory

TOKEN = ".vault-token"  # noqa: S105 - where Vault's command line, and a dev server, leave one


def home_without_token(beside: Path) -> dict[str, str]:
    """What tells a program where its home is, so that it finds no token of Vault's there.

    Some clients (hvac, Vault's own command line) take one from ``~/.vault-token`` where they are
    given none: a stranger's token, which the scenario's Vault refuses. Where there is one, the
    program's home is a folder of links to all else.

    Args:
        beside: A file of the scenario's folder, which has the new home beside it.

    Returns:
        ``HOME``, or nothing where there is no such token, or no home that this user may look into.
    """
    try:
        home = Path.home()
        if not (home / TOKEN).exists():
            return {}
    except (OSError, RuntimeError):  # where we may not look, the program does not find one either
        return {}
    ours = private_directory(beside.with_name("home"))
    with contextlib.suppress(PermissionError):  # a token may be in what may not be listed
        for entry in home.iterdir():
            if entry.name != TOKEN:
                with contextlib.suppress(FileExistsError):  # made for another one of this scenario
                    (ours / entry.name).symlink_to(entry)
    return {"HOME": str(ours)}
