from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Iterator
from io import StringIO
from pathlib import Path
from types import SimpleNamespace
from typing import Any, TextIO, cast

import pytest

from tests.unit.scenario.conftest import Story
from vault_harness.judge.catalogue import Entry
from vault_harness.judge.plugin import progress as progress_module
from vault_harness.judge.plugin.hooks import _seconds
from vault_harness.judge.plugin.item import ScenarioItem, in_order
from vault_harness.judge.plugin.progress import Progress, telling
from vault_harness.recorder.fault import Signature
from vault_harness.waiting import wait_until


def progress(parts: Path, to: TextIO | None = None, /, **planned: float) -> Progress:
    """Return the progress of a run on two workers, without a terminal."""
    to = to or StringIO()
    terminal = SimpleNamespace(
        isatty=False, write_line=lambda text, **_: to.write(f"{text}\n"), flush=to.flush
    )
    return Progress(terminal, parts, planned, 2)


@pytest.fixture
def pipe() -> Iterator[tuple[int, TextIO]]:
    """Return both ends of a pipe, as CI has it: only flushed output can be read."""
    ours, theirs = os.pipe()
    os.set_blocking(ours, False)
    with os.fdopen(theirs, "w") as file:
        yield ours, file
    os.close(ours)


def test_a_verdict_is_seen_at_once(tmp_path: Path, pipe: tuple[int, TextIO]) -> None:
    shown = progress(tmp_path, pipe[1])
    shown.write("KV-01    pass", "green")
    assert os.read(pipe[0], 1000) == b"KV-01    pass\n"
    shown.close()


def test_how_far_it_is_is_seen_at_once(
    tmp_path: Path, pipe: tuple[int, TextIO], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without a terminal, a line is printed now and then."""
    monkeypatch.setattr(progress_module, "PLAIN_EVERY", 0.01)
    shown = progress(tmp_path, pipe[1], A=10.0)
    shown.began("A")

    def seen() -> bool:
        with contextlib.suppress(BlockingIOError):
            return os.read(pipe[0], 1000).startswith(b"1 to go, about 10 s; A 0 s (its turn)\n")
        return False

    wait_until(seen, "the line", timeout=10)
    shown.close()


def test_how_far_a_scenario_in_this_process_is(
    tmp_path: Path, pipe: tuple[int, TextIO], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Standard output is redirected by pytest meanwhile."""
    monkeypatch.setattr(progress_module, "PLAIN_EVERY", 0.01)
    terminal = SimpleNamespace(
        isatty=False, write_line=print, flush=print, _tw=SimpleNamespace(_file=pipe[1])
    )
    shown = Progress(terminal, tmp_path, {"A": 10.0}, 0)
    with Path(os.devnull).open("w") as nothing:
        os.dup2(nothing.fileno(), pipe[1].fileno())
    with contextlib.suppress(BlockingIOError):
        os.read(pipe[0], 1000)  # what came before

    def seen() -> bool:
        with contextlib.suppress(BlockingIOError):
            return b"1 to go, about 10 s; \n" in os.read(pipe[0], 1000)
        return False

    wait_until(seen, "the line", timeout=10)
    shown.close()


def test_a_terminal_that_is_gone(tmp_path: Path) -> None:
    ours, theirs = os.openpty()
    with os.fdopen(theirs, "w") as file:
        terminal = SimpleNamespace(isatty=True, _tw=SimpleNamespace(_file=file))
        shown = Progress(terminal, tmp_path, {"A": 10.0}, 0)
        os.close(ours)
        shown.write("KV-01    pass", "green")
        shown.close()


def test_how_long_still(tmp_path: Path) -> None:
    """The workers share it; it is at least that of the longest scenario."""
    shown = progress(tmp_path, A=10.0, B=10.0, C=10.0, D=30.0)
    assert shown.seconds_left(time.monotonic()) == 30.0
    shown.ended("D")
    assert shown.seconds_left(time.monotonic()) == 15.0
    shown.began("A")
    assert shown.seconds_left(time.monotonic() + 8.0) == pytest.approx(11.0, abs=0.1)
    shown.close()


def test_busy_machine_takes_longer(tmp_path: Path) -> None:
    """Scenarios take longer than planned."""
    shown = progress(tmp_path, A=10.0, B=10.0, C=10.0, D=10.0)
    now = time.monotonic()
    shown.began("A")
    assert shown.seconds_left(now + 30.0) == pytest.approx(3 * 30.0 / 2, abs=1.0)
    shown.ended("A")
    assert shown.seconds_left(now) == pytest.approx(15.0, abs=0.1)  # it took no time after all
    shown.close()


def test_what_takes_longer_than_foreseen(tmp_path: Path) -> None:
    """Then the end is unknown."""
    shown = progress(tmp_path, A=10.0, B=1000.0)
    for name in ("A", "B"):
        shown.began(name)
    shown.ended("B")  # so the machine is as fast as planned
    shown._running["A"] -= 9.8
    assert shown.text().startswith("1 to go, about 1 s; ")
    shown._running["A"] -= 600.0
    assert shown.text().startswith("1 to go, later than was foreseen; ")
    shown.ended("A")
    assert shown.text().startswith("0 to go, about 0 s; ")
    shown.close()


@pytest.mark.parametrize(
    ("repeat", "scale", "declared", "seconds"),
    [
        (1, 1.0, {}, 30.0),
        (3, 1.0, {}, 90.0),
        (1, 2.0, {}, 60.0),
        (2, 1.0, {"min_ttl": 60.0}, 180.0),
    ],
)
def test_how_long_it_takes_as_it_is_run(
    repeat: int, scale: float, declared: dict[str, float], seconds: float
) -> None:
    """It grows with repetitions and longer lives."""
    entry = Entry(id="TOK-11", promise="p", severity="low", source="s", ttl=20, seconds=30)
    chosen = SimpleNamespace(repeat=repeat, ttl_scale=scale, declared=declared)
    item = ScenarioItem.__new__(ScenarioItem)
    item.entry = entry
    assert _seconds(item, cast("Any", chosen)) == seconds


def test_a_terminal_shows_each_scenario_whole(tmp_path: Path) -> None:
    """Lines break between scenarios."""
    shown = progress(tmp_path, **{f"TOK-{n}": 9.0 for n in range(10, 22)})
    try:
        for number in range(10, 22):
            shown.began(f"TOK-{number}")
        first, *rest = shown.wrapped(60).splitlines()
    finally:
        shown.close()
    assert first.startswith("12 to go, about ")
    assert rest
    assert all(line.startswith("  TOK-") and len(line) <= 60 for line in rest)


def test_which_wait(tmp_path: Path, story: Story) -> None:
    """A running scenario says what it waits for, or which fault is on."""
    lab: Any = SimpleNamespace(
        entry=SimpleNamespace(id="TOK-11"), history=story.history, started=False, ttl=20.0
    )
    shown = progress(tmp_path, **{"TOK-11": 8.0})
    shown.began("TOK-11")
    with telling(lab, tmp_path):
        wait_until(lambda: "(the client to start)" in shown.text(), "the start", timeout=10)
        fault = story.history.begin_fault("vault sealed", Signature())
        wait_until(lambda: "(vault sealed for" in shown.text(), "the fault", timeout=10)
        story.history.end_fault(fault)
    lab.started = True
    closing = story.call(20.0, verb="close")
    closing.ended = None
    with telling(lab, tmp_path):
        wait_until(lambda: "(the client's end)" in shown.text(), "the end", timeout=10)
    closing.ended = 21.0
    with telling(lab, tmp_path):
        wait_until(lambda: "(its verdict)" in shown.text(), "the verdict", timeout=10)
    assert list(tmp_path.iterdir()) == []
    shown.close()


def item(name: str, seconds: float, *, first: bool = False) -> pytest.Item:
    made = ScenarioItem.__new__(ScenarioItem)
    made.entry = cast("Any", SimpleNamespace(id=name, seconds=seconds, first=first))
    return made


def test_order() -> None:
    """The most telling come first, one for each worker, then the longest."""
    items = [item("a", 5), item("X", 8, first=True), item("b", 9), item("c", 30)]
    items += [item("Y", 4, first=True), item("d", 1)]
    names = [cast("ScenarioItem", one).entry.id for one in in_order(items)]
    assert names == ["X", "c", "Y", "b", "a", "d"]


def test_what_is_to_be_confirmed(tmp_path: Path) -> None:
    shown = progress(tmp_path, A=10.0, B=10.0)
    shown.began("A")
    shown.put_off("A")
    assert shown.text().startswith("2 to go, 1 to confirm, about ")
    assert shown.running == frozenset()
    shown.began("A")
    assert shown.text().endswith("; A confirming 0 s (its turn)")
    shown.ended("A")
    assert shown.text().startswith("1 to go, about ")
    shown.close()
