from __future__ import annotations

import re

import pytest

from tests.engine.scenario.conftest import ROOT, Suite
from vault_harness.errors import SettingsError
from vault_harness.judge.catalogue import Entry, load
from vault_harness.judge.plugin import parse_declared
from vault_harness.local.engine.process.postgresql import SharedPostgresql

NAMES = "backoff_cap, deadline, max_stale, min_ttl, refresh"


@pytest.fixture(scope="module")
def catalogue() -> dict[str, Entry]:
    return load(ROOT / "scenarios" / "catalogue.toml")


def refused(suite: Suite, *options: str, client: str = "Good") -> str:
    run = suite.run(client, *options)
    assert run.code == 4, run.out
    assert not run.report.exists()
    assert "Traceback" not in run.out
    assert "INTERNALERROR" not in run.out
    return run.out


def test_an_unknown_id_is_refused(suite: Suite) -> None:
    said = refused(suite, "--vault-only", "TOK-19,NOPE-01")
    assert "--vault-only NOPE-01 names no scenario" in said
    assert "catalogue.toml" in said
    assert "Give an id (TOK-11), a group (TOK) or a severity (critical, MUST)" in said


@pytest.mark.slow  # a run
def test_declaration_that_makes_no_sense(suite: Suite) -> None:
    said = refused(suite, "--vault-declare", "refresh=soon")
    assert "--vault-declare refresh=soon does not make sense" in said
    assert NAMES in said


@pytest.mark.slow  # a run each
@pytest.mark.parametrize("client", ["NoSuchClass", "Good.nothing"])
def test_client_that_is_not_there(suite: Suite, client: str) -> None:
    assert "clients_of_this_test" in refused(suite, client=client)


@pytest.mark.slow  # a run each
@pytest.mark.parametrize("word", ["tok-19", "POL", "medium", "SEA-01,sid", "should"])
def test_choosing(suite: Suite, catalogue: dict[str, Entry], word: str) -> None:
    run = suite.run("Good", "--vault-only", word, "--collect-only", "-q")
    words = set(word.upper().split(","))
    wanted = [
        e for e in catalogue.values() if words & {e.id, e.group, e.severity.upper(), e.obligation}
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
def test_a_verdict_is_confirmed_in_processes_of_their_own(suite: Suite) -> None:
    """They share the PostgreSQL that was started after the first process."""
    chosen = ("--vault-only", "STA-02,KV-03", "--vault-confirm", "4")
    broken = ("--vault-subject", "python:tests.mutants.sta:IgnoresRefusals")
    run = suite.run("Good", *chosen, *broken)
    assert run.words == {"STA-02": "fail", "KV-03": "pass"}, run.out
    runs = run.scenarios["STA-02"]["confirmation"]
    assert [one["word"] for one in runs] == ["fail"] * 5, runs


@pytest.mark.slow  # a scenario, confirmed
def test_a_client_that_ends_the_processes_of_its_confirmation(suite: Suite) -> None:
    """It is reported once."""
    run = suite.run("DeadlyLater", "--vault-only", "KV-03,FBK-02", "--vault-confirm", "4")
    assert run.code == 3, run.out
    assert run.out.count("the process that ran it ended with exit code 3") == 1, run.out


# Protocol


@pytest.mark.slow  # a scenario each
@pytest.mark.parametrize(
    ("wire", "said"),
    [("tls", ", TLS, "), ("h2", "HTTP/2 offered, the client speaks HTTP/1.1 over TLS")],
)
def test_the_whole_path_uses_the_protocol(suite: Suite, wire: str, said: str) -> None:
    run = suite.run("Good", "--vault-only", "TOK-19", "--vault-wire", wire)
    assert run.code == 0, run.out
    assert said in run.out
    assert run.journal["scenarios"][0]["wire"] == wire
