"""Servers as child processes: of one run, or of the stack that outlives its task."""

from vault_harness.engine.process._engine import ProcessEngine
from vault_harness.engine.process._node import ProcessNode
from vault_harness.engine.process._postgresql import Postgresql
from vault_harness.engine.process._spawn import die_with_parent
from vault_harness.engine.process._stack import ProcessStack
from vault_harness.engine.process._toxiproxy import ProcessToxiproxy

__all__ = [
    "Postgresql",
    "ProcessEngine",
    "ProcessNode",
    "ProcessStack",
    "ProcessToxiproxy",
    "die_with_parent",
]
