"""How servers run: child processes, containers, or already there. One shape, three providers."""

from vault_harness.certificates import TlsFiles
from vault_harness.engine._capabilities import CAPABILITIES
from vault_harness.engine._choose import choose, docker_state, open_engine, open_provider
from vault_harness.engine._cloud_seal import (
    CLOUD_SEALS,
    CloudSealingProvider,
    SealCheck,
    cloud_stanza,
)
from vault_harness.engine._configuration import QUICK_AUTOPILOT
from vault_harness.engine._folders import run_directory, sweep_run_directories
from vault_harness.engine._ports import LOOPBACK, PortLease
from vault_harness.engine._probe import Answer, answers, ask, seal_status_url
from vault_harness.engine._product import check_seal_of_product
from vault_harness.engine._provider import (
    BALANCER_NAME,
    HOLDER_NAME,
    NODE_NAME,
    NODES_DIRECTORY,
    PROXY_NAME,
    RECORDER_NAME,
    TLS_DIRECTORY,
    ClusterProvider,
    Endpoints,
    KnownServers,
    Memory,
    NodeEndpoint,
    RecorderEndpoint,
    RecordingProvider,
    ServiceName,
    ServiceState,
    StackProvider,
    holds_data,
    lacking,
    tls_files,
)
from vault_harness.engine._seal import (
    ACCESS_KEYS_NAME,
    SEAL_DIRECTORY,
    SealingProvider,
    SealKind,
    seal_stanza,
    stanza_path,
    static_key_path,
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
from vault_harness.engine.external import ExternalEngine, external_trust
from vault_harness.engine.process import Postgresql, die_with_parent

__all__ = [
    "ACCESS_KEYS_NAME",
    "Engine",
    "ExternalEngine",
    "external_trust",
    "Node",
    "NodeSpec",
    "TlsFiles",
    "ToxiproxyProcess",
    "CAPABILITIES",
    "Capability",
    "EngineName",
    "Storage",
    "open_engine",
    "choose",
    "docker_state",
    "open_provider",
    "StackProvider",
    "ClusterProvider",
    "RecordingProvider",
    "RecorderEndpoint",
    "RECORDER_NAME",
    "SealingProvider",
    "SealKind",
    "CLOUD_SEALS",
    "CloudSealingProvider",
    "SealCheck",
    "cloud_stanza",
    "SEAL_DIRECTORY",
    "seal_stanza",
    "stanza_path",
    "static_key_path",
    "HOLDER_NAME",
    "BALANCER_NAME",
    "QUICK_AUTOPILOT",
    "lacking",
    "Endpoints",
    "NodeEndpoint",
    "KnownServers",
    "Memory",
    "ServiceState",
    "ServiceName",
    "NODE_NAME",
    "NODES_DIRECTORY",
    "PROXY_NAME",
    "ask",
    "answers",
    "Answer",
    "seal_status_url",
    "LOOPBACK",
    "PortLease",
    "run_directory",
    "sweep_run_directories",
    "check_seal_of_product",
    "holds_data",
    "tls_files",
    "TLS_DIRECTORY",
    "die_with_parent",
    "Postgresql",
]
