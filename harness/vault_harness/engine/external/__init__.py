"""A Vault that is already there: talked to, never started, stopped or paused."""

from vault_harness.engine.external._engine import ExternalEngine
from vault_harness.engine.external._node import ExternalNode
from vault_harness.engine.external._trust import external_trust

__all__ = ["ExternalEngine", "ExternalNode", "external_trust"]
