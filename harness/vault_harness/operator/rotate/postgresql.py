"""Change a PostgreSQL role's password, through psycopg."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any
from urllib.parse import parse_qsl, unquote, urlsplit

from vault_harness.operator.rotate.password_server import (
    CONNECT_SECONDS,
    Account,
    ServerUnreachableError,
    library,
    refused,
    unreachable,
)

_SAID_BEFORE = frozenset({"host", "port", "user", "password", "dbname"})

_SILENCE: Mapping[str, int] = {
    "tcp_user_timeout": CONNECT_SECONDS * 1000,
    "keepalives_idle": CONNECT_SECONDS,
    "keepalives_interval": 1,
    "keepalives_count": CONNECT_SECONDS,
}
"""Give up a silent connection.

The kernel alone waits a quarter of an hour to send, and forever for an answer, even to a commit.
"""


class PostgreSQL:
    """Runs ``ALTER ROLE ... PASSWORD`` with a verifier, and commits last."""

    title = "PostgreSQL"
    keeps_old = False

    OPTIONS = "They are libpq's (sslmode, sslrootcert, ...); user and host stand before the ?."

    def __init__(self, url: str) -> None:
        self._parts = urlsplit(url)
        self._options = dict(parse_qsl(self._parts.query, keep_blank_values=True))

    def __repr__(self) -> str:
        return f"<PostgreSQL {self._parts.hostname}:{self._parts.port or 5432}>"

    def unknown_options(self) -> list[str]:
        """Return options of the URL that libpq lacks, or that the URL sets elsewhere."""
        if not self._options:
            return []
        known = library("psycopg", "postgresql").pq.Conninfo.get_defaults()
        names = {option.keyword.decode() for option in known} - _SAID_BEFORE
        return sorted(set(self._options) - names)

    @contextmanager
    def changing(self, account: Account) -> Iterator[Callable[[], None]]:
        psycopg = library("psycopg", "postgresql")
        with self._refusals(psycopg, "change the password"), self._connect(account) as connection:
            pg = connection.pgconn
            verifier = pg.encrypt_password(account.new.encode(), account.user.encode())
            sql = psycopg.sql
            if "lock_timeout" not in self._options.get("options", ""):
                connection.execute(f"SET LOCAL lock_timeout = '{CONNECT_SECONDS}s'")
            # It takes no parameters. sql.Literal quotes the text, which is a verifier.
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
        psycopg = library("psycopg", "postgresql")
        try:
            self._open(psycopg, account.user, password).close()
        except psycopg.OperationalError as error:
            if _is_wrong_password(error):
                return False
            if "permission denied for database" in str(error):
                return True  # checked after the password
            raise unreachable(self, error) from None
        return True

    def retire_old(self, account: Account) -> None:
        """Do nothing: a role has only one password."""

    def _connect(self, account: Account) -> Any:
        psycopg = library("psycopg", "postgresql")
        if self._parts.username:
            return self._open(
                psycopg, unquote(self._parts.username), unquote(self._parts.password or "")
            )
        return self._open(psycopg, account.user, account.old)

    def _open(self, psycopg: Any, user: str, password: str) -> Any:
        ours = {
            "connect_timeout": CONNECT_SECONDS,
            "application_name": "harness rotate.secrets",
            **_SILENCE,
        }
        return psycopg.connect(
            # A string, since psycopg's own arguments have the names of some options.
            psycopg.conninfo.make_conninfo("", **{**ours, **self._options}),
            host=self._parts.hostname,
            port=self._parts.port or 5432,
            user=user,
            password=password or None,
            dbname=unquote(self._parts.path.lstrip("/")) or "postgres",
        )

    @contextmanager
    def _refusals(self, psycopg: Any, what: str) -> Iterator[None]:
        try:
            yield
        except psycopg.errors.LockNotAvailable:
            raise self._held() from None
        except (psycopg.OperationalError, psycopg.InterfaceError) as error:
            if _is_wrong_password(error):
                raise refused(self, what, error) from None
            raise unreachable(self, error) from None
        except psycopg.Error as error:
            raise refused(self, what, error) from None

    def _held(self) -> ServerUnreachableError:
        """Describe another transaction that is changing the role: its end decides the password."""
        return ServerUnreachableError(
            "PostgreSQL cannot change the password: another transaction is changing that role "
            "and has not ended yet",
            looked_at=repr(self),
            remedy="Find the open transaction in pg_stat_activity, and end it.",
        )


def _is_wrong_password(error: Exception) -> bool:
    """Return whether a login failed because of its password.

    libpq gives no SQLSTATE while it connects. Its messages quote names of servers, roles and
    databases, which may contain any word.
    """
    said = re.sub(r'"[^"]*"', "", str(error))
    return "authentication failed" in said or "password" in said
