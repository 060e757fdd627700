"""``subject check``: what it says of a subject, from what a driver saw."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from vault_harness.scenario import rehearsal
from vault_harness.scenario._secrets import Secrets
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
