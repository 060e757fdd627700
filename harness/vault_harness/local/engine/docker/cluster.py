"""The stack in containers: operations on single nodes, and the Vault that unseals it."""

from __future__ import annotations

import contextlib
import json
import shutil
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from vault_harness import files
from vault_harness.addresses import base_url
from vault_harness.errors import CapabilityMissing, EngineError, HarnessError, named
from vault_harness.local.dialect import Dialect
from vault_harness.local.engine.configuration import check_product
from vault_harness.local.engine.docker.compose import NETWORK
from vault_harness.local.engine.docker.engine import DockerEngine
from vault_harness.local.engine.docker.inside import API_PORT, CLUSTER_PORT, write_configuration
from vault_harness.local.engine.docker.labels import OwnerProcess
from vault_harness.local.engine.docker.layout import (
    HOLDER_FILE_NAME,
    Layout,
    folders,
    holder_text,
    published,
    service_of,
)
from vault_harness.local.engine.docker.stack import (
    ENV_FILE_NAME,
    STOP_SECONDS,
    DockerStack,
    dialect_of,
    user_of,
    wake,
)
from vault_harness.local.engine.docker.state import require
from vault_harness.local.engine.docker_client import connected
from vault_harness.local.engine.folders import run_directory
from vault_harness.local.engine.members import (
    known_cluster,
    known_members,
    next_name,
    node_directory,
)
from vault_harness.local.engine.ports import LOOPBACK, PortLease, listens, seal_status_url
from vault_harness.local.engine.provider import (
    BALANCER_NAME,
    HOLDER_NAME,
    Endpoints,
    KnownServers,
    NodeEndpoint,
    RecorderEndpoint,
    SealCheck,
    tls_files,
)
from vault_harness.local.engine.seal import SEAL_DIRECTORY, check_seal, holder_out_of_reach
from vault_harness.local.engine.shape import Engine, NodeSpec

_NOTE = "cut.json"
"""In a node's folder: its container's start, and the addresses it is cut off from."""

_GONE = "No such process"
"""The kernel's error for a missing route."""

_NO_PROGRAM = "executable file not found"
"""The engine's error for a missing program."""

_SECONDS = 30


class DockerCluster(DockerStack):
    """The stack in containers, with operations on single nodes, and the holder of its seal's key.

    The holder is a Vault and a service of the same project. No task leads clients to it.

    A node is cut off in its own network namespace: routes to the other nodes are made unreachable,
    which stops both directions. Balancer, Toxiproxy, key holder and this machine stay reachable.
    The routes end with the container, so nothing needs cleaning up.
    """

    # -- single nodes ------------------------------------------------------------------------------

    def reload_vault(self) -> None:
        """Reload Vault, and HAProxy, which reads its certificate only at its start."""
        super().reload_vault()
        remembered, tls = self._memory.load(), tls_files(self._data_dir)
        if tls is None or tls.own(BALANCER_NAME) is None:
            return
        if not known_cluster(remembered, self._data_dir):
            return
        layout = self._layout_now(remembered, known_members(remembered, self._data_dir))
        self._write_project(layout, self._environment(remembered))
        self._lead_to(layout)

    def kill_node(self, name: str) -> list[str]:
        with connected() as client:
            found = self._containers_of(client, name)
            alive = [each for each in found if each.status in {"running", "paused", "restarting"}]
            for container in alive:
                if container.status == "restarting":  # most of the time no process to kill
                    container.stop(timeout=int(STOP_SECONDS))
                    continue
                if container.status == "paused":
                    container.unpause()  # the engine cannot kill a paused container
                container.kill()
                container.wait(timeout=30)
        return [f"container {container.name}" for container in alive]

    def start_node(self, name: str) -> None:
        self._refuse_elsewhere()
        remembered = self._memory.load()
        self._check_told_again(balanced=True)
        with connected() as client:
            present = self._containers(client)
            for container in present:
                if service_of(container) == name:
                    wake(container)
        members = known_members(remembered, self._data_dir)
        layout = self._layout(remembered, present, members, balanced=True)
        self._write_node(layout, name, dialect_of(self._environment(remembered)))
        self.compose()("up", "-d", name)
        self._await_answers({name: layout.probes()[name]})
        self._cut_again()

    def add_node(self) -> NodeEndpoint:
        self._refuse_elsewhere()
        remembered = self._memory.load()
        members = known_members(remembered, self._data_dir)
        name = next_name(members, self._data_dir)
        self._check_told_again(balanced=True)
        with connected() as client:
            present = self._containers(client)
        environment = self._environment(remembered)
        before = self._layout(remembered, present, members, balanced=True)
        layout = self._layout(remembered, present, [*members, name], balanced=True)
        dialect = dialect_of(environment)
        check_product(
            files.private_directory(node_directory(self._data_dir, name)),
            dialect,
            looked_at=f"the image {environment['VAULT_IMAGE']}",
        )
        self._write_node(layout, name, dialect)
        try:
            self._write_project(layout, environment)
            self.compose()("up", "-d", name)
            self._await_answers({name: layout.probes()[name]})
            self._lead_to(layout)
            self._cut_again()
        except BaseException:
            undo = (
                partial(self._write_project, before, environment),
                partial(self._remove_container, name),
                partial(self._lead_to, before),
            )
            for step in undo:
                with contextlib.suppress(Exception):  # the first error counts; try every step
                    step()
            raise
        return self._remember(remembered, layout, environment).nodes[-1]

    def remove_node(self, name: str) -> list[str]:
        remembered = self._memory.load()
        members = known_members(remembered, self._data_dir)
        environment = self._environment(remembered)
        layout = self._layout_now(remembered, [member for member in members if member != name])
        self._write_project(layout, environment)
        self._lead_to(layout)
        self._remember(remembered, layout, environment)
        ended = self._remove_container(name)
        directory = node_directory(self._data_dir, name)
        shutil.rmtree(directory, ignore_errors=True)
        return [*ended, str(directory)]

    def start_recorder(self) -> RecorderEndpoint:
        raise CapabilityMissing(
            f"the {self.name} engine has no faults of single requests",
            looked_at="HARNESS_ENGINE",
            remedy="HARNESS_ENGINE=process for a stack in another folder (HARNESS_DATA_DIR); "
            f"{named('break.latency')}, {named('break.slow')} and {named('break.cut')} work here "
            "too",
        )

    def known_recorder(self) -> None:
        """Return None: none is ever started."""

    def stop_recorder(self) -> list[str]:
        return []

    def _layout_now(self, remembered: KnownServers, members: Sequence[str]) -> Layout:
        with connected() as client:
            present = self._containers(client)
        return self._layout(remembered, present, members, balanced=True)

    def _lead_to(self, layout: Layout) -> None:
        """Make the balancer read its configuration again; connections stay."""
        if not self._have_balancer_read():
            self.compose()("up", "-d", BALANCER_NAME)
        self._await_answers({BALANCER_NAME: layout.probes()[BALANCER_NAME]})

    # -- nodes that are cut off --------------------------------------------------------------------

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
            for container in self._containers_of(client, name):
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

    # -- the holder of the seal's key --------------------------------------------------------------

    def whose_server(self) -> tuple[Dialect, str]:
        with connected() as client:
            image, _ = require(client, self._settings)
        return image.dialect, f"the image {image.name}"

    def let_reach_holder(self, engine: Engine) -> None:
        if not isinstance(engine, DockerEngine):
            raise holder_out_of_reach(self.name, engine)
        with connected() as client:
            found = self._containers_of(client, HOLDER_NAME)
        if not found:
            raise EngineError(
                "the Vault that holds the key has no container",
                looked_at=f"the service {HOLDER_NAME} of {self.project}",
                remedy=f"{named('up')} starts it",
            )
        engine.admit(found[0].id, name=HOLDER_NAME)

    def start_holder(self) -> NodeEndpoint:
        remembered = self._memory.load()
        directory = files.private_directory(self._data_dir / HOLDER_NAME)
        with connected() as client:
            present = self._containers(client)
            images = self._images(client, balanced=False)
            dialect = dialect_of(images)
            check_product(directory, dialect, looked_at=f"the image {images['VAULT_IMAGE']}")
            environment = {**folders(self._data_dir, None), **images, **user_of(client)}
            before = [each for each in present if service_of(each) == HOLDER_NAME]
            for container in before:
                wake(container)
        holder = self._holder(present)
        # Only Vault talks to it, on a network that leads nowhere else.
        spec = NodeSpec(
            name=HOLDER_NAME, directory=directory, storage="raft", audit=False, detached=True
        )
        write_configuration(spec, dialect, address=holder.address, host=HOLDER_NAME)
        port = int(holder.address.rpartition(":")[2])
        self._keep_file(HOLDER_FILE_NAME, holder_text(self._data_dir, port))
        remembered.engine = self.name
        self._memory.save(remembered)
        try:
            self.compose(environment)("up", "-d", HOLDER_NAME)
            self._await_answers({HOLDER_NAME: seal_status_url(holder.address)})
        except BaseException:
            if not any(each.status != "exited" for each in before):
                with contextlib.suppress(HarnessError):
                    self._remove_container(HOLDER_NAME)
            raise
        return holder

    def check_seal(self, stanza: Mapping[str, Any]) -> SealCheck:
        with (
            run_directory() as directory,
            DockerEngine(self._settings, directory=directory / "engine") as engine,
        ):
            self.let_ask_cloud(engine)
            origin = f"the image {engine.vault_image.name}"
            return check_seal(stanza, engine.node, engine.dialect, origin)

    def let_ask_cloud(self, engine: Engine) -> None:
        if isinstance(engine, DockerEngine):
            engine.ask_cloud_as(self._data_dir / SEAL_DIRECTORY)

    def end_holder(self) -> list[str]:
        ended = self._remove_container(HOLDER_NAME)
        self._keep_file(HOLDER_FILE_NAME, None)
        if (self._data_dir / ENV_FILE_NAME).exists():
            self._write_env_file(self._environment(self._memory.load()))
        return ended

    def end_vault(self) -> list[str]:
        members = known_members(self._memory.load(), self._data_dir)
        with connected() as client:
            alive = [
                container
                for container in self._containers(client)
                if service_of(container) in members and container.status != "exited"
            ]
        if alive:
            self.compose()("stop", "--timeout", STOP_SECONDS, *map(service_of, alive))
        return [f"container {container.name}" for container in alive]

    def _holder(self, present: list[Any]) -> NodeEndpoint:
        """Return its address: where it runs, else its last port, else a free one."""
        port = published(present).get((HOLDER_NAME, API_PORT)) or self._port_before()
        if not port:
            lease = PortLease()
            port = lease.port
            lease.release()
        return NodeEndpoint(
            name=HOLDER_NAME,
            address=base_url(f"{LOOPBACK}:{port}"),
            proxy="",
            proxy_listen="",
            upstream=f"{HOLDER_NAME}:{API_PORT}",
            cluster=f"{HOLDER_NAME}:{CLUSTER_PORT}",
        )

    def _port_before(self) -> int:
        with contextlib.suppress(OSError, ValueError, KeyError, TypeError, IndexError):
            content = json.loads((self._data_dir / HOLDER_FILE_NAME).read_text())
            mapping = str(content["services"][HOLDER_NAME]["ports"][0])
            port = int(mapping.split(":")[1])
            return 0 if listens(port) else port
        return 0


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
