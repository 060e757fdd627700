"""The relay between nodes as a child process that outlives this one, and how it is told things."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import requests

from vault_harness import files
from vault_harness.addresses import base_url
from vault_harness.commands import named
from vault_harness.engine._ports import PortLease
from vault_harness.engine._provider import RELAY_NAME
from vault_harness.engine.process._links import Cut
from vault_harness.engine.process._server import Server
from vault_harness.errors import EngineError
from vault_harness.settings import PACKAGE_ROOT

CONFIGURATION_NAME = "relay.json"
"""Its name on the command line marks the process as ours."""

LOG_NAME = "relay.log"

_PROGRAM = "vault_harness.engine.process.between_nodes"
_SECONDS = 15.0


@dataclass(frozen=True, kw_only=True)
class Led:
    """A node that a relay leads to.

    Attributes:
        configuration: The file that the node's command line names.
        listen: ``host:port`` by which other nodes know it; empty for any.
        upstream: ``host:port`` of its listener for them; empty while it has none.
    """

    configuration: str
    listen: str = ""
    upstream: str = ""


class ProcessRelay:
    """A relay between the nodes of a cluster; see `CuttingProvider`.

    Args:
        directory: Created 0700.
        nodes: Those that it leads to at first, by name.
    """

    def __init__(self, *, directory: Path, nodes: Mapping[str, Led]) -> None:
        files.private_directory(directory)
        self._lease = PortLease()
        self.api = base_url(self._lease.listen)
        self._configuration = directory / CONFIGURATION_NAME
        self._told = {
            "api": self._lease.listen,
            "nodes": {name: asdict(node) for name, node in nodes.items()},
        }
        # Also where the package is only on this process's path, as in a checkout under pytest.
        roots = [str(PACKAGE_ROOT), *filter(None, [os.environ.get("PYTHONPATH")])]
        self.server = Server(
            title="the relay between nodes",
            command=(sys.executable, "-m", _PROGRAM, "-config", str(self._configuration)),
            log=directory / LOG_NAME,
            probe=f"{self.api}/",
            environment={"PYTHONPATH": os.pathsep.join(roots)},
            detached=True,
        )

    def start(self, *, timeout: float) -> None:
        """Start it and wait until it answers."""
        files.write_private(self._configuration, json.dumps(self._told))
        self.server.start(timeout=timeout)

    def close(self) -> None:
        """Give its port back to it; it runs on."""
        self._lease.release()


class Relay:
    """A relay that runs.

    Args:
        api: Base URL at which it takes orders.
    """

    def __init__(self, api: str) -> None:
        self._api = api

    def lead(self, name: str, led: Led) -> str:
        """Have it lead to a node; a cut of that one is over.

        Returns:
            ``host:port`` by which other nodes know it.

        Raises:
            EngineError: It cannot, or does not answer.
        """
        state = self._order("PUT", f"/nodes/{name}", asdict(led))
        return str(state["nodes"][name])

    def shut(self, name: str, cut: Cut) -> None:
        """Cut a node off.

        Raises:
            EngineError: As `lead`.
        """
        self._order("PUT", f"/cut/{name}", asdict(cut))

    def open(self, name: str) -> None:
        """Undo it.

        Raises:
            EngineError: As `lead`.
        """
        self._order("DELETE", f"/cut/{name}")

    def state(self) -> dict[str, Any]:
        """What it does; see `between_nodes`.

        Raises:
            EngineError: As `lead`.
        """
        return self._order("GET", "/")

    def _order(self, verb: str, path: str, told: Mapping[str, Any] | None = None) -> dict[str, Any]:
        try:
            answer = requests.request(verb, self._api + path, json=told, timeout=_SECONDS)
            content: dict[str, Any] = answer.json()
            said = str(content.get("error") or "")
            if not said and not {"nodes", "cut"} <= content.keys():
                said = "the answer is not a relay's"
        except (requests.RequestException, ValueError, AttributeError) as error:
            content, said = {}, type(error).__name__
        if said:
            raise EngineError(
                f"the relay between nodes took no order: {said}",
                looked_at=self._api + path,
                remedy=f"{named('logs', RELAY_NAME)} has its log; {named('up')} starts another "
                "where it does not run",
            )
        return content
