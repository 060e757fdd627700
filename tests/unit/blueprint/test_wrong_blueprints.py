"""A wrong blueprint is refused before any request to Vault."""

from __future__ import annotations

from pathlib import Path

import pytest

from vault_harness.errors import BlueprintError
from vault_harness.local.blueprint import Blueprint

GOOD = """\
name = "shop"

[mounts.shop]
type = "kv"
max_versions = 5

[policies]
web = { rules = 'path "shop/data/web/*" { capabilities = ["read"] }' }

[approles.web]
policies = ["web"]
token_ttl = "1h"
token_max_ttl = "4h"

[services]
web = "web"

[secrets.shop."web/app"]
KEY = { generate = 20 }
URL = { template = "https://{KEY}@example.org" }
"""

WRONG = [
    # (text, its replacement, line, field, part of the message)
    ('name = "shop"', 'name = "shop', 1, "TOML", ""),
    ('name = "shop"\n', "", 1, "name", "is missing"),
    ("[mounts.shop]", "[mounts.other]", 20, "secrets.shop", "there is no mount shop"),
    ('type = "kv"', 'type = "database"', 4, "mounts.shop.type", "'kv'"),
    ("max_versions = 5", "max_version = 5", 5, "mounts.shop.max_version", "no such setting"),
    ("max_versions = 5", "max_versions = -1", 5, "mounts.shop.max_versions", "greater than"),
    ("rules = 'path", "file = 'nowhere.hcl', x = 'path", 8, "policies.web.x", "no such setting"),
    ('["read"]', '["raed"]', 8, "policies.web", "unknown capability raed"),
    ("] }' }", "]' }", 8, "policies.web", "middle of a block"),
    ('policies = ["web"]', 'policies = ["wbe"]', 11, "approles.web.policies", "no policy wbe"),
    ('token_ttl = "1h"', 'token_ttl = "1 hour"', 12, "approles.web.token_ttl", "not a duration"),
    ('token_ttl = "1h"', 'token_ttl = "5h"', 10, "approles.web", "longer than token_max_ttl"),
    (
        'token_ttl = "1h"',
        "bind_secret_id = false",
        12,
        "approles.web.bind_secret_id",
        "hands a secret-id to each role",
    ),
    ("[approles.web]", '[approles."Web"]', 10, "approles.Web", "lower-case"),
    ('web = "web"', 'web = "wbe"', 16, "services.web", "no AppRole wbe"),
    ('"web/app"', '"/web/app"', 18, 'secrets.shop."/web/app"', "without slashes"),
    ('"web/app"', '"web/../ap"', 18, 'secrets.shop."web/../ap"', "parts . and .. are not"),
    ("generate = 20", "generate = 0", 19, 'secrets.shop."web/app".KEY.generate', "greater"),
    ("generate = 20", "generat = 20", 19, 'secrets.shop."web/app".KEY.generat', "no such setting"),
    ("{ generate = 20 }", "{}", 19, 'secrets.shop."web/app".KEY', "give text, or one of"),
    ("{KEY}@", "{KAY}@", 20, 'secrets.shop."web/app".URL', "no web/app:KAY"),
    ("{KEY}@", "{URL}@", 20, 'secrets.shop."web/app".URL', "template itself"),
    (
        "generate = 20",
        'generate = 20, alphabet = "a"',
        19,
        'secrets.shop."web/app".KEY',
        "two different characters",
    ),
]


def test_the_good_one_is_good() -> None:
    blueprint = Blueprint.parse(GOOD, source=Path("shop.toml"))

    assert blueprint.approles["web"].token_ttl == 3600
    assert blueprint.mount == "shop"


@pytest.mark.parametrize(("old", "new", "line", "field", "message"), WRONG)
def test_file_line_and_field(
    tmp_path: Path, old: str, new: str, line: int, field: str, message: str
) -> None:
    assert GOOD.count(old) >= 1
    file = tmp_path / "shop.toml"
    file.write_text(GOOD.replace(old, new, 1))

    with pytest.raises(BlueprintError) as caught:
        Blueprint.load(file)

    # A missing mount is reported where it is used.
    expected_line = 18 if field == "secrets.shop" else line
    assert caught.value.cause.startswith(f"{file}:{expected_line}: {field}")
    assert message in caught.value.cause
    assert caught.value.exit_code == 4


def test_a_typing_mistake_gets_a_suggestion(tmp_path: Path) -> None:
    file = tmp_path / "shop.toml"
    file.write_text(GOOD.replace("token_max_ttl", "token_maxttl"))

    with pytest.raises(BlueprintError) as caught:
        Blueprint.load(file)

    assert "token_max_ttl" in caught.value.remedy


def test_a_policy_file_that_is_not_there(tmp_path: Path) -> None:
    file = tmp_path / "shop.toml"
    rules = """rules = 'path "shop/data/web/*" { capabilities = ["read"] }'"""
    file.write_text(GOOD.replace(rules, 'file = "web.hcl"'))

    with pytest.raises(BlueprintError) as caught:
        Blueprint.load(file)

    assert caught.value.cause.startswith(f"{file}:8: policies.web.file")
    assert str(tmp_path / "web.hcl") in caught.value.cause


def test_a_mistake_in_a_policy_file_names_its_line(tmp_path: Path) -> None:
    file = tmp_path / "shop.toml"
    rules = """rules = 'path "shop/data/web/*" { capabilities = ["read"] }'"""
    file.write_text(GOOD.replace(rules, 'file = "web.hcl"'))
    (tmp_path / "web.hcl").write_text('# web\npath "a" {\n  capabilities = ["raed"]\n}\n')

    with pytest.raises(BlueprintError) as caught:
        Blueprint.load(file)

    assert f"{tmp_path / 'web.hcl'}:2: unknown capability raed" in caught.value.cause


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(BlueprintError, match="cannot be read"):
        Blueprint.load(tmp_path / "nowhere.toml")


@pytest.mark.parametrize("wrong", ['KEY = ["a"]', 'KEY = { value = "hunter2", env = "X" }'])
def test_a_wrong_secret_is_not_quoted(tmp_path: Path, wrong: str) -> None:
    file = tmp_path / "shop.toml"
    file.write_text(GOOD.replace("KEY = { generate = 20 }", wrong.replace('"a"', '"hunter2"')))

    with pytest.raises(BlueprintError) as caught:
        Blueprint.load(file)

    assert "hunter2" not in str(caught.value)
