"""Scenarios: a history with three witnesses, oracles that read it, a verdict of three values."""

from harness.scenario import oracles
from harness.scenario.catalogue import Entry
from harness.scenario.history import Exchange, History, Operation
from harness.scenario.lab import Lab, NotClaimed, Workplace
from harness.scenario.recorder import Recorder, Stub
from harness.scenario.verdict import Finding, NotExercised, Verdict

__all__ = [
    "Entry",
    "Exchange",
    "Finding",
    "History",
    "Lab",
    "NotClaimed",
    "NotExercised",
    "Operation",
    "Recorder",
    "Stub",
    "Verdict",
    "Workplace",
    "oracles",
]
