"""The relay between nodes as a child process that outlives this one, and how it is told things."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import requests

from vault_harness.commands import named
from vault_harness.engine._provider import RELAY_NAME
from vault_harness.engine.process._links import Cut
from vault_harness.engine.process._own_program import OwnProgram
from vault_harness.errors import EngineError

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


class ProcessRelay(OwnProgram):
    """A relay between the nodes of a cluster; see `CuttingProvider`.

    Args:
        directory: Created 0700.
        nodes: Those that it leads to at first, by name.
    """

    def __init__(self, *, directory: Path, nodes: Mapping[str, Led]) -> None:
        first = {name: asdict(node) for name, node in nodes.items()}
        super().__init__(RELAY_NAME, _PROGRAM, directory=directory, nodes=first)


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
        with requests.Session() as session:
            session.trust_env = False  # a proxy for the way out is not for a relay next door
            try:
                answer = session.request(verb, self._api + path, json=told, timeout=_SECONDS)
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
