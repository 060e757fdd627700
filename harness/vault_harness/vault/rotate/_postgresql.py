"""The password of a PostgreSQL role, through psycopg."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any
from urllib.parse import unquote, urlsplit

from vault_harness.vault.rotate._password_server import (
    CONNECT_SECONDS,
    Account,
    library,
    refused,
    unreachable,
)


class PostgreSQL:
    """``ALTER ROLE ... PASSWORD`` in a transaction that is committed last; a verifier travels."""

    title = "PostgreSQL"

    def __init__(self, url: str) -> None:
        self._parts = urlsplit(url)

    def __repr__(self) -> str:
        return f"<PostgreSQL {self._parts.hostname}:{self._parts.port or 5432}>"

    @contextmanager
    def changing(self, account: Account) -> Iterator[Callable[[], None]]:
        """See `PasswordServer`."""
        psycopg = library("psycopg", "postgresql")
        with self._refusals(psycopg, "change the password"), self._connect(account) as connection:
            pg = connection.pgconn
            verifier = pg.encrypt_password(account.new.encode(), account.user.encode())
            sql = psycopg.sql
            # A statement cannot take parameters here; sql.Literal quotes it, and it is a verifier.
            connection.execute(
                sql.SQL("ALTER ROLE {} PASSWORD {}").format(
                    sql.Identifier(account.user), sql.Literal(verifier.decode())
                )
            )
            committed = False

            def confirm() -> None:
                nonlocal committed
                connection.commit()
                committed = True

            try:
                yield confirm
            finally:
                if not committed:
                    connection.rollback()

    def accepts(self, account: Account, password: str) -> bool:
        """See `PasswordServer`.

        Raises:
            ServerRefusedError: The server cannot be reached, which says nothing about the password.
        """
        psycopg = library("psycopg", "postgresql")
        try:
            self._open(psycopg, account.user, password).close()
        except psycopg.OperationalError as error:
            # libpq gives a failed login no SQLSTATE when it happens while connecting.
            if "authentication failed" in str(error) or "password" in str(error):
                return False
            raise unreachable(self, error) from None
        return True

    def retire_old(self, account: Account) -> None:
        """See `PasswordServer`: a role has one password, there is nothing left of the old one."""

    def _connect(self, account: Account) -> Any:
        psycopg = library("psycopg", "postgresql")
        if self._parts.username:
            return self._open(
                psycopg, unquote(self._parts.username), unquote(self._parts.password or "")
            )
        return self._open(psycopg, account.user, account.old)

    def _open(self, psycopg: Any, user: str, password: str) -> Any:
        return psycopg.connect(
            host=self._parts.hostname,
            port=self._parts.port or 5432,
            user=user,
            password=password or None,
            dbname=self._parts.path.lstrip("/") or "postgres",
            connect_timeout=CONNECT_SECONDS,
            application_name="harness rotate.secrets",
        )

    @contextmanager
    def _refusals(self, psycopg: Any, what: str) -> Iterator[None]:
        try:
            yield
        except psycopg.OperationalError as error:
            raise unreachable(self, error) from None
        except psycopg.Error as error:
            raise refused(self, what, error) from None
