"""The vacuity guard: how a fault is known to have touched a subject."""

from __future__ import annotations

from types import SimpleNamespace
from typing import cast

import pytest

from tests.unit.scenario.conftest import Story
from vault_harness.judge.conditions import AFTERMATH, WAITED_OUT, evidence_of
from vault_harness.judge.logs import INTERVAL, LogLine
from vault_harness.judge.running import Running
from vault_harness.recorder.fault import Signature
from vault_harness.recorder.observations import Handshake, Outcome, Swallowed, Touch

SEALED = Signature(statuses=frozenset({503}))
DOWN = Signature(unanswered=True)


def evidence(story: Story, signature: Signature, ended: float | None = 20.0) -> str | None:
    """Return the evidence for a fault from 10 s to 20 s."""
    fault = story.fault(signature, ended=ended)
    return evidence_of(story.history, fault, {"token-1": "accessor-1", "token-2": "accessor-2"})


def test_untouched(story: Story) -> None:
    """Good answers are no evidence."""
    assert evidence(story, SEALED) is None
    story.several("read", 5.0, 12.0, 25.0)
    story.calls(5.0, 12.0, 25.0)
    everything = Signature(
        statuses=frozenset({503}), unanswered=True, late=1.0, toxics=frozenset({"t"}), stubbed=True
    )
    assert evidence(story, everything) is None


# Handshakes


def test_refused_handshake(story: Story) -> None:
    refused = Signature(refused=True)
    story.history.handshakes += [Handshake(5.0, 1, refused="no"), Handshake(12.0, 2, "http/1.1")]
    assert evidence(story, refused) is None
    story.history.handshakes.append(Handshake(13.0, 3, refused="certificate verify failed"))
    assert evidence(story, refused) == (
        "the fault: handshake refused at +13.00 s (certificate verify failed)"
    )


# Connections, and the logs of agents


def test_what_was_sent_over_a_dead_connection(story: Story) -> None:
    dead = Signature(unanswered=True, swallowed=True)
    story.calls(12.0, 15.0)
    story.history.swallowed += [Swallowed(5.0, 1), Swallowed(25.0, 1)]
    assert evidence(story, dead) is None
    story.history.swallowed.append(Swallowed(13.0, 2))
    said = "the fault: what came over connection 2 at +13.00 s was not heard"
    assert evidence(story, dead) == said
    assert evidence(story, DOWN) is None


def test_an_unused_connection_in_the_fault_is_evidence(story: Story) -> None:
    gone = Signature(turned_away=True)
    story.history.connections += [5.0, 12.0, 25.0]
    story.sent("read", 12.5).connection = 2
    assert evidence(story, gone) is None
    story.history.connections.append(13.0)
    assert evidence(story, gone) == "the fault: a connection at +13.00 s found nobody"
    assert evidence(story, DOWN) is None


@pytest.mark.parametrize(
    "said",
    [
        "dial tcp 127.0.0.1:8200: connect: connection refused",
        "vault.read(x): context deadline exceeded (retry attempt 1)",
        "Error: connect ECONNREFUSED 127.0.0.1:8200",
        "read tcp 127.0.0.1:40000->127.0.0.1:8200: i/o timeout",
    ],
)
def test_what_an_agent_logs_of_its_requests(story: Story, said: str) -> None:
    """A line about a failed request is evidence."""
    fault = story.fault(DOWN, ended=20.0)
    before = [LogLine(9.0, said), LogLine(12.0, "renewed auth token"), LogLine(21.0, said)]
    assert evidence_of(story.history, fault, {}, before) is None
    within = [*before, LogLine(13.0, said)]
    assert "its log says" in (evidence_of(story.history, fault, {}, within) or "")
    sealed = story.fault(SEALED, ended=20.0)
    assert evidence_of(story.history, sealed, {}, within) is None


def test_a_line_may_be_seen_late(story: Story) -> None:
    """It may have been written before the fault."""
    fault, said = story.fault(DOWN, ended=20.0), "connection refused"
    assert evidence_of(story.history, fault, {}, [LogLine(10.0 + INTERVAL / 2, said)]) is None
    assert evidence_of(story.history, fault, {}, [LogLine(10.0 + 2 * INTERVAL, said)])


@pytest.mark.parametrize(
    ("kind", "tells", "counts"),
    [("agent", False, True), ("agent", True, False), ("command", False, False)],
)
def test_whose_log_is_evidence(story: Story, kind: str, tells: bool, counts: bool) -> None:
    """Only the log of an agent without outcomes is."""
    lab = SimpleNamespace(
        history=story.history,
        environment=SimpleNamespace(subject=SimpleNamespace(kind=kind)),
        started=True,
        reports_outcomes=tells,
        log_lines=lambda: [LogLine(13.0, "connection refused")],
        _accessors=dict,
    )
    found = Running._evidence_of(cast("Running", lab), story.fault(DOWN, ended=20.0))
    assert bool(found) == counts


# Statuses


def test_status(story: Story) -> None:
    story.several("renew", 12.0, status=503)
    assert evidence(story, SEALED) == "the fault: renew answered 503 at +12.00 s"


@pytest.mark.parametrize("at", [9.5, 20.1 + AFTERMATH])
def test_status_at_another_time(story: Story, at: float) -> None:
    story.several("read", at, status=503)
    assert evidence(story, SEALED) is None


@pytest.mark.parametrize(("began", "ended"), [(9.0, 10.5), (19.9, 22.0), (20.5, 20.6), (9.0, 99.0)])
def test_status_across_a_bound(story: Story, began: float, ended: float) -> None:
    story.sent("read", began, 503, ended=ended)
    assert evidence(story, SEALED) is not None


def test_status_of_another_fault(story: Story) -> None:
    story.several("read", 12.0, status=403)
    story.several("read", 13.0, status=None)
    assert evidence(story, SEALED) is None


def test_status_from_a_stub(story: Story) -> None:
    """It is evidence of a stub only."""
    story.sent("read", 12.0, 503, by="stub")
    assert evidence(story, SEALED) is None
    assert evidence(story, Signature(stubbed=True)) == (
        "the fault: read answered 503 in Vault's place at +12.00 s"
    )


def test_vault_is_no_stub(story: Story) -> None:
    story.several("read", 12.0, status=502)
    assert evidence(story, Signature(stubbed=True)) is None


def test_status_of_some_kinds(story: Story) -> None:
    """A destroyed secret-id shows only at logins."""
    signature = Signature(statuses=frozenset({400}), kinds=frozenset({"login"}))
    story.several("renew", 12.0, status=400)
    assert evidence(story, signature) is None
    story.several("login", 13.0, status=400)
    assert evidence(story, signature) is not None


def test_status_of_one_token(story: Story) -> None:
    signature = Signature(statuses=frozenset({403}), token="accessor-1")
    story.sent("read", 12.0, 403, token="token-2")
    story.sent("read", 12.0, 403)
    assert evidence(story, signature) is None
    story.sent("read", 13.0, 403, token="token-1")
    assert evidence(story, signature) == "the fault: read answered 403 at +13.00 s"


def test_lingering(story: Story) -> None:
    """It shows after its end, too."""
    story.sent("read", 300.0, 403, token="token-1")
    lingering = Signature(statuses=frozenset({403}), token="accessor-1", lingers=True)
    assert evidence(story, lingering) is not None
    assert evidence(story, Signature(statuses=frozenset({403}), token="accessor-1")) is None


def test_fault_that_is_not_undone(story: Story) -> None:
    story.several("read", 300.0, status=503)
    assert evidence(story, SEALED, ended=None) is not None


# No answer, and late ones


@pytest.mark.parametrize("closed", ["client", "server"])
def test_no_answer(story: Story, closed: str) -> None:
    """Either side may have closed the connection."""
    exchange = story.sent("read", 12.0, None)
    exchange.closed = "client" if closed == "client" else "server"
    assert evidence(story, DOWN) == "the fault: read got no answer at +12.00 s"


def test_no_answer_is_no_status(story: Story) -> None:
    """It is no evidence of a seal."""
    story.sent("read", 12.0, None)
    assert evidence(story, SEALED) is None


def test_late_answer(story: Story) -> None:
    """It is late from the fault's bound on."""
    signature = Signature(late=1.0)
    story.sent("read", 12.0, ended=12.9)
    assert evidence(story, signature) is None
    story.sent("read", 13.0, ended=14.1)
    assert evidence(story, signature) == "the fault: read took 1.1 s at +13.00 s"


# What the callers saw


@pytest.mark.parametrize("outcome", ["unavailable", "stale", "error", "hung", "died"])
def test_call_that_failed(story: Story, outcome: Outcome) -> None:
    """An outage may hide requests from the recorder."""
    story.call(12.0, outcome=outcome)
    assert evidence(story, DOWN) == f"the fault: read at +12.00 s ended {outcome}"


def test_call_that_got_the_fallback(story: Story) -> None:
    story.call(12.0, value="fallback")
    assert evidence(story, DOWN) == "the fault: read at +12.00 s ended with the fallback"


@pytest.mark.parametrize("began", [5.0, 20.1 + AFTERMATH])
def test_call_that_failed_at_another_time(story: Story, began: float) -> None:
    story.call(began, outcome="unavailable")
    assert evidence(story, DOWN) is None


def test_call_that_failed_under_another_fault(story: Story) -> None:
    story.call(12.0, outcome="unavailable")
    assert evidence(story, SEALED) is None


def test_call_that_waited_the_fault_out(story: Story) -> None:
    story.call(19.9 - WAITED_OUT, 20.5)
    assert evidence(story, DOWN) == "the fault: read at +19.50 s waited 0.5 s"


def test_call_that_hardly_waited(story: Story) -> None:
    story.call(20.1 - WAITED_OUT, 30.0)
    assert evidence(story, DOWN) is None


def test_start_that_took_its_time(story: Story) -> None:
    story.call(12.0, 18.0, verb="start")
    assert evidence(story, DOWN) is None


def test_late_call(story: Story) -> None:
    """The fault's own bound counts."""
    story.call(9.5, 11.0)
    assert evidence(story, Signature(unanswered=True, late=1.5)) == (
        "the fault: read at +9.50 s came late"
    )


# Toxics


def test_toxic(story: Story) -> None:
    story.history.touches = [Touch("drip", 9.0, 15.0), Touch("drip", 12.0, None)]
    signature = Signature(toxics=frozenset({"drip"}))
    assert evidence(story, signature) == "the fault: toxic drip acted on 2 connections"


@pytest.mark.parametrize(("opened", "closed"), [(1.0, 9.0), (30.0, 31.0), (30.0, None)])
def test_toxic_of_another_fault(story: Story, opened: float, closed: float | None) -> None:
    """It acted at another time."""
    story.history.touches = [Touch("drip", opened, closed)]
    assert evidence(story, Signature(toxics=frozenset({"drip"}))) is None


def test_without_counts_an_answer_in_the_toxic_is_evidence(story: Story) -> None:
    signature = Signature(toxics=frozenset({"drip"}))
    story.sent("read", 9.0)
    story.sent("read", 12.0)
    assert evidence(story, signature) is None
    story.history.touches_known = False
    assert evidence(story, signature) == (
        "the fault: an answer to read passed its toxic at +12.01 s"
    )


def test_real_toxiproxy_without_traffic(story: Story) -> None:
    story.history.touches_known = False
    story.sent("read", 9.0)
    story.sent("read", 30.0)
    assert evidence(story, Signature(toxics=frozenset({"drip"}))) is None


def test_another_toxic(story: Story) -> None:
    story.history.touches = [Touch("slow", 9.0, None)]
    assert evidence(story, Signature(toxics=frozenset({"drip"}))) is None
