"""Fault verbs: each breaks one thing while a ``with`` block runs, and notes it in a journal."""

from harness.faults._fault import Fault, Journal, Signature
from harness.faults.network import NetworkFaults
from harness.faults.process import ProcessFaults
from harness.faults.schedule import flapping
from harness.faults.vault import VaultFaults

__all__ = [
    "Fault",
    "Journal",
    "NetworkFaults",
    "ProcessFaults",
    "Signature",
    "VaultFaults",
    "flapping",
]
