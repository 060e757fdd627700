"""The relay between nodes as a detached process, and the client of its API."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import requests

from vault_harness.errors import EngineError, named
from vault_harness.local.engine.process.links import Cut
from vault_harness.local.engine.process.own_program import OwnProgram
from vault_harness.local.engine.provider import RELAY_NAME

_PROGRAM = "vault_harness.local.engine.process.between_nodes"
_SECONDS = 15.0


@dataclass(frozen=True, kw_only=True)
class Led:
    """A node behind a relay.

    Attributes:
        configuration: The file that the node's command line names.
        listen: ``host:port`` that other nodes know; empty for any.
        upstream: ``host:port`` of its listener for them; empty while it has none.
    """

    configuration: str
    listen: str = ""
    upstream: str = ""


class ProcessRelay(OwnProgram):
    """A relay between the nodes of a cluster; see `StackProvider`."""

    def __init__(self, *, directory: Path, nodes: Mapping[str, Led]) -> None:
        first = {name: asdict(node) for name, node in nodes.items()}
        super().__init__(RELAY_NAME, _PROGRAM, directory=directory, nodes=first)


class Relay:
    """The client of a running relay."""

    def __init__(self, api: str) -> None:
        self._api = api

    def lead(self, name: str, led: Led) -> str:
        """Let the relay lead to a node, and end a cut of that node.

        Returns ``host:port`` at which other nodes reach it. Raises `EngineError` if the relay
        refuses or does not answer.
        """
        state = self._order("PUT", f"/nodes/{name}", asdict(led))
        return str(state["nodes"][name])

    def shut(self, name: str, cut: Cut) -> None:
        """Cut a node off. Raises as `lead` does."""
        self._order("PUT", f"/cut/{name}", asdict(cut))

    def open(self, name: str) -> None:
        """Undo `shut`. Raises as `lead` does."""
        self._order("DELETE", f"/cut/{name}")

    def state(self) -> dict[str, Any]:
        """Return the relay's state; see `between_nodes`. Raises as `lead` does."""
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
