"""Which nodes belong to a stack, and by which addresses its data knows them."""

from __future__ import annotations

import contextlib
import itertools
import json
import time
from collections.abc import Sequence
from pathlib import Path

from vault_harness.commands import named
from vault_harness.engine._configuration import DATA_NAME
from vault_harness.engine._ports import LOOPBACK
from vault_harness.engine._provider import NODE_NAME, NODES_DIRECTORY, KnownServers
from vault_harness.engine._shape import EngineName
from vault_harness.errors import StackError

_CONFIGURATION = "vault.json"


def node_directory(data_dir: Path, name: str) -> Path:
    """A node's folder: the first one's is where that of a single server is."""
    return data_dir / name if name == NODE_NAME else data_dir / NODES_DIRECTORY / name


def put_data_aside(data_dir: Path, name: str) -> Path:
    """Give a node's data, while it does not run, another name beside their place; gives that."""
    data = node_directory(data_dir, name) / DATA_NAME
    stamp = time.strftime("%Y%m%d-%H%M%S")
    names = (f"{DATA_NAME}.{stamp}" + (f".{n}" if n else "") for n in itertools.count())
    aside = next(path for each in names if not (path := data.with_name(each)).exists())
    if data.exists():
        data.rename(aside)
    return aside


def known_members(known: KnownServers, data_dir: Path) -> list[str]:
    """Names of the nodes that belong to it; by their folders where there is no record."""
    if known.endpoints is not None:
        return [node.name for node in known.endpoints.nodes]
    found = (data_dir / NODES_DIRECTORY).glob(f"*/{DATA_NAME}/*")
    return [NODE_NAME, *sorted({path.parents[1].name for path in found})]


def known_cluster(known: KnownServers, data_dir: Path) -> bool:
    """Whether it is a cluster, with a load balancer in front."""
    if known.endpoints is not None:
        return known.endpoints.balancer is not None
    return len(known_members(known, data_dir)) > 1


def planned_members(members: Sequence[str], nodes: int) -> list[str]:
    """Names of the nodes that there are, and of those that make them so many."""
    free = (name for i in itertools.count(2) if (name := f"{NODE_NAME}-{i}") not in members)
    return [*members, *itertools.islice(free, max(0, nodes - len(members)))]


def next_name(members: Sequence[str], data_dir: Path) -> str:
    """A name for one more node, which no folder of an earlier one has."""
    taken = {*members, *(path.name for path in (data_dir / NODES_DIRECTORY).glob("*"))}
    return next(n for i in range(2, len(taken) + 3) if (n := f"{NODE_NAME}-{i}") not in taken)


def refuse_other_engines_cluster(
    engine: EngineName, members: Sequence[str], data_dir: Path
) -> None:
    """See that nodes find each other where their data says: raft keeps the addresses of all.

    A single one finds itself anywhere.

    Raises:
        StackError: Another engine made this cluster; nothing was changed.
    """
    written = [
        node_directory(data_dir, name)
        for name in members
        if any((node_directory(data_dir, name) / DATA_NAME).glob("*"))
    ]
    if len(written) < 2:
        return
    others = {made for path in written if (made := _made_by(path)) not in {None, engine}}
    if others:
        other = str(others.pop())
        raise StackError(
            f"the nodes of this cluster know each other by addresses of the {other} engine, and "
            f"would not find each other in the {engine} engine",
            looked_at=", ".join(str(path / _CONFIGURATION) for path in written),
            remedy=f"HARNESS_ENGINE={other} {named('up')} goes on with it. To move it, there "
            f"{named('node.remove', 'NAME')} for all but {NODE_NAME}, {named('down')}; then here "
            f"{named('up')}, and {named('node.add')} for each",
        )


def _made_by(directory: Path) -> EngineName | None:
    """The engine that started the node of a folder last; None if nobody can tell."""
    with contextlib.suppress(OSError, ValueError, KeyError, TypeError, AttributeError):
        configuration = json.loads((directory / _CONFIGURATION).read_text())
        host = str(configuration["cluster_addr"]).rpartition("//")[2].rpartition(":")[0]
        return "process" if host == LOOPBACK else "docker"
    return None
