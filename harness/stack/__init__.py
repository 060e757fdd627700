"""Servers, keys and blueprint together: a Vault for one scenario, the stack of ``invoke up``."""

from harness.stack._launch import Stack, launch

__all__ = ["Stack", "launch"]
