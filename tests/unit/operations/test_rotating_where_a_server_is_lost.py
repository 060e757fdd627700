"""If the server cannot be reached at some moment of a rotation, nobody is locked out."""

from __future__ import annotations

import contextlib
import hashlib
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any, Self

import psycopg
import pytest
import redis

from tests.unit.operations.kv_in_memory import KvInMemory
from vault_harness.errors import OperatorError
from vault_harness.operator.rotate import (
    Account,
    PostgreSQL,
    Redis,
    ServerRefusedError,
    ServerUnreachableError,
    find_rollback,
    known_targets,
    password_server,
    plan_secret,
    roll_back,
    rotate_secret,
)
from vault_harness.operator.rotate.rotation import How

DATABASE = known_targets()["database"]
LOST = "the server has it"
"""The step after the server's commit."""


class Killed(BaseException):
    """Stands for a run that is killed."""


class Server:
    """A server with one password, which answers while it is ``up``."""

    title = "PostgreSQL"
    keeps_old = False

    def __init__(self, password: str) -> None:
        self.password = password
        self.up = True
        self.takes = True
        self.lost_at_commit = False
        self.deaf = False

    def accepts(self, _account: Account, password: str) -> bool:
        self._answer()
        return password == self.password

    @contextlib.contextmanager
    def changing(self, account: Account) -> Iterator[Callable[[], None]]:
        self._answer()
        if not self.takes:
            raise password_server.refused(self, "change the password", ValueError("no right"))

        def confirm() -> None:
            if not self.deaf:
                self.password = account.new
            if self.lost_at_commit:
                self.up = False
                self._answer()

        yield confirm

    def retire_old(self, _account: Account) -> None:
        self._answer()

    def _answer(self) -> None:
        if not self.up:
            raise password_server.unreachable(self, ConnectionError("refused"))


class World:
    def __init__(self, directory: Path, value: object = "start") -> None:
        self.kv = KvInMemory({DATABASE.path: {"DB_USER": "app", DATABASE.key: value}})
        self.server = Server(str(value))
        self.directory = directory

    def rotate(self, turn: Any = rotate_secret, **options: Any) -> Any:
        return turn(self.kv, DATABASE, self.directory, How(lambda _kind: self.server, **options))

    def down_at(self, step: str) -> Callable[[str], None]:
        """Return a checkpoint after which the server does not answer."""

        def look(now: str) -> None:
            self.server.up = self.server.up and now != step

        return look

    @property
    def in_vault(self) -> str:
        """The password that clients get."""
        return str(self.kv.read(DATABASE.path).data[DATABASE.key])

    @property
    def agree(self) -> bool:
        """Whether clients can log in."""
        return self.in_vault == self.server.password


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path)


def test_lost_after_the_commit(world: World) -> None:
    """Vault keeps the server's new password, and the next run finishes."""
    with pytest.raises(ServerRefusedError) as told:
        world.rotate(checkpoint=world.down_at(LOST))
    assert world.agree
    assert world.in_vault != "start"
    assert "rotate.secrets database" in told.value.remedy
    kept, world.server.up = world.in_vault, True
    assert world.rotate().resumed
    assert world.in_vault == kept
    assert world.agree


def test_lost_within_the_commit(world: World) -> None:
    """Vault keeps the new password until the server is asked."""
    world.server.lost_at_commit = True
    with pytest.raises(ServerRefusedError):
        world.rotate()
    assert world.agree
    world.server.up, world.server.password = True, "start"  # it had not
    world.server.lost_at_commit = False
    assert world.rotate().resumed
    assert world.agree


def test_ended_after_the_commit_and_run_again_while_it_is_down(world: World) -> None:
    """While the server is down the second run changes nothing."""

    def interrupt(step: str) -> None:
        if step == LOST:
            raise Killed

    with pytest.raises(Killed):
        world.rotate(checkpoint=interrupt)
    world.server.up = False
    for turn, task in ((rotate_secret, "rotate.secrets"), (roll_back, "rotate.secrets")):
        with pytest.raises(ServerRefusedError, match="Vault keeps that") as told:
            world.rotate(turn)
        assert task in told.value.remedy
        assert world.agree
    world.server.up = True
    world.rotate(roll_back)
    assert world.in_vault == world.server.password == "start"


def test_where_no_login_can_be_tried_nothing_is_begun(world: World) -> None:
    def unknown(_account: Account, password: str) -> bool:
        raise password_server.unreachable(world.server, ConnectionError("no entry for app"))

    world.server.accepts = unknown  # type: ignore[method-assign]
    with pytest.raises(ServerRefusedError, match="no entry for app"):
        world.rotate()
    assert (world.in_vault, world.server.password) == ("start", "start")
    assert world.kv.read(DATABASE.path).version == 1
    assert list(world.directory.rglob("*.json")) == []


def test_where_vault_keeps_one_version_nothing_is_begun(world: World) -> None:
    """The old password could be lost."""
    world.kv.keeps = 1
    with pytest.raises(OperatorError, match="keeps only one version"):
        world.rotate()
    assert (world.in_vault, world.server.password) == ("start", "start")
    assert list(world.directory.rglob("*.json")) == []


def test_it_is_foretold_that_nothing_would_be_begun(world: World) -> None:
    world.rotate()
    plan_secret(world.kv, DATABASE, world.directory, How(servers=lambda _kind: world.server))
    world.kv.keeps_the_one_before = lambda _path: False  # type: ignore[assignment,method-assign]
    for turn in (plan_secret, find_rollback):
        turn(world.kv, DATABASE, world.directory)
        with pytest.raises(OperatorError, match="keeps only one version"):
            world.rotate(turn)


def test_refused_on_the_second_run_goes_back(world: World) -> None:
    """Vault returns to the old password."""

    def interrupt(step: str) -> None:
        if step.startswith("wrote"):
            raise Killed

    with pytest.raises(Killed):
        world.rotate(checkpoint=interrupt)
    assert not world.agree
    world.server.takes = False
    with pytest.raises(ServerRefusedError, match="no right"):
        world.rotate()
    assert world.in_vault == "start"


def test_a_kill_during_the_return_leaves_no_url_behind(world: World) -> None:
    """The server would refuse the password in that URL."""
    world.kv.write("shared/other", {"URL": "postgres://app:start@db/shop"}, cas=0)
    written: list[str] = []

    def interrupt(step: str) -> None:
        written.extend([step] * step.startswith("wrote"))
        if len(written) > len(("the secret", "the URL")):  # the first that is put back
            raise Killed

    world.server.deaf = True
    with pytest.raises(Killed):
        world.rotate(checkpoint=interrupt)
    world.server.deaf = False
    world.rotate()
    assert world.agree
    assert world.kv.read("shared/other").data == {"URL": f"postgres://app:{world.in_vault}@db/shop"}


def test_the_secret_gets_its_password_if_a_url_cannot_be_restored(world: World) -> None:
    world.kv.write("shared/other", {"URL": "postgres://app:start@db/shop"}, cas=0)

    def refuse(step: str) -> None:
        if step == "wrote shared/other":
            world.kv.refuse = {"shared/other"}

    world.server.deaf = True
    with pytest.raises(ServerRefusedError, match="refused a login with it"):
        world.rotate(checkpoint=refuse)
    assert world.in_vault == world.server.password == "start"


@pytest.mark.parametrize("value", [271828, {"user": "app", "pin": 7}, ["a"]])
def test_what_was_no_text_comes_back_as_it_was(value: object, tmp_path: Path) -> None:
    """It is a number."""
    world = World(tmp_path, value)

    def stored() -> object:
        return world.kv.read(DATABASE.path).data[DATABASE.key]

    world.server.deaf = True
    with pytest.raises(ServerRefusedError, match="refused a login with it"):
        world.rotate()
    assert stored() == value
    world.server.deaf = False
    world.rotate()

    def interrupt(step: str) -> None:
        if step == f"wrote {DATABASE.path}":
            raise Killed

    with pytest.raises(Killed):
        world.rotate(roll_back, checkpoint=interrupt)
    assert world.rotate(roll_back).resumed
    assert stored() == value
    assert world.agree


def test_one_password_is_not_waited_for(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """A server with one password does not wait for the grace."""

    def no_sleep(seconds: float) -> None:
        raise AssertionError(seconds)

    monkeypatch.setattr(time, "sleep", no_sleep)
    world.rotate(grace=10.0)
    assert world.agree


@pytest.mark.parametrize(
    ("said", "accepts"),
    [
        ('FATAL:  password authentication failed for user "app"', False),
        ("fe_sendauth: no password supplied", False),
        ('FATAL:  permission denied for database "passwords"', True),
        ('connection to server at "password.example", port 5432 failed: refused', None),
        ('FATAL:  no pg_hba.conf entry for host "10.0.0.1", user "app"', None),
        ('FATAL:  too many connections for role "password"', None),
    ],
)
def test_what_postgresql_says_of_a_password(
    said: str, accepts: bool | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A name in the text does not count."""

    def connect(*_: object, **__: object) -> None:
        raise psycopg.OperationalError(said)

    monkeypatch.setattr(psycopg, "connect", connect)
    server, account = PostgreSQL("postgresql://db.example"), Account("app", "old", "new")
    if accepts is None:
        with pytest.raises(ServerRefusedError, match="cannot be reached"):
            server.accepts(account, "new")
    else:
        assert server.accepts(account, "new") is accepts


class HeldRole:
    """A connection to a PostgreSQL in which another transaction holds the role."""

    pgconn = SimpleNamespace(encrypt_password=lambda *_: b"verifier")

    def __init__(self) -> None:
        self.told: list[str] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def execute(self, statement: Any) -> None:
        self.told.append(statement if isinstance(statement, str) else statement.as_string(None))
        if self.told[-1].startswith("ALTER ROLE"):
            raise psycopg.errors.LockNotAvailable("canceling statement due to lock timeout")


@pytest.mark.parametrize(
    ("options", "bounded"), [("", True), ("?options=-c%20lock_timeout%3D60s", False)]
)
def test_the_wait_for_a_held_role_is_bounded(
    options: str, *, bounded: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The URL may set another bound."""
    connection = HeldRole()
    monkeypatch.setattr(psycopg, "connect", lambda *_, **__: connection)
    server = PostgreSQL(f"postgresql://admin@db.example/{options}")
    with (
        pytest.raises(ServerUnreachableError, match="another transaction is changing that role"),
        server.changing(Account("app", "old", "new")),
    ):
        pass
    assert ("SET LOCAL lock_timeout = '5s'" in connection.told) is bounded


def test_an_account_that_may_not_ping_has_logged_in(monkeypatch: pytest.MonkeyPatch) -> None:
    """Redis checks the password before the right to PING."""

    def ping(_: object) -> None:
        raise redis.exceptions.NoPermissionError("no permissions to run the 'ping' command")

    monkeypatch.setattr(redis.Redis, "ping", ping)
    assert Redis("redis://cache.example").accepts(Account("app", "old", "new"), "new")


def test_a_redis_that_has_forgotten_the_new_password_keeps_the_old_one(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Redis lost it in a restart."""
    told: list[tuple[str, ...]] = []
    old = hashlib.sha256(b"old").hexdigest()
    monkeypatch.setattr(redis.Redis, "acl_getuser", lambda *_: {"passwords": [old]})
    monkeypatch.setattr(redis.Redis, "execute_command", lambda _, *words: told.append(words))
    server = Redis("redis://admin:of-the-test@cache.example")
    with pytest.raises(ServerRefusedError, match="does not have the new password any more"):
        server.retire_old(Account("app", "old", "new"))
    assert told == []
