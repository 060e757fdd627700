from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest
import redis
from psycopg import sql
from redis.backoff import NoBackoff
from redis.retry import Retry

from tests.engine.operations.rotations import rotation
from vault_harness.errors import OperatorError
from vault_harness.local.vault.kv import Kv
from vault_harness.operator.rotate import (
    ServerRefusedError,
    configured,
    known_targets,
    roll_back,
    rotate_secret,
)
from vault_harness.operator.rotate.rotation import How

ADMIN = "admin-of-the-test"
DATABASE, REDIS = known_targets()["database"], known_targets()["redis"]


# PostgreSQL


class PostgresAccount:
    """A login role of the real PostgreSQL, whose password is in Vault."""

    def __init__(self, port: int, user: str, kv: Kv) -> None:
        self.port, self.user, self.kv = port, user, kv
        self.with_admin = f"postgresql://admin:{ADMIN}@127.0.0.1:{port}/postgres"
        self.alone = f"postgresql://127.0.0.1:{port}/postgres"
        self.execute("CREATE ROLE {} LOGIN PASSWORD 'start'")
        data = {"DB_USER": user, "DB_PASSWORD": "start"}
        kv.write("backend/database", data, cas=0)

    def execute(self, statement: str) -> None:
        with psycopg.connect(self.with_admin) as connection:
            connection.execute(sql.SQL(statement).format(sql.Identifier(self.user)))

    @property
    def password(self) -> str:
        return str(self.kv.read("backend/database").data["DB_PASSWORD"])

    def opens(self, password: str) -> bool:
        try:
            psycopg.connect(self.alone, user=self.user, password=password).close()
        except psycopg.OperationalError:
            return False
        return True

    def servers(self, url: str) -> Callable[[str], Any]:
        """Return the server under that URL, for `rotate_secret`."""
        return lambda kind: configured(kind, {"HARNESS_POSTGRESQL_URL": url})


@pytest.fixture
def account(postgresql_server: Any, kv: Kv) -> Iterator[PostgresAccount]:
    made = PostgresAccount(postgresql_server.port, f"user {kv.mount}", kv)
    yield made
    made.execute("DROP ROLE {}")


@pytest.mark.parametrize("by_admin", [True, False])
def test_postgresql_gets_the_new_password(
    account: PostgresAccount, tmp_path: Path, by_admin: bool
) -> None:
    servers = account.servers(account.with_admin if by_admin else account.alone)
    assert (
        rotate_secret(account.kv, DATABASE, tmp_path, How(servers=servers)).server == "PostgreSQL"
    )
    assert account.password != "start"
    assert account.opens(account.password)
    assert not account.opens("start")
    roll_back(account.kv, DATABASE, tmp_path, How(servers=servers))
    assert account.password == "start"
    assert account.opens("start")


def test_the_server_never_sees_the_password_itself(
    account: PostgresAccount, tmp_path: Path
) -> None:
    """The server gets a SCRAM verifier, so its logs hold no password."""
    account.execute("ALTER ROLE {} SET log_statement = 'none'")
    seen: list[str] = []
    original = psycopg.Connection.execute

    def spy(self: Any, query: Any, *args: Any, **kwargs: Any) -> Any:
        seen.append(query.as_string(self) if hasattr(query, "as_string") else str(query))
        return original(self, query, *args, **kwargs)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(psycopg.Connection, "execute", spy)
        rotate_secret(
            account.kv, DATABASE, tmp_path, How(servers=account.servers(account.with_admin))
        )
    assert any("SCRAM-SHA-256$" in statement for statement in seen)
    assert not any(account.password in statement for statement in seen)


@pytest.mark.parametrize(
    "trouble", ["wrong admin", "no right", "no such role", "old password unknown", "not there"]
)
def test_a_refusal_leaves_everything_as_it_was(
    account: PostgresAccount, tmp_path: Path, trouble: str
) -> None:
    """The old value in Vault still opens the account."""
    url = account.with_admin
    if trouble == "wrong admin":
        url = url.replace(ADMIN, "wrong")
    elif trouble == "not there":
        url = url.replace(f":{account.port}", ":1")
    elif trouble == "no right":
        account.execute("ALTER ROLE {} SET default_transaction_read_only = on")
        url = account.alone
    elif trouble == "no such role":
        data = {"DB_USER": "nobody of that name", "DB_PASSWORD": "start"}
        account.kv.write("backend/database", data, cas=1)
    else:
        url = account.alone
        data = {"DB_USER": account.user, "DB_PASSWORD": "unlike the server's"}
        account.kv.write("backend/database", data, cas=1)
    before = account.kv.read("backend/database").data
    with pytest.raises(ServerRefusedError) as refusal:
        rotate_secret(account.kv, DATABASE, tmp_path, How(servers=account.servers(url)))
    assert account.kv.read("backend/database").data == before
    assert account.opens("start")
    assert ADMIN not in str(refusal.value)
    assert "start" not in refusal.value.cause


def test_vault_refusing_leaves_the_server_as_it_was(
    account: PostgresAccount, tmp_path: Path
) -> None:
    account.kv.op.request(
        "POST", f"sys/policies/acl/{account.kv.mount}", policy=_READ_ONLY.format(account.kv.mount)
    )
    token = account.kv.op.request(
        "POST", "auth/token/create", policies=[account.kv.mount], no_default_policy=True
    )["auth"]["client_token"]
    reader = Kv(account.kv.op.with_token(token), account.kv.mount)
    with pytest.raises(OperatorError, match="permission denied"):
        rotate_secret(reader, DATABASE, tmp_path, How(servers=account.servers(account.with_admin)))
    assert account.opens("start")


@pytest.mark.slow  # a process that dies for each step
def test_killed_after_any_step_postgresql_and_vault_agree_again(
    account: PostgresAccount, tmp_path: Path, killable: Callable[..., Any]
) -> None:
    """A version in Vault always opens the account."""
    arguments = rotation(account.kv, "database", tmp_path)
    arguments["servers"] = {"HARNESS_POSTGRESQL_URL": account.alone}
    step, killed = 1, True
    while killed:
        killed = killable("secret", step, **arguments).killed
        now = account.kv.read("backend/database").version
        kept = [
            account.kv.read("backend/database", version=v) for v in range(max(1, now - 1), now + 1)
        ]
        assert any(account.opens(str(secret.data["DB_PASSWORD"])) for secret in kept)
        finished = killable("secret", **arguments)
        assert finished.error is None
        assert account.opens(account.password)
        step += 1
    assert step > 4


def test_a_client_under_load_misses_nothing(account: PostgresAccount, tmp_path: Path) -> None:
    """The client reads the secret again after a refusal."""
    done, failures, connections = threading.Event(), [], [0]

    def client() -> None:
        password = account.password
        while not done.is_set():
            for _ in range(20):
                if account.opens(password):
                    connections[0] += 1
                    break
                password = account.password
            else:
                failures.append("refused 20 times")

    threads = [threading.Thread(target=client) for _ in range(3)]
    for thread in threads:
        thread.start()
    try:
        for _ in range(3):
            rotate_secret(
                account.kv, DATABASE, tmp_path, How(servers=account.servers(account.with_admin))
            )
    finally:
        done.set()
        for thread in threads:
            thread.join()
    assert failures == []
    assert connections[0] > 10


# Redis


def only(server: Any) -> Callable[[str], Any]:
    """Return that server for every kind, as `rotate_secret` expects."""
    return lambda _kind: server


def at_redis(port: int, password: str) -> redis.Redis:
    """Return a client without retries: its default is three, a second apart and more."""
    return redis.Redis(port=port, password=password, retry=Retry(NoBackoff(), 0))


def redis_opens(port: int, password: str) -> bool:
    with contextlib.closing(at_redis(port, password)) as client:
        try:
            return bool(client.ping())
        except redis.AuthenticationError:
            return False


@pytest.fixture
def redis_kv(kv: Kv, redis_password: str) -> Kv:
    url = f"redis://:{redis_password}@redis/0"
    kv.write("backend/redis", {"REDIS_PASSWORD": redis_password, "REDIS_URL": url}, cas=0)
    return kv


def test_redis_gets_the_new_password_and_keeps_it(
    redis_server: Any, redis_kv: Kv, tmp_path: Path, redis_password: str
) -> None:
    environ = {"HARNESS_REDIS_URL": f"redis://127.0.0.1:{redis_server.port}"}
    rotate_secret(redis_kv, REDIS, tmp_path, How(servers=lambda kind: configured(kind, environ)))
    data = redis_kv.read("backend/redis").data
    new = str(data["REDIS_PASSWORD"])
    assert data["REDIS_URL"] == f"redis://:{new}@redis/0"
    for _ in range(2):
        assert redis_opens(redis_server.port, new)
        assert not redis_opens(redis_server.port, redis_password)
        redis_server.restart()
    roll_back(redis_kv, REDIS, tmp_path, How(servers=lambda kind: configured(kind, environ)))
    assert redis_opens(redis_server.port, redis_password)
    assert not redis_opens(redis_server.port, new)


def test_both_passwords_are_good_until_the_end(
    redis_server: Any, redis_kv: Kv, tmp_path: Path, redis_password: str
) -> None:
    """Both passwords work at every step except the last."""
    environ = {"HARNESS_REDIS_URL": f"redis://127.0.0.1:{redis_server.port}"}
    seen = []

    def look(step: str) -> None:
        if step != "the old password ended":
            now = str(redis_kv.read("backend/redis").data["REDIS_PASSWORD"])
            opens = redis_opens(redis_server.port, now)
            seen.append((step, opens, redis_opens(redis_server.port, redis_password)))

    rotate_secret(
        redis_kv,
        REDIS,
        tmp_path,
        How(servers=lambda kind: configured(kind, environ), checkpoint=look),
    )
    assert len(seen) >= 3
    assert all(new and old for _, new, old in seen)


def test_only_a_login_sends_redis_the_new_password(
    redis_server: Any,
    redis_kv: Kv,
    tmp_path: Path,
    redis_password: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """So no log or file of the server has it."""
    port = redis_server.port
    with contextlib.closing(at_redis(port, redis_password)) as client:
        client.config_set("slowlog-log-slower-than", 0)
    sent: list[tuple[str, ...]] = []
    original: Any = redis.connection.AbstractConnection.send_command

    def spy(self: Any, *words: Any, **more: Any) -> Any:
        sent.append(tuple(map(str, words)))
        return original(self, *words, **more)

    environ = {"HARNESS_REDIS_URL": f"redis://127.0.0.1:{port}"}
    with monkeypatch.context() as patch:
        patch.setattr(redis.connection.AbstractConnection, "send_command", spy)
        rotate_secret(
            redis_kv, REDIS, tmp_path, How(servers=lambda kind: configured(kind, environ))
        )
    new = str(redis_kv.read("backend/redis").data["REDIS_PASSWORD"])
    told = {words[0] for words in sent if {new, redis_password} & set(words)}
    assert told, "it logged in"
    assert told <= {"AUTH", "HELLO"}
    with contextlib.closing(at_redis(port, new)) as client:
        log = str(client.slowlog_get(128))
        assert "SETUSER" in log
        assert new not in log
        assert new not in str(client.config_get("requirepass"))


def test_redis_refusing_leaves_everything_as_it_was(
    redis_server: Any, redis_kv: Kv, tmp_path: Path, redis_password: str
) -> None:
    """Without the right to change users, or with a wrong password."""
    port = redis_server.port
    with contextlib.closing(at_redis(port, redis_password)) as client:
        client.acl_setuser("weak", enabled=True, passwords=["+weak"], commands=["+ping"])
    for login in ("weak:weak", ":wrong"):
        environ = {"HARNESS_REDIS_URL": f"redis://{login}@127.0.0.1:{port}"}
        server = configured("redis", environ)
        with pytest.raises(ServerRefusedError):
            rotate_secret(redis_kv, REDIS, tmp_path, How(servers=only(server)))
    assert redis_kv.read("backend/redis").data["REDIS_PASSWORD"] == redis_password
    assert redis_opens(port, redis_password)


@pytest.mark.slow  # a process that dies for each step
def test_killed_after_any_step_redis_and_vault_agree_again(
    redis_server: Any, redis_kv: Kv, tmp_path: Path, killable: Callable[..., Any]
) -> None:
    arguments = rotation(redis_kv, "redis", tmp_path)
    arguments["servers"] = {"HARNESS_REDIS_URL": f"redis://127.0.0.1:{redis_server.port}"}
    step, killed = 1, True
    while killed:
        killed = killable("secret", step, **arguments).killed
        password = str(redis_kv.read("backend/redis").data["REDIS_PASSWORD"])
        assert redis_opens(redis_server.port, password)
        assert killable("secret", **arguments).error is None
        password = str(redis_kv.read("backend/redis").data["REDIS_PASSWORD"])
        with contextlib.closing(at_redis(redis_server.port, password)) as client:
            user: Any = client.acl_getuser("default")
            assert len(user["passwords"]) == 1
        step += 1
    assert step > 4


_READ_ONLY = """
path "{0}/data/*" {{ capabilities = ["read"] }}
path "{0}/metadata/*" {{ capabilities = ["list"] }}
"""
