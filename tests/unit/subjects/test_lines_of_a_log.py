"""What a client in this process logs is written as logging writes it by itself."""

from __future__ import annotations

import logging

from vault_harness.subjects._capture import _Formatter


def record(created: float, message: str = "said") -> logging.LogRecord:
    """One of that time."""
    made = logging.LogRecord("a.library", logging.INFO, __file__, 1, message, None, None)
    made.created, made.msecs = created, float(int(created * 1000) % 1000)
    return made


def test_times_of_lines() -> None:
    """One second after the other, back again as clocks are set, and each part of one."""
    by_itself = logging.Formatter("%(asctime)s %(levelname)s %(name)s: %(message)s")
    ours = _Formatter()
    for created in (1000.0, 1000.007, 1000.999, 1001.0, 1000.5, 1_800_000_000.25):
        assert ours.format(record(created)) == by_itself.format(record(created))


def test_an_exception_is_told() -> None:
    """With its traceback, as ever."""
    one = record(1000.0)
    try:
        raise ValueError("of a library")
    except ValueError as error:
        one.exc_info = (ValueError, error, error.__traceback__)
    assert _Formatter().format(one).endswith("ValueError: of a library")
