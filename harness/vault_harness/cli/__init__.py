"""Every task of ``./dev``, ``vault-harness`` and ``invoke``.

Tasks import what they need when they run, so that listing them is quick.
"""

from __future__ import annotations

from vault_harness.cli.tasks import collection, names, run

__all__ = ["collection", "names", "run"]
