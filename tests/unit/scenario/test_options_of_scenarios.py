"""The plugin's options, on the command line and in the configuration file."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from vault_harness.errors import SettingsError
from vault_harness.judge.catalogue import Entry
from vault_harness.judge.plugin import pytest_addoption
from vault_harness.judge.plugin.item import refuse_shape
from vault_harness.judge.plugin.options import Options, options, refuse_foreign, refuse_unknown
from vault_harness.judge.report.known import load_known

GIVE = "Give an id (TOK-11), a group (TOK) or a severity (critical, MUST)"


class Parser:
    def __init__(self) -> None:
        self.flags: dict[str, dict[str, Any]] = {}
        self.inis: dict[str, Any] = {}

    def getgroup(self, *_: str) -> Parser:
        return self

    def addoption(self, flag: str, **how: Any) -> None:
        self.flags[flag] = how

    def addini(self, name: str, text: str, **how: Any) -> None:
        assert text
        self.inis[name] = how["default"]


def made(given: dict[str, Any] | None = None, ini: dict[str, Any] | None = None) -> Options:
    parser = Parser()
    pytest_addoption(cast("pytest.Parser", parser))
    config = SimpleNamespace(
        stash=pytest.Stash(),
        getoption=lambda name: (given or {}).get(name),
        getini=lambda name: (ini or {}).get(name, parser.inis[name]),
    )
    return options(cast("pytest.Config", config))


def test_every_flag_has_a_prefix_and_a_twin() -> None:
    """The twin is in the configuration file."""
    parser = Parser()
    pytest_addoption(cast("pytest.Parser", parser))
    assert all(flag.startswith("--vault-") for flag in parser.flags)
    assert {how["dest"] for how in parser.flags.values()} == set(parser.inis)
    assert len(parser.flags) == 16


def test_defaults() -> None:
    """The reference client runs all scenarios once."""
    found = made()
    assert (found.subject, found.declared, found.only) == ("reference", {}, frozenset())
    assert (found.repeat, found.ttl_scale, found.allow_not_exercised) == (1, 1.0, False)
    assert not found.strict
    assert found.wire == "plain"
    assert found.workers == 0
    assert 0 <= found.seed < 2**31


def test_configuration_file() -> None:
    """The command line comes first."""
    ini = {
        "vault_subject": "python:a:b",
        "vault_declare": ["refresh=3"],
        "vault_only": ["TOK", "sea-01"],
        "vault_seed": "7",
        "vault_repeat": "3",
        "vault_allow_not_exercised": True,
        "vault_strict": True,
        "vault_wire": "h2",
    }
    found = made(ini=ini)
    assert (found.subject, found.declared) == ("python:a:b", {"refresh": 3.0})
    assert (found.only, found.seed, found.repeat) == (frozenset({"TOK", "SEA-01"}), 7, 3)
    assert found.allow_not_exercised
    assert found.strict
    assert found.wire == "h2"
    assert made({"vault_subject": "reference"}, ini).subject == "reference"


def test_a_subject_that_is_empty() -> None:
    """In CI it is an unset variable."""
    with pytest.raises(SettingsError, match=r"^--\S*subject is empty, and names no client"):
        made({"vault_subject": ""})
    assert made(ini={"vault_subject": ""}).subject == "reference"


@pytest.mark.parametrize("text", ["", " ", ","])
@pytest.mark.parametrize("name", ["declare", "known", "report", "seed", "shard", "wire"])
def test_an_option_that_is_empty(name: str, text: str) -> None:
    given = [text] if name == "declare" else text
    with pytest.raises(SettingsError, match=rf"^--\S*{name} is empty, and names nothing\n"):
        made({f"vault_{name}": given})


@pytest.mark.parametrize("given", [[""], ["TOK-11", " "], [","]])
def test_a_choice_of_nothing(given: list[str]) -> None:
    """It would choose all."""
    with pytest.raises(SettingsError, match=r"^--\S*only is empty, and names nothing\n"):
        made({"vault_only": given})
    assert made({"vault_only": ["TOK-11,"]}).only == {"TOK-11"}


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("repeat", "0"),
        ("repeat", "many"),
        ("ttl_scale", "0.5"),
        ("ttl_scale", "inf"),
        ("seed", "x"),
        ("wire", "http3"),
    ],
)
def test_numbers_that_make_no_sense(name: str, text: str) -> None:
    with pytest.raises(SettingsError) as caught:
        made({f"vault_{name}": text})
    assert caught.value.cause.startswith(f"--{name.replace('_', '-')} {text} ")


@pytest.mark.parametrize(("runner", "named"), [("./dev", "--only"), ("", "--vault-only")])
def test_option_is_called_as_it_was_given(
    monkeypatch: pytest.MonkeyPatch, runner: str, named: str
) -> None:
    """The prefix is named under pytest only."""
    monkeypatch.setenv("HARNESS_RUNNER", runner)
    with pytest.raises(SettingsError, match=f"^{named} TOK-99 names no scenario"):
        refuse_unknown({"TOK-99"}, [], "catalogue.toml")


@pytest.mark.parametrize(
    ("word", "meant"),
    [("TOK11", "; is TOK-11 meant?"), ("CRITCAL", "; is CRITICAL meant?"), ("SEA-99", "")],
)
def test_what_may_be_meant(word: str, meant: str, tmp_path: Path) -> None:
    entries = [Entry(id="TOK-11", promise="p", severity="critical", source="s")]
    with pytest.raises(SettingsError, match="names no scenario") as caught:
        refuse_unknown({word}, entries, "catalogue.toml")
    assert caught.value.remedy == f"{GIVE}{meant}"
    (file := tmp_path / "known.toml").write_text('[known-failing]\nTOK11 = "issue 7"\n')
    with pytest.raises(SettingsError, match="TOK11 is known to fail, and is no") as caught:
        refuse_foreign(load_known(file), entries, file)
    assert caught.value.looked_at == f"{file}:2"
    assert caught.value.remedy.endswith("; is TOK-11 meant?")


@pytest.mark.parametrize(
    ("text", "in_class", "said"),
    [
        ("def test_x(lab): ...", True, "is in a class"),
        ("async def test_x(lab): ...", False, "is a coroutine"),
        ("def test_x(lab, tmp_path): ...", False, "must take its lab and nothing else"),
    ],
)
def test_a_scenario_that_would_not_run_as_it_is_meant(text: str, in_class: bool, said: str) -> None:
    made: dict[str, Any] = {"__name__": "test_odd"}
    exec(text, made)  # noqa: S102 - our own text
    with pytest.raises(pytest.UsageError, match=f"the scenario test_odd.test_x {said}"):
        refuse_shape(made["test_x"], in_class=in_class)
