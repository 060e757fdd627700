"""What many scenarios say alike is told once."""

from __future__ import annotations

from vault_harness.plugin._table import folded
from vault_harness.report import Line


def line(id: str, word: str, why: str) -> tuple[Line, str]:  # noqa: A002 - it is one
    """A line and its text."""
    return Line(id, "p", "high", word, 1.0, why), f"{id} {word}"


def test_a_client_that_is_never_steady() -> None:
    """One that renews twice at once does so in each scenario, at another time; a status is none."""
    seen = "before any fault: +{0} s: two of {1}: +{0} s and +{0} s (promised: one renewal)"
    texts = [
        line("A-1", "not exercised", seen.format("3.10", "token-1")),
        line("B-1", "not exercised", seen.format("12.345", "token-2")),
        line("C-1", "not exercised", seen.format("0.52", "token-1")),
        *(line(f"D-{n}", "not exercised", f"a read ended with {n}") for n in (403, 404, 503)),
    ]
    assert folded(texts) == [
        "A-1 not exercised\n  not exercised for the same reason: B-1, C-1",
        *(f"D-{n} not exercised" for n in (403, 404, 503)),
    ]


def test_a_client_that_does_not_start() -> None:
    """Once, with all whom it keeps from a verdict; what happened seldom is told each time."""
    texts = [
        line("C-1", "not exercised", "it does not start"),
        line("A-1", "not exercised", "it does not start"),
        line("D-1", "not exercised", "not steady"),
        line("B-1", "not exercised", "it does not start"),
        line("E-1", "not exercised", "not steady"),
        *(line(f"F-{n}", "fail", "a SHOULD") for n in range(4)),
    ]
    assert folded(texts) == [
        "C-1 not exercised\n  not exercised for the same reason: A-1, B-1",
        "D-1 not exercised",
        "E-1 not exercised",
        *(f"F-{n} fail" for n in range(4)),
    ]
