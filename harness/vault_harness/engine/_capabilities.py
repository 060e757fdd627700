"""What each engine can do to its servers, and the error for what it cannot."""

from __future__ import annotations

from vault_harness.engine._shape import Capability
from vault_harness.errors import CapabilityMissing

ON_PROCESSES = frozenset(Capability) - {Capability.PARTITION}
"""They are our own children, and share this machine's loopback."""

IN_CONTAINERS = frozenset(Capability)
"""With an engine on this machine: files are shared, and its networks are interfaces here."""

IN_CONTAINERS_ELSEWHERE = IN_CONTAINERS - {
    Capability.AUDIT_LOG,
    Capability.AUDIT_FAULTS,
    Capability.DATABASE,
    Capability.PARTITION,
}
"""With an engine in a virtual machine, or on another host."""

OF_SOMEBODY_ELSE = frozenset({Capability.DURABLE})
"""Its data outlives us; nothing else can be promised."""

CAPABILITIES = {
    "process": ON_PROCESSES,
    "docker": IN_CONTAINERS,
    "docker, in a virtual machine or on another host": IN_CONTAINERS_ELSEWHERE,
    "external": OF_SOMEBODY_ELSE,
}
"""By the engine, in words."""


def no_network(name: str) -> CapabilityMissing:
    """A process shares this machine's loopback, from which it cannot be cut off alone."""
    return CapabilityMissing(
        f"{name} cannot be cut off: it has no network of its own",
        looked_at="the engine, which runs processes on loopback",
        remedy="use HARNESS_ENGINE=docker for that, with an engine on this machine",
    )
