from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import cast

import pytest

from vault_harness.errors import SettingsError
from vault_harness.judge.catalogue import Entry, find_catalogue, load
from vault_harness.judge.environment import Environment
from vault_harness.judge.run import _scaled

GOOD = """
[TOK-11]
promise = "A revoked token costs one login"
severity = "critical"
source = "hashicorp/vault#26172"
"""


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "catalogue.toml"


def test_defaults(file: Path) -> None:
    file.write_text(GOOD)
    assert load(file) == {
        "TOK-11": Entry(
            id="TOK-11",
            promise="A revoked token costs one login",
            severity="critical",
            source="hashicorp/vault#26172",
        )
    }


def test_every_field(file: Path) -> None:
    """Lists become sets, and whole numbers count as seconds."""
    file.write_text(
        GOOD
        + """
needs = ["read", "cached"]
declares = ["max_stale"]
process = true
seconds = 4
ttl = 3
max_ttl = 9.0
role = { token_num_uses = 5 }
deadline = 1
ids = "files"
storage = "raft"
engine_needs = ["pause", "audit log"]
environ = { SECRET_KEY = "canary-fallback" }
"""
    )
    entry = load(file)["TOK-11"]
    assert entry.needs == {"read", "cached"}
    assert entry.declares == {"max_stale"}
    assert (entry.ttl, entry.max_ttl, entry.deadline, entry.seconds) == (3.0, 9.0, 1.0, 4.0)
    assert (entry.role, entry.environ) == (
        {"token_num_uses": 5},
        {"SECRET_KEY": "canary-fallback"},
    )
    assert (entry.process, entry.ids, entry.storage) == (True, "files", "raft")
    assert entry.engine_needs == {"pause", "audit log"}


@pytest.mark.parametrize(
    ("more", "field"),
    [
        ("ttk = 3.0", "unknown field ttk"),
        ('id = "TOK-12"', "unknown field id"),
        ('ttl = "soon"', "field ttl: "),
        ("ttl = 0", "field ttl: must be a number of seconds above 0"),
        ("ttl = inf", "field ttl: must be a number of seconds above 0"),
        ("max_ttl = nan", "field max_ttl: must be a number of seconds above 0"),
        ("ttl = 2.5", "field ttl: must be whole seconds"),
        ("max_ttl = 9.5", "field max_ttl: must be whole seconds"),
        ("deadline = -1.0", "field deadline: must be a number of seconds above 0"),
        ('needs = "read"', "field needs: "),
        ('needs = ["raed"]', "field needs: there is no raed, only cached, "),
        ('declares = ["ttl"]', "field declares: there is no ttl, only backoff_cap, "),
        ('engine_needs = ["wings"]', "field engine_needs: there is no wings, only "),
        ('ids = "file"', "field ids: "),
        ('storage = "file"', "field storage: "),
        ('process = "maybe"', "field process: "),
        ("environ = { SECRET_KEY = 1 }", "field environ: "),
        ('role = "backend"', "field role: "),
    ],
)
def test_wrong_field(file: Path, more: str, field: str) -> None:
    """The error has scenario, field and file."""
    file.write_text(GOOD + more)
    with pytest.raises(SettingsError) as caught:
        load(file)
    assert caught.value.cause.startswith(f"TOK-11: {field}")
    assert caught.value.looked_at == str(file)
    assert caught.value.remedy


@pytest.mark.parametrize(
    ("more", "asked"),
    [
        ("", {"read"}),
        ('namespace = "shop"', {"read", "namespace"}),
        ('auth = "jwt"', {"read", "jwt"}),
    ],
)
def test_what_a_client_must_claim(file: Path, more: str, asked: set[str]) -> None:
    """`needs` does not name them."""
    file.write_text(GOOD + more)
    assert load(file)["TOK-11"].asks_for == asked


@pytest.mark.parametrize("field", ["promise", "severity", "source"])
def test_missing_field(file: Path, field: str) -> None:
    lines = [line for line in GOOD.splitlines() if not line.startswith(field)]
    file.write_text("\n".join(lines))
    with pytest.raises(SettingsError, match=f"TOK-11: field {field} is missing"):
        load(file)


def test_wrong_severity(file: Path) -> None:
    file.write_text(GOOD.replace("critical", "urgent"))
    with pytest.raises(SettingsError, match=r"TOK-11: field severity: .*'critical', 'high'"):
        load(file)


@pytest.mark.parametrize(
    "text", ["[tok-11]", "[TOK11]", "[TOK-1]", 'title = "scenarios"', "TOK-11 = 3"]
)
def test_what_is_no_scenario(file: Path, text: str) -> None:
    file.write_text(text)
    with pytest.raises(SettingsError) as caught:
        load(file)
    assert caught.value.looked_at == str(file)


def test_not_toml(file: Path) -> None:
    file.write_text("[TOK-11\n")
    with pytest.raises(SettingsError, match=r"cannot be read.*line 1"):
        load(file)


def test_no_file(file: Path) -> None:
    with pytest.raises(SettingsError, match=r"catalogue\.toml"):
        load(file)


# What all entries share, and where a catalogue is found


def test_defaults_of_a_catalogue(file: Path) -> None:
    shared = '[defaults]\nmount = "kv"\nblueprint = "shop.toml"\nttl = 30.0\n'
    file.write_text(shared + GOOD + "ttl = 8.0\n")
    (entry,) = load(file).values()
    assert (entry.id, entry.mount, entry.ttl) == ("TOK-11", "kv", 8.0)
    assert entry.blueprint == file.parent / "shop.toml"


def test_defaults_that_are_wrong(file: Path) -> None:
    file.write_text("[defaults]\nmoutn = 'kv'\n" + GOOD)
    with pytest.raises(SettingsError, match="TOK-11: unknown field moutn"):
        load(file)


def test_catalogue_is_found_above(tmp_path: Path) -> None:
    """The nearest one is used."""
    deep = tmp_path / "a" / "b" / "test_x.py"
    deep.parent.mkdir(parents=True)
    with pytest.raises(SettingsError, match=r"there is no catalogue\.toml"):
        find_catalogue(deep)
    (tmp_path / "catalogue.toml").touch()
    assert find_catalogue(deep) == tmp_path / "catalogue.toml"
    (tmp_path / "a" / "catalogue.toml").touch()
    assert find_catalogue(deep) == tmp_path / "a" / "catalogue.toml"


# Longer lives


def test_scaled_lives(file: Path) -> None:
    """Lives are whole seconds; the client's own times stay."""
    role = 'role = { token_period = "3s", token_num_uses = 6, secret_id_ttl = "9s" }'
    file.write_text(GOOD + f"ttl = 3\nmax_ttl = 5\ndeadline = 2\nseconds = 10\n{role}\n")
    entry = load(file)["TOK-11"].scaled(1.5)
    assert (entry.ttl, entry.max_ttl, entry.deadline, entry.seconds) == (5.0, 8.0, 2.0, 15.0)
    assert entry.role == {"token_period": "5s", "token_num_uses": 6, "secret_id_ttl": "9s"}


def test_leases_are_scaled_with_tokens(file: Path) -> None:
    """A scenario without leases gets none."""
    file.write_text(GOOD + "lease_ttl = 8\nlease_max_ttl = 21\nrotation_period = 7\n")
    entry = load(file)["TOK-11"].scaled(1.5)
    assert (entry.lease_ttl, entry.lease_max_ttl, entry.rotation_period) == (12.0, 32.0, 11.0)
    file.write_text(GOOD)
    assert load(file)["TOK-11"].scaled(1.5).lease_ttl is None


@pytest.mark.parametrize(
    ("lives", "shortest"),
    [
        ("ttl = 120\nlease_ttl = 8\n", 8.0),
        ("ttl = 10\nlease_ttl = 60\n", 10.0),
        ("ttl = 60\nrotation_period = 7\n", 7.0),
        ("ttl = 60\n", 60.0),
    ],
)
def test_shortest_life(file: Path, lives: str, shortest: float) -> None:
    file.write_text(GOOD + lives)
    assert load(file)["TOK-11"].shortest_life == shortest


@pytest.mark.parametrize(("least", "lives"), [(30.0, (450.0, 30.0)), (8.0, (120.0, 8.0))])
def test_timers_made_for_longer_lives(file: Path, least: float, lives: tuple[float, float]) -> None:
    """The client gets leases of that length too."""
    file.write_text(GOOD + "ttl = 120\nlease_ttl = 8\n")
    environment = cast("Environment", SimpleNamespace(ttl_scale=1.0, declared={"min_ttl": least}))
    entry = _scaled(environment, load(file)["TOK-11"])
    assert (entry.ttl, entry.lease_ttl) == lives


def test_lives_that_are_long_enough(file: Path) -> None:
    """A scale of one changes nothing."""
    file.write_text(GOOD)
    entry = load(file)["TOK-11"]
    assert entry.scaled(1.0) is entry


def test_incidents_of_a_scenario() -> None:
    """Those of the source come first, each once."""
    entry = Entry(
        id="TOK-11",
        promise="One login",
        severity="critical",
        source="hashicorp/vault#26172, and a field report",
        incidents=("openbao/openbao#3747", "hashicorp/vault#26172"),
    )
    assert entry.all_incidents == ("hashicorp/vault#26172", "openbao/openbao#3747")


@pytest.mark.parametrize("text", ["vault#26172", "hashicorp/vault", "hashicorp/vault#"])
def test_incident_that_cannot_be_looked_up(file: Path, text: str) -> None:
    """It lacks the name of its repository."""
    file.write_text(GOOD + f'\nincidents = ["{text}"]\n')
    with pytest.raises(SettingsError, match=f"field incidents: {text} names no incident"):
        load(file)
