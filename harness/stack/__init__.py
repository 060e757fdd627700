"""Servers, keys and blueprint together: a Vault for one scenario, the stack of ``invoke up``."""

from harness.stack._env import export_lines, service_environment
from harness.stack._launch import Stack, launch
from harness.stack._local import LocalStack
from harness.stack._status import ProxyStatus, StackStatus, ToxicStatus

__all__ = [
    "Stack",
    "launch",
    "LocalStack",
    "StackStatus",
    "ProxyStatus",
    "ToxicStatus",
    "service_environment",
    "export_lines",
]
