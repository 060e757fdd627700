"""What follows from the cost of one start: workers, deadlines, and what is said of the machine."""

from __future__ import annotations

from vault_harness.scenario.cost import Cost
from vault_harness.scenario.environment import START

CHEAP = Cost(cpu=0.1, hello=0.2, read=0.1, load=0.2)
JVM = Cost(cpu=6.0, hello=5.0, read=1.0, load=0.2)


def test_a_cheap_subject_gets_all_workers() -> None:
    """Scenarios wait more than they compute."""
    assert CHEAP.workers(12, cores=2) == 12


def test_a_subject_that_burns_gets_few() -> None:
    """Twelve virtual machines that start at once starve two cores, and prove nothing."""
    assert JVM.workers(12, cores=2) == 2
    assert JVM.workers(12, cores=16) == 12


def test_there_is_always_one() -> None:
    """However dear it is."""
    assert Cost(cpu=500.0, hello=60.0, read=None, load=0.2).workers(12, cores=1) == 1


def test_starts_have_their_time() -> None:
    """Never less than the suite's own bound, more for one that is slow by itself, with an end."""
    assert CHEAP.start(12, cores=2) == START
    assert JVM.start(8, cores=2) == 60.0
    assert Cost(cpu=9.0, hello=100.0, read=None, load=0.2).start(1, cores=1) == 180.0


def test_a_starved_machine_is_said_to_be_one() -> None:
    """What is measured there says more of the machine than of the client."""
    assert "this machine is starved: 5.5 " in str(Cost(cpu=1.0, hello=1.0, read=1.0, load=5.5))
    assert "starved" not in str(CHEAP)
