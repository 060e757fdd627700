"""Cut a node of a cluster in containers off from the others.

In the node's own network namespace, routes to the other nodes are made unreachable, which stops
both directions. Balancer, Toxiproxy, key holder and this machine stay reachable. The routes end
with the container, so nothing needs cleaning up.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from vault_harness import files
from vault_harness.errors import CapabilityMissing, EngineError, named
from vault_harness.local.engine.docker.compose import NETWORK
from vault_harness.local.engine.docker.labels import OwnerProcess
from vault_harness.local.engine.docker.layout import service_of
from vault_harness.local.engine.docker.sealing import DockerSealing
from vault_harness.local.engine.docker_client import connected
from vault_harness.local.engine.members import known_members, node_directory
from vault_harness.local.engine.provider import Endpoints

_NOTE = "cut.json"
"""In a node's folder: its container's start, and the addresses it is cut off from."""

_GONE = "No such process"
"""The kernel's error for a missing route."""

_NO_PROGRAM = "executable file not found"
"""The engine's error for a missing program."""

_SECONDS = 30


class DockerCutting(DockerSealing):
    """The stack in containers, with nodes that can be cut off."""

    def make_cuttable(self) -> None:
        """Do nothing: every container can be cut off."""

    def cut_node(self, name: str, *, hears: bool = False, is_heard: bool = False) -> None:
        if hears or is_heard:
            raise CapabilityMissing(
                f"{name} cannot be cut off in only one direction",
                looked_at="the docker engine, which cuts both directions or none",
                remedy=f"cut both: {named('node.cut', name)}; or HARNESS_ENGINE=process for a "
                "stack in another folder (HARNESS_DATA_DIR)",
            )
        with connected() as client:
            container, others = self._of(client, name)
            addresses = sorted({*self._noted(name, container), *others})
            note = {"started": _life(container), "addresses": addresses}
            # Noted first: after a crash, join_node may undo too much, never too little.
            files.write_private(self._note(name), json.dumps(note))
            try:
                for address in addresses:
                    _route(client, container, "replace", address)
            except CapabilityMissing:  # no route was changed
                self._note(name).unlink()
                raise

    def join_node(self, name: str) -> bool:
        addresses: list[str] = []
        with connected() as client:
            for container in self._containers(client):
                if service_of(container) == name:
                    addresses = self._noted(name, container)
                    for address in addresses:
                        _route(client, container, "del", address)
        self._note(name).unlink(missing_ok=True)
        return bool(addresses)

    def cut_nodes(self) -> list[str]:
        """Return the nodes with a note of their container's present start."""
        members = known_members(self._record_if_readable(), self._data_dir)
        if not any(self._note(name).exists() for name in members):
            return []
        try:
            with connected(timeout=5) as client:
                found = {service_of(each): each for each in self._containers(client)}
        except (EngineError, OSError):  # no answer, or not in time
            return []
        return [name for name in members if name in found and self._noted(name, found[name])]

    def start(self, *, nodes: int = 1) -> Endpoints:
        endpoints = super().start(nodes=nodes)
        self._cut_again()
        return endpoints

    def _cut_again(self) -> None:
        """Repeat all cuts: a restarted container may have another address."""
        for name in self.cut_nodes():
            self.cut_node(name)

    def _of(self, client: Any, name: str) -> tuple[Any, list[str]]:
        members = known_members(self._record_if_readable(), self._data_dir)
        present = {service_of(each): each for each in self._containers(client)}
        if name not in present:
            raise EngineError(
                f"{name} has no container",
                looked_at=f"the containers of {self.project}",
                remedy=named("up"),
            )
        others = [present[each] for each in members if each != name and each in present]
        return present[name], list(self._addresses(others))

    def _addresses(self, containers: Sequence[Any]) -> Iterator[str]:
        for container in containers:
            networks = container.attrs["NetworkSettings"]["Networks"]
            address = (networks.get(f"{self.project}_{NETWORK}") or {}).get("IPAddress")
            if address:  # a stopped container has none
                yield str(address)

    def _note(self, name: str) -> Path:
        return node_directory(self._data_dir, name) / _NOTE

    def _noted(self, name: str, container: Any) -> list[str]:
        """Return what a node is cut off from since its container started."""
        try:
            note = json.loads(self._note(name).read_text())
            same = note["started"] == _life(container)
            return [str(address) for address in note["addresses"]] if same else []
        except (OSError, ValueError, KeyError, TypeError):
            return []


def _life(container: Any) -> str:
    """Return a text that differs for each start, which also renews the network."""
    state = container.attrs["State"]
    return f"{container.id} {state['StartedAt']}" if state.get("Running") else ""


def _route(client: Any, node: Any, verb: str, address: str) -> None:
    """Add or remove an unreachable route; repeating is harmless.

    A helper container in the node's network does it: the node itself may not change routes.
    """
    from docker.errors import APIError

    command = ["route", verb, "unreachable", f"{address}/32"]
    made = None
    try:
        made = client.containers.create(
            node.attrs["Image"],
            command,
            entrypoint=["ip"],
            user="0",
            network_mode=f"container:{node.id}",
            labels=OwnerProcess().labels(kind="routes"),
            cap_drop=["ALL"],
            cap_add=["NET_ADMIN"],
            security_opt=["no-new-privileges:true"],
        )
        made.start()
        code, said = made.wait(timeout=_SECONDS)["StatusCode"], made.logs().decode().strip()
    except (APIError, OSError) as error:  # OSError includes those of requests
        code, said = -1, str(error)
    finally:
        if made is not None:
            with contextlib.suppress(APIError, OSError):
                made.remove(force=True, v=True)
    if _NO_PROGRAM in said:
        raise CapabilityMissing(
            f"the image of {node.name} has no program that changes its routes",
            looked_at=f"ip, in the image: {said}",
            remedy=f"use an image of OpenBao or HashiCorp Vault, or build one with "
            f"{named('images')} on a machine with ip (iproute2); then {named('down')} and "
            f"{named('up')} again",
        )
    if code and not (verb == "del" and _GONE in said):
        raise EngineError(
            f"the routes of {node.name} could not be changed",
            looked_at=f"ip {' '.join(command)} in its network: {said}",
            remedy=f"{named('node.kill', 'NAME')} takes a node away from clients too, and needs no "
            "right to change networks",
        )
