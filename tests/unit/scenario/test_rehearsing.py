"""``subject check``: what it says of a subject, from what a driver saw."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from vault_harness.scenario import rehearsal
from vault_harness.scenario._secrets import Secrets
from vault_harness.scenario.observations import Operation, Outcome
from vault_harness.scenario.verdict import NotClaimed
from vault_harness.subjects import OperationFailed


def refusing(error: Exception) -> Any:
    """A driver that does nothing but raise this."""

    def raises(*_: object, **__: object) -> None:
        raise error

    subject = SimpleNamespace(capabilities=frozenset({"read", "herd"}), pid=None)
    return SimpleNamespace(subject=subject, read=raises, herd=raises, patience=1.0)


def test_a_herd_that_says_too_much() -> None:
    """Why there is none is told without what is secret of it."""
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
    """It is called slow where one succeeded, and not where none did: that is told by itself."""
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
    """It is said to be one that scenarios read; nothing else is asked."""
    lab: Any = SimpleNamespace()
    came = rehearsal.Rehearsal()
    rehearsal._speak(came, lab, refusing(NotClaimed("it does not render backend/django")))
    text = "it does not render backend/django, which nearly every scenario reads"
    assert came.remarks == [rehearsal.Remark("wrong", text)]


@pytest.mark.parametrize(
    ("capabilities", "declares", "asked"),
    [
        ({"read", "cached"}, {}, False),
        ({"read", "cached"}, {"max_stale": 6.0}, True),
        ({"read"}, {}, True),  # without a cache nobody expects KV-02
    ],
)
def test_cache_of_which_nobody_says_how_old_its_values_may_be(
    capabilities: set[str], declares: dict[str, float], *, asked: bool
) -> None:
    """A scenario is skipped for it, which no list of capabilities tells."""
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
def test_claims_of_which_nothing_comes(said: dict[str, Any], told: str) -> None:
    """Times for which nobody waits, and words that nobody reads, are told before they cost."""
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
    """What comes out as something else is told as that, before it is a wrong value somewhere."""
    read = Operation(1, "read", "p", 0.0, 0.1, outcome, value)
    read.message = "it is not JSON" if outcome == "error" else ""
    lab: Any = SimpleNamespace(put=lambda label, **_: label)
    driver: Any = SimpleNamespace(read=lambda *_: read)
    came = rehearsal.Rehearsal()
    rehearsal._letters(came, lab, driver)
    assert [told in remark.text for remark in came.remarks] == ([True] if told else [])


@pytest.mark.parametrize(
    ("outcomes", "told"),
    [
        (["ok"], ""),
        (["error", "error", "ok"], ""),  # an agent renders one file after the other
        (["denied"] * 9, "it does not read shared/email: denied: 403: nearly every scenario ends"),
    ],
    ids=["there", "a moment later", "never"],
)
def test_secret_of_the_closing_act(outcomes: list[Outcome], told: str) -> None:
    """Without it nearly nothing is exercised, and each scenario says so for itself."""
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
    assert [told in remark.text for remark in came.remarks] == ([True] if told else [])
    assert came.well is not bool(told)


def test_secret_of_the_closing_act_that_is_not_served() -> None:
    """An agent that is configured without it, which answers all else."""
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
    """A login by JWT that does not work is found by no operation here, which is said."""
    came = rehearsal.Rehearsal()
    subject = SimpleNamespace(capabilities=frozenset(claimed), declares={})
    driver: Any = SimpleNamespace(subject=subject)
    rehearsal._claims(came, driver)
    assert [step.name for step in came.steps if "not asked here" in step.said] == told
