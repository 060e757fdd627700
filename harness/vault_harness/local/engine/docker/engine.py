"""The docker engine: containers on a private network for each run."""

from __future__ import annotations

import contextlib
import re
import shutil
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Literal

from vault_harness import files
from vault_harness.closable import Closable
from vault_harness.errors import CapabilityMissing, ProgramMissing, named
from vault_harness.local.dialect import Dialect
from vault_harness.local.engine.docker.cloud import told
from vault_harness.local.engine.docker.compose import find_compose
from vault_harness.local.engine.docker.container import Container, Order
from vault_harness.local.engine.docker.inside import (
    API_PORT,
    CONFIGURATION_NAME,
    INSIDE,
    container_user,
    seal_files,
    seal_of,
)
from vault_harness.local.engine.docker.labels import OwnerProcess, remove_run, sweep
from vault_harness.local.engine.docker.network import DockerToxiproxy, PrivateNetwork
from vault_harness.local.engine.docker.node import DockerNode, Surroundings
from vault_harness.local.engine.docker.reaper import Reaper, start_ryuk_if_present
from vault_harness.local.engine.docker.state import (
    DockerState,
    DockerStatus,
    inspect_docker,
    require,
)
from vault_harness.local.engine.docker_client import connect
from vault_harness.local.engine.seal import with_cloud_seal
from vault_harness.local.engine.shape import (
    IN_CONTAINERS,
    IN_CONTAINERS_ELSEWHERE,
    Capability,
    EngineName,
    NodeSpec,
)
from vault_harness.settings import Settings

__all__ = ["DockerEngine", "DockerState", "DockerStatus", "docker_state", "inspect_docker"]


def docker_state(settings: Settings, *, lasting: bool = False) -> str | None:
    """Return why docker cannot be used here; None if it can, perhaps after a pull.

    A `lasting` stack needs Compose too.
    """
    state = inspect_docker(settings)
    if state.usable and lasting:
        try:
            find_compose()
        except ProgramMissing as error:
            return error.cause
    return None if state.usable else state.line


class DockerEngine(Closable):
    """Runs servers in containers and removes them at the end; see `Engine`.

    `close` removes by label. After ``kill -9``, a watcher process does it, and Ryuk if its image is
    present. After a power failure, the next start or ``invoke down`` does it.
    """

    def __init__(self, settings: Settings, *, directory: Path, outward: bool = True) -> None:
        """Connect. Without `outward`, servers reach only each other and this machine."""
        self.settings = settings
        self._directory = files.private_directory(directory)
        self._lock = threading.Lock()
        self._count = 0
        self._nodes: list[DockerNode] = []
        self._closed = False
        self._access_keys: Path | None = None
        self._client = connect()
        with contextlib.ExitStack() as undo:
            undo.callback(self._client.close)
            self.vault_image, self.toxiproxy_image = require(self._client, settings)
            start_ryuk_if_present(self._client)
            self.swept = sweep(self._client)
            self._user = container_user(self._client)
            self.run = OwnerProcess()
            self._reaper = Reaper(self.run)
            undo.callback(self._reaper.dismiss)
            self.network = PrivateNetwork(self._client, self.run, outward=outward)
            undo.pop_all()
        self.choice = (
            f"docker: {self.vault_image.dialect.title} ({self.vault_image}), "
            f"Toxiproxy ({self.toxiproxy_image})"
        )

    @property
    def name(self) -> EngineName:
        return "docker"

    @property
    def capabilities(self) -> frozenset[Capability]:
        return IN_CONTAINERS if self.network.is_local else IN_CONTAINERS_ELSEWHERE

    @property
    def dialect(self) -> Dialect:
        return self.vault_image.dialect

    def node(self, spec: NodeSpec) -> DockerNode:
        if spec.detached:
            raise _no_detached()
        name = self._unique(spec.name)
        spec = with_cloud_seal(spec, self.settings)
        node = DockerNode(
            spec,
            self.vault_image.dialect,
            make=lambda spec, port: self._vault_container(name, spec, port),
            upstream_host=name,
            around=Surroundings(
                translate=self._translate,
                start_timeout=self.settings.start_timeout,
                shares_files=self.network.is_local,
            ),
        )
        with self._lock:
            self._nodes.append(node)
        return node

    def toxiproxy(
        self, *, seed: int | None = None, port: int = 0, detached: bool = False
    ) -> DockerToxiproxy:
        if detached:
            raise _no_detached()
        name = self._unique("toxiproxy")
        flavour: Literal["embedded", "real"] = (
            "embedded" if self.toxiproxy_image.flavour == "embedded" else "real"
        )
        return DockerToxiproxy(
            flavour=flavour,
            make=lambda publish, arguments: Container(
                self._client,
                Order(
                    image=self.toxiproxy_image.name,
                    name=name,
                    network=self.network.name,
                    labels=self.run.labels(kind="toxiproxy"),
                    knows_host=not self.network.is_local,
                    command=arguments,
                    publish=publish,
                ),
            ),
            network=self.network,
            seed=seed,
            port=port,
            start_timeout=self.settings.start_timeout,
        )

    def reachable_from_toxiproxy(self, port: int) -> str:
        return self.network.reachable(port)

    def bind_host(self) -> str:
        return self.network.bind_host()

    def admit(self, container: str, *, name: str) -> None:
        """Put another owner's container, by id, on the run's network."""
        self.network.admit(container, name=name)

    def ask_cloud_as(self, directory: Path) -> None:
        """Let nodes that are made later use the access keys kept in a folder, if any.

        Credentials in the environment come first.
        """
        self._access_keys = directory

    def close(self) -> None:
        with self._lock:
            if self._closed:
                return
            self._closed = True
        # In parallel: each takes 0.3 s.
        with ThreadPoolExecutor(max_workers=8) as pool:
            list(pool.map(DockerNode.close, self._nodes))
        remove_run(self._client, self.run.name)
        self.network.remove()
        self._client.close()
        self._reaper.dismiss()

    def remove(self) -> None:
        self.close()
        shutil.rmtree(self._directory, ignore_errors=True)

    def _unique(self, name: str) -> str:
        with self._lock:
            self._count += 1
            # Also a host name: letters, digits and hyphens.
            plain = re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")[:30]
            return f"vault-harness-{self.run.name}-{self._count}-{plain}"

    def _translate(self, address: str) -> str:
        with self._lock:
            known = {node.address: node.inner_address for node in self._nodes}
        return known.get(address.rstrip("/"), address)

    def _vault_container(self, name: str, spec: NodeSpec, port: int) -> Container:
        cloud = told(spec, self._directory / "cloud", kept=self._access_keys)
        return Container(
            self._client,
            Order(
                image=self.vault_image.name,
                name=name,
                network=self.network.name,
                labels=self.run.labels(kind="vault", node=spec.name),
                # The images' entry points change the owner of mounted directories and switch users.
                # This server runs as the owner from the start.
                entrypoint=[self.vault_image.dialect.program],
                working_dir=INSIDE,
                command=["server", f"-config={INSIDE}/{CONFIGURATION_NAME}"],
                publish={API_PORT: port},
                mounts={spec.directory.absolute(): INSIDE},
                files={**seal_files(seal_of(spec)), **cloud.files},
                user=self._user,
                # A plugin needs a temporary folder for its socket, which an image may lack.
                environment={"HOME": INSIDE, "TMPDIR": INSIDE, **cloud.environment()},
            ),
        )


def _no_detached() -> CapabilityMissing:
    return CapabilityMissing(
        "containers of a run end with it",
        looked_at="the docker engine",
        remedy=f"use `{named('up')}`, which brings up a lasting stack through compose",
    )
