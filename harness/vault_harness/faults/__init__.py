"""Fault verbs: each breaks one thing while a ``with`` block runs, and notes it in a journal."""

from vault_harness.faults._fault import Fault, Journal, Signature
from vault_harness.faults._order import Act, Order
from vault_harness.faults.http import HttpFaults, Interference, RequestKind, Stub
from vault_harness.faults.network import NetworkFaults
from vault_harness.faults.process import ProcessFaults, process_tree
from vault_harness.faults.schedule import flapping
from vault_harness.faults.vault import VaultFaults

__all__ = [
    "Act",
    "Fault",
    "HttpFaults",
    "Interference",
    "Journal",
    "NetworkFaults",
    "Order",
    "ProcessFaults",
    "RequestKind",
    "Signature",
    "Stub",
    "VaultFaults",
    "flapping",
    "process_tree",
]
