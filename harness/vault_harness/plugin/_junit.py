"""What a run came to beyond its rows, for who judges a job by its JUnit file alone.

A secret may come out in a scenario that is about something else and passes, and a run that somebody
ended has no rows of what it did not come to. Without a case of their own both would look like a
pass there. And what a run that writes known failures found broken is known at its end: as a failure
it would stand there beside a run that is good.
"""

from __future__ import annotations

import xml.etree.ElementTree as ET
from typing import Any

import pytest
from _pytest.junitxml import bin_xml_escape, xml_key


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


def case_of(config: pytest.Config, report: pytest.TestReport) -> Any:
    """The case of a scenario whose report has just come, for `excuse`; None without such a file.

    It is called by its scenario's id, too, by which everything else names it. Once the last report
    of its test has come nobody finds it any more.
    """
    if (xml := config.stash.get(xml_key, None)) is None:
        return None
    case = xml.node_reporter(report)
    case.add_attribute("name", report.location[2])
    return case


def excuse(config: pytest.Config, case: Any, reason: str | None) -> None:
    """Let a case that failed say what a later run says of it: it is skipped, as known, or passed.

    Args:
        config: Of the run.
        case: Of `case_of`; all reports of its test have come.
        reason: Why it is known to fail; None if it has passed.
    """
    if (xml := config.stash.get(xml_key, None)) is None or case is None:
        return
    element = case.to_xml()
    for failure in element.findall("failure"):
        element.remove(failure)
        xml.stats["failure"] -= 1
        xml.add_stats("passed" if reason is None else "skipped")
        if reason is not None:  # as pytest tells its own expected failures, with what was seen
            how = {"type": "pytest.xfail", "message": bin_xml_escape(reason)}
            ET.SubElement(element, "skipped", how).text = failure.text
