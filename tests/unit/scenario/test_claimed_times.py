"""A client's claims, however odd, never narrow what a scenario asks."""

from __future__ import annotations

from collections.abc import Mapping
from types import SimpleNamespace
from typing import Any, cast

import pytest

from vault_harness.judge import lab as labs
from vault_harness.judge.catalogue import Entry
from vault_harness.judge.running import LONGEST, Running
from vault_harness.judge.verdict import NotClaimed, NotExercised


def check(needs: tuple[str, ...] = ("read",), **declares: float) -> None:
    """Check the claims of a client that reads and declares these times."""
    entry = Entry(
        id="TOK-11", promise="One login", severity="critical", source="x", needs=frozenset(needs)
    )
    environment = SimpleNamespace(declared=cast("Mapping[str, float]", {}))
    lab = SimpleNamespace(
        entry=entry, environment=environment, deadline=declares.get("deadline", 2.0)
    )
    subject = SimpleNamespace(capabilities=frozenset({"read"}), declares=declares, pid=None)
    Running._check_claims(cast("Any", lab), cast("Any", subject))


def test_a_deadline_above_60_s_is_not_exercised() -> None:
    check(deadline=LONGEST)
    with pytest.raises(NotExercised, match="may take 61 s; configure it with at most 60 s"):
        check(deadline=LONGEST + 1.0)


def test_what_is_not_claimed_is_not_asked() -> None:
    with pytest.raises(NotClaimed, match="does not claim: health"):
        check(("read", "health"), deadline=LONGEST + 1.0)


def test_closing_act_of_a_secret_that_is_not_served(monkeypatch: pytest.MonkeyPatch) -> None:
    """An agent cannot be exercised."""

    def reads(*_: object, **__: object) -> None:
        raise NotClaimed("there is no file for shared/email")

    monkeypatch.setattr(labs, "closing_act", reads)
    lab = SimpleNamespace(_cannot_close=lambda **_: "", _findings=[])
    with pytest.raises(NotExercised, match="no closing act: there is no file for shared/email"):
        labs.Lab._close_or_say_why(cast("Any", lab), "", "", steady=True)
