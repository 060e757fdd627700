"""Each oracle for a cluster under accidents catches its own kind of error."""

from __future__ import annotations

from dataclasses import replace

import pytest

from tests.engine.accidents.ledger import (
    Cut,
    Lapse,
    Ledger,
    Outcome,
    Read,
    Write,
    a_node_alone_confirms_nothing,
    each_write_counts_once,
    findings,
    no_read_is_older_than_what_was_known,
    nothing_confirmed_is_lost,
    reads_give_what_is_kept,
    versions_have_no_gap,
)


def write(version: int, at: float, outcome: Outcome = "confirmed", value: str = "") -> Write:
    """Return a write that ended half a second after it began."""
    return Write(
        path="x",
        value=value or f"v{version}",
        over=version - 1,
        outcome=outcome,
        began=at,
        ended=at + 0.5,
        version=version if outcome == "confirmed" else None,
    )


def read(version: int, at: float, took: float = 0.5) -> Read:
    return Read(path="x", value=f"v{version}", version=version, began=at, ended=at + took)


@pytest.fixture
def ledger() -> Ledger:
    """Three versions, each read after it was written."""
    return Ledger(
        writes=[write(1, 1), write(2, 2), write(3, 3)],
        reads=[read(1, 1.6), read(2, 2.6), read(3, 3.6)],
        contents={"x": {1: "v1", 2: "v2", 3: "v3"}},
    )


def test_what_is_right_is_not_found_fault_with(ledger: Ledger) -> None:
    """Lost answers are right, applied or not."""
    assert findings(ledger) == []
    ledger.writes += [write(4, 5, "unknown"), write(5, 6, "unknown")]
    ledger.contents["x"][4] = "v4"
    ledger.writes += [write(2, 5, "refused", "late"), write(2, 5, "unsent", "never")]
    assert findings(ledger) == []


def test_a_lost_write(ledger: Ledger) -> None:
    del ledger.contents["x"][3]
    assert len(nothing_confirmed_is_lost(ledger)) == 1
    assert len(reads_give_what_is_kept(ledger)) == 1


def test_a_write_that_was_replaced(ledger: Ledger) -> None:
    """Two writers got the same version."""
    ledger.writes.append(write(3, 3.1, value="of another"))
    (found,) = nothing_confirmed_is_lost(ledger)
    assert "version 3 was confirmed as of another" in found


def test_a_double_write(ledger: Ledger) -> None:
    ledger.contents["x"][4] = "v3"
    (found,) = each_write_counts_once(ledger)
    assert "v3 is there 2 times, in versions [3, 4]" in found
    assert len(versions_have_no_gap(ledger)) == 1, "it was to be over 2"


@pytest.mark.parametrize("outcome", ["refused", "unsent"])
def test_what_was_refused_is_not_there(ledger: Ledger, outcome: Outcome) -> None:
    ledger.writes.append(write(4, 5, outcome))
    ledger.contents["x"][4] = "v4"
    assert len(each_write_counts_once(ledger)) == 1


def test_a_value_without_a_writer_is_found(ledger: Ledger) -> None:
    ledger.contents["x"][4] = "stranger"
    (found,) = each_write_counts_once(ledger)
    assert "nobody wrote stranger" in found


def test_a_gap(ledger: Ledger) -> None:
    ledger.writes[1] = replace(ledger.writes[1], outcome="unknown", version=None)
    del ledger.contents["x"][2], ledger.reads[1]
    assert versions_have_no_gap(ledger) == ["x: no version [2]"]


def test_a_write_over_another_version_than_it_asked_for(ledger: Ledger) -> None:
    ledger.writes[2] = replace(ledger.writes[2], over=1)
    assert len(versions_have_no_gap(ledger)) == 1


def test_a_read_of_what_was_never_written(ledger: Ledger) -> None:
    ledger.reads.append(replace(read(2, 4), value="wrong"))
    assert len(reads_give_what_is_kept(ledger)) == 1


@pytest.mark.parametrize(
    ("late", "found"),
    [
        (read(2, 3.4), 0),
        (read(2, 3.55), 1),
        (read(1, 2.7), 1),
    ],
    ids=["while it is written", "after it was confirmed", "older by one that was read"],
)
def test_an_older_read(ledger: Ledger, late: Read, found: int) -> None:
    """It is older than what was known before it began."""
    ledger.reads.append(late)
    assert len(no_read_is_older_than_what_was_known(ledger)) == found


def test_a_leader_that_does_not_know(ledger: Ledger) -> None:
    """It may answer with what it had, and with nothing older."""
    ledger.lapses.append(Lapse(2.6, 5.0))
    ledger.reads.append(read(2, 4, took=0.1))
    assert findings(ledger) == []
    assert len(no_read_is_older_than_what_was_known(ledger, lapses=())) == 1
    ledger.reads.append(read(1, 4, took=0.1))
    (found,) = findings(ledger)
    assert "version 1 was read at +4.00, and 2 was known by +2.60" in found
    ledger.reads[-1] = read(2, 5.1)
    assert len(findings(ledger)) == 1, "it is over"


@pytest.mark.parametrize(
    ("cut", "found"),
    [
        (Cut("vault-2", 3, 3.5), 1),
        (Cut("vault", 3, 3.5), 0),
        (Cut("vault-2", 3.1, 9), 0),
        (Cut("vault-2", 1, 3.4), 0),
    ],
    ids=["alone", "another one", "asked before", "answered when it was back"],
)
def test_a_node_that_is_alone_and_confirms(ledger: Ledger, cut: Cut, found: int) -> None:
    ledger.cuts.append(cut)
    assert a_node_alone_confirms_nothing(ledger) == [], "nobody asked it itself"
    ledger.writes[2] = replace(ledger.writes[2], asked="vault-2")
    assert len(findings(ledger)) == found
    ledger.writes[2] = replace(ledger.writes[2], outcome="unknown", version=None)
    assert findings(ledger)[found:] == [], "an answer that says nothing is none"
    assert a_node_alone_confirms_nothing(ledger) == []
