"""A URL in the file is kept, with a note if clients read another password in it."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.unit.operations.kv_in_memory import KvInMemory
from vault_harness.errors import SettingsError
from vault_harness.operator.migrate import VariableMap, make_plan, parse, read

TEXT = "clients read another password in it than REDIS_PASSWORD has"
WORD = "p@ss/w:rd?x%20y"
ENCODED = "p%40ss%2Fw%3Ard%3Fx%2520y"


def noted(text: str) -> list[str]:
    kv = KvInMemory({"backend/redis": {"REDIS_PASSWORD": "seeded"}})
    dotenv = parse(text)
    plan = make_plan(kv, dotenv, VariableMap.guide(), overwrite=True)
    values = {each.name: each.value for each in plan.placements}
    assert values == {name: each.value for name, each in dotenv.variables.items()}
    return [note.name for note in plan.notes if TEXT in note.text]


@pytest.mark.parametrize(
    ("url", "contradicts"),
    [
        (f"redis://:{ENCODED}@redis:6379/0", False),
        (f"redis://h:{ENCODED}@redis:6379/0", False),
        (f"redis://:{WORD}@redis:6379/0", True),
        ("redis://:another@redis:6379/0", True),
        ("redis://redis:6379/0", True),
        (f"redis://:{ENCODED}@a:1/0;redis://:another@b:2/0", True),
        ("amqp://app:another@queue/", False),
        ("https://:another@redis.example/", False),
        ("redis", False),
    ],
)
def test_a_url_beside_the_password(url: str, *, contradicts: bool) -> None:
    """Only URLs of that server count."""
    text = f"CELERY_BROKER_URL={url}\nREDIS_PASSWORD={WORD}\n"
    assert noted(text) == ["CELERY_BROKER_URL"] * contradicts


def test_a_url_without_the_password_in_the_file() -> None:
    """The URL is compared with Vault."""
    assert noted("REDIS_URL=redis://:seeded@redis/0\n") == []
    assert noted("REDIS_URL=redis://:own@redis/0\n") == ["REDIS_URL"]


def test_bytes_of_the_environment_that_are_no_text(tmp_path: Path) -> None:
    """Vault would store other bytes."""
    (tmp_path / ".env").write_text("A=1\nREDIS_PASSWORD=x${OTHER}\n")
    dotenv = read(tmp_path / ".env", interpolate=True, environ={"OTHER": "\udcff"})
    with pytest.raises(SettingsError, match="line 2: REDIS_PASSWORD would have bytes"):
        make_plan(KvInMemory(), dotenv, VariableMap.guide())
