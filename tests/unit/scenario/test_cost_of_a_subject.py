from __future__ import annotations

from contextlib import nullcontext
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest

from vault_harness.judge.catalogue import CATALOGUE
from vault_harness.judge.cost import Cost
from vault_harness.judge.environment import START
from vault_harness.judge.plugin import suite as suite_module
from vault_harness.judge.report.outcome import Outcome
from vault_harness.settings import Settings, scenarios_folder

CHEAP = Cost(cpu=0.1, hello=0.2, read=0.1, load=0.2)
JVM = Cost(cpu=6.0, hello=5.0, read=1.0, load=0.2)


def test_a_cheap_subject_gets_all_workers() -> None:
    """Scenarios mostly wait."""
    assert CHEAP.workers(12, cores=2) == 12


def test_a_subject_that_burns_gets_few() -> None:
    assert JVM.workers(12, cores=2) == 2
    assert JVM.workers(12, cores=16) == 12


def test_there_is_always_one() -> None:
    assert Cost(cpu=500.0, hello=60.0, read=None, load=0.2).workers(12, cores=1) == 1


def test_a_server_that_holds_one_client_gets_one() -> None:
    alone = replace(CHEAP, alone=True)
    assert alone.workers(24, cores=16) == 1
    assert "it holds one client at a time" in str(alone)


@pytest.mark.parametrize(("alone", "workers"), [(True, 1), (False, 24)])
def test_servers_are_asked_how_many_clients_they_hold(
    alone: bool, workers: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    nowhere = lambda *_, **__: nullcontext()  # noqa: E731 - opens nothing
    monkeypatch.setattr("vault_harness.judge.environment.open_environment", nowhere)
    monkeypatch.setattr(
        "vault_harness.judge.cost.measure", lambda _: replace(CHEAP, cpu=0.0, alone=alone)
    )
    monkeypatch.setattr(suite_module, "set_start", lambda *_: None)
    chosen: Any = SimpleNamespace(subject="http://h:1", seed=7)
    config: Any = SimpleNamespace(stash=pytest.Stash())
    found = suite_module._by_cost(config, chosen, Settings(), 24)
    assert (found, f"{workers} side by side" in config.stash[suite_module.COST]) == (workers, True)


def test_what_breaks_down_before_the_run(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The code is that of a crash, not of a broken promise."""

    def breaks_down(*_: object) -> None:
        raise LookupError("no such thing")

    monkeypatch.setattr(suite_module, "_end_by_signals", lambda _: None)
    monkeypatch.setattr(suite_module, "options", breaks_down)
    config: Any = SimpleNamespace(stash=pytest.Stash(), option=SimpleNamespace())
    with pytest.raises(SystemExit) as ended:
        suite_module.begin_suite(config, scenarios_folder() / CATALOGUE)
    assert ended.value.code == Outcome.CRASHED
    assert "LookupError: no such thing" in capsys.readouterr().err


def test_starts_have_their_time() -> None:
    """They get at least the suite's bound, and 180 s at most."""
    assert CHEAP.start(12, cores=2) == START
    assert JVM.start(8, cores=2) == 60.0
    assert Cost(cpu=9.0, hello=100.0, read=None, load=0.2).start(1, cores=1) == 180.0


def test_a_starved_machine_is_said_to_be_one() -> None:
    assert "this machine is starved: 5.5 " in str(Cost(cpu=1.0, hello=1.0, read=1.0, load=5.5))
    assert "starved" not in str(CHEAP)
