"""Complete the JUnit file, for a CI job that is judged by it alone.

A leak in a scenario that passes, or an interrupted run that lacks rows, would look like a pass. A
run that writes known failures excuses their cases at its end.
"""

from __future__ import annotations

import xml.etree.ElementTree as ET
from typing import Any

import pytest
from _pytest.junitxml import bin_xml_escape, xml_key


def add_failure(config: pytest.Config, name: str, text: str) -> None:
    """`name` says what should have happened, `text` what happened instead."""
    if (xml := config.stash.get(xml_key, None)) is None:
        return
    report = pytest.TestReport(
        f"run::{name}", ("run", None, name), {}, "failed", text, "call", start=0.0, stop=0.0
    )
    xml.pytest_runtest_logreport(report)


def case_of(config: pytest.Config, report: pytest.TestReport) -> Any:
    """Return the JUnit case of a new report, for `excuse`; None without such a file.

    Pytest forgets the case after the last report of its test.
    """
    if (xml := config.stash.get(xml_key, None)) is None:
        return None
    case = xml.node_reporter(report)
    case.add_attribute("name", report.location[2])
    return case


def excuse(config: pytest.Config, case: Any, reason: str | None) -> None:
    """Turn a failed case into a skipped one, as known, or into a pass.

    Args:
        reason: Why the scenario is known to fail; None if it has passed.
    """
    if (xml := config.stash.get(xml_key, None)) is None or case is None:
        return
    element = case.to_xml()
    for failure in element.findall("failure"):
        element.remove(failure)
        xml.stats["failure"] -= 1
        xml.add_stats("passed" if reason is None else "skipped")
        if reason is not None:  # the form of pytest's own expected failures
            how = {"type": "pytest.xfail", "message": bin_xml_escape(reason)}
            ET.SubElement(element, "skipped", how).text = failure.text
