from __future__ import annotations

from pathlib import Path

import pytest

from vault_harness.errors import BlueprintError
from vault_harness.local.blueprint import Blueprint

GOOD = """name = "shop"
mounts.secret = {}

[databases.shop]
connection_url = "postgresql://{{username}}:{{password}}@127.0.0.1/shop"
username = "vault"
password = "hunter22"
static_roles.app = { username = "app", rotation_period = "1h" }
"""


def parsed(text: str) -> Blueprint:
    return Blueprint.parse(text, source=Path("shop.toml"))


def test_a_database_with_a_static_role() -> None:
    database = parsed(GOOD).databases["shop"]
    assert database.mount == "database"
    assert database.static_roles["app"].rotation_period == 3600
    assert "hunter22" not in repr(parsed(GOOD))


@pytest.mark.parametrize(
    ("given", "instead", "says"),
    [
        ('"1h"', '"4s"', "greater than or equal to 5"),
        ('"hunter22"', "{ generate = 32 }", "the database knows it already"),
        ("rotation_period", "rotation_perod", "there is no such setting"),
        ('username = "vault"', "", "is missing"),
    ],
)
def test_an_invalid_database_is_refused_by_line(given: str, instead: str, says: str) -> None:
    with pytest.raises(BlueprintError, match=says) as caught:
        parsed(GOOD.replace(given, instead))
    assert "shop.toml:" in str(caught.value)
    assert "hunter22" not in str(caught.value)
