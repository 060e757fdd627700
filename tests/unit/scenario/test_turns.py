"""Scenarios beside each other, and one alone."""

from __future__ import annotations

import threading
from pathlib import Path

from vault_harness.scenario._turns import place, turn
from vault_harness.waiting import wait_until


def test_many_beside_each_other(tmp_path: Path) -> None:
    """They do not wait for each other."""
    file = tmp_path / "parts" / "turns"
    with turn(file, alone=False), turn(file, alone=False):
        assert file.exists()


def test_one_process_needs_no_turns() -> None:
    """There is nobody to wait for."""
    with turn(None, alone=True), turn(None, alone=True):
        pass


def test_one_that_wants_to_be_alone(tmp_path: Path) -> None:
    """It waits for those that are under way, and others wait for it."""
    file = tmp_path / "turns"
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
    """A third waits until one of two has gone."""
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


def test_places_by_rank(tmp_path: Path) -> None:
    """Of those that wait the one of the least rank goes first, in whichever order they came."""
    file = tmp_path / "turns"
    told: list[int] = []

    def waits(rank: int) -> None:
        with place(file, places=1, rank=rank):
            told.append(rank)

    def waiting() -> int:
        return len(list(tmp_path.glob("turns-waits-*")))

    threads = []
    with place(file, places=1, rank=100):
        for rank in (3, 11, 1, 2):
            threads.append(threading.Thread(target=waits, args=(rank,)))
            threads[-1].start()
            wait_until(lambda: waiting() == len(threads), "another to wait", timeout=10)
    for thread in threads:
        thread.join(10)
    assert told == [1, 2, 3, 11]
    assert waiting() == 0


def test_one_that_died_waiting(tmp_path: Path) -> None:
    """It holds up nobody: its file is there, and nobody holds its lock."""
    file = tmp_path / "turns"
    (tmp_path / "turns-waits-00000-0000.000-1-1").touch()
    with place(file, places=1, rank=1):
        assert list(tmp_path.glob("turns-waits-00000-*"))


def test_one_process_needs_no_places() -> None:
    """There is nobody to wait for."""
    with place(None, places=1), place(None, places=1):
        pass
