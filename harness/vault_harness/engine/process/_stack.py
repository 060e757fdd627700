"""The stack of ``invoke up`` as detached processes; see `vault_harness.engine.StackProvider`."""

from __future__ import annotations

import contextlib
import shutil
import signal
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from vault_harness.addresses import base_url
from vault_harness.commands import named
from vault_harness.dialect import Dialect
from vault_harness.engine._cloud_seal import SealCheck, with_cloud_seal
from vault_harness.engine._configuration import AUDIT_LOG_NAME, DATA_NAME
from vault_harness.engine._logs import follow as follow_file
from vault_harness.engine._logs import lines
from vault_harness.engine._members import planned_members, refuse_other_engines_cluster
from vault_harness.engine._ports import listens, port_taken
from vault_harness.engine._provider import (
    BALANCER_NAME,
    HOLDER_NAME,
    NODE_NAME,
    NODES_DIRECTORY,
    RECORDER_NAME,
    RELAY_NAME,
    Endpoints,
    KnownServers,
    NodeEndpoint,
    RecorderEndpoint,
    ServiceState,
    remove_directories,
    told_directories,
)
from vault_harness.engine._seal import holder_out_of_reach
from vault_harness.engine._seal_check import check_seal
from vault_harness.engine._shape import Engine, NodeSpec
from vault_harness.engine.process._cutting import Cutting
from vault_harness.engine.process._finding import recorded
from vault_harness.engine.process._node import ProcessNode
from vault_harness.engine.process._places import TOXIPROXY, title_of
from vault_harness.engine.process._replaced import data_was_replaced
from vault_harness.engine.process._spawn import DetachedProcess
from vault_harness.errors import HarnessError, StackError
from vault_harness.programs import find_vault


class ProcessStack(Cutting):
    """Vault and Toxiproxy as processes that belong to nobody, found again by pid and birth.

    Should the record be lost, they are found by their configuration file, which their command line
    names and which nobody else's would. A cluster is several of Vault, and HAProxy before them.
    """

    @property
    def audit_path(self) -> Path | None:
        """Vault's audit log, the first node's."""
        return self._directory(NODE_NAME) / AUDIT_LOG_NAME

    @property
    def audit_paths(self) -> dict[str, Path]:
        """The audit log of each node."""
        nodes = self._members(self._record_if_readable())
        return {name: self._directory(name) / AUDIT_LOG_NAME for name in nodes}

    @property
    def server_audit_path(self) -> str | None:
        """Its name in the directory that the server runs in; see `ProcessNode`."""
        return AUDIT_LOG_NAME

    def check_start(self, *, nodes: int = 1) -> None:
        """See that no port of the settings is somebody else's; one of ours is kept or ended.

        The folder must be no copy of one whose servers run.
        """
        record, settings = self._memory.load(), self._settings
        for name in self._names(record):
            self._refuse_another(name, record)
        balanced = nodes > 1 or self._is_cluster(record)
        if balanced and not self._is_cluster(record):
            self._refuse_running(record)
        for name, port, setting in (
            (BALANCER_NAME if balanced else NODE_NAME, settings.vault_port, "HARNESS_VAULT_PORT"),
            (TOXIPROXY, settings.toxiproxy_port, "HARNESS_TOXIPROXY_PORT"),
            (TOXIPROXY, settings.proxy_port, "HARNESS_PROXY_PORT"),
        ):
            if port and listens(port) and not self._running(name, record):
                raise port_taken(port, setting=setting)

    def start(self, *, nodes: int = 1) -> Endpoints:
        """Start what does not run, and wait until all servers answer."""
        record = self._memory.load()
        known = self._members(record)
        members = planned_members(known, nodes)
        refuse_other_engines_cluster(self.name, members, self._data_dir)
        balanced = nodes > 1 or self._is_cluster(record)
        if balanced and not self._is_cluster(record):
            self._refuse_running(record)
        started: list[str] = []
        try:
            between = [RELAY_NAME] if balanced and self._directory(RELAY_NAME).is_dir() else []
            behind = [BALANCER_NAME] if balanced else []
            for name in (*between, *members, *behind, TOXIPROXY):
                if not self._keep(name, record):
                    started.append(name)
                    self._launch(name, record, members if balanced else ())
            if RECORDER_NAME in record.services:
                self._keep(RECORDER_NAME, record)  # one that has died is not missed
            if balanced and members != known and BALANCER_NAME not in started:
                self._lead_to(record, members)  # it goes on, and knows of the others only
        except BaseException:
            self._end(started, record)
            self._memory.save(record)
            raise
        record.engine = self.name
        record.endpoints = self._endpoints(record, members)
        self._memory.save(record)
        return record.endpoints

    def whose_server(self) -> tuple[Dialect, str]:
        """Whose program would be run; see `SealingProvider`."""
        program = find_vault(self._settings)
        return program.dialect, f"{program.path} ({program.found})"

    def let_reach_holder(self, engine: Engine) -> None:
        """Processes reach it as it is, on loopback; see `SealingProvider`."""
        if engine.name != self.name:
            raise holder_out_of_reach(self, engine)

    def start_holder(self) -> NodeEndpoint:
        """Start the Vault that holds the seal's key; see `SealingProvider`."""
        record = self._memory.load()
        if not self._keep(HOLDER_NAME, record):
            self._launch(HOLDER_NAME, record)
        at, others = self._known(HOLDER_NAME, record)
        return NodeEndpoint(
            name=HOLDER_NAME,
            address=base_url(at),
            proxy="",
            proxy_listen="",
            upstream=at,
            cluster=others,
        )

    def end_holder(self) -> list[str]:
        """End the Vault that holds the seal's key; see `SealingProvider`."""
        return self._end_and_note([HOLDER_NAME])

    def end_vault(self) -> list[str]:
        """End Vault alone; see `SealingProvider`."""
        return self._end_and_note(self._members(self._memory.load()))

    def let_ask_cloud(self, engine: Engine) -> None:
        """Whoever starts a server has what it asks with; see `CloudSealingProvider`."""

    def check_seal(self, stanza: Mapping[str, Any]) -> SealCheck:
        """Have a server look at a stanza; see `CloudSealingProvider`."""
        program = find_vault(self._settings)

        def make(spec: NodeSpec) -> ProcessNode:
            spec = with_cloud_seal(spec, self._settings)
            return ProcessNode(spec, program, start_timeout=self._settings.start_timeout)

        return check_seal(stanza, make, program.dialect, str(program.path))

    def _end_and_note(self, names: Iterable[str]) -> list[str]:
        record = self._memory.load()
        ended = self._end(names, record)
        self._memory.save(record)
        return ended

    def _refuse_running(self, record: KnownServers) -> None:
        """A server that clients know by its own address cannot be put behind another one."""
        if found := self._running(NODE_NAME, record):
            raise StackError(
                "one server runs, and three with a load balancer are asked for",
                looked_at=f"{self._data_dir}; pid {found[0].pid}",
                remedy=f"{named('down')}, then {named('up', '--ha')}: its data stays, and the "
                "other nodes get it",
            )

    def stop(self) -> list[str]:
        """End all servers, and whatever a crashed start left; keep the data."""
        record = self._record_if_readable()
        ended = self._end(self._all_names(record), record)
        if record.engine is not None:
            # A full disk must not keep servers alive. The old record names processes that are
            # gone, and which nobody takes for others.
            with contextlib.suppress(OSError):
                self._memory.save(record)
        return ended

    def _record_if_readable(self) -> KnownServers:
        try:
            return self._memory.load()
        except HarnessError:
            return KnownServers()  # the servers are found by their command lines

    def restart_vault(self) -> None:
        """End Vault politely and start it again at the same address; all nodes of a cluster."""
        record = self._memory.load()
        nodes = self._members(record)
        self._end(nodes, record)
        try:
            for name in nodes:
                self._launch(name, record, nodes if self._is_cluster(record) else ())
        finally:
            self._memory.save(record)

    def reload_vault(self) -> None:
        """Send SIGHUP to each Vault that runs, and to a recorder that shows the same.

        HAProxy reads what it shows to them when it starts, so another one takes its place.
        """
        record = self._memory.load()
        running = self._all_running((*self._members(record), RECORDER_NAME), record)
        for processes in running.values():
            for process in processes:
                process.signal(signal.SIGHUP)
        balancer = recorded(BALANCER_NAME, record, self._configuration(BALANCER_NAME))
        if self._own(BALANCER_NAME) is not None and balancer is not None and balancer.alive():
            self._lead_to(record, self._members(record))

    # -- the HTTP recorder ------------------------------------------------------------------------

    def start_recorder(self) -> RecorderEndpoint:
        """Start it, or keep it."""
        record = self._memory.load()
        if not self._keep(RECORDER_NAME, record):
            self._launch(RECORDER_NAME, record)
        found = self.known_recorder()
        assert found is not None  # it was just noted
        return found

    def known_recorder(self) -> RecorderEndpoint | None:
        """By the record."""
        known = self._record_if_readable().services.get(RECORDER_NAME)
        if known is None:
            return None
        return RecorderEndpoint(listen=str(known["listen"]), api=str(known["api"]))

    def stop_recorder(self) -> list[str]:
        """End it, one too that nobody knows."""
        record = self._memory.load()
        known = RECORDER_NAME in record.services
        ended = self._end([RECORDER_NAME], record)
        if known:  # else there is nothing to note, which a full disk would refuse
            self._memory.save(record)
        return ended

    # -- the nodes of a cluster -------------------------------------------------------------------

    def kill_node(self, name: str) -> list[str]:
        """End a node by SIGKILL."""
        record = self._memory.load()
        found = self._running(name, record)
        for process in found:
            process.kill()
        record.services.pop(name, None)
        self._memory.save(record)
        return [f"{title_of(name)} (pid {process.pid})" for process in found]

    def start_node(self, name: str) -> None:
        """Start a node that does not run."""
        record = self._memory.load()
        if not self._keep(name, record):
            self._launch(name, record, self._members(record))

    def add_node(self) -> NodeEndpoint:
        """Start one more node."""
        record = self._memory.load()
        members = self._members(record)
        taken = {*members, *(path.name for path in (self._data_dir / NODES_DIRECTORY).glob("*"))}
        name = next(n for i in range(2, len(taken) + 3) if (n := f"{NODE_NAME}-{i}") not in taken)
        try:
            self._launch(name, record, members)
            self._lead_to(record, [*members, name])
        except BaseException:
            self._end([name], record)
            self._memory.save(record)
            raise
        assert record.endpoints is not None  # just made
        return record.endpoints.nodes[-1]

    def remove_node(self, name: str) -> list[str]:
        """End a node, and delete its folder."""
        record = self._memory.load()
        self._lead_to(record, [member for member in self._members(record) if member != name])
        ended = self._end([name], record)
        self._memory.save(record)
        shutil.rmtree(self._directory(name), ignore_errors=True)
        return [*ended, str(self._directory(name))]

    def _lead_to(self, record: KnownServers, members: list[str]) -> None:
        """Let the balancer know these nodes, and the record too."""
        before = recorded(BALANCER_NAME, record, self._configuration(BALANCER_NAME))
        alive = before.pid if before is not None and before.alive() else None
        server = self._balancer(record, members, instead_of=alive)
        process = server.process
        assert isinstance(process, DetachedProcess)  # it was just started
        record.services[BALANCER_NAME] |= {
            "pid": process.pid,
            "born": process.born,
            "probe": server.probe,
        }
        record.endpoints = self._endpoints(record, members)
        self._memory.save(record)

    def destroy(self) -> list[str]:
        """Stop, and delete Vault's data, logs and configuration."""
        return self.stop() + remove_directories(self._data_dir)

    def belongings(self) -> list[str]:
        """Servers that run, and the directories of both."""
        record = self._record_if_readable()
        return [
            *(
                f"{title_of(name)} (pid {process.pid})"
                for name, processes in self._all_running(self._all_names(record), record).items()
                for process in processes
            ),
            *told_directories(self._data_dir),
        ]

    def describe(self) -> list[ServiceState]:
        """Each server's state."""
        record = self._record_if_readable()
        states = []
        names, members = self._names(record), self._members(record)
        for name, found in self._all_running(self._all_names(record), record).items():
            if name not in names and not found:
                continue  # nobody misses it
            states.append(
                ServiceState(
                    name=name,
                    running=bool(found),
                    paused=any(process.paused() for process in found),
                    detail=", ".join(f"pid {process.pid}" for process in found),
                    node=name in members,
                    aside=name in {HOLDER_NAME, RECORDER_NAME},
                    replaced=name in {*members, HOLDER_NAME}
                    and any(self._lost_its_data(name, process) for process in found),
                )
            )
        return states

    def _lost_its_data(self, name: str, process: DetachedProcess) -> bool:
        return data_was_replaced(process.pid, self._directory(name) / DATA_NAME)

    def log_names(self) -> list[str]:
        """Each server's name, and ``audit``."""
        return [*self._names(self._record_if_readable()), "audit"]

    def logs(self, name: str, *, tail: int | None = None, follow: bool = False) -> Iterator[str]:
        """Lines of a log."""
        path = self._log_path(name)
        yield from lines(path, tail=tail)
        if follow:
            yield from follow_file(path)
