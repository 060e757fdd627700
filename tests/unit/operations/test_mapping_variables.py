from __future__ import annotations

from pathlib import Path

import pytest

from vault_harness.errors import SettingsError
from vault_harness.local.blueprint import Blueprint
from vault_harness.operator.migrate import Place, VariableMap, load_map


def test_every_key_of_the_blueprint_has_its_place() -> None:
    """The guide's map agrees with the guide's tree."""
    guide = VariableMap.guide()
    for _, path, values in Blueprint.default().paths():
        for key in values:
            if key != "INTERNAL_API_KEY":  # a name of the blueprint that the guide does not have
                assert guide.target(key) == Place(path, key)


def test_names_prefixes_and_strangers() -> None:
    """An exact name wins over a prefix."""
    guide = VariableMap.guide()
    assert guide.target("DJANGO_SECRET_KEY") == Place("backend/django", "SECRET_KEY")
    assert guide.target("STRIPE_ANYTHING") == Place("shared/stripe", "STRIPE_ANYTHING")
    assert guide.target("COMPANY_MOTTO") is None
    assert guide.target("VAULT_TOKEN") is None


def test_an_own_map_comes_first(tmp_path: Path) -> None:
    (tmp_path / "map.toml").write_text(
        '[variables]\nDEBUG = "my/app:FLAG"\n"STRIPE_*" = "pay"\n[outside]\n'
        'names = ["SENTRY_DSN"]\n'
    )
    found = load_map(tmp_path / "map.toml", default=VariableMap.guide())
    assert found.target("DEBUG") == Place("my/app", "FLAG")
    assert found.target("STRIPE_SECRET_KEY") == Place("pay", "STRIPE_SECRET_KEY")
    assert found.target("SENTRY_DSN") is None
    assert found.target("DB_PASSWORD") == Place("backend/database", "DB_PASSWORD")


def test_an_own_map_may_stand_alone(tmp_path: Path) -> None:
    (tmp_path / "map.toml").write_text('only = true\n[variables]\nA = "a"\n')
    found = load_map(tmp_path / "map.toml", default=VariableMap.guide())
    assert found.target("A") == Place("a", "A")
    assert found.target("DEBUG") is None


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("[variables]\nA = 1\n", "A: a path such as"),
        ('[variables]\nA = "/a"\n', "A: a path such as"),
        ('[variables]\nA = "a/"\n', "A: a path such as"),
        ('[variables]\n"A*B" = "a"\n', "A*B: a path such as"),
        ('[variables]\n"*" = "a"\n', "*: a path such as"),
        ('[variables]\n"A_*" = "a:B"\n', "A_*: a path such as"),
        ("[variabels]\n", "variabels"),
        ("variables = 1\n", "variables must be a table"),
        ("[outside]\nnames = 1\n", "outside.names"),
        ("[variables\n", "at line 1"),
    ],
)
def test_a_wrong_map_is_refused_with_the_line(tmp_path: Path, text: str, problem: str) -> None:
    (tmp_path / "map.toml").write_text(text)
    with pytest.raises(SettingsError) as refusal:
        load_map(tmp_path / "map.toml", default=VariableMap())
    assert problem in refusal.value.cause
    assert "map.toml" in refusal.value.cause


def test_names_of_a_blueprint_that_are_unique() -> None:
    """A key that two secrets share belongs to neither."""
    found = VariableMap.of_secrets({"a": ["ONE", "BOTH"], "b": ["BOTH", "TWO"]})
    assert found.target("ONE") == Place("a", "ONE")
    assert found.target("BOTH") is None
