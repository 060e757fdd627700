"""How servers run: child processes, containers, or already there. One shape, three providers."""

from harness.engine._choose import choose, docker_state, open_engine
from harness.engine._ports import PortLease
from harness.engine._shape import (
    Capability,
    Engine,
    EngineName,
    Node,
    NodeSpec,
    Storage,
    ToxiproxyProcess,
)
from harness.engine._spawn import die_with_parent

__all__ = [
    "Engine",
    "Node",
    "NodeSpec",
    "ToxiproxyProcess",
    "Capability",
    "EngineName",
    "Storage",
    "open_engine",
    "choose",
    "docker_state",
    "PortLease",
    "die_with_parent",
]
