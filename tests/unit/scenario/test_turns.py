from __future__ import annotations

import threading
from pathlib import Path

from vault_harness.judge.run import place, turn
from vault_harness.waiting import wait_until


def test_a_scenario_that_runs_alone_waits_for_the_others(tmp_path: Path) -> None:
    """They wait for it, too."""
    file = tmp_path / "parts" / "turns"
    told: list[str] = []
    may_end = threading.Event()

    def lonely() -> None:
        with turn(file, alone=True):
            told.append("alone")
            may_end.wait(10)
            told.append("done")

    def another() -> None:
        with turn(file, alone=False):
            told.append("another")

    threads = [threading.Thread(target=lonely)]
    with turn(file, alone=False):
        threads[0].start()
        told.append("first")
    wait_until(lambda: "alone" in told, "its turn", timeout=10)
    threads.append(threading.Thread(target=another))
    threads[1].start()
    may_end.set()
    for thread in threads:
        thread.join(10)
    assert told == ["first", "alone", "done", "another"]


def test_places_for_starts(tmp_path: Path) -> None:
    """The third start waits until a place is free."""
    file = tmp_path / "turns"
    told: list[str] = []

    def third() -> None:
        with place(file, places=2):
            told.append("third")

    thread = threading.Thread(target=third)
    with place(file, places=2):
        with place(file, places=2):
            thread.start()
            thread.join(0.3)
            told.append("second goes")
        wait_until(lambda: "third" in told, "the free place to be taken", timeout=10)
    thread.join(10)
    assert told == ["second goes", "third"]


def test_one_process_waits_for_nothing() -> None:
    with turn(None, alone=True), turn(None, alone=True):
        pass
    with place(None, places=1), place(None, places=1):
        pass
