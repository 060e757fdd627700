from __future__ import annotations

import ast
import re
from collections import Counter
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import pytest

from vault_harness.judge.catalogue import Entry, load
from vault_harness.local.engine.shape import CAPABILITIES

SCENARIOS = Path(__file__).parents[3] / "scenarios"


@dataclass(frozen=True)
class Test:
    """A test in scenarios/, from its source."""

    __test__ = False

    id: str | None
    name: str
    docstring: str
    asks_for_lab: bool
    where: str


def _id_of(function: ast.FunctionDef) -> str | None:
    for mark in function.decorator_list:
        if isinstance(mark, ast.Call) and ast.unparse(mark.func) == "pytest.mark.scenario":
            (argument,) = mark.args
            assert isinstance(argument, ast.Constant)
            return str(argument.value)
    return None


@cache
def functions() -> dict[str, dict[str, tuple[ast.FunctionDef, str]]]:
    """Return the functions of each file in scenarios/ by name, with their text."""
    return {
        file.name: {
            node.name: (node, ast.unparse(node))
            for node in ast.parse(file.read_text(encoding="utf-8")).body
            if isinstance(node, ast.FunctionDef)
        }
        for file in sorted(SCENARIOS.glob("test_*.py"))
    }


def written() -> list[Test]:
    return [
        Test(
            _id_of(node),
            name,
            ast.get_docstring(node) or "",
            "lab" in [argument.arg for argument in node.args.args],
            f"{file}:{node.lineno}",
        )
        for file, found in functions().items()
        for name, (node, _) in found.items()
        if name.startswith("test_")
    ]


@pytest.fixture(scope="module")
def catalogue() -> dict[str, Entry]:
    return load(SCENARIOS / "catalogue.toml")


def test_every_entry_has_one_test(catalogue: dict[str, Entry]) -> None:
    counts = Counter(test.id for test in written())
    assert {id: counts[id] for id in catalogue} == dict.fromkeys(catalogue, 1)  # noqa: A001 - they are ids


def test_every_test_has_an_entry(catalogue: dict[str, Entry]) -> None:
    strays = [test.where for test in written() if test.id not in catalogue]
    assert strays == []


def test_every_test_has_a_name_and_a_docstring(catalogue: dict[str, Entry]) -> None:
    """It also asks for the lab."""
    found = written()
    assert len({test.name for test in found}) == len(found)
    for test in found:
        assert test.asks_for_lab, test.where
        assert len(test.docstring.splitlines()) == 1, test.where
        assert test.docstring.endswith("."), test.where
        assert len(test.name.removeprefix("test_").split("_")) >= 2, test.where


def test_each_group_has_one_file() -> None:
    """TOK-11 is in test_tok.py."""
    strays = {
        test.where
        for test in written()
        if test.where.split(":")[0] != f"test_{(test.id or '').split('-')[0].lower()}.py"
    }
    assert strays == set()


def test_every_entry_has_a_promise_and_a_source(catalogue: dict[str, Entry]) -> None:
    """Each promise is one line and unique."""
    promises = Counter(entry.promise for entry in catalogue.values())
    assert promises.most_common(1)[0][1] == 1
    for entry in catalogue.values():
        assert "\n" not in entry.promise, entry.id
        assert 20 <= len(entry.promise) <= 120, entry.id
        assert not entry.promise.endswith("."), entry.id
        assert len(entry.source) >= 10, entry.id


def test_the_first_release_is_whole(catalogue: dict[str, Entry]) -> None:
    promised = """
    TOK-01 TOK-03 TOK-06 TOK-11 TOK-12 TOK-15 TOK-16 TOK-19 POL-01 SID-01 SID-02 SID-03 SEA-01
    SEA-02 SEA-03 SRV-04 SRV-05 NET-01 NET-02 NET-03 NET-08 NET-10 NET-12 KV-01 KV-02 KV-03 PRC-04
    FBK-01 FBK-02
    """
    assert set(promised.split()) <= set(catalogue)


def test_times_fit_together(catalogue: dict[str, Entry]) -> None:
    """No TTL is above its max TTL, and no scenario takes more than a minute."""
    for entry in catalogue.values():
        assert entry.ttl <= entry.max_ttl, entry.id
        assert entry.seconds <= 60.0, entry.id


def test_lives_are_well_above_the_grain(catalogue: dict[str, Entry]) -> None:
    """Vault counts whole seconds, and real timers expect long lives."""
    for entry in catalogue.values():
        assert min(entry.ttl, entry.max_ttl) >= 8.0, entry.id
        assert entry.ttl == int(entry.ttl), entry.id
        assert entry.max_ttl == int(entry.max_ttl), entry.id
        for name in ("token_period", "token_explicit_max_ttl"):
            assert re.fullmatch(r"\d+s", entry.role.get(name, "8s")), entry.id


def test_periods_are_as_long_as_the_ttl(catalogue: dict[str, Entry]) -> None:
    periodic = [entry for entry in catalogue.values() if "token_period" in entry.role]
    assert {"TOK-15", "SEA-02", "NET-02", "PRC-03"} <= {entry.id for entry in periodic}
    for entry in periodic:
        for one in (entry, entry.scaled(2.6)):
            assert one.role["token_period"] == f"{one.ttl:g}s", entry.id


def test_every_scenario_shows_that_it_took_place() -> None:
    """It names a fault or a condition."""
    shown = re.compile(
        r"lab\.(vault|network|http|process)\.|require\(|must_have\(|condition\(|instead_of_vault\("
        r"|no_forwarding_to\(|dead_connections\(|vault_gone\(|uninitialised\(|sleeps\("
    )
    for file, found in functions().items():
        texts = {name: text for name, (_, text) in found.items()}
        for name, text in texts.items():
            if name.startswith("test_"):
                called = [helper for helper in texts if f"{helper}(lab" in text]
                # A helper may call another helper.
                deeper = [h for c in called for h in texts if f"{h}(lab" in texts[c]]
                whole = "".join([text, *(texts[helper] for helper in (*called, *deeper))])
                assert shown.search(whole), f"{file}: {name}"


@pytest.mark.parametrize(
    ("fault", "needed"), [("vault.sealed", "seal"), ("vault.restored", "restore")]
)
def test_what_cannot_be_undone_is_not_done_to_others(
    fault: str, needed: str, catalogue: dict[str, Entry]
) -> None:
    """Seal and restore need an engine of ours."""
    doing = {
        _id_of(node)
        for found in functions().values()
        for node, text in found.values()
        if f"lab.{fault}(" in text
    }
    assert doing
    assert doing == {entry.id for entry in catalogue.values() if needed in entry.engine_needs}
    assert needed not in {str(one) for one in CAPABILITIES["external"]}


def test_fallbacks_are_canaries(catalogue: dict[str, Entry]) -> None:
    """They can be found in logs."""
    for entry in catalogue.values():
        for name, value in entry.environ.items():
            of_its_own = name.startswith("VAULT_") or name in {"TZ", "LC_ALL"}
            if name.isupper() and not of_its_own:
                assert value.startswith("canary-"), f"{entry.id}: {name}"
