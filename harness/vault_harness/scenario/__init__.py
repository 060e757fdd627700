"""Scenarios: a history with three witnesses, oracles that read it, a verdict of three values."""

from vault_harness.faults import Stub
from vault_harness.scenario import conditions, oracles
from vault_harness.scenario.catalogue import Entry, find_catalogue
from vault_harness.scenario.conditions import Condition, Sighting
from vault_harness.scenario.environment import Environment, open_environment
from vault_harness.scenario.history import History
from vault_harness.scenario.lab import Lab
from vault_harness.scenario.observations import Exchange, Operation
from vault_harness.scenario.recorder import Recorder
from vault_harness.scenario.run import Result, Scenario, run_scenario
from vault_harness.scenario.verdict import Finding, NotClaimed, NotExercised, Verdict

__all__ = [
    "Condition",
    "Entry",
    "Environment",
    "Exchange",
    "Finding",
    "History",
    "Lab",
    "NotClaimed",
    "NotExercised",
    "Operation",
    "Recorder",
    "Result",
    "Scenario",
    "Sighting",
    "Stub",
    "Verdict",
    "conditions",
    "find_catalogue",
    "open_environment",
    "oracles",
    "run_scenario",
]
