"""Serve cases: scenarios for a client that runs in its author's own test runner.

``POST /cases/TOK-11`` starts a case. ``GET .../next`` fetches the next operation, ``POST
.../answers`` answers it, and ``GET .../verdict`` returns the result.
``docs/how-to/own-test-runner.md`` has the protocol.
"""

from vault_harness.judge.cases.server import CaseServer

__all__ = ["CaseServer"]
