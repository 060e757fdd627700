"""Scenarios: a history with three witnesses, oracles that read it, a verdict of three values."""

from vault_harness.scenario import oracles
from vault_harness.scenario.catalogue import Entry
from vault_harness.scenario.history import Exchange, History, Operation
from vault_harness.scenario.lab import Lab, NotClaimed, Workplace
from vault_harness.scenario.recorder import Recorder, Stub
from vault_harness.scenario.verdict import Finding, NotExercised, Verdict

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
