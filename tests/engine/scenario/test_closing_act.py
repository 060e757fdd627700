"""The closing act and the standing oracles find defects in scenarios about other things."""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path

import pytest

from tests.engine.scenario.conftest import ROOT
from tests.running import Handler, answering
from tests.subjects.lazy_client import LazyClient, Token
from vault_harness.judge.catalogue import Entry, load
from vault_harness.judge.environment import Environment, open_environment
from vault_harness.judge.lab import Lab
from vault_harness.judge.run import Result, run_scenario
from vault_harness.judge.subjects import parse_subject
from vault_harness.judge.verdict import Finding, NotClaimed, NotExercised
from vault_harness.settings import Settings

# Errors on the threads of these clients are not errors of the tests.
pytestmark = pytest.mark.filterwarnings("ignore")


class Good(LazyClient):
    """Breaks nothing."""


class Rememberer(LazyClient):
    """Reads each secret once and returns that for ever."""

    def __init__(self, environ: Mapping[str, str]) -> None:
        super().__init__(environ)
        self._kept: dict[tuple[str, str], str] = {}

    def read(self, path: str, key: str) -> str:
        if (path, key) not in self._kept:
            self._kept[path, key] = super().read(path, key)
        return self._kept[path, key]


class Undertaker(Rememberer):
    """Returns deleted values, but no other old ones."""

    def read(self, path: str, key: str) -> str:
        if path == "backend/django":
            return LazyClient.read(self, path, key)
        return super().read(path, key)


class Leaver(LazyClient):
    """Keeps its token when it is closed."""

    def close(self) -> None:
        if self._timer:
            self._timer.cancel()


class Chatterer(LazyClient):
    """Logs its tokens."""

    def _log_in(self, deadline: float) -> Token:
        token = super()._log_in(deadline)
        logging.getLogger(__name__).error("got %s", token.value)
        return token


class Sleeper(LazyClient):
    """Takes six seconds to close."""

    def close(self) -> None:
        super().close()
        time.sleep(6.0)


class Stumbler(LazyClient):
    """Its close raises."""

    def close(self) -> None:
        super().close()
        raise RuntimeError("double free")


class Hypochondriac(LazyClient):
    """Is never healthy."""

    capabilities = frozenset({"read", "outcomes", "health"})

    def health(self) -> bool:
        return False


class Brooder(LazyClient):
    """Answers slowly that it is healthy."""

    capabilities = frozenset({"read", "outcomes", "health"})

    def health(self) -> bool:
        time.sleep(2.6)
        return True


@pytest.fixture(scope="module")
def environment(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Environment]:
    subject = parse_subject("reference")
    with open_environment(Settings(engine="process"), subject, seed=1) as opened:
        yield opened


def calm(lab: Lab) -> None:
    lab.start()
    lab.require("a read", lambda history: bool(history.calls("read")))
    lab.judge()


def judged(environment: Environment, client: str, scenario: str = "KV-03") -> Result:
    entry: Entry = load(ROOT / "scenarios" / "catalogue.toml")[scenario]
    subject = parse_subject(f"python:{__name__}:{client}")
    result = run_scenario(replace(environment, subject=subject), entry, calm)
    assert result.error is None, result.trace
    return result


def test_good_client(environment: Environment) -> None:
    result = judged(environment, "Good")
    assert result.word == "pass", result.record["findings"]
    acts = [m["at"] for m in result.record["marks"] if m["text"] == "closing act"]
    assert len(acts) == 1
    assert result.record["no_closing"] == ""
    assert len([text for text in result.record["evidence"] if "closing act" in text]) == 1


@pytest.mark.slow  # a whole scenario with its waits
@pytest.mark.parametrize(
    ("client", "seen"),
    [
        ("Rememberer", "read still gives v1"),
        ("Undertaker", "read still gives shared/email:seeded"),
        ("Hypochondriac", "it says not well for "),
        ("Brooder", "health ended only after "),
    ],
)
def test_broken_client(environment: Environment, client: str, seen: str) -> None:
    result = judged(environment, client)
    assert result.word == "fail"
    found = [finding["seen"] for finding in result.record["findings"]]
    assert any(text.startswith(seen) for text in found), found


@pytest.mark.slow  # a whole scenario with its waits
@pytest.mark.parametrize("client", ["Leaver", "Sleeper", "Stumbler"])
def test_client_that_ends_badly(environment: Environment, client: str) -> None:
    """It passes: other scenarios ask for that."""
    result = judged(environment, client)
    assert result.word == "pass", result.record["findings"]
    assert [one["verb"] for one in result.record["operations"]][-1] == "close"


def test_act_that_is_left_out(environment: Environment) -> None:
    def scenario(lab: Lab) -> None:
        lab.start()
        lab.require("a read", lambda history: bool(history.calls("read")))
        lab.judge(no_closing="it is a lazy evening")

    entry = load(ROOT / "scenarios" / "catalogue.toml")["KV-03"]
    subject = parse_subject(f"python:{__name__}:Leaver")
    result = run_scenario(replace(environment, subject=subject), entry, scenario)
    assert (result.word, result.record["no_closing"]) == ("pass", "it is a lazy evening")


@pytest.mark.parametrize("harm", [True, False])
def test_harm_fails_although_the_scenario_is_skipped(
    environment: Environment, *, harm: bool
) -> None:
    def scenario(lab: Lab) -> None:
        lab.start()
        lab.note(Finding("none is ever handed out", "a wrong value", 1.0, harm=harm))
        raise NotClaimed("it renews no token")

    entry = load(ROOT / "scenarios" / "catalogue.toml")["KV-03"]
    subject = parse_subject(f"python:{__name__}:Chatterer")
    result = run_scenario(replace(environment, subject=subject), entry, scenario)
    assert (result.word, result.why) == (
        ("fail", "a wrong value") if harm else ("skipped", "it renews no token")
    )
    assert len(result.record["findings"]) == harm
    assert [leak["seen"].partition(":")[0] for leak in result.record["leaks"]] == [
        "its log has token-1"
    ]


class Teller(LazyClient):
    """Logs what it reads on its server."""

    logged = ""

    def read(self, path: str, key: str) -> str:
        value = super().read(path, key)
        Teller.logged += f"{value}\n"
        return value


class _Requests(Handler):
    """Serves one such client."""

    client: Teller

    def answer(self) -> None:
        if self.command == "GET":
            return self.say(Teller.logged)
        request = json.loads(self.sent())
        told: dict[str, object] = {"ok": True}
        if self.path == "/configure":
            _Requests.client = Teller(request["environ"])
        elif request["op"] == "read":
            told |= {"value": self.client.read(request["path"], request["key"])}
        elif request["op"] == "close":
            self.client.close()
        return self.say(json.dumps(told))


@pytest.mark.parametrize("ends", ["judged", "abandoned"])
def test_log_behind_a_server_that_is_not_closed(
    environment: Environment, monkeypatch: pytest.MonkeyPatch, ends: str
) -> None:
    def scenario(lab: Lab) -> None:
        lab.start()
        lab.require("a read", lambda history: bool(history.calls("read")))
        if ends == "abandoned":
            raise NotExercised("it rains")
        lab.judge(no_closing="it is a lazy evening")

    monkeypatch.setattr(Teller, "logged", "")
    entry = load(ROOT / "scenarios" / "catalogue.toml")["KV-03"]
    with answering(_Requests) as url:
        subject = parse_subject(url)
        result = run_scenario(replace(environment, subject=subject), entry, scenario)
        _Requests.client.close()
    assert "log" in str(result.record["leaks"]), result.record
    assert result.record["log"]


def test_token_that_cannot_be_asked_for(
    environment: Environment, monkeypatch: pytest.MonkeyPatch
) -> None:
    def scenario(lab: Lab) -> None:
        lab.start()

        def times_out(*_: object, **__: object) -> None:
            raise TimeoutError("no answer within 5 s")

        monkeypatch.setattr(lab.stack.operator.client.auth.token, "lookup_accessor", times_out)
        lab.tokens.alive()

    entry = load(ROOT / "scenarios" / "catalogue.toml")["KV-03"]
    subject = parse_subject(f"python:{__name__}:Leaver")
    result = run_scenario(replace(environment, subject=subject), entry, scenario)
    assert (result.word, result.why) == ("error", "TimeoutError: no answer within 5 s")


def test_defect_of_the_recorder_is_an_error(environment: Environment) -> None:
    def scenario(lab: Lab) -> None:
        lab.start()
        lab.require("a read", lambda history: bool(history.calls("read")))
        lab.recorder.defects.append("ValueError: not a number")
        lab.judge()

    entry = load(ROOT / "scenarios" / "catalogue.toml")["KV-03"]
    subject = parse_subject(f"python:{__name__}:Leaver")
    result = run_scenario(replace(environment, subject=subject), entry, scenario)
    assert result.word == "error"
    assert result.why.startswith("the recorder failed: ValueError: not a number")


def test_values_that_were_there_before_are_known(environment: Environment, tmp_path: Path) -> None:
    """A short one such as a port is no secret."""
    values = {}

    def scenario(lab: Lab) -> None:
        client = lab.start()
        for path, key in (("backend/database", "DB_PASSWORD"), ("backend/database", "DB_PORT")):
            values[key] = client.read(path, key).value
        lab.require("a read", lambda history: bool(history.calls("read")))
        assert lab.secrets.redact("ecommerce") == "ecommerce"
        lab.judge()

    entry = load(ROOT / "scenarios" / "catalogue.toml")["KV-03"]
    subject = parse_subject(f"python:{__name__}:Good")
    result = run_scenario(replace(environment, subject=subject), entry, scenario)
    assert result.word == "pass", result.why
    assert values == dict.fromkeys(("DB_PASSWORD", "DB_PORT"), "backend/database:seeded")
