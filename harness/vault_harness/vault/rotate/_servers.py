"""The password of a real PostgreSQL or Redis: changed so that nobody is locked out at any moment.

Both servers are spoken to through the clients' own libraries, psycopg and redis-py, which are
optional parts of
this package (``pip install 'vault-harness[postgresql,redis]'``).
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol
from urllib.parse import unquote, urlsplit

from vault_harness.errors import HarnessError, SettingsError
from vault_harness.vault._boundary import without_frames

if TYPE_CHECKING:
    from collections.abc import Iterator

POSTGRESQL_VARIABLE = "HARNESS_POSTGRESQL_URL"
REDIS_VARIABLE = "HARNESS_REDIS_URL"

_CONNECT_SECONDS = 5


class ServerRefusedError(HarnessError):
    """A database server did not take the new password, or cannot be reached."""

    exit_code = 6


@dataclass(frozen=True)
class Account:
    """Whose password it is: ``user`` empty means the server's default user."""

    user: str
    old: str = field(repr=False)
    new: str = field(repr=False)


class PasswordServer(Protocol):
    """A server that knows one of Vault's passwords.

    A change is three calls, so that Vault can be written in between: within `changing` the server
    is ready to
    take the new password; ``confirm()`` makes it take it; leaving without ``confirm()`` leaves the
    old one.
    """

    title: str

    def changing(self, account: Account) -> Any:
        """Context in which the change is prepared; gives ``confirm``."""

    def accepts(self, account: Account, password: str) -> bool:
        """Whether a login with that password works now."""

    def retire_old(self, account: Account) -> None:
        """End whatever else still opens this account."""


@without_frames
def configured(kind: str, environ: Mapping[str, str]) -> PasswordServer | None:
    """The server that the environment names, or None.

    ``HARNESS_POSTGRESQL_URL=postgresql://[admin[:password]@]host:port/database`` and
    ``HARNESS_REDIS_URL=redis://[admin[:password]@]host:port``. Without a user the account that is
    rotated changes
    its own password, with the old one from Vault.

    Raises:
        SettingsError: The URL makes no sense.
    """
    variable = POSTGRESQL_VARIABLE if kind == "postgresql" else REDIS_VARIABLE
    url = environ.get(variable)
    if not url:
        return None
    parts = urlsplit(url)
    schemes = {"postgresql", "postgres"} if kind == "postgresql" else {"redis", "rediss"}
    if parts.scheme not in schemes or not parts.hostname:
        raise SettingsError(
            f"{variable} is no URL of a {kind} server",
            looked_at=f"scheme {parts.scheme or 'missing'}, host {parts.hostname or 'missing'}",
            remedy=f"Write it as {min(schemes)}://host:port/, with user and password before the "
            "host if the account cannot change its own password.",
        )
    return PostgreSQL(url) if kind == "postgresql" else Redis(url)


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
        psycopg = _library("psycopg", "postgresql")
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
        psycopg = _library("psycopg", "postgresql")
        try:
            self._open(psycopg, account.user, password).close()
        except psycopg.OperationalError as error:
            # libpq gives a failed login no SQLSTATE when it happens while connecting.
            if "authentication failed" in str(error) or "password" in str(error):
                return False
            raise _unreachable(self, error) from None
        return True

    def retire_old(self, account: Account) -> None:
        """See `PasswordServer`: a role has one password, there is nothing left of the old one."""

    def _connect(self, account: Account) -> Any:
        psycopg = _library("psycopg", "postgresql")
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
            connect_timeout=_CONNECT_SECONDS,
            application_name="harness rotate.secrets",
        )

    @contextmanager
    def _refusals(self, psycopg: Any, what: str) -> Iterator[None]:
        try:
            yield
        except psycopg.OperationalError as error:
            raise _unreachable(self, error) from None
        except psycopg.Error as error:
            raise _refused(self, what, error) from None


class Redis:
    """A second password beside the old one (ACL, Redis 6 and newer), and the old one ends last."""

    title = "Redis"

    def __init__(self, url: str) -> None:
        self._url = url
        self._parts = urlsplit(url)

    def __repr__(self) -> str:
        return f"<Redis {self._parts.hostname}:{self._parts.port or 6379}>"

    @contextmanager
    def changing(self, account: Account) -> Iterator[Callable[[], None]]:
        """See `PasswordServer`: both passwords open the account from here on."""
        redis = _library("redis", "redis")
        user = account.user or "default"
        with self._refusals(redis, "change the password"), self._connect(redis, account) as client:
            if "nopass" in (client.acl_getuser(user) or {}).get("flags", []):
                raise _refused(self, "change the password", ValueError("the account has none"))
            # A verifier, so that no password is in the server's slow log or in MONITOR.
            client.execute_command("ACL", "SETUSER", user, f"#{_sha256(account.new)}")
            confirmed = False

            def confirm() -> None:
                nonlocal confirmed
                confirmed = True
                self._persist(redis, client)

            try:
                yield confirm
            finally:
                if not confirmed:
                    client.execute_command("ACL", "SETUSER", user, f"!{_sha256(account.new)}")

    def accepts(self, account: Account, password: str) -> bool:
        """See `PasswordServer`.

        Raises:
            ServerRefusedError: The server cannot be reached, which says nothing about the password.
        """
        redis = _library("redis", "redis")
        try:
            with self._open(redis, account.user, password) as client:
                client.ping()
        except redis.AuthenticationError:
            return False
        except redis.RedisError as error:
            raise _unreachable(self, error) from None
        return True

    def retire_old(self, account: Account) -> None:
        """See `PasswordServer`: every password of the account but the new one ends."""
        redis = _library("redis", "redis")
        user, keep = account.user or "default", _sha256(account.new)
        with (
            self._refusals(redis, "end the old password"),
            self._connect(redis, account, password=account.new) as client,
        ):
            if user == "default" and client.config_get("requirepass").get("requirepass"):
                # It would be written to the configuration file beside the new one otherwise.
                client.config_set("requirepass", account.new)
            for verifier in (client.acl_getuser(user) or {}).get("passwords") or []:
                if verifier != keep:
                    client.execute_command("ACL", "SETUSER", user, f"!{verifier}")
            self._persist(redis, client)

    def _persist(self, redis: Any, client: Any) -> None:
        """Make it survive a restart, where the server has a file to write it to."""
        for command in (("ACL", "SAVE"), ("CONFIG", "REWRITE")):
            try:
                client.execute_command(*command)
            except redis.ResponseError:
                continue  # started without such a file: whoever starts it gives it the password
            return

    def _connect(self, redis: Any, account: Account, password: str | None = None) -> Any:
        if self._parts.username or self._parts.password:
            return self._open(
                redis, unquote(self._parts.username or ""), unquote(self._parts.password or "")
            )
        return self._open(redis, account.user, account.old if password is None else password)

    def _open(self, redis: Any, user: str, password: str) -> Any:
        return redis.Redis(
            host=self._parts.hostname,
            port=self._parts.port or 6379,
            username=user or None,
            password=password or None,
            ssl=self._parts.scheme == "rediss",
            socket_timeout=_CONNECT_SECONDS,
            socket_connect_timeout=_CONNECT_SECONDS,
            # The library's default tries four times, a second apart and more, wrong passwords too.
            retry=redis.retry.Retry(redis.backoff.NoBackoff(), 0),
            decode_responses=True,
        )

    @contextmanager
    def _refusals(self, redis: Any, what: str) -> Iterator[None]:
        try:
            yield
        except (redis.ConnectionError, redis.TimeoutError) as error:
            if isinstance(error, redis.AuthenticationError):
                raise _refused(self, what, error) from None
            raise _unreachable(self, error) from None
        except redis.RedisError as error:
            raise _refused(self, what, error) from None


def _sha256(password: str) -> str:
    """What Redis keeps of a password (``ACL SETUSER ... #<hash>``)."""
    return hashlib.sha256(password.encode()).hexdigest()


def _library(name: str, extra: str) -> Any:
    import importlib

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


def _refused(server: PasswordServer, what: str, error: Exception) -> ServerRefusedError:
    return ServerRefusedError(
        f"{server.title} does not {what}: {_first_line(error)}",
        looked_at=repr(server),
        remedy="Nothing was changed. Give an account that may do it, in the server's URL.",
    )


def _unreachable(server: PasswordServer, error: Exception) -> ServerRefusedError:
    return ServerRefusedError(
        f"{server.title} cannot be reached: {_first_line(error)}",
        looked_at=repr(server),
        remedy="Start it, or correct the URL in the environment.",
    )


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0]
