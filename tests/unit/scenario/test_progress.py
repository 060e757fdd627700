"""What is shown while scenarios run, and which of them come first."""

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
from vault_harness.faults import Signature
from vault_harness.plugin import _progress, _seconds
from vault_harness.plugin._item import ScenarioItem, in_order
from vault_harness.plugin._progress import Progress, telling
from vault_harness.scenario import Entry
from vault_harness.waiting import wait_until


def progress(parts: Path, to: TextIO | None = None, /, **planned: float) -> Progress:
    """Of a run on two workers, where the output is no terminal."""
    to = to or StringIO()
    terminal = SimpleNamespace(
        isatty=False, write_line=lambda text, **_: to.write(f"{text}\n"), flush=to.flush
    )
    return Progress(terminal, parts, planned, 2)


@pytest.fixture
def pipe() -> Iterator[tuple[int, TextIO]]:
    """As a program's output goes to CI; what was not flushed is not there to be read."""
    ours, theirs = os.pipe()
    os.set_blocking(ours, False)
    with os.fdopen(theirs, "w") as file:
        yield ours, file
    os.close(ours)


def test_a_verdict_is_seen_at_once(tmp_path: Path, pipe: tuple[int, TextIO]) -> None:
    """Who reads CI's log sees it when it is there, and not when the next 8 KiB are."""
    shown = progress(tmp_path, pipe[1])
    shown.write("KV-01    pass", "green")
    assert os.read(pipe[0], 1000) == b"KV-01    pass\n"
    shown.close()


def test_how_far_it_is_is_seen_at_once(
    tmp_path: Path, pipe: tuple[int, TextIO], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where nothing can be shown in place, a line now and then goes to the log."""
    monkeypatch.setattr(_progress, "PLAIN_EVERY", 0.01)
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
    """While it runs pytest leads the descriptor of standard output to a file of its own."""
    monkeypatch.setattr(_progress, "PLAIN_EVERY", 0.01)
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
    """The run goes on to its end, and to its report: under `disown`, or until SIGHUP is heard."""
    ours, theirs = os.openpty()
    with os.fdopen(theirs, "w") as file:
        terminal = SimpleNamespace(isatty=True, _tw=SimpleNamespace(_file=file))
        shown = Progress(terminal, tmp_path, {"A": 10.0}, 0)
        os.close(ours)
        shown.write("KV-01    pass", "green")
        shown.close()


def test_how_long_still(tmp_path: Path) -> None:
    """Shared by the workers, and never shorter than the longest; what ended does not count."""
    shown = progress(tmp_path, A=10.0, B=10.0, C=10.0, D=30.0)
    assert shown.seconds_left(time.monotonic()) == 30.0
    shown.ended("D")
    assert shown.seconds_left(time.monotonic()) == 15.0
    shown.began("A")
    assert shown.seconds_left(time.monotonic() + 8.0) == pytest.approx(11.0, abs=0.1)
    shown.close()


def test_busy_machine_takes_longer(tmp_path: Path) -> None:
    """What takes thrice its time tells how long the rest may take."""
    shown = progress(tmp_path, A=10.0, B=10.0, C=10.0, D=10.0)
    now = time.monotonic()
    shown.began("A")
    assert shown.seconds_left(now + 30.0) == pytest.approx(3 * 30.0 / 2, abs=1.0)
    shown.ended("A")
    assert shown.seconds_left(now) == pytest.approx(15.0, abs=0.1)  # it took no time after all
    shown.close()


def test_what_takes_longer_than_foreseen(tmp_path: Path) -> None:
    """A client may have lives stretched, of which nobody knew: no end is foretold then."""
    shown = progress(tmp_path, A=10.0, B=1000.0)
    for name in ("A", "B"):
        shown.began(name)
    shown.ended("B")  # the machine is no slower than was foreseen
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
    """Several times, or with longer lives: what is told while it runs counts on that."""
    entry = Entry(id="TOK-11", promise="p", severity="low", source="s", ttl=20, seconds=30)
    chosen = SimpleNamespace(repeat=repeat, ttl_scale=scale, declared=declared)
    item = ScenarioItem.__new__(ScenarioItem)
    item.entry = entry
    assert _seconds(item, cast("Any", chosen)) == seconds


def test_which_wait(tmp_path: Path, story: Story) -> None:
    """A scenario says what is broken in it, or whom it waits for; afterwards it says nothing."""
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
        wait_until(lambda: "(the client's end)" in shown.text(), "the end", timeout=10)
        closing.ended = 21.0
        wait_until(lambda: "(its verdict)" in shown.text(), "the verdict", timeout=10)
    assert list(tmp_path.iterdir()) == []
    shown.close()


def item(name: str, seconds: float, *, first: bool = False) -> pytest.Item:
    """A scenario that nobody runs."""
    made = ScenarioItem.__new__(ScenarioItem)
    made.entry = cast("Any", SimpleNamespace(id=name, seconds=seconds, first=first))
    return made


def test_order() -> None:
    """Those that tell most go to the first workers, one to each; then come the long ones."""
    items = [item("a", 5), item("X", 8, first=True), item("b", 9), item("c", 30)]
    items += [item("Y", 4, first=True), item("d", 1)]
    names = [cast("ScenarioItem", one).entry.id for one in in_order(items)]
    assert names == ["X", "c", "Y", "b", "a", "d"]
