"""Programs of this package that run beside the servers."""

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
from vault_harness.errors import EngineError, named
from vault_harness.local.engine.ports import PortLease
from vault_harness.local.engine.process.links import Cut
from vault_harness.local.engine.process.places import configuration_name, log_name, title_of
from vault_harness.local.engine.process.server import Server
from vault_harness.local.engine.provider import RELAY_NAME
from vault_harness.settings import PACKAGE_ROOT


class OwnProgram:
    """A module that reads a configuration file and takes orders over HTTP.

    `told` is the configuration without addresses, as plain data.
    """

    def __init__(self, name: str, module: str, *, directory: Path, **told: Any) -> None:
        files.private_directory(directory)
        self._configuration = directory / configuration_name(name)
        self._told = told
        self._leases: list[PortLease] = []
        self.api = base_url(self._address("api"))
        # The package may be importable only from this process, as in a checkout under pytest.
        roots = [str(PACKAGE_ROOT), *filter(None, [os.environ.get("PYTHONPATH")])]
        self.server = Server(
            title=title_of(name),
            command=(sys.executable, "-P", "-m", module, "-config", str(self._configuration)),
            log=directory / log_name(name),
            probe=f"{self.api}/",
            environment={"PYTHONPATH": os.pathsep.join(roots)},
            detached=True,
        )

    def _address(self, key: str) -> str:
        """Reserve a free ``host:port`` and put it into the configuration."""
        lease = PortLease()
        self._leases.append(lease)
        self._told[key] = lease.listen
        return lease.listen

    def start(self, *, timeout: float) -> None:
        files.write_private(self._configuration, json.dumps(self._told))
        self.server.start(timeout=timeout)

    def close(self) -> None:
        """Release its ports; the process goes on."""
        for lease in self._leases:
            lease.release()


_PROGRAM = "vault_harness.local.engine.process.between_nodes"
_SECONDS = 15.0


@dataclass(frozen=True, kw_only=True)
class Led:
    """A node behind a relay.

    Attributes:
        configuration: The file on the node's command line.
        listen: ``host:port`` that other nodes know; empty for any.
        upstream: ``host:port`` of its listener; empty while it has none.
    """

    configuration: str
    listen: str = ""
    upstream: str = ""


class ProcessRelay(OwnProgram):
    """A relay between the nodes of a cluster."""

    def __init__(self, *, directory: Path, nodes: Mapping[str, Led]) -> None:
        first = {name: asdict(node) for name, node in nodes.items()}
        super().__init__(RELAY_NAME, _PROGRAM, directory=directory, nodes=first)


class Relay:
    """The client of a running relay.

    Raises `EngineError` if the relay refuses or does not answer.
    """

    def __init__(self, api: str) -> None:
        self._api = api

    def lead(self, name: str, led: Led) -> str:
        """Let the relay lead to a node; see `Links.lead`."""
        state = self._order("PUT", f"/nodes/{name}", asdict(led))
        return str(state["nodes"][name])

    def shut(self, name: str, cut: Cut) -> None:
        self._order("PUT", f"/cut/{name}", asdict(cut))

    def open(self, name: str) -> None:
        self._order("DELETE", f"/cut/{name}")

    def state(self) -> dict[str, Any]:
        """Return the state; see `between_nodes`."""
        return self._order("GET", "/")

    def _order(self, verb: str, path: str, told: Mapping[str, Any] | None = None) -> dict[str, Any]:
        with requests.Session() as session:
            session.trust_env = False  # a proxy for the internet must not get this request
            try:
                answer = session.request(verb, self._api + path, json=told, timeout=_SECONDS)
                content: dict[str, Any] = answer.json()
                said = str(content.get("error") or "")
                if not said and not {"nodes", "cut"} <= content.keys():
                    said = "the answer is not that of a relay"
            except (requests.RequestException, ValueError, AttributeError) as error:
                content, said = {}, type(error).__name__
        if said:
            raise EngineError(
                f"the relay between nodes refused an order: {said}",
                looked_at=self._api + path,
                remedy=f"{named('logs', RELAY_NAME)} has its log; {named('up')} starts another "
                "if it does not run",
            )
        return content
