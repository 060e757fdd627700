"""If two accounts share a password, a rotation changes only its own account."""

from __future__ import annotations

from pathlib import Path
from urllib.parse import unquote

import pytest

from tests.unit.operations.kv_in_memory import KvInMemory
from vault_harness.operator.rotate import known_targets, roll_back, rotate_secret

DATABASE, REDIS = (known_targets()[name] for name in ("database", "redis"))
SAME = "change me"
QUOTED = "change%20me"
HERE = {
    DATABASE.path: {"DB_USER": "app", DATABASE.key: SAME},
    REDIS.path: {REDIS.key: SAME},
}


def url(value: str) -> str:
    return unquote(value.rpartition("@")[0].rpartition(":")[2])


@pytest.mark.parametrize(
    ("name", "own", "others"),
    [
        (
            "database",
            [
                f"postgres://app:{QUOTED}@db/shop",
                f"postgresql+psycopg2://app:{QUOTED}@db/shop",
                f"postgresql://app.project:{QUOTED}@pooler/shop",
                f"postgresql://app%40server:{QUOTED}@host/shop",
                f"odd+scheme://app:{QUOTED}@db/shop",
                f"postgres://:{QUOTED}@db/shop",
            ],
            [
                f"redis://:{QUOTED}@redis:6379/0",
                f"amqp://app:{QUOTED}@queue/",
                f"https://app:{QUOTED}@registry/simple",
                f"postgres://readonly:{QUOTED}@db/shop",
                f"postgres://application:{QUOTED}@db/shop",
            ],
        ),
        (
            "redis",
            [
                f"redis://:{QUOTED}@redis:6379/0",
                f"rediss://h:{QUOTED}@redis:6379/0",
                f"redis+sentinel://:{QUOTED}@redis:26379/0",
                f"valkey://default:{QUOTED}@redis:6379/0",
            ],
            [f"postgres://app:{QUOTED}@db/shop", f"amqps://app:{QUOTED}@queue/"],
        ),
    ],
)
def test_whose_url_it_is(name: str, own: list[str], others: list[str], tmp_path: Path) -> None:
    """Scheme and user tell."""
    urls = {f"URL_{number}": each for number, each in enumerate([*own, *others])}
    kv, target = KvInMemory({**HERE, "shared/urls": urls}), known_targets()[name]

    rotate_secret(kv, target, tmp_path)

    new, now = kv.read(target.path).data[target.key], kv.read("shared/urls").data
    assert new != SAME
    assert [url(now[key]) for key in list(urls)[: len(own)]] == [new] * len(own)
    assert [now[key] for key in list(urls)[len(own) :]] == others
    roll_back(kv, target, tmp_path)
    assert kv.read("shared/urls").data == urls


def test_in_the_secret_itself(tmp_path: Path) -> None:
    both = {**HERE[DATABASE.path], "URL": f"postgres://app:{QUOTED}@db/shop"}
    both["REPORTS"] = f"postgres://reports:{QUOTED}@db/shop"
    kv = KvInMemory({DATABASE.path: both})
    rotate_secret(kv, DATABASE, tmp_path)
    now = kv.read(DATABASE.path).data
    assert url(now["URL"]) == now[DATABASE.key] != SAME
    assert now["REPORTS"] == both["REPORTS"]


def test_texts_with_the_old_password_are_listed(tmp_path: Path) -> None:
    """A person must judge them."""
    others = {
        "REPORTS": f"postgres://reports:{QUOTED}@db/shop",
        "DSN": f"host=db user=app password={SAME}",
        "JDBC": f"jdbc:postgresql://db/shop?user=app&password={QUOTED}",
        "COPY": SAME,
        "OWN": f"postgres://app:{QUOTED}@db/shop",
        "NUMBER": 7,
    }
    kv = KvInMemory({**HERE, "shared/urls": others})
    done = rotate_secret(kv, DATABASE, tmp_path)
    assert done.holding == (
        f"{REDIS.path} {REDIS.key}",
        *(f"shared/urls {name}" for name in ("REPORTS", "COPY")),
    )
    assert done.missed == ("shared/urls DSN", "shared/urls JDBC")
    assert roll_back(kv, DATABASE, tmp_path).holding == ()


def test_a_short_one_is_found_by_chance_nowhere(tmp_path: Path) -> None:
    """It is found only where it is the whole value."""
    kv = KvInMemory(
        {DATABASE.path: {"DB_USER": "app", DATABASE.key: "app"}, "x": {"A": "app", "B": "an app"}}
    )
    assert rotate_secret(kv, DATABASE, tmp_path).holding == (f"{DATABASE.path} DB_USER", "x A")


def test_a_password_that_begins_as_another_one_does(tmp_path: Path) -> None:
    url = "postgres://app:change me@home@db/shop"
    kv = KvInMemory({**HERE, "shared/urls": {"A": url}})
    assert rotate_secret(kv, DATABASE, tmp_path).missed == ("shared/urls A",)
    assert kv.read("shared/urls").data == {"A": url}
