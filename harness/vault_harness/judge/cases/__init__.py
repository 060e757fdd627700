"""Serve cases: scenarios for a client that runs in its author's own test runner.

``docs/how-to/own-test-runner.md`` has the protocol.
"""

from vault_harness.judge.cases.server import CaseServer

__all__ = ["CaseServer"]
