"""Operations on single nodes of a cluster in containers."""

from __future__ import annotations

import contextlib
import shutil
from functools import partial

from vault_harness import files
from vault_harness.errors import CapabilityMissing, named
from vault_harness.local.engine.docker.cutting import DockerCutting
from vault_harness.local.engine.docker.layout import Layout, service_of
from vault_harness.local.engine.docker.stack import STOP_SECONDS, dialect_of, wake
from vault_harness.local.engine.docker_client import connected
from vault_harness.local.engine.members import (
    known_cluster,
    known_members,
    next_name,
    node_directory,
)
from vault_harness.local.engine.product import check_product
from vault_harness.local.engine.provider import (
    BALANCER_NAME,
    NodeEndpoint,
    RecorderEndpoint,
    tls_files,
)


class DockerCluster(DockerCutting):
    """The stack in containers, with operations on single nodes."""

    def reload_vault(self) -> None:
        """Reload Vault, and HAProxy, which reads its certificate only at its start."""
        super().reload_vault()
        remembered, tls = self._memory.load(), tls_files(self._data_dir)
        if tls is None or tls.own(BALANCER_NAME) is None:
            return
        if not known_cluster(remembered, self._data_dir):
            return
        with connected() as client:
            present = self._containers(client)
        members = known_members(remembered, self._data_dir)
        layout = self._layout(remembered, present, members, balanced=True)
        self._write_project(layout, self._environment(remembered))
        self._lead_to(layout)

    def kill_node(self, name: str) -> list[str]:
        with connected() as client:
            found = [each for each in self._containers(client) if service_of(each) == name]
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
        with connected() as client:
            present = self._containers(client)
        environment = self._environment(remembered)
        left = [member for member in members if member != name]
        layout = self._layout(remembered, present, left, balanced=True)
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

    def _lead_to(self, layout: Layout) -> None:
        """Make the balancer read its configuration again; connections stay."""
        if not self._have_balancer_read():
            self.compose()("up", "-d", BALANCER_NAME)
        self._await_answers({BALANCER_NAME: layout.probes()[BALANCER_NAME]})
