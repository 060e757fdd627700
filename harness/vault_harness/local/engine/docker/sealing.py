"""The Vault that unseals a stack in containers."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Mapping
from typing import Any

from vault_harness import files
from vault_harness.addresses import base_url
from vault_harness.errors import EngineError, HarnessError, named
from vault_harness.local.dialect import Dialect
from vault_harness.local.engine.docker.engine import DockerEngine
from vault_harness.local.engine.docker.inside import API_PORT, CLUSTER_PORT, write_configuration
from vault_harness.local.engine.docker.layout import (
    HOLDER_FILE_NAME,
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
from vault_harness.local.engine.members import known_members
from vault_harness.local.engine.ports import LOOPBACK, PortLease, listens, seal_status_url
from vault_harness.local.engine.product import check_product
from vault_harness.local.engine.provider import HOLDER_NAME, NodeEndpoint, SealCheck
from vault_harness.local.engine.seal import SEAL_DIRECTORY, holder_out_of_reach
from vault_harness.local.engine.seal_check import check_seal
from vault_harness.local.engine.shape import Engine, NodeSpec


class DockerSealing(DockerStack):
    """The stack in containers, with the Vault that holds its seal's key.

    The holder is a service of the same project. No task leads clients to it.
    """

    def whose_server(self) -> tuple[Dialect, str]:
        with connected() as client:
            image, _ = require(client, self._settings)
        return image.dialect, f"the image {image.name}"

    def let_reach_holder(self, engine: Engine) -> None:
        if not isinstance(engine, DockerEngine):
            raise holder_out_of_reach(self.name, engine)
        with connected() as client:
            found = [each for each in self._containers(client) if service_of(each) == HOLDER_NAME]
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
        self._keep_file(HOLDER_FILE_NAME, holder_text(self._data_dir, _port_of(holder.address)))
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


def _port_of(address: str) -> int:
    return int(address.rpartition(":")[2])
