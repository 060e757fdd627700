"""A server of cases: a scenario's environment for a client in its author's own test runner.

``POST /cases/TOK-11`` starts a case. ``GET .../next`` fetches what the scenario asks of the client,
``POST .../answers`` answers it, and ``GET .../verdict`` returns the result.
``docs/how-to/own-test-runner.md`` has the protocol.
"""

from vault_harness.judge.cases.server import CaseServer

__all__ = ["CaseServer"]
