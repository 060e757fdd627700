"""The command line: every task of ``./dev``, ``vault-harness`` and ``invoke``.

Bodies are thin, and import what they need when they run, so that listing them is quick.
"""

from __future__ import annotations

from vault_harness.cli._tasks import collection, names, run

__all__ = ["collection", "names", "run"]
