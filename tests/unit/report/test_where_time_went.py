from __future__ import annotations

from typing import Any

from vault_harness.judge.report import Effort, where_time_went

EFFORT = Effort(wall=10.0, user=6.0, system=2.0, side_by_side=2, cores=4)


def record(id: str, wall: dict[str, float], **cpu: float) -> dict[str, Any]:  # noqa: A002 - it is an id
    """Return the part of a scenario's record that counts here."""
    return {"id": id, "spent": {"wall": wall, "cpu": cpu}}


SHORT = record("A-1", {"the servers' start": 0.5, "else": 0.5}, servers=0.2, subject=0, harness=0.1)
LONG = record(
    "B-1",
    {"the subject's start": 1.5, "waiting for x": 1.0, "waiting for time": 6.0, "else": 0.5},
    servers=0.3,
    subject=1.0,
    harness=0.4,
)


def test_rows() -> None:
    """The longest come first, and the sum of all last."""
    _, _, first, second, total, *_ = where_time_went([SHORT, LONG], EFFORT)
    told = [" ".join(line.split()) for line in (first, second, total)]
    assert told == [
        "B-1 9.0 0.00 1.50 7.0 0.5 0.30 1.00 0.40 time 6.0, x 1.0",
        "A-1 1.0 0.50 0.00 0.0 0.5 0.20 0.00 0.10",
        "all 10.0 0.50 1.50 7.0 1.0 0.50 1.00 0.50 time 6.0, x 1.0",
    ]


def test_summary_of_the_run() -> None:
    *_, run, cpu = where_time_went([SHORT, LONG], EFFORT)
    assert run.startswith("the run: 10.0 s for 10 s of scenarios, up to 2 side by side; 50% of ")
    assert cpu.startswith("CPU: 8.0 s (6.0 user, 2.0 system), 2.0 of them in scenarios; 80% of 4 ")


def test_containers_are_not_counted() -> None:
    """The servers' time is unknown."""
    *_, cpu = where_time_went([SHORT | {"engine": "docker"}], EFFORT)
    assert "idle" not in cpu
    assert cpu.endswith("; what the servers took in their containers is not counted")
