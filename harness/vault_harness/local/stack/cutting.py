"""Nodes that are cut off from the other nodes while clients still reach them."""

from __future__ import annotations

from collections.abc import Sequence

from vault_harness.errors import CapabilityMissing, StackError, named
from vault_harness.local.engine.provider import CuttingProvider, StackProvider


def able(provider: StackProvider) -> CuttingProvider:
    """Return the provider as one that can cut nodes off."""
    if isinstance(provider, CuttingProvider):
        return provider
    raise CapabilityMissing(
        f"the {provider.name} engine cannot cut a node off from the others",
        looked_at="HARNESS_ENGINE",
        remedy="HARNESS_ENGINE=process for a stack in another folder (HARNESS_DATA_DIR): "
        f"{named('up', '--ha', '--cuttable')}; {named('node.kill', 'NAME')} works here too",
    )


def look(provider: StackProvider) -> Sequence[str]:
    """Return the names of the nodes that are cut off."""
    return provider.cut_nodes() if isinstance(provider, CuttingProvider) else ()


def refuse(provider: StackProvider, what: str) -> None:
    """Refuse an operation that needs all nodes while one is cut off."""
    if cut := look(provider):
        raise StackError(
            f"{', '.join(cut)} is cut off from the other nodes, and every node has to take part in "
            f"{what}; nothing was changed",
            looked_at=f"the ways between the nodes, by the {provider.name} engine",
            remedy=f"{named('node.join', cut[0])} or {named('heal')}, then repeat this",
        )


def end(provider: StackProvider) -> list[str]:
    """Reconnect all nodes that are cut off, and return what was done, for a user."""
    if not isinstance(provider, CuttingProvider):
        return []
    cut = provider.cut_nodes()
    return [f"joined {name} to the other nodes again" for name in cut if provider.join_node(name)]
