"""From findings and evidence to one of three words."""

from __future__ import annotations

import pytest

from vault_harness.scenario.verdict import Finding, Word, decide

WRONG = Finding("p", "a late call", 3.0)
HARM = Finding("p", "a wrong value", 4.0, harm=True)


@pytest.mark.parametrize(
    ("findings", "untouched", "word"),
    [
        ([], [], "pass"),
        ([WRONG], [], "fail"),
        ([HARM], [], "fail"),
        ([], ["u"], "not exercised"),
        ([WRONG], ["u"], "not exercised"),
        ([HARM], ["u"], "fail"),
        ([WRONG, HARM], ["u"], "fail"),
    ],
)
def test_truth_table(findings: list[Finding], untouched: list[str], word: Word) -> None:
    """A fault that never bit makes no pass and no failure, unless harm was done."""
    verdict = decide(findings, untouched, ["e"])
    assert verdict.word == word
    assert (verdict.findings, verdict.untouched, verdict.evidence) == (findings, untouched, ["e"])


def test_text_of_a_finding() -> None:
    """When, what was seen, and what was promised."""
    assert str(WRONG) == "+3.00 s: a late call (promised: p)"
    assert str(Finding("p", "2 tokens")) == "2 tokens (promised: p)"
