"""Fault verbs: each breaks one thing while a ``with`` block runs."""

from vault_harness.judge.faults.http import Act, HttpFaults, Order, flapping
from vault_harness.judge.faults.network import NetworkFaults
from vault_harness.judge.faults.process import ProcessFaults, process_tree
from vault_harness.judge.faults.vault import VaultFaults

__all__ = [
    "Act",
    "HttpFaults",
    "NetworkFaults",
    "Order",
    "ProcessFaults",
    "VaultFaults",
    "flapping",
    "process_tree",
]
