"""Explore needs a bounded amount of memory, however many runs it makes."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from concurrent.futures import FIRST_COMPLETED, Future, wait
from pathlib import Path

import psutil
import pytest

from vault_harness.judge.explore.life import Order, Seen
from vault_harness.judge.explore.points import Point
from vault_harness.judge.explore.schedule import Schedule, Step
from vault_harness.judge.explore.shared import RUNS
from vault_harness.judge.explore.workers import carry_out, opened, workers
from vault_harness.settings import Settings

pytestmark = [pytest.mark.slow, pytest.mark.long]

LAZY = "python:tests.subjects.lazy_client:LazyClient"
SHORT = Schedule((Step(Point("read", "secret", "steady", "first"), "500"),))
AT_ONCE = 16
PRINTED = (50, RUNS, 2 * RUNS, 2 * RUNS + 50)
MOST = 3 * 2**29
"""Bytes: three quarters of what 2,000 runs may need. Nothing grows after the second server."""


def memory() -> tuple[int, int]:
    """Return the RSS of this process and all that it started, and what that is with each page once.

    The sum of RSS counts a page that forks share once for each of them.
    """
    rss = pss = 0
    here = psutil.Process()
    for process in (here, *here.children(recursive=True)):
        try:
            with process.oneshot():
                rss += process.memory_info().rss
            rollup = Path(f"/proc/{process.pid}/smaps_rollup").read_text()
        except (psutil.Error, OSError):
            continue  # a run that has just ended
        pss += next((1024 * int(x.split()[1]) for x in rollup.splitlines() if x[:4] == "Pss:"), 0)
    return rss, pss


def ended(count: int) -> Iterator[tuple[int, Seen]]:
    """Run short lives of a correct client, some at once, and yield each with its number."""
    with opened(Settings(engine="process"), LAZY, seed=1), workers(AT_ONCE) as pool:
        running: set[Future[Seen]] = set()
        done = 0
        for number in range(1, count + AT_ONCE + 1):
            if number <= count:
                running.add(pool.submit(carry_out, LAZY, Order(number, SHORT)))
            if len(running) >= AT_ONCE or number > count:
                over, running = wait(running, return_when=FIRST_COMPLETED)
                for one in over:
                    done += 1
                    yield done, one.result()


def test_memory_is_bounded(capsys: pytest.CaptureFixture[str]) -> None:
    """Servers are replaced before they grow too large, and no run notices that."""
    found = []
    words = []
    for number, seen in ended(PRINTED[-1]):
        words.append(seen.word)
        if number in PRINTED:
            found.append((number, *memory()))
    with capsys.disabled():
        for number, rss, pss in found:
            sys.stderr.write(  # pytest-xdist keeps what goes to standard output
                f"\n{number} runs: RSS {rss >> 20} MB, with each page once {pss >> 20} MB"
            )
    assert "error" not in words
    assert len(found) == len(PRINTED)
    assert max(pss for _, _, pss in found) < MOST
