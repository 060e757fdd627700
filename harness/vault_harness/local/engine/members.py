"""The nodes of a stack, and the addresses under which its data knows them."""

from __future__ import annotations

import contextlib
import itertools
import json
import time
from collections.abc import Iterable, Sequence
from pathlib import Path

from vault_harness import files
from vault_harness.errors import StackError, named
from vault_harness.local.engine.configuration import DATA_NAME
from vault_harness.local.engine.ports import LOOPBACK
from vault_harness.local.engine.provider import NODE_NAME, NODES_DIRECTORY, KnownServers
from vault_harness.local.engine.shape import EngineName

_CONFIGURATION = "vault.json"


def node_directory(data_dir: Path, name: str) -> Path:
    """Return a node's folder; the first node has that of a single server."""
    return data_dir / name if name == NODE_NAME else data_dir / NODES_DIRECTORY / name


def check_room(data_dir: Path, names: Iterable[str]) -> None:
    """Check that nodes have room to start again, before they are stopped."""
    places = (data_dir, *(node_directory(data_dir, name) for name in names))
    for directory in filter(Path.is_dir, places):  # a node without a folder gets a new one
        try:
            files.check_room(directory)
        except OSError as error:
            raise StackError(
                f"Vault could not start again, so it was not ended: {error.strerror}",
                looked_at=str(directory),
                remedy="make that directory's disk writable, with room for a megabyte, and run it "
                "again",
            ) from None


def put_data_aside(data_dir: Path, name: str) -> Path:
    data = node_directory(data_dir, name) / DATA_NAME
    stamp = time.strftime("%Y%m%d-%H%M%S")
    names = (f"{DATA_NAME}.{stamp}" + (f".{n}" if n else "") for n in itertools.count())
    aside = next(path for each in names if not (path := data.with_name(each)).exists())
    if data.exists():
        data.rename(aside)
    return aside


def known_members(known: KnownServers, data_dir: Path) -> list[str]:
    """Return the nodes' names, from the folders if there is no record."""
    if known.endpoints is not None:
        return [node.name for node in known.endpoints.nodes]
    found = (data_dir / NODES_DIRECTORY).glob(f"*/{DATA_NAME}/*")
    return [NODE_NAME, *sorted({path.parents[1].name for path in found})]


def known_cluster(known: KnownServers, data_dir: Path) -> bool:
    if known.endpoints is not None:
        return known.endpoints.balancer is not None
    return len(known_members(known, data_dir)) > 1


def planned_members(members: Sequence[str], nodes: int) -> list[str]:
    """Return the existing names, plus new ones up to `nodes`."""
    free = (name for i in itertools.count(2) if (name := f"{NODE_NAME}-{i}") not in members)
    return [*members, *itertools.islice(free, max(0, nodes - len(members)))]


def next_name(members: Sequence[str], data_dir: Path) -> str:
    """Return an unused name; folders of earlier nodes count as used."""
    taken = {*members, *(path.name for path in (data_dir / NODES_DIRECTORY).glob("*"))}
    return next(n for i in range(2, len(taken) + 3) if (n := f"{NODE_NAME}-{i}") not in taken)


def refuse_other_engines_cluster(
    engine: EngineName, members: Sequence[str], data_dir: Path
) -> None:
    """Refuse a cluster that another engine made.

    Raft stores the addresses of all nodes, which differ between engines. A single node starts
    anywhere.
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
    with contextlib.suppress(OSError, ValueError, KeyError, TypeError, AttributeError):
        configuration = json.loads((directory / _CONFIGURATION).read_text())
        host = str(configuration["cluster_addr"]).rpartition("//")[2].rpartition(":")[0]
        return "process" if host == LOOPBACK else "docker"
    return None
