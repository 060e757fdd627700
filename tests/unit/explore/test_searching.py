from __future__ import annotations

import itertools
import sys
from collections import Counter
from collections.abc import Callable
from concurrent.futures import Executor, Future
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from vault_harness.errors import SettingsError, SubjectError
from vault_harness.judge.explore import search
from vault_harness.judge.explore.life import Order, Seen
from vault_harness.judge.explore.passed import Passed
from vault_harness.judge.explore.points import Point
from vault_harness.judge.explore.schedule import (
    Baseline,
    Schedule,
    Step,
    load_schedule,
    possible,
)
from vault_harness.judge.explore.search import TIMES, Explorer, Options
from vault_harness.judge.explore.telling import LINES, claim, prose, write, write_timelines
from vault_harness.judge.explore.workers import on_cluster

RENEW = Point("renew", "auth/token/renew-self", "renewal due", "first", "kept")
READ = Point("read", "secret", "steady", "first", "kept")
NEAR = Point("renew", "auth/token/renew-self", "near max TTL", "first", "kept")
AFTER = Point("login", "auth/approle/login", "after a fault", "first", "new")
PROMISE = "at most # logins"
SEARCH = {"subject": "my client"}
RECORD = {
    "id": "EXPLORE-7",
    "promise": "It survives a schedule of faults",
    "severity": "high",
    "word": "fail",
    "why": "14 logins",
    "seconds": 3.0,
    "engine": "process",
    "findings": [{"promise": PROMISE, "seen": "14 logins", "at": 1.0, "harm": False}],
}
"""What a journal has of a run, as far as the page needs it."""


class Now(Executor):
    """Runs each order at once, in this thread."""

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        future: Future[Any] = Future()
        future.set_result(fn(*args, **kwargs))
        return future


class Client:
    """A client that breaks if `breaks` says so of the faults that it meets.

    After the faults of `leads` it sends another login.
    """

    def __init__(
        self,
        breaks: Callable[[tuple[Step, ...], int], bool],
        leads: frozenset[str] = frozenset({"lost"}),
    ) -> None:
        self._breaks = breaks
        self._leads = leads
        self.near: tuple[Point, ...] = ()
        self.orders: list[Schedule] = []
        self.runs: Counter[Schedule] = Counter()

    def __call__(self, order: Order) -> Seen:
        schedule = order.schedule
        self.runs[schedule] += 1
        self.orders.append(schedule)
        points = (READ, RENEW, *(self.near if schedule.max_ttl else ()))
        later = (AFTER,) if any(step.fault in self._leads for step in schedule.steps) else ()
        broke = self._breaks(schedule.steps, self.runs[schedule])
        return Seen(
            "fail" if broke else "pass",
            findings=((PROMISE, "14 logins"),) if broke else (),
            begun=len(schedule.steps),
            points=points,
            later=later,
            signature=tuple((step.point.kind, step.fault) for step in schedule.steps),
            baseline=Baseline(10, 1, keeps=not schedule.max_ttl),
            record=RECORD if broke else None,
        )


def explored(client: Client, **options: Any) -> Explorer:
    explorer = Explorer(client, Now(), Options(**options), lambda _: None)
    explorer.search()
    return explorer


def test_a_good_client_survives_all_single_faults() -> None:
    client = Client(lambda _steps, _run: False)
    explorer = explored(client, pairs=False)
    cells = len(possible(READ)) + len(possible(RENEW))
    assert explorer.broken == []
    assert (explorer.coverage.cells, explorer.coverage.tried) == (cells, cells)
    assert claim(explorer.coverage).startswith(f"all {cells} single faults tried")


def test_a_fault_that_breaks_each_time_is_told() -> None:
    client = Client(lambda steps, _: any(s.fault == "429" for s in steps))
    explorer = explored(client, pairs=False, only=frozenset({"429"}))
    found = explorer.broken[0]
    assert found.schedule.steps[0].fault == "429"
    assert (found.repeats, found.without) == (TIMES, (0,))
    text = prose(found)
    assert "Your client breaks in 1 step. 1. " in text
    assert "3 of 3 runs; 0 of 3 without a fault" in text
    assert len(text.splitlines()) <= LINES


@pytest.mark.parametrize(
    "breaks",
    [
        pytest.param(lambda step: step.fault == "429", id="one fault, at each point"),
        pytest.param(lambda step: step.point == RENEW, id="each fault, at one point"),
    ],
)
def test_what_one_cause_explains_is_one_finding(breaks: Callable[[Step], bool]) -> None:
    client = Client(lambda steps, _: any(map(breaks, steps)))
    (found,) = explored(client, pairs=False).broken
    others = [step for point in (READ, RENEW) for step in possible(point) if breaks(step)][1:]
    assert len(set(found.also)) == len(others)


def test_two_causes_are_two_findings() -> None:
    client = Client(
        lambda steps, _: any(
            (one.fault, one.point) in (("429", READ), ("503", RENEW)) for one in steps
        )
    )
    assert len(explored(client, pairs=False).broken) == 2


def test_a_page_shows_each_finding(tmp_path: Path) -> None:
    client = Client(lambda steps, _: any(s.fault == "429" for s in steps))
    found = explored(client, pairs=False, only=frozenset({"429"})).broken
    page = write_timelines(tmp_path, found, "my client")
    assert page is not None
    text = page.read_text()
    assert "The client survives this: 1. The first" in text
    assert "EXP-01" in text
    assert f"replay {tmp_path}" in text
    assert write_timelines(tmp_path, [], "my client") is None


def test_each_finding_has_a_file_of_its_own(tmp_path: Path) -> None:
    """Their names say neither which promise was broken nor at which of several requests."""
    client = Client(lambda steps, _: any(s.fault == "429" for s in steps))
    (found, *_) = explored(client, pairs=False, only=frozenset({"429"})).broken
    other = replace(found, promise="at most # requests")
    paths = write(tmp_path, [found, other], "my client")
    assert [load_schedule(path).promise for path in paths] == [found.promise, other.promise]


def test_chance_is_not_believed() -> None:
    """It breaks only in the first run."""
    explorer = explored(Client(lambda steps, run: bool(steps) and run == 1), pairs=False)
    assert explorer.broken == []


@pytest.mark.parametrize(
    ("every", "slow", "found"),
    [
        pytest.param(3, "", 0, id="often"),
        pytest.param(30, "", 1, id="seldom"),
        pytest.param(3, "it stood still", 1, id="on a machine that was too slow"),
    ],
)
def test_what_breaks_before_any_fault_is_no_finding(every: int, slow: str, found: int) -> None:
    """Three runs that break by chance look like a finding. One that breaks by chance does not."""
    client = Client(lambda steps, _: any(s.fault == "429" for s in steps))

    def run(order: Order) -> Seen:
        seen = client(order)
        if seen.word == "fail" or len(client.orders) <= TIMES + 1 or len(client.orders) % every:
            return seen
        unprompted = frozenset({PROMISE})
        return replace(seen, word="not exercised", unprompted=unprompted, too_slow=slow)

    explorer = Explorer(run, Now(), Options(pairs=False), lambda _: None)
    explorer.search()
    assert len(explorer.broken) == found
    told = f"often broken before any fault: {PROMISE}" in claim(explorer.coverage)
    assert told is not bool(found)


def test_what_breaks_without_a_fault_is_one_finding(tmp_path: Path) -> None:
    """It explains why the same promise breaks with faults, too."""
    client = Client(lambda steps, _: not steps or steps[0].fault == "429")
    explorer = explored(client, pairs=False)
    (found,) = explorer.broken
    assert found.schedule.steps == ()
    assert found.also
    assert prose(found).startswith("Your client breaks without any fault. Then: 14 logins.")
    (path,) = write(tmp_path, [found], "my client")
    assert path.name == "no-fault.toml"
    assert load_schedule(path) == found.schedule


def test_what_breaks_only_at_the_max_ttl_is_told_with_it() -> None:
    client = Client(lambda *_: False)

    def run(order: Order) -> Seen:
        seen = client(order)
        broke = order.schedule.max_ttl and not order.schedule.steps
        return replace(seen, word="fail", findings=((PROMISE, "x"),)) if broke else seen

    explorer = Explorer(run, Now(), Options(pairs=False), lambda _: None)
    explorer.search()
    (found,) = explorer.broken
    assert (found.schedule.steps, found.schedule.max_ttl) == ((), 12)


def test_what_breaks_without_a_fault_by_chance_is_no_finding() -> None:
    explorer = explored(Client(lambda steps, run: not steps and run == 1), pairs=False)
    assert explorer.broken == []


@pytest.mark.parametrize(("cpu", "told"), [(0.4, "26 clients side by side"), (0.1, "")])
def test_clients_that_need_much_cpu_share_the_cores(cpu: float, told: str) -> None:
    client = Client(lambda _steps, _run: False)
    said: list[str] = []
    explorer = Explorer(
        lambda order: replace(client(order), cpu=cpu, seconds=8.0),
        Now(),
        Options(pairs=False, at_once=40, cores=2),
        said.append,
    )
    explorer.search()
    assert any(told in line for line in said)
    assert any("side by side" in line for line in said) is bool(told)


def test_what_does_not_repeat_three_times_is_not_told() -> None:
    explorer = explored(
        Client(lambda steps, run: bool(steps) and run % 4 != 0),
        pairs=False,
        only=frozenset({"429", "read"}),
    )
    assert explorer.broken == []


def test_a_pair_follows_the_trace() -> None:
    """The second point appears only after the first fault."""

    def breaks(steps: tuple[Step, ...], _run: int) -> bool:
        return len(steps) == 2 and steps[0].fault == "lost" and steps[1].fault == "503"

    explorer = explored(Client(breaks))
    found = explorer.broken[0]
    assert [step.fault for step in found.schedule.steps] == ["lost", "503"]
    assert found.schedule.steps[1].point == AFTER
    assert found.without == (0, 0)
    assert explorer.coverage.pairs_tried == explorer.coverage.pairs > 0


def test_of_the_faults_at_one_point_one_is_extended() -> None:
    explorer = explored(Client(lambda _steps, _run: False, frozenset({"lost", "500"})))
    points = [RENEW, READ]
    assert explorer.coverage.pairs == len(points) * len(possible(AFTER))


def test_a_step_that_is_not_needed_is_dropped() -> None:
    """The schedule was found before."""
    needed = Step(RENEW, "503")
    before = Schedule((Step(READ, "500"), needed))

    def breaks(steps: tuple[Step, ...], _run: int) -> bool:
        return any(s.point == RENEW and s.fault == "503" for s in steps)

    explorer = explored(Client(breaks), pairs=False, only=frozenset({"404"}), before=(before,))
    assert [one.schedule.steps for one in explorer.broken] == [(needed,)]


def test_the_simplest_fault_is_told() -> None:
    """Any error breaks this client."""
    client = Client(lambda steps, _: any(s.point == RENEW for s in steps))
    explorer = explored(client, pairs=False, only=frozenset({"dripping"}))
    assert explorer.broken[0].schedule.steps == (Step(RENEW, "500"),)


def test_a_fault_near_the_max_ttl_is_tried_where_it_is_reached() -> None:
    """Only such points need a life that reaches it, which has its own baseline."""
    client = Client(lambda steps, _: any(s.point == NEAR and s.fault == "500" for s in steps))
    client.near = (NEAR,)
    found = explored(client, pairs=False, only=frozenset({"500"})).broken
    assert [one.schedule.steps for one in found] == [(Step(NEAR, "500"),)]
    assert found[0].schedule.max_ttl == 12
    assert found[0].schedule.baseline == Baseline(10, 1, keeps=False)
    for schedule in client.orders:
        if schedule.steps:
            assert bool(schedule.max_ttl) == (schedule.steps[0].point == NEAR)


def test_a_failed_renewal_leaves_time_for_another() -> None:
    client = Client(lambda *_: False)
    explored(client, pairs=False, only=frozenset({"500"}))
    lives = {one.steps[0].point: one.ttl for one in client.orders if one.steps}
    assert lives == {READ: 8, RENEW: 16}


def test_longer_schedules_fill_the_time_that_is_left(monkeypatch: pytest.MonkeyPatch) -> None:
    """It needs three faults, and shrinks to these three."""
    ticks = itertools.count()  # each look at the clock takes 10 ms
    monkeypatch.setattr(search, "time", SimpleNamespace(monotonic=lambda: next(ticks) / 100))
    client = Client(lambda steps, _: len(steps) > 2)
    explorer = explored(client, minutes=0.5, only=frozenset({"500", "503", "lost"}))
    assert explorer.coverage.longer_tried
    assert "longer schedules" in claim(explorer.coverage)
    found = explorer.broken[0]
    assert len(found.schedule.steps) == 3
    assert found.without == (0, 0, 0)


def interrupted(client: Client, passed: Passed, after: int) -> Explorer:
    """Search until so many runs have begun."""

    def run(order: Order) -> Seen:
        if sum(client.runs.values()) == after:
            raise KeyboardInterrupt
        return client(order)

    explorer = Explorer(run, Now(), Options(), lambda _: None, passed)
    with pytest.raises(KeyboardInterrupt):
        explorer.search()
    return explorer


def test_an_interrupted_search_goes_on(tmp_path: Path) -> None:
    """Runs that passed are not repeated, and lead to the same pairs."""

    def breaks(steps: tuple[Step, ...], _run: int) -> bool:
        return len(steps) == 2 and steps[0].fault == "lost" and steps[1].fault == "503"

    file, whole = tmp_path / "passed.jsonl", Client(breaks)
    expected = explored(whole)
    first, second = Client(breaks), Client(breaks)
    told: list[str] = []
    cells = expected.coverage.cells
    interrupted(first, Passed(file, SEARCH), after=cells + TIMES)
    with file.open("ab") as half:
        half.write(b'\n{"steps": [')  # a killed search may leave this
    kept = len(Passed(file, SEARCH))
    assert kept > cells / 2
    explorer = Explorer(second, Now(), Options(), told.append, Passed(file, SEARCH))
    explorer.search()
    assert f"{kept} runs of an interrupted search are not repeated" in told
    assert [one.schedule for one in explorer.broken] == [one.schedule for one in expected.broken]
    assert explorer.coverage.tried == cells
    assert explorer.coverage.pairs == expected.coverage.pairs
    again = [one for one in first.runs if len(one.steps) == 1 and one in second.runs]
    needed = [one for one in again if one.steps[0].fault in {"lost", "503"}]  # to confirm a pair
    assert len(again) - len(needed) <= Options().at_once, "runs that were under way"


def test_what_broke_runs_again_after_an_interruption(tmp_path: Path) -> None:
    """The client may have been mended."""
    file = tmp_path / "passed.jsonl"
    broken = Client(lambda steps, _: any(step.fault == "429" for step in steps))
    interrupted(broken, Passed(file, SEARCH), after=40)
    mended = Client(lambda *_: False)
    Explorer(mended, Now(), Options(), lambda _: None, Passed(file, SEARCH)).search()
    assert any(step.fault == "429" for schedule in mended.runs for step in schedule.steps)


@pytest.mark.parametrize(
    ("content", "search"),
    [(None, {"subject": "another"}), (b"not a line of ours\n", SEARCH), (b"\xff", SEARCH)],
)
def test_runs_of_another_search_do_not_count(
    content: bytes | None, search: dict[str, str], tmp_path: Path
) -> None:
    file = tmp_path / "passed.jsonl"
    interrupted(Client(lambda *_: False), Passed(file, SEARCH), after=20)
    if content is not None:
        file.write_bytes(content)
    assert len(Passed(file, search)) == 0
    assert not file.exists()


def test_a_cluster_needs_its_package(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "distributed", None)
    with pytest.raises(SettingsError, match="package distributed") as caught, on_cluster("tcp://a"):
        pass
    assert "vault-harness[cluster]" in str(caught.value)


def test_parts_cover_everything_once() -> None:
    whole = explored(Client(lambda *_: False), pairs=False).coverage.cells
    parts = [
        explored(Client(lambda *_: False), pairs=False, shard=(part, 3)).coverage.cells
        for part in (1, 2, 3)
    ]
    assert sum(parts) == whole


def test_a_slow_machine_breaks_nobody() -> None:
    """Its run is repeated, and never a finding."""

    def slow(order: Order) -> Seen:
        seen = Client(lambda steps, _: bool(steps))(order)
        return replace(seen, too_slow="it stood still") if order.schedule.steps else seen

    explorer = Explorer(slow, Now(), Options(pairs=False, only=frozenset({"503"})), lambda _: None)
    explorer.search()
    assert explorer.broken == []
    assert explorer.coverage.runs > explorer.coverage.cells


def test_a_client_that_does_not_start_is_told() -> None:
    """Exploring needs a client that lives without faults."""

    def dead(_order: Order) -> Seen:
        return Seen("not exercised", "the subject does not start")

    with pytest.raises(SubjectError, match="does not start"):
        Explorer(dead, Now(), Options(), lambda _: None).search()
