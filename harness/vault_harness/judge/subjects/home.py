"""A home folder of a subject's own, without the developer's token of Vault."""

from __future__ import annotations

import contextlib
from pathlib import Path

from vault_harness.files import private_directory, write_private

TOKEN = ".vault-token"  # noqa: S105 - where Vault's command line, and a dev server, leave one


def home_without_token(beside: Path) -> dict[str, str]:
    """Return a ``HOME`` without a token of Vault, or nothing if the user's own has none.

    Some clients (hvac, Vault's own command line) take a token from ``~/.vault-token`` if they are
    given none. The scenario's Vault refuses that token. The new home, beside the file `beside`, has
    links to everything else.
    """
    try:
        home = Path.home()
        if not (home / TOKEN).exists():
            return {}
    except (OSError, RuntimeError):  # then the program cannot read a token there either
        return {}
    return {"HOME": str(make_home(beside.with_name("home")))}


def make_home(folder: Path, token: str = "") -> Path:
    """Make a home folder of links to everything in the user's own except a token of Vault.

    `token` is written as its token of Vault; by default it has none.
    """
    private_directory(folder)
    # The user may have no home, or an unreadable one.
    with contextlib.suppress(OSError, RuntimeError):
        for entry in Path.home().iterdir():
            if entry.name != TOKEN:
                with contextlib.suppress(FileExistsError):  # another subject made it
                    (folder / entry.name).symlink_to(entry)
    if token:
        write_private(folder / TOKEN, token)
    return folder
