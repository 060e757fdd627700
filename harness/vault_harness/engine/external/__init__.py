"""A Vault that is already there: talked to, never started, stopped or paused."""

from vault_harness.engine.external._engine import ExternalEngine
from vault_harness.engine.external._node import ExternalNode

__all__ = ["ExternalEngine", "ExternalNode"]
