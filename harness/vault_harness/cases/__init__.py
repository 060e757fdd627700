"""A server of cases: a scenario's environment for a client in its author's own test runner.

``POST /cases/TOK-11`` starts one; what the scenario asks of the client is fetched with ``GET
.../next`` and answered with ``POST .../answers``; ``GET .../verdict`` has what it came to.
``docs/subjects.md`` has the protocol.
"""

from vault_harness.cases._server import CaseServer

__all__ = ["CaseServer"]
