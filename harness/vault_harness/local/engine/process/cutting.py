"""Cut a node of a cluster of processes off from the others."""

from __future__ import annotations

import contextlib
import sys

from vault_harness import files
from vault_harness.errors import CapabilityMissing, EngineError, HarnessError, StackError, named
from vault_harness.local.engine.members import known_members
from vault_harness.local.engine.process.launching import Launching
from vault_harness.local.engine.process.links import Cut
from vault_harness.local.engine.process.own_program import Relay
from vault_harness.local.engine.provider import RELAY_NAME, KnownServers


class Cutting(Launching):
    """Nodes that reach each other through a relay, which can close one node's routes.

    Processes share loopback, so only a relay can do it. Its folder marks a cluster as cuttable.
    """

    def make_cuttable(self) -> None:
        folder = self._directory(RELAY_NAME)
        if folder.is_dir():
            return
        if sys.platform != "linux":
            raise CapabilityMissing(
                "nodes that are processes can only be cut off on Linux",
                looked_at=f"the platform {sys.platform}, which hides who owns a connection",
                remedy=f"HARNESS_ENGINE=docker for a stack in another folder (HARNESS_DATA_DIR): "
                f"{named('up', '--ha')}",
            )
        record = self._memory.load()
        found = self._all_running(known_members(record, self._data_dir), record)
        running = [name for name, processes in found.items() if processes]
        if running:
            raise StackError(
                f"{', '.join(running)} run already, and reach each other directly",
                looked_at=str(self._data_dir),
                remedy=f"{named('down')}, then {named('up', '--ha', '--cuttable')}: the data stays",
            )
        files.private_directory(self._data_dir)
        files.private_directory(folder)

    def cut_node(self, name: str, *, hears: bool = False, is_heard: bool = False) -> None:
        relay = self._relay_of(self._memory.load())
        if relay is None and self._directory(RELAY_NAME).is_dir():
            raise EngineError(
                "the relay between the nodes does not run",
                looked_at=str(self._directory(RELAY_NAME)),
                remedy=f"{named('up')} starts another, and leaves the nodes as they are; "
                f"{named('logs', RELAY_NAME)} has its log",
            )
        if relay is None:
            raise CapabilityMissing(
                f"{name} cannot be cut off: the nodes of this cluster reach each other directly",
                looked_at=str(self._data_dir),
                remedy=f"{named('down')}, then {named('up', '--ha', '--cuttable')}: the data stays",
            )
        relay.shut(name, Cut(hears=hears, is_heard=is_heard))

    def join_node(self, name: str) -> bool:
        relay = self._relay_of(self._memory.load())
        if relay is None or name not in relay.state()["cut"]:
            return False
        relay.open(name)
        return True

    def cut_nodes(self) -> list[str]:
        with contextlib.suppress(HarnessError):
            record = self._memory.load()
            relay = self._relay_of(record)
            cut = sorted(relay.state()["cut"]) if relay is not None else []
            found = self._all_running(cut, record) if cut else {}
            return [name for name, processes in found.items() if processes]  # none without its node
        return []

    def _relay_of(self, record: KnownServers) -> Relay | None:
        # The port alone is not enough: another stack's nodes have the same names.
        known = record.services.get(RELAY_NAME, {})
        if "api" not in known or not self._running(RELAY_NAME, record):
            return None
        return Relay(str(known["api"]))
