"""A node of a cluster in containers cut off from the others; see `CuttingProvider`.

Each container has a network of its own, where routes to the other nodes can be made to lead
nowhere: what they send is not answered, and new connections in either direction do not come about.
The balancer, Toxiproxy, a key's holder and this machine are reached as before. The routes go with
the container's network when it ends, so nothing has to be cleaned up.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from vault_harness import files
from vault_harness.commands import named
from vault_harness.engine._members import known_members, node_directory
from vault_harness.engine._provider import Endpoints
from vault_harness.engine.docker._client import connected
from vault_harness.engine.docker._compose import NETWORK
from vault_harness.engine.docker._labels import Run
from vault_harness.engine.docker._layout import service_of
from vault_harness.engine.docker._sealing import DockerSealing
from vault_harness.errors import CapabilityMissing, EngineError

_NOTE = "cut.json"
"""In a node's folder: in which life of its container it was cut off, and from which addresses."""

_GONE = "No such process"
"""What is said of a route that is not there, by the kernel."""

_NO_PROGRAM = "executable file not found"
"""What the engine says of a program that is not there."""

_SECONDS = 30


class DockerCutting(DockerSealing):
    """The stack in containers, with nodes that are cut off from each other."""

    def make_cuttable(self) -> None:
        """Every container is."""

    def cut_node(self, name: str, *, hears: bool = False, is_heard: bool = False) -> None:
        """Let its routes to the others lead nowhere, also to those that came since."""
        if hears or is_heard:
            raise CapabilityMissing(
                f"{name} cannot be cut off in one direction alone",
                looked_at="the docker engine, where both or none is",
                remedy=f"cut both: {named('node.cut', name)}; or HARNESS_ENGINE=process for a "
                "stack in another folder (HARNESS_DATA_DIR)",
            )
        with connected() as client:
            container, others = self._of(client, name)
            addresses = sorted({*self._noted(name, container), *others})
            note = {"started": _life(container), "addresses": addresses}
            # First: whoever looks after a crash finds more than there is, and undoes it.
            files.write_private(self._note(name), json.dumps(note))
            try:
                for address in addresses:
                    _route(client, container, "replace", address)
            except CapabilityMissing:  # of no route at all
                self._note(name).unlink()
                raise

    def join_node(self, name: str) -> bool:
        """Take the routes away."""
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
        """By the notes, of which those of an earlier life of a container say nothing."""
        members = known_members(self._record_if_readable(), self._data_dir)
        if not any(self._note(name).exists() for name in members):
            return []
        try:
            with connected(timeout=5) as client:
                found = {service_of(each): each for each in self._containers(client)}
        except (EngineError, OSError):  # it does not answer, or not in time
            return []
        return [name for name in members if name in found and self._noted(name, found[name])]

    def start(self, *, nodes: int = 1) -> Endpoints:
        """Start what does not run; who was cut off stays so, also from those that came back."""
        endpoints = super().start(nodes=nodes)
        self._cut_again()
        return endpoints

    def _cut_again(self) -> None:
        """A container that was started anew may have another address."""
        for name in self.cut_nodes():
            self.cut_node(name)

    def _of(self, client: Any, name: str) -> tuple[Any, list[str]]:
        """The container of a node, and the addresses of the others."""
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
            if address:  # one that does not run has none
                yield str(address)

    def _note(self, name: str) -> Path:
        return node_directory(self._data_dir, name) / _NOTE

    def _noted(self, name: str, container: Any) -> list[str]:
        """From which addresses a node is cut off in this life of its container."""
        try:
            note = json.loads(self._note(name).read_text())
            same = note["started"] == _life(container)
            return [str(address) for address in note["addresses"]] if same else []
        except (OSError, ValueError, KeyError, TypeError):
            return []


def _life(container: Any) -> str:
    """Tells one start of a container from the next; its network is another one each time."""
    state = container.attrs["State"]
    return f"{container.id} {state['StartedAt']}" if state.get("Running") else ""


def _route(client: Any, node: Any, verb: str, address: str) -> None:
    """Make a route that leads nowhere, or take it away; either may be done already.

    By a container of its own in the node's network: the node's may do nothing to that.
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
            labels=Run().labels(kind="routes"),
            cap_drop=["ALL"],
            cap_add=["NET_ADMIN"],
            security_opt=["no-new-privileges:true"],
        )
        made.start()
        code, said = made.wait(timeout=_SECONDS)["StatusCode"], made.logs().decode().strip()
    except (APIError, OSError) as error:  # of requests too, where the engine does not answer
        code, said = -1, str(error)
    finally:
        if made is not None:
            with contextlib.suppress(APIError, OSError):
                made.remove(force=True, v=True)
    if _NO_PROGRAM in said:
        raise CapabilityMissing(
            f"the image of {node.name} has no program that changes its routes",
            looked_at=f"ip, in the image: {said}",
            remedy=f"the images of OpenBao and HashiCorp Vault have it; {named('images')} builds "
            f"one that has, where this machine has it (iproute2); {named('down')} and "
            f"{named('up')} then",
        )
    if code and not (verb == "del" and _GONE in said):
        raise EngineError(
            f"the routes of {node.name} could not be changed",
            looked_at=f"ip {' '.join(command)} in its network: {said}",
            remedy=f"{named('node.kill', 'NAME')} takes a node away from clients too, and needs no "
            "right to change networks",
        )
