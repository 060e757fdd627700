from __future__ import annotations

import traceback
from typing import Any

import psycopg
import pytest
import redis

from vault_harness.errors import SettingsError
from vault_harness.operator.rotate import POSTGRESQL_VARIABLE, REDIS_VARIABLE, Account, configured

ACCOUNT = Account("app", "old", "new")


class _Opened(Exception):
    """Stands for a connection."""


@pytest.fixture
def opened(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    found: dict[str, Any] = {}

    def to_postgresql(conninfo: str = "", **options: Any) -> None:
        found.update(psycopg.conninfo.conninfo_to_dict(conninfo), **options)
        raise _Opened

    def to_redis(**options: Any) -> None:
        found.update(options)
        raise _Opened

    monkeypatch.setattr(psycopg, "connect", to_postgresql)
    monkeypatch.setattr(redis, "Redis", to_redis)
    return found


def ask(kind: str, url: str) -> None:
    variable = POSTGRESQL_VARIABLE if kind == "postgresql" else REDIS_VARIABLE
    server = configured(kind, {variable: url})
    assert server is not None
    server.accepts(ACCOUNT, "new")


def test_options_of_postgresql_are_kept(opened: dict[str, Any]) -> None:
    """Ours are defaults."""
    with pytest.raises(_Opened):
        ask("postgresql", "postgresql://db/app?sslmode=verify-full&sslrootcert=%2Fca.pem")
    assert (opened["sslmode"], opened["sslrootcert"]) == ("verify-full", "/ca.pem")
    assert (opened["host"], opened["dbname"], opened["user"]) == ("db", "app", "app")
    assert int(opened["connect_timeout"]) == 5
    with pytest.raises(_Opened):
        ask("postgresql", "postgresql://db/?connect_timeout=9")
    assert int(opened["connect_timeout"]) == 9


def test_a_postgresql_whose_machine_is_gone_is_not_waited_for(opened: dict[str, Any]) -> None:
    """The URL may set other bounds."""
    with pytest.raises(_Opened):
        ask("postgresql", "postgresql://db/?keepalives_idle=60")
    assert int(opened["tcp_user_timeout"]) == 5000
    assert (int(opened["keepalives_interval"]), int(opened["keepalives_count"])) == (1, 5)
    assert int(opened["keepalives_idle"]) == 60


def test_options_of_redis_are_kept(opened: dict[str, Any]) -> None:
    with pytest.raises(_Opened):
        ask("redis", "rediss://cache/?ssl_ca_certs=/ca.pem")
    assert (opened["ssl"], opened["ssl_ca_certs"]) == (True, "/ca.pem")


@pytest.mark.parametrize(
    ("kind", "url", "named"),
    [
        ("postgresql", "postgresql://db/?sslmod=verify-full", "sslmod"),
        ("postgresql", "postgresql://db/?autocommit=1", "autocommit"),
        ("postgresql", "postgresql://db/?user=admin&sslmode=require", "user"),
        ("redis", "redis://cache/?ssl_ca_cert=/ca.pem", "ssl_ca_cert"),
        ("redis", "redis://cache/?ssl_ca_certs=/ca.pem", "ssl_ca_certs"),
    ],
)
def test_options_that_would_be_lost_are_refused(
    kind: str, url: str, named: str, opened: dict[str, Any]
) -> None:
    """One is a mistyped option."""
    with pytest.raises(SettingsError, match=f"{named}\\b"):
        ask(kind, url)
    assert opened == {}


@pytest.mark.parametrize("kind", ["postgresql", "redis"])
@pytest.mark.parametrize(
    "login",
    [
        *("admin:SE/CRET", "admin:SE#CRET", "admin:SE?CRET", "admin:SE[CRET", "admin:SE]CRET"),
        *("admin:7/SECRET", "admin:7?SECRET=1", "admin:7#SECRET", "SE/CRET"),
        "admin:SE\u2100CRET",
    ],
)
def test_a_password_that_is_not_encoded_is_reported(kind: str, login: str) -> None:
    """The remedy is to encode the password; no part of it is shown."""
    variable = POSTGRESQL_VARIABLE if kind == "postgresql" else REDIS_VARIABLE
    with pytest.raises(SettingsError) as told:
        configured(kind, {variable: f"{kind}://{login}@db/"})
    assert "percent-encode" in told.value.remedy
    assert variable in told.value.cause
    printed = "".join(traceback.format_exception(told.value))
    assert "SE" not in str(told.value) + printed.partition("SettingsError")[2]


def test_a_url_of_another_kind_of_server() -> None:
    environ = {POSTGRESQL_VARIABLE: "mysql://u:hunter2@h/"}
    with pytest.raises(SettingsError, match="not the URL of a postgresql") as told:
        configured("postgresql", environ)
    assert "hunter2" not in str(told.value)
    assert configured("redis", environ) is None


@pytest.mark.parametrize("host", ["db:port", "db:99999", "[::1"])
def test_a_port_or_an_address_that_is_none(host: str) -> None:
    with pytest.raises(SettingsError, match=POSTGRESQL_VARIABLE):
        configured("postgresql", {POSTGRESQL_VARIABLE: f"postgresql://{host}/"})


@pytest.mark.parametrize("url", ["postgresql://u:p%2Fw@db:1/x", "postgresql://[::1]:5432/"])
def test_what_makes_sense(url: str) -> None:
    server = configured("postgresql", {POSTGRESQL_VARIABLE: url})
    assert "p" not in repr(server).partition("PostgreSQL ")[2]
