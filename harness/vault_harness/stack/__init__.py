"""Servers, keys and blueprint together: a Vault for one scenario, the stack of ``invoke up``."""

from vault_harness.stack._env import client_certificate, export_lines, service_environment
from vault_harness.stack._external import check_external
from vault_harness.stack._holder import transit_seal
from vault_harness.stack._launch import Link, Stack, launch, launch_cluster
from vault_harness.stack._local import LocalStack
from vault_harness.stack._members import NodeStatus
from vault_harness.stack._nodes import Nodes
from vault_harness.stack._opening import Unsealed
from vault_harness.stack._rehearsal import rehearse_on
from vault_harness.stack._reopening import Opener
from vault_harness.stack._requests import RequestFaults
from vault_harness.stack._seal_drill import SealDrill, let_copy_reach_key, needs_world
from vault_harness.stack._seal_migration import SealMigrated, SealMigration
from vault_harness.stack._service_ids import hand_out_ids
from vault_harness.stack._status import (
    ProxyStatus,
    RecorderStatus,
    RequestFaultStatus,
    RestoreStatus,
    StackStatus,
    ToxicStatus,
)
from vault_harness.stack.record import StackRecord

__all__ = [
    "Stack",
    "Link",
    "launch",
    "launch_cluster",
    "check_external",
    "transit_seal",
    "LocalStack",
    "Nodes",
    "NodeStatus",
    "Opener",
    "Unsealed",
    "StackRecord",
    "SealDrill",
    "let_copy_reach_key",
    "needs_world",
    "rehearse_on",
    "SealMigrated",
    "SealMigration",
    "RestoreStatus",
    "StackStatus",
    "ProxyStatus",
    "RecorderStatus",
    "RequestFaults",
    "RequestFaultStatus",
    "ToxicStatus",
    "hand_out_ids",
    "service_environment",
    "client_certificate",
    "export_lines",
]
