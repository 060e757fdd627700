"""What a server that knows one of Vault's passwords must do, and how its refusals are told."""

from __future__ import annotations

import importlib
from dataclasses import dataclass, field
from typing import Any, Protocol

from vault_harness.errors import HarnessError, SettingsError

CONNECT_SECONDS = 5


class ServerRefusedError(HarnessError):
    """A database server did not take the new password, or cannot be reached."""

    exit_code = 6


class ServerUnreachableError(ServerRefusedError):
    """A database server cannot be asked: which password it takes is not known."""


@dataclass(frozen=True)
class Account:
    """Whose password it is: ``user`` empty means the server's default user."""

    user: str
    old: str = field(repr=False)
    new: str = field(repr=False)


class PasswordServer(Protocol):
    """A server that knows one of Vault's passwords.

    A change is three calls, so that Vault can be written in between: within `changing` the server
    is ready to take the new password; ``confirm()`` makes it take it; leaving without ``confirm()``
    leaves the old one.

    Attributes:
        title: Whose server it is, for a person.
        keeps_old: Whether the old password is good beside the new one until `retire_old`.
    """

    title: str
    keeps_old: bool

    def changing(self, account: Account) -> Any:
        """Context in which the change is prepared; gives ``confirm``."""

    def accepts(self, account: Account, password: str) -> bool:
        """Whether a login with that password works now.

        Raises:
            ServerUnreachableError: Nobody can tell.
        """

    def retire_old(self, account: Account) -> None:
        """End whatever else still opens this account."""


def library(name: str, extra: str) -> Any:
    """A client library that is an optional part of this package.

    Raises:
        SettingsError: It is not installed.
    """
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


# The libraries' exceptions are not chained: they may hold the connection string.


def refused(
    server: PasswordServer, what: str, error: Exception, *, so_far: str = "Nothing was changed."
) -> ServerRefusedError:
    """The error for a server that does not do what was asked."""
    return ServerRefusedError(
        f"{server.title} does not {what}: {_first_line(error)}",
        looked_at=repr(server),
        remedy=f"{so_far} Give an account that may do it, in the server's URL.",
    )


def unreachable(server: PasswordServer, error: Exception) -> ServerUnreachableError:
    """The error for a server that does not answer, or does not say whether a password is right."""
    return ServerUnreachableError(
        f"{server.title} cannot be reached: {_first_line(error)}",
        looked_at=repr(server),
        remedy="Start it, let the account connect to it, or correct the URL in the environment.",
    )


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0]
