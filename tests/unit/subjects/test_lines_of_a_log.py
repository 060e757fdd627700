"""The log of a client in this process is formatted as logging does it."""

from __future__ import annotations

import logging

from vault_harness.judge.subjects.inprocess import _Formatter


def record(created: float, message: str = "said") -> logging.LogRecord:
    made = logging.LogRecord("a.library", logging.INFO, __file__, 1, message, None, None)
    made.created, made.msecs = created, float(int(created * 1000) % 1000)
    return made


def test_times_of_lines() -> None:
    """The clock may go back."""
    by_itself = logging.Formatter("%(asctime)s %(levelname)s %(name)s: %(message)s")
    ours = _Formatter()
    for created in (1000.0, 1000.007, 1000.999, 1001.0, 1000.5, 1_800_000_000.25):
        assert ours.format(record(created)) == by_itself.format(record(created))


def test_an_exception_is_logged_with_its_traceback() -> None:
    one = record(1000.0)
    try:
        raise ValueError("of a library")
    except ValueError as error:
        one.exc_info = (ValueError, error, error.__traceback__)
    assert _Formatter().format(one).endswith("ValueError: of a library")
