"""How servers run: child processes, containers, or already there. One shape, three providers."""

from vault_harness.engine._choose import choose, docker_state, open_engine, open_provider
from vault_harness.engine._ports import PortLease
from vault_harness.engine._probe import get, is_ok
from vault_harness.engine._provider import (
    PROXY_NAME,
    Endpoints,
    KnownServers,
    LogName,
    Memory,
    NodeEndpoint,
    ServiceName,
    ServiceState,
    StackProvider,
)
from vault_harness.engine._shape import (
    Capability,
    Engine,
    EngineName,
    Node,
    NodeSpec,
    Storage,
    ToxiproxyProcess,
)
from vault_harness.engine.external import ExternalEngine
from vault_harness.engine.process import die_with_parent

__all__ = [
    "Engine",
    "ExternalEngine",
    "Node",
    "NodeSpec",
    "ToxiproxyProcess",
    "Capability",
    "EngineName",
    "Storage",
    "open_engine",
    "choose",
    "docker_state",
    "open_provider",
    "StackProvider",
    "Endpoints",
    "NodeEndpoint",
    "KnownServers",
    "Memory",
    "ServiceState",
    "ServiceName",
    "LogName",
    "PROXY_NAME",
    "get",
    "is_ok",
    "PortLease",
    "die_with_parent",
]
