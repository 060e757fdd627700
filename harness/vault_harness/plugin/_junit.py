"""What a run came to beyond its rows, for who judges a job by its JUnit file alone.

A secret may come out in a scenario that is about something else and passes, and a run that somebody
ended has no rows of what it did not come to. Without a case of their own both would look like a
pass there.
"""

from __future__ import annotations

import pytest
from _pytest.junitxml import xml_key


def add_failure(config: pytest.Config, name: str, text: str) -> None:
    """Add a case that failed to the JUnit file, if there is to be one.

    Args:
        config: Of the run.
        name: What should have been so.
        text: What was so instead.
    """
    if (xml := config.stash.get(xml_key, None)) is None:
        return
    report = pytest.TestReport(
        f"run::{name}", ("run", None, name), {}, "failed", text, "call", start=0.0, stop=0.0
    )
    xml.pytest_runtest_logreport(report)
