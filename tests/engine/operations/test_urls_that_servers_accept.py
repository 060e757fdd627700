"""From a dotenv file through Vault to a real server: the URL in Vault logs in."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest
import redis
from psycopg import sql

from vault_harness.local.blueprint import Blueprint
from vault_harness.local.engine.shape import Engine, NodeSpec
from vault_harness.local.stack.launching import launch
from vault_harness.local.vault.kv import Kv
from vault_harness.operator.migrate import ClientSettings, VariableMap, make_plan, migrate, read
from vault_harness.operator.rotate import How, configured, known_targets, roll_back, rotate_secret

pytestmark = pytest.mark.slow  # a database server each

NASTY = "p@ss/w:rd?x%20y"
ADMIN = "admin-of-the-test"
TARGETS = known_targets()


class Application:
    """A seeded Vault, and a dotenv file for it."""

    def __init__(self, engine: Engine, directory: Path, secrets: dict[str, dict[str, Any]]) -> None:
        self.blueprint = Blueprint.default()
        for path, values in secrets.items():
            self.blueprint = self.blueprint.with_secret(path, values)
        self.directory = directory
        self.stack = launch(engine, self.blueprint, NodeSpec(directory=directory / "vault"))
        self.kv = Kv(self.stack.operator)

    def migrate(self, text: str) -> None:
        env_file = self.directory / ".env"
        env_file.write_text(text)
        settings = ClientSettings(
            self.kv.op.address, "backend", self.directory / "r", self.directory / "s", self.kv.mount
        )
        plan = make_plan(self.kv, read(env_file), VariableMap.guide(), blueprint=self.blueprint)
        migrate(self.kv, plan, env_file, settings, data_dir=self.directory)

    def rotate(self, name: str, environ: dict[str, str], turn: Any = rotate_secret) -> None:
        """Rotate at the server too, or undo that."""
        how = How(servers=lambda kind: configured(kind, environ))
        turn(self.kv, TARGETS[name], self.directory, how)

    def value(self, path: str, key: str) -> str:
        return str(self.kv.read(path).data[key])


@pytest.fixture
def redis_password() -> str:
    return NASTY


@pytest.fixture
def made(engine: Engine, tmp_path: Path) -> Iterator[Any]:
    with contextlib.ExitStack() as stack:

        def make(secrets: dict[str, dict[str, Any]]) -> Application:
            application = Application(engine, tmp_path, secrets)
            stack.enter_context(application.stack)
            return application

        yield make


def ping(url: str) -> None:
    with contextlib.closing(redis.Redis.from_url(url)) as client:
        assert client.ping()


def test_redis(redis_server: Any, made: Any) -> None:
    at = f"127.0.0.1:{redis_server.port}"
    application = made(
        {
            "backend/redis": {
                "REDIS_PASSWORD": {"generate": 32},
                "REDIS_URL": {"template": f"redis://:{{REDIS_PASSWORD}}@{at}/0"},
            },
            "backend/celery": {
                name: {"template": f"redis://:{{backend/redis:REDIS_PASSWORD}}@{at}/1"}
                for name in ("CELERY_BROKER_URL", "CELERY_RESULT_BACKEND")
            },
        }
    )
    environ = {"HARNESS_REDIS_URL": f"redis://{at}"}

    def log_in() -> str:
        ping(application.value("backend/redis", "REDIS_URL"))
        ping(application.value("backend/celery", "CELERY_BROKER_URL"))
        ping(application.value("backend/celery", "CELERY_RESULT_BACKEND"))
        return str(application.value("backend/redis", "REDIS_PASSWORD"))

    application.migrate(f"REDIS_PASSWORD={NASTY}\n")
    assert log_in() == NASTY
    application.rotate("redis", environ)
    assert log_in() != NASTY
    application.rotate("redis", environ, roll_back)
    assert log_in() == NASTY


def test_postgresql(postgresql_server: Any, made: Any) -> None:
    user, at = "us@er/one", f"127.0.0.1:{postgresql_server.port}"
    with psycopg.connect(f"postgresql://admin:{ADMIN}@{at}/postgres") as connection:
        create = sql.SQL("CREATE ROLE {} LOGIN PASSWORD {}")
        connection.execute(create.format(sql.Identifier(user), sql.Literal(NASTY)))
    application = made(
        {
            "backend/database": {
                "DB_USER": "ecommerce",
                "DB_PASSWORD": {"generate": 32},
                "DATABASE_URL": {
                    "template": f"postgresql://{{DB_USER}}:{{DB_PASSWORD}}@{at}/postgres"
                },
            }
        }
    )
    environ = {"HARNESS_POSTGRESQL_URL": f"postgresql://{at}/postgres"}

    def log_in() -> str:
        with psycopg.connect(application.value("backend/database", "DATABASE_URL")) as connection:
            assert connection.info.user == user
        return str(application.value("backend/database", "DB_PASSWORD"))

    application.migrate(f"DB_USER={user}\nDB_PASSWORD={NASTY}\n")
    assert log_in() == NASTY
    application.rotate("database", environ)
    assert log_in() != NASTY
    application.rotate("database", environ, roll_back)
    assert log_in() == NASTY
