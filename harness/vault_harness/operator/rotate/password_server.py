"""What a server with one of Vault's passwords must do, and its errors."""

from __future__ import annotations

import importlib
from dataclasses import dataclass, field
from typing import Any, Protocol

from vault_harness.errors import HarnessError, SettingsError

CONNECT_SECONDS = 5


class ServerRefusedError(HarnessError):
    """A database server refused the new password, or cannot be reached."""

    exit_code = 6


class ServerUnreachableError(ServerRefusedError):
    """It is unknown which password a database server accepts."""


@dataclass(frozen=True)
class Account:
    """An account and its passwords; ``user`` "" is the server's default user."""

    user: str
    old: str = field(repr=False)
    new: str = field(repr=False)


class PasswordServer(Protocol):
    """A server that knows one of Vault's passwords.

    Vault is written between the steps of a change. Entering `changing` prepares the new password,
    ``confirm()`` puts it into effect, and leaving without it keeps the old one. With `keeps_old`
    the old password works beside the new one until `retire_old`.
    """

    title: str
    keeps_old: bool

    def changing(self, account: Account) -> Any:
        """Return a context that gives ``confirm``."""

    def accepts(self, account: Account, password: str) -> bool:
        """Log in with that password."""

    def retire_old(self, account: Account) -> None:
        """Make every other password of this account invalid."""


def library(name: str, extra: str) -> Any:
    try:
        module = importlib.import_module(name)
        if name == "psycopg":
            importlib.import_module("psycopg.sql")
    except ImportError:
        raise SettingsError(
            f"the Python package {name} is not installed",
            looked_at=f"import {name}",
            remedy=f"pip install 'vault-harness[{extra}]', or unset the server's URL.",
        ) from None
    return module


# Not chained, since the libraries' exceptions may hold the connection string.


def refused(
    server: PasswordServer, what: str, error: Exception, *, so_far: str = "Nothing was changed."
) -> ServerRefusedError:
    return ServerRefusedError(
        f"{server.title} does not {what}: {_first_line(error)}",
        looked_at=repr(server),
        remedy=f"{so_far} Name an account that may do it in the server's URL.",
    )


def unreachable(server: PasswordServer, error: Exception) -> ServerUnreachableError:
    return ServerUnreachableError(
        f"{server.title} cannot be reached: {_first_line(error)}",
        looked_at=repr(server),
        remedy="Start it, let the account connect to it, or correct the URL in the environment.",
    )


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0]
