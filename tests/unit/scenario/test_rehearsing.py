"""The remarks of ``subject check``."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from vault_harness.judge import rehearsal
from vault_harness.judge.subjects import OperationFailed
from vault_harness.judge.verdict import NotClaimed
from vault_harness.recorder.observations import Operation, Outcome
from vault_harness.recorder.secrets import Secrets


def refusing(error: Exception) -> Any:
    def raises(*_: object, **__: object) -> None:
        raise error

    subject = SimpleNamespace(capabilities=frozenset({"read", "herd"}), pid=None)
    return SimpleNamespace(subject=subject, read=raises, herd=raises, patience=1.0)


def test_a_herd_that_says_too_much() -> None:
    """Its secret is not told."""
    lab: Any = SimpleNamespace(secrets=Secrets())
    lab.secrets.add("secret-id", "5ec2e7-1d")
    came = rehearsal.Rehearsal()
    failed = OperationFailed(None, "no login with 5ec2e7-1d")
    rehearsal._herd(came, lab, refusing(failed))
    [remark] = came.remarks
    assert remark.kind == "wrong"
    assert "makes none: failed: no login with" in remark.text
    assert "5ec2e7-1d" not in remark.text


@pytest.mark.parametrize("last", ["ok", "error"])
def test_several_first_reads(last: Outcome) -> None:
    """They are called slow if the last one succeeded."""
    outcomes: list[Outcome] = ["error", "error", last]
    reads = (Operation(1, "read", "p", float(n), float(n), one) for n, one in enumerate(outcomes))
    moments = iter((1.0, 2.0, 40.0))
    lab: Any = SimpleNamespace(ttl=60.0, watch=lambda _: None)
    lab.history = SimpleNamespace(now=lambda: next(moments))
    subject = SimpleNamespace(is_alive=lambda: True)
    driver: Any = SimpleNamespace(subject=subject, read=lambda: next(reads))
    came = rehearsal.Rehearsal()
    assert rehearsal._first_read(came, lab, driver).outcome == last
    assert ["reads were needed" in one.text for one in came.remarks] == [True] * (last == "ok")


def test_secret_that_is_not_served() -> None:
    """Nothing else is asked."""
    lab: Any = SimpleNamespace()
    came = rehearsal.Rehearsal()
    rehearsal._speak(came, lab, refusing(NotClaimed("it does not render backend/django")))
    text = "it does not render backend/django, which nearly every scenario reads"
    assert [(remark.kind, remark.text) for remark in came.remarks] == [("wrong", text)]


@pytest.mark.parametrize(
    ("capabilities", "declares", "asked"),
    [
        ({"read", "cached"}, {}, False),
        ({"read", "cached"}, {"max_stale": 6.0}, True),
        ({"read"}, {}, True),  # without a cache nobody expects KV-02
    ],
)
def test_a_cache_without_max_stale_is_reported(
    capabilities: set[str], declares: dict[str, float], *, asked: bool
) -> None:
    """KV-02 is skipped for it."""
    came = rehearsal.Rehearsal()
    subject = SimpleNamespace(capabilities=frozenset(capabilities), declares=declares)
    driver: Any = SimpleNamespace(subject=subject)
    rehearsal._claims(came, driver)
    assert any("KV-02" in remark.text for remark in came.remarks) is not asked


@pytest.mark.parametrize(
    ("said", "told"),
    [
        ({"declares": {"max_stale": 60.0}}, "max_stale of 60 s"),
        ({"declares": {"max_stale": 6.0, "refresh": 31.0}}, "refresh of 31 s"),
        ({"declares": {"max_stale": 30.0, "refresh": 30.0}}, ""),
        ({"declares": {"max_stale": 6.0}, "ignored": ("'declare'",)}, "hello has 'declare'"),
    ],
    ids=str,
)
def test_claims_without_effect_are_reported(said: dict[str, Any], told: str) -> None:
    """They are times above the suite's limits, and unknown words."""
    came = rehearsal.Rehearsal()
    driver: Any = SimpleNamespace(
        subject=SimpleNamespace(capabilities=frozenset({"read", "cached"}), **said)
    )
    rehearsal._claims(came, driver)
    texts = [remark.text for remark in came.remarks if "does not claim" not in remark.text]
    assert [told in text for text in texts] == ([True] if told else [])


@pytest.mark.parametrize(
    ("outcome", "value", "told"),
    [
        ("ok", "letters", ""),
        ("ok", "unknown", "write UTF-8"),
        ("error", None, "does not read a value beyond ASCII: error: it is not JSON"),
    ],
)
def test_letters_beyond_ascii(outcome: Outcome, value: str | None, told: str) -> None:
    read = Operation(1, "read", "p", 0.0, 0.1, outcome, value)
    read.message = "it is not JSON" if outcome == "error" else ""
    lab: Any = SimpleNamespace(put=lambda label, **_: label)
    driver: Any = SimpleNamespace(read=lambda *_: read)
    came = rehearsal.Rehearsal()
    rehearsal._letters(came, lab, driver)
    assert [told in str(remark) for remark in came.remarks] == ([True] if told else [])


@pytest.mark.parametrize(
    ("outcomes", "told"),
    [
        (["ok"], ""),
        (["error", "error", "ok"], ""),  # an agent renders its files in turn
        (["denied"] * 9, "it does not read shared/email: denied: 403: nearly every scenario ends"),
    ],
    ids=["there", "a moment later", "never"],
)
def test_secret_of_the_closing_act(outcomes: list[Outcome], told: str) -> None:
    """It must be served, at least after a moment."""
    reads, clock = iter(outcomes), [0.0]

    def read(path: str, key: str) -> Operation:
        found = Operation(1, "read", path, clock[0], clock[0], next(reads), "seeded")
        found.message = "403" if found.outcome == "denied" else ""
        return found

    def watch(seconds: float) -> None:
        clock[0] += max(seconds, 0.3)

    entry = SimpleNamespace(spare_path="shared/email", spare_key="EMAIL")
    history = SimpleNamespace(now=lambda: clock[0])
    lab: Any = SimpleNamespace(entry=entry, history=history, watch=watch)
    subject = SimpleNamespace(is_alive=lambda: True)
    driver: Any = SimpleNamespace(read=read, subject=subject)
    came = rehearsal.Rehearsal()
    rehearsal._other(came, lab, driver)
    assert [told in str(remark) for remark in came.remarks] == ([True] if told else [])
    assert came.well is not bool(told)


def test_secret_of_the_closing_act_that_is_not_served() -> None:
    entry = SimpleNamespace(spare_path="shared/email", spare_key="EMAIL")
    history = SimpleNamespace(now=lambda: 0.0)
    lab: Any = SimpleNamespace(entry=entry, history=history)
    came = rehearsal.Rehearsal()
    driver = refusing(NotClaimed("the agent does not render shared/email"))
    driver.subject.is_alive = lambda: True
    rehearsal._other(came, lab, driver)
    [remark] = came.remarks
    assert (remark.kind, came.well) == ("wrong", False)
    assert remark.text.startswith("the agent does not render shared/email: nearly every scenario")


@pytest.mark.parametrize(
    ("claimed", "told"),
    [({"read", "health"}, []), ({"read", "tls", "jwt", "namespace"}, ["jwt, namespace, tls"])],
)
def test_what_is_believed(claimed: set[str], told: list[str]) -> None:
    """The check cannot test all claims."""
    came = rehearsal.Rehearsal()
    subject = SimpleNamespace(capabilities=frozenset(claimed), declares={})
    driver: Any = SimpleNamespace(subject=subject)
    rehearsal._claims(came, driver)
    assert [step.name for step in came.steps if "not asked here" in step.said] == told
