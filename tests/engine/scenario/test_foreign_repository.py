from __future__ import annotations

import json
import os
import re
import shlex
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.running import ran

pytestmark = pytest.mark.slow  # each runs pytest in a repository of its own

PLUGIN = '''
"""A plugin that was there before: it took the names that everybody takes."""


def pytest_addoption(parser):
    parser.addoption("--only")
    parser.addoption("--report", default="mine")
    parser.addoption("--subject")
    parser.addoption("--seed")
    parser.addoption("--repeat")
'''

CONFTEST = """
import pytest


@pytest.fixture
def lab():
    return "a laboratory of their own"


@pytest.fixture
def environment():
    return "production"
"""

HARNESS = "ANSWER = 42\n"
"""The package ``harness`` of that repository."""

BLUEPRINT = """
name = "shop"

[mounts.kv]
type = "kv"
version = 2

[policies.till]
file = "till.hcl"

[approles.till]
policies = ["till"]

[secrets.kv."till/printer"]
PIN = { generate = 20 }

[secrets.kv."till/card"]
TERMINAL_KEY = { generate = 20 }
"""

POLICY = 'path "kv/data/till/*" { capabilities = ["read"] }'

CATALOGUE = """
[defaults]
blueprint = "shop.toml"
mount = "kv"
approle = "till"
path = "till/printer"
key = "PIN"
spare_path = "till/card"
spare_key = "TERMINAL_KEY"
severity = "high"
source = "an evening in November"

[TILL-01]
promise = "A seal of a second costs no login"

[TILL-02]
promise = "Nobody meets this fault"

[TILL-03]
promise = "A renewal is seen"

[TILL-04]
promise = "It promises nothing"

[TILL-05]
promise = "It is broken itself"
"""

SCENARIOS = '''
import pytest

from vault_harness.recorder.fault import Signature
from vault_harness.judge.oracles import same_token


@pytest.mark.scenario("TILL-01")
def test_seal(lab):
    """Sealed for a second, under reads."""
    lab.start()
    with lab.reading(every=0.2):
        with lab.vault.sealed() as fault:
            lab.hold(fault, 1.0)
        lab.recovers(after=fault)
    lab.judge(same_token(since=fault.began))


@pytest.mark.scenario("TILL-02")
def test_untouched(lab):
    """A fault that leaves no mark."""
    lab.start()
    with lab.condition("the moon is full", statuses=frozenset({418})):
        lab.client.read()
    lab.judge()


@pytest.mark.scenario("TILL-03")
def test_condition(lab):
    """It does not wait for one."""
    lab.start()
    lab.must_have(renewals=1)
    lab.judge()


@pytest.mark.scenario("TILL-04")
def test_nothing(lab):
    """Neither fault nor condition."""
    lab.start()
    lab.judge()


@pytest.mark.scenario("TILL-05")
def test_broken(lab):
    """A mistake of its author."""
    lab.start()
    raise LookupError("where is my till?")
'''

OWN_TESTS = """
import sys

import harness


def test_fixtures_and_packages_are_ours(lab, environment):
    assert (lab, environment, harness.ANSWER) == ("a laboratory of their own", "production", 42)


def test_nothing_is_loaded():
    loaded = {name for name in sys.modules if name.startswith("vault_harness.")}
    ours = {"vault_harness.judge", "vault_harness.judge.plugin"}
    assert loaded == ours
    assert "hvac" not in sys.modules
"""

CLIENT = """
from tests.subjects.lazy_client import LazyClient as Client
"""

FILES = {
    "everybody.py": PLUGIN,
    "conftest.py": CONFTEST,
    "harness/__init__.py": HARNESS,
    "resilience/shop.toml": BLUEPRINT,
    "resilience/till.hcl": POLICY,
    "resilience/catalogue.toml": CATALOGUE,
    "resilience/deeper/test_till.py": SCENARIOS,
    "test_own.py": OWN_TESTS,
    "till_client.py": CLIENT,
    "pytest.ini": "[pytest]\nvault_subject = python:till_client:Client\nvault_seed = 7\n",
}

ROOT = Path(__file__).parents[3]


@dataclass(frozen=True)
class Repository:
    """Another team's repository."""

    folder: Path

    def pytest(self, *arguments: str, where: str = ".") -> tuple[int, str]:
        environ = {k: v for k, v in os.environ.items() if not k.startswith(("PYTEST_", "HARNESS_"))}
        done = ran(
            [
                *(sys.executable, "-m", "pytest", "-p", "everybody", "-p", "no:cacheprovider"),
                *arguments,
            ],
            cwd=self.folder / where,
            env={
                **environ,
                "HARNESS_ENGINE": "process",
                "PYTHONPATH": f"{self.folder}{os.pathsep}{ROOT}",
            },
        )
        return done.returncode, done.stdout + done.stderr

    def journal(self, where: str = ".") -> dict[str, Any]:
        text = (self.folder / where / "report" / "journal.json").read_text()
        return {scenario["id"]: scenario for scenario in json.loads(text)["scenarios"]}


@pytest.fixture
def repository(tmp_path: Path) -> Repository:
    for name, text in FILES.items():
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    return Repository(tmp_path)


def test_run_without_scenarios(repository: Repository) -> None:
    code, out = repository.pytest("test_own.py", "--only", "x", "--report", "y", "-v")
    assert code == 0, out
    assert "verdict" not in out
    assert not (repository.folder / "report").exists()


def test_their_scenarios(repository: Repository) -> None:
    code, out = repository.pytest("resilience", "--vault-report", "report")
    scenarios = repository.journal()
    words = {id: scenario["word"] for id, scenario in scenarios.items()}  # noqa: A001 - it is one
    assert words == {
        "TILL-01": "pass",
        "TILL-02": "not exercised",
        "TILL-03": "not exercised",
        "TILL-04": "error",
        "TILL-05": "error",
    }, out
    assert code == 1
    assert scenarios["TILL-01"]["seed"] == 7
    assert {o["path"] for o in scenarios["TILL-01"]["operations"] if o["path"]} == {
        "till/printer",
        "till/card",
    }
    assert "the moon is full (from +" in out
    again = "pytest resilience/deeper/test_till.py::test_broken --vault-subject"
    assert f"run it again: {again} python:till_client:Client --vault-seed 7" in out
    assert f"{again} python:till_client:Client --vault-seed 7" == scenarios["TILL-05"]["again"]
    assert "1 renewal: not seen, 0 of at least 1" in out
    assert "neither a fault nor a condition" in scenarios["TILL-04"]["why"]
    assert "say by lab.require what must have happened" in out  # its author must fix it
    assert "defect of the harness" not in out
    assert scenarios["TILL-05"]["why"] == "LookupError: where is my till?"
    assert (
        "python:till_client:Client: 1 of 5 scenarios pass; 2 not exercised (TILL-02, TILL-03)"
        in out
    )


CARELESS = """
import asyncio

from tests.subjects.lazy_client import LazyClient


class Client(LazyClient):
    def __init__(self, *given, **more):
        super().__init__(*given, **more)
        self.loop, self.cycle = asyncio.new_event_loop(), self
"""
"""A client with an unclosed event loop, which only a garbage collection finds."""


def test_warnings_of_a_client_are_its_own(repository: Repository) -> None:
    (repository.folder / "till_client.py").write_text(CARELESS)
    after = "import gc\n\n\ndef test_after():\n    gc.collect()\n"
    (repository.folder / "test_zz.py").write_text(after)
    code, out = repository.pytest("resilience", "test_zz.py", "-k", "seal or after", "-W", "error")
    assert (code, repository.journal()["TILL-01"]["word"]) == (0, "pass"), out


def test_choice_among_their_scenarios(repository: Repository) -> None:
    code, out = repository.pytest("resilience", "--vault-only", "till-01", "--collect-only", "-q")
    assert (code, out.count("::")) == (0, 1)
    code, out = repository.pytest("resilience", "--vault-only", "TOK-11")
    assert code == 4
    assert "--vault-only TOK-11 names no scenario" in out
    assert str(repository.folder / "resilience" / "catalogue.toml") in out


def test_choice_by_pytests_own_options(repository: Repository) -> None:
    """A run with `-k` is complete, and the repository's own tests run beside it."""
    (repository.folder / "test_bad.py").write_text("def test_bad():\n    assert False\n")
    code, out = repository.pytest("-k", "test_untouched or test_bad")
    assert (code, list(repository.journal())) == (1, ["TILL-02"]), out
    assert "incomplete" not in out
    assert "the harness broke down" not in out
    journal = json.loads((repository.folder / "report" / "journal.json").read_text())
    assert journal["complete"]
    assert set(journal["left_out"]) == {"TILL-01", "TILL-03", "TILL-04", "TILL-05"}


def test_other_tests_leave_the_last_report(repository: Repository) -> None:
    """Other tests collect scenarios without running them."""
    (repository.folder / "report").mkdir()
    for name in ("journal.json", "score.json"):
        (repository.folder / "report" / name).write_text('{"scenarios": []}')
    code, out = repository.pytest("-k", "test_fixtures_and_packages_are_ours")
    assert code == 0, out
    found = {file.name: file.read_text() for file in (repository.folder / "report").iterdir()}
    assert found == dict.fromkeys(("journal.json", "score.json"), '{"scenarios": []}')


@pytest.mark.parametrize(
    ("name", "text", "said", "words", "code"),
    [
        ("vault-harness.toml", "[known", "the file of known failures cannot be read", (), 4),
        ("report/score.json", "{}", "the report would replace score.json", ("-n", "2"), 2),
    ],
)
def test_an_unreadable_file_is_refused_before_a_scenario(
    name: str, text: str, said: str, words: tuple[str, ...], code: int, repository: Repository
) -> None:
    """Or a protected report; both are refused like a wrong command line.

    Workers of pytest-xdist find it, and the main process does not wait for them.
    """
    (repository.folder / "report").mkdir()
    (repository.folder / name).write_text(text)
    ended, out = repository.pytest("resilience", *words)
    assert (ended, said in out, "INTERNALERROR" in out) == (code, True, False), out
    assert (repository.folder / name).read_text() == text


def test_scenario_that_the_catalogue_lacks(repository: Repository) -> None:
    (repository.folder / "resilience" / "test_more.py").write_text(
        SCENARIOS.replace("TILL-01", "TILL-77")
    )
    code, out = repository.pytest("resilience/test_more.py")
    assert code == 2
    assert "scenario 'TILL-77', which is not in" in out


def test_two_scenarios_of_one_id(repository: Repository) -> None:
    """One verdict would be lost."""
    copied = SCENARIOS.replace("TILL-02", "TILL-01")
    (repository.folder / "resilience" / "deeper" / "test_till.py").write_text(copied)
    ended, out = repository.pytest("resilience", "-n", "2")
    assert (ended, "INTERNALERROR" in out) == (2, False), out
    assert "TILL-01 would be run twice, and has one verdict" in out
    assert "test_till.py::test_seal, resilience/deeper/test_till.py::test_untouched" in out
    assert not (repository.folder / "report" / "journal.json").exists()
    ended, out = repository.pytest("resilience", "-k", "untouched")
    assert list(repository.journal()) == ["TILL-01"], out


AGAIN = """
from _pytest.runner import runtestprotocol


def pytest_runtest_protocol(item, nextitem):
    for _ in range(2):
        for report in runtestprotocol(item, nextitem=nextitem, log=False):
            item.ihook.pytest_runtest_logreport(report=report)
    return True
"""
"""Runs each test several times, as pytest-rerunfailures does."""


def test_a_plugin_that_runs_tests_again(repository: Repository) -> None:
    (repository.folder / "again.py").write_text(AGAIN)
    _, out = repository.pytest("resilience", "-k", "test_broken", "-p", "again")
    assert "0 of 1 scenarios pass; 1 error (TILL-05)" in out


def test_the_command_of_a_run_in_a_folder_below(repository: Repository) -> None:
    repository.pytest("-k", "test_nothing", "-n", "1", where="resilience")
    again = shlex.split(repository.journal("resilience")["TILL-04"]["again"])
    assert again[:2] == ["pytest", "deeper/test_till.py::test_nothing"]


@pytest.mark.parametrize("words", [(), ("-n", "1")], ids=["alone", "xdist"])
def test_a_scenario_that_is_marked_to_be_skipped(
    words: tuple[str, ...], repository: Repository
) -> None:
    marked = SCENARIOS.replace(
        '@pytest.mark.scenario("TILL-01")',
        '@pytest.mark.skipif(True, reason="no till here")\n@pytest.mark.scenario("TILL-01")',
    )
    (repository.folder / "resilience" / "deeper" / "test_till.py").write_text(marked)
    code, out = repository.pytest("resilience", "-k", "test_seal", *words)
    journal = json.loads((repository.folder / "report" / "journal.json").read_text())
    assert (code, journal["complete"], journal["scenarios"]) == (0, True, []), out
    chosen = ("-k", "test_seal or test_untouched", "--vault-allow-not-exercised")
    code, out = repository.pytest("resilience", *chosen, *words)
    journal = json.loads((repository.folder / "report" / "journal.json").read_text())
    assert (code, journal["complete"], "incomplete" in out) == (0, True, False), out
    assert journal["left_out"].keys() == {"TILL-01", "TILL-03", "TILL-04", "TILL-05"}


def test_the_repository_of_the_document(tmp_path: Path) -> None:
    """The files of the document and a client are a run that passes."""
    text = (ROOT / "docs" / "scenarios.md").read_text(encoding="utf-8")
    part = text.partition("## In a repository of your own")[2].partition("| option |")[0]
    blocks = re.findall(r"^```\w+\n# ([\w./]+).*\n([\s\S]*?)^```$", part, re.MULTILINE)
    assert [name for name, _ in blocks] == [
        *("resilience/catalogue.toml", "resilience/shop.toml", "resilience/test_till.py"),
        "pytest.ini",
    ]
    for name, content in [
        *blocks,
        ("shop/secrets.py", CLIENT.replace("Client\n", "VaultSource\n")),
    ]:
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(content, encoding="utf-8")
    (tmp_path / "everybody.py").write_text(PLUGIN)
    found = Repository(tmp_path)
    code, out = found.pytest()
    assert (code, [one["word"] for one in found.journal().values()]) == (0, ["pass"]), out
