from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vault_harness.errors import SettingsError
from vault_harness.judge.explore.points import CONNECTIONS, KINDS, ORDINALS, PHASES, Point
from vault_harness.judge.explore.schedule import (
    FAULTS,
    LARGEST,
    Baseline,
    Schedule,
    Step,
    load_schedule,
    parse_schedule,
    possible,
    to_toml,
)

FILE = Path("schedule.toml")

POINTS = st.builds(
    Point,
    st.sampled_from(KINDS),
    st.text(max_size=30),
    st.sampled_from(PHASES),
    st.sampled_from(ORDINALS),
    st.sampled_from(("", *CONNECTIONS)),
)


@st.composite
def steps(draw: st.DrawFn) -> Step:
    """Draw a step whose fault can act in that way."""
    fault = draw(st.sampled_from(sorted(FAULTS)))
    kind = FAULTS[fault]
    lasts = draw(st.sampled_from([0.0] * kind.once + [1.5] * bool(kind.lasts)))
    return Step(draw(POINTS), fault, lasts)


BASELINES = st.builds(
    Baseline, st.integers(0, 999), st.integers(0, 99), st.booleans(), st.booleans()
)


@given(
    st.lists(steps(), max_size=4),
    st.text(max_size=40),
    st.text(max_size=40),
    st.sampled_from([0.0, 8.0, 12.0]),
    st.none() | BASELINES,
)
def test_a_file_says_all_of_a_schedule(
    found: list[Step], subject: str, promise: str, max_ttl: float, baseline: Baseline | None
) -> None:
    schedule = Schedule(
        tuple(found), subject=subject, promise=promise, max_ttl=max_ttl, baseline=baseline
    )
    again = parse_schedule(to_toml(schedule), FILE)
    assert again == schedule
    assert (again.subject, again.promise, again.baseline) == (subject, promise, baseline)


GOOD = """format = 1
ttl = 8

[[step]]
request = "renew"
path = "auth/token/renew-self"
phase = "renewal due"
ordinal = "second"
fault = "lost"
"""


BASELINE = "[baseline]\nrate = {}\nown = 1\nkeeps = {}\n\n"
REVOKES = f"{BASELINE.format(8, 'true')[:-1]}revokes = {{}}\n\n"


def test_a_hand_written_file_is_read() -> None:
    """Subject, promise, connection and duration may be left out."""
    point = Point("renew", "auth/token/renew-self", "renewal due", "second")
    assert parse_schedule(GOOD, FILE) == Schedule((Step(point, "lost"),))


@pytest.mark.parametrize(
    ("old", "new", "line", "said"),
    [
        ("format = 1", "format = 2", 1, "format 2"),
        ("ttl = 8", "ttl = 2", 2, "ttl"),
        ("ttl = 8", "tll = 8", 2, "no field tll"),
        ("ttl = 8", "ttl = 8\nmax_ttl = 7", 3, "max_ttl is not between 8 and 60"),
        ('"renew"', '"renewal"', 5, "no request 'renewal'"),
        ('"renewal due"', '"soon"', 7, "no phase 'soon'"),
        ('ordinal = "second"', "", 4, "ordinal is missing"),
        ('"lost"', '"loss"', 9, "no fault 'loss'"),
        ('"lost"', '"stepped-down"', 9, "three nodes"),
        ('"lost"', '"refused"', 4, "needs lasts"),
        ('"lost"', '"lost"\nlasts = "long"', 10, "not a number"),
        ('"lost"', '"token-revoked"\nlasts = 1', 10, "cannot last"),
        ('"lost"', "lost", 9, ""),
        ("[[step]]", "[step]", 4, "no [[step]]"),
        ("[[step]]", "[baseline]\nrate = 8\n\n[[step]]", 4, "[baseline] has rate, own, keeps"),
        ("[[step]]", f"{BASELINE.format('-1', 'true')}[[step]]", 5, "rate is not a number"),
        ("[[step]]", f"{BASELINE.format(8, 1)}[[step]]", 7, "keeps is not true or false"),
        ("[[step]]", f"{REVOKES.format(1)}[[step]]", 8, "revokes is not true or false"),
    ],
)
def test_a_wrong_file_is_refused_with_its_line(old: str, new: str, line: int, said: str) -> None:
    with pytest.raises(SettingsError) as caught:
        parse_schedule(GOOD.replace(old, new), FILE)
    where = caught.value.cause.removeprefix("schedule.toml:")
    assert said in where
    if "[step]" not in new:
        assert where.startswith(f"{line}:")


@pytest.mark.parametrize(
    ("content", "said"), [(b"\xff", "not UTF-8"), (b"#" * (LARGEST + 1), "more than 4096 bytes")]
)
def test_what_is_no_schedule_is_refused(tmp_path: Path, content: bytes, said: str) -> None:
    file = tmp_path / "file.toml"
    file.write_bytes(content)
    with pytest.raises(SettingsError, match=said):
        load_schedule(file)


def test_a_missing_file_is_told(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="cannot be read: No such file"):
        load_schedule(tmp_path / "none.toml")


def test_only_sensible_faults_are_tried() -> None:
    """A login meets no missing secret, and an end no change of the server's state."""
    login = {step.fault for step in possible(Point("login", "auth", "start", "first"))}
    end = {step.fault for step in possible(Point("revoke", "self", "closing", "first"))}
    assert "404" not in login
    assert "503" in login
    assert not end & {"sealed", "role-locked"}


def test_simpler_schedules_come_in_order() -> None:
    """Faults that act once come first."""
    point = Point("renew", "auth/token/renew-self", "renewal due", "first")
    schedule = Schedule((Step(point, "503", 1.5),))
    simpler = schedule.simpler()
    assert simpler[0].steps == (Step(point, "500"),)
    assert all(one.size < schedule.size for one in simpler)
    assert [one.size for one in simpler] == sorted(one.size for one in simpler)
