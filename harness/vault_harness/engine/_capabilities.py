"""The error for what an engine cannot do to a server."""

from __future__ import annotations

from vault_harness.errors import CapabilityMissing


def no_network(name: str) -> CapabilityMissing:
    """A process shares this machine's loopback, from which it cannot be cut off alone."""
    return CapabilityMissing(
        f"{name} cannot be cut off: it has no network of its own",
        looked_at="the engine, which runs processes on loopback",
        remedy="use HARNESS_ENGINE=docker for that, with an engine on this machine",
    )
