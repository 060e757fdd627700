from __future__ import annotations

import re

import pytest

from tests.engine.scenario.conftest import CATALOGUE, Suite
from vault_harness.errors import SettingsError
from vault_harness.judge.plugin import parse_declared
from vault_harness.local.engine.process.postgresql import SharedPostgresql

NAMES = "backoff_cap, deadline, max_stale, min_ttl, refresh"


def refused(suite: Suite, *options: str, client: str = "Good") -> str:
    run = suite.run(client, *options)
    assert run.code == 4, run.out
    assert not run.report.exists()
    assert "Traceback" not in run.out
    assert "INTERNALERROR" not in run.out
    return run.out


@pytest.mark.slow  # a run
def test_declaration_that_makes_no_sense(suite: Suite) -> None:
    said = refused(suite, "--vault-declare", "refresh=soon")
    assert "--vault-declare refresh=soon does not make sense" in said
    assert NAMES in said


@pytest.mark.slow  # a run
def test_client_that_is_not_there(suite: Suite) -> None:
    assert "clients_of_this_test" in refused(suite, client="NoSuchClass")


@pytest.mark.slow  # a run
def test_choosing(suite: Suite) -> None:
    run = suite.run("Good", "--vault-only", "SEA-01,pol,low", "--collect-only", "-q")
    wanted = [
        e for e in CATALOGUE.values() if e.id == "SEA-01" or e.group == "POL" or e.severity == "low"
    ]
    assert len(re.findall(r"^scenarios/\S+::\S+$", run.out, re.MULTILINE)) == len(wanted)
    assert run.code == 0


# Declarations


@pytest.mark.parametrize(
    ("given", "declared"),
    [
        ([], {}),
        (["refresh=2", "max_stale=30.5"], {"refresh": 2.0, "max_stale": 30.5}),
        (["refresh=0"], {"refresh": 0.0}),
        (["refresh=1", "refresh=2"], {"refresh": 2.0}),
    ],
)
def test_declarations(given: list[str], declared: dict[str, float]) -> None:
    assert parse_declared(given) == declared


@pytest.mark.parametrize("text", ["", "=", "nonsense", "REFRESH=1", "x=1", "ttl=3"])
def test_wrong_names(text: str) -> None:
    refuses(text)


@pytest.mark.parametrize("seconds", ["", "=", "=soon", "=1s", "=nan", "=inf", "=-inf", "=-1"])
def test_wrong_seconds(seconds: str) -> None:
    refuses(f"refresh{seconds}")


def refuses(text: str) -> None:
    with pytest.raises(SettingsError) as caught:
        parse_declared([text])
    assert caught.value.cause == f"--declare {text} does not make sense"
    assert NAMES in caught.value.remedy


# Confirmation


@pytest.mark.slow  # two scenarios, confirmed
@pytest.mark.skipif(bool(SharedPostgresql().lacking()), reason=SharedPostgresql().lacking())
def test_a_verdict_is_confirmed(suite: Suite) -> None:
    """All processes share the PostgreSQL that was started after the first one."""
    chosen = ("--vault-only", "STA-02,KV-03", "--vault-confirm", "2")
    broken = ("--vault-subject", "python:tests.mutants.sta:IgnoresRefusals")
    run = suite.run("Good", *chosen, *broken)
    assert run.words == {"STA-02": "fail", "KV-03": "pass"}, run.out
    runs = run.scenarios["STA-02"]["confirmation"]
    assert [one["word"] for one in runs] == ["fail"] * 3, runs


# Protocol


@pytest.mark.slow  # a scenario
def test_the_whole_path_uses_the_protocol(suite: Suite) -> None:
    run = suite.run("Good", "--vault-only", "TOK-19", "--vault-wire", "h2")
    assert run.code == 0, run.out
    assert "HTTP/2 offered, the client speaks HTTP/1.1 over TLS" in run.out
    assert run.journal["scenarios"][0]["wire"] == "h2"
