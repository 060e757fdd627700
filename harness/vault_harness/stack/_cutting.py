"""Nodes that are cut off from the others while clients reach them: who can do it, and who is."""

from __future__ import annotations

from collections.abc import Sequence

from vault_harness.commands import named
from vault_harness.engine import CuttingProvider, StackProvider
from vault_harness.errors import CapabilityMissing, StackError


def able(provider: StackProvider) -> CuttingProvider:
    """The same provider, which can cut a node off.

    Raises:
        CapabilityMissing: It cannot.
    """
    if isinstance(provider, CuttingProvider):
        return provider
    raise CapabilityMissing(
        f"the {provider.name} engine cannot cut a node off from the others",
        looked_at="HARNESS_ENGINE",
        remedy="HARNESS_ENGINE=process for a stack in another folder (HARNESS_DATA_DIR): "
        f"{named('up', '--ha', '--cuttable')}; {named('node.kill', 'NAME')} works here too",
    )


def look(provider: StackProvider) -> Sequence[str]:
    """Names of the nodes that are cut off now."""
    return provider.cut_nodes() if isinstance(provider, CuttingProvider) else ()


def refuse(provider: StackProvider, what: str) -> None:
    """See that no node is cut off, before something is done in which all have to take part.

    Raises:
        StackError: One is; nothing was changed.
    """
    if cut := look(provider):
        raise StackError(
            f"{', '.join(cut)} is cut off from the other nodes, and every node has to take part in "
            f"{what}; nothing was changed",
            looked_at=f"the ways between the nodes, by the {provider.name} engine",
            remedy=f"{named('node.join', cut[0])} or {named('heal')}, then this again",
        )


def end(provider: StackProvider) -> list[str]:
    """Join every node that is cut off to the others again; returns what was done, for a person."""
    if not isinstance(provider, CuttingProvider):
        return []
    cut = provider.cut_nodes()
    return [f"joined {name} to the other nodes again" for name in cut if provider.join_node(name)]
