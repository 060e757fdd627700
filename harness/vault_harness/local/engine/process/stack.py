"""The stack of ``invoke up`` as detached processes; see `StackProvider`."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import sys
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from vault_harness import files
from vault_harness.addresses import base_url
from vault_harness.errors import CapabilityMissing, EngineError, HarnessError, StackError, named
from vault_harness.local.dialect import Dialect
from vault_harness.local.engine.configuration import AUDIT_LOG_NAME, DATA_NAME
from vault_harness.local.engine.logs import follow as follow_file
from vault_harness.local.engine.logs import lines
from vault_harness.local.engine.members import (
    check_room,
    known_cluster,
    known_members,
    next_name,
    planned_members,
    refuse_other_engines_cluster,
)
from vault_harness.local.engine.ports import listens, port_taken
from vault_harness.local.engine.process.finding import recorded
from vault_harness.local.engine.process.launching import Launching
from vault_harness.local.engine.process.links import Cut
from vault_harness.local.engine.process.node import ProcessNode
from vault_harness.local.engine.process.own_program import Relay
from vault_harness.local.engine.process.places import TOXIPROXY, title_of
from vault_harness.local.engine.process.services import ServiceProcesses
from vault_harness.local.engine.process.spawn import DetachedProcess
from vault_harness.local.engine.provider import (
    BALANCER_NAME,
    HOLDER_NAME,
    NODE_NAME,
    RECORDER_NAME,
    RELAY_NAME,
    Endpoints,
    KnownServers,
    NodeEndpoint,
    RecorderEndpoint,
    SealCheck,
    ServiceState,
    known_directories,
    remove_directories,
)
from vault_harness.local.engine.seal import check_seal, holder_out_of_reach, with_cloud_seal
from vault_harness.local.engine.shape import Engine, NodeSpec
from vault_harness.local.programs import find_vault

_DATABASES = "*.db"
"""A raft server keeps these files open from start to end, sealed or not."""


def data_was_replaced(pid: int, data: Path) -> bool:
    """Return whether the files that a server has open were replaced, such as by an older copy.

    Such a server goes on with deleted files. Its data is lost when it ends. False also if it has no
    such files open, if the folder is empty, and if nobody can tell: only Linux shows a process's
    open files, and only to its user.
    """
    here = {each for file in data.rglob(_DATABASES) if (each := _identity(file)) is not None}
    if not here:
        return False
    found = False
    with contextlib.suppress(OSError):  # it has ended, or belongs to another user
        for file in Path(f"/proc/{pid}/fd").iterdir():
            if _identity(file) in here:
                return False
            with contextlib.suppress(OSError):  # closed in between
                found |= str(file.readlink()).removesuffix(" (deleted)").endswith(".db")
    return found


def _identity(file: Path) -> tuple[int, int] | None:
    try:
        state = os.stat(file)  # noqa: PTH116 -- of an open file, which may have no name
    except OSError:
        return None
    return state.st_dev, state.st_ino


class ProcessStack(Launching):
    """Vault and Toxiproxy as detached processes, found again by pid and start time.

    If the record is lost, the configuration files on their command lines identify them.
    """

    @property
    def audit_path(self) -> Path | None:
        return self._directory(NODE_NAME) / AUDIT_LOG_NAME

    @property
    def audit_paths(self) -> dict[str, Path]:
        nodes = known_members(self._record_if_readable(), self._data_dir)
        return {name: self._directory(name) / AUDIT_LOG_NAME for name in nodes}

    @property
    def server_audit_path(self) -> str | None:
        return AUDIT_LOG_NAME

    def check_start(self, *, nodes: int = 1) -> None:
        """Refuse ports that others use, and a copy of a folder whose servers run."""
        record, settings = self._memory.load(), self._settings
        for name in self._names(record):
            self._refuse_another(name, record)
        balanced = nodes > 1 or known_cluster(record, self._data_dir)
        if balanced and not known_cluster(record, self._data_dir):
            self._refuse_running(record)
        for name, port, setting in (
            (BALANCER_NAME if balanced else NODE_NAME, settings.vault_port, "HARNESS_VAULT_PORT"),
            (TOXIPROXY, settings.toxiproxy_port, "HARNESS_TOXIPROXY_PORT"),
            (TOXIPROXY, settings.proxy_port, "HARNESS_PROXY_PORT"),
        ):
            if port and listens(port) and not self._running(name, record):
                raise port_taken(port, setting=setting)

    def start(self, *, nodes: int = 1) -> Endpoints:
        record = self._memory.load()
        known = known_members(record, self._data_dir)
        members = planned_members(known, nodes)
        refuse_other_engines_cluster(self.name, members, self._data_dir)
        balanced = nodes > 1 or known_cluster(record, self._data_dir)
        if balanced and not known_cluster(record, self._data_dir):
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
                self._keep(RECORDER_NAME, record)  # a dead recorder is not replaced
            if balanced and members != known and BALANCER_NAME not in started:
                self._lead_to(record, members)  # it runs, and knows only the old nodes
        except BaseException:
            self._end(started, record)
            self._memory.save(record)
            raise
        record.engine = self.name
        record.endpoints = self._endpoints(record, members)
        self._memory.save(record)
        return record.endpoints

    def whose_server(self) -> tuple[Dialect, str]:
        program = find_vault(self._settings)
        return program.dialect, f"{program.path} ({program.found})"

    def let_reach_holder(self, engine: Engine) -> None:
        """Check that the engine runs processes, which share loopback."""
        if engine.name != self.name:
            raise holder_out_of_reach(self.name, engine)

    def start_holder(self) -> NodeEndpoint:
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
        return self._end_and_note([HOLDER_NAME])

    def end_vault(self) -> list[str]:
        return self._end_and_note(known_members(self._memory.load(), self._data_dir))

    def let_ask_cloud(self, engine: Engine) -> None:
        """Do nothing: credentials come from the environment."""

    def check_seal(self, stanza: Mapping[str, Any]) -> SealCheck:
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
        """Refuse a cluster while a single server runs, whose address clients know."""
        if found := self._running(NODE_NAME, record):
            raise StackError(
                "one server runs, and three with a load balancer are asked for",
                looked_at=f"{self._data_dir}; pid {found[0].pid}",
                remedy=f"{named('down')}, then {named('up', '--ha')}: its data stays, and the "
                "other nodes get it",
            )

    def stop(self) -> list[str]:
        record = self._record_if_readable()
        services = ServiceProcesses(self._data_dir).stop()  # first: each revokes its token
        ended = [*services, *self._end(self._all_names(record), record)]
        if record.engine is not None:
            # A full disk must not keep servers alive. The old record then names dead processes,
            # which is harmless.
            with contextlib.suppress(OSError):
                self._memory.save(record)
        return ended

    def _record_if_readable(self) -> KnownServers:
        try:
            return self._memory.load()
        except HarnessError:
            return KnownServers()  # command lines identify the servers

    def restart_vault(self) -> None:
        """Restart all nodes. Refuses on a full disk, and stops nothing then."""
        record = self._memory.load()
        nodes = known_members(record, self._data_dir)
        check_room(self._data_dir, nodes)
        self._end(nodes, record)
        try:
            for name in nodes:
                self._launch(name, record, nodes if known_cluster(record, self._data_dir) else ())
        finally:
            self._memory.save(record)

    def reload_vault(self) -> None:
        """Send SIGHUP to each running Vault, and to a recorder, which has the same certificate.

        HAProxy reads its certificate only at the start, so a new one replaces it.
        """
        record = self._memory.load()
        running = self._all_running((*known_members(record, self._data_dir), RECORDER_NAME), record)
        for processes in running.values():
            for process in processes:
                process.signal(signal.SIGHUP)
        balancer = recorded(BALANCER_NAME, record, self._configuration(BALANCER_NAME))
        if self._own(BALANCER_NAME) is not None and balancer is not None and balancer.alive():
            self._lead_to(record, known_members(record, self._data_dir))

    # -- the HTTP recorder ------------------------------------------------------------------------

    def start_recorder(self) -> RecorderEndpoint:
        record = self._memory.load()
        if not self._keep(RECORDER_NAME, record):
            self._launch(RECORDER_NAME, record)
        found = self.known_recorder()
        assert found is not None  # it was just noted
        return found

    def known_recorder(self) -> RecorderEndpoint | None:
        known = self._record_if_readable().services.get(RECORDER_NAME)
        if known is None:
            return None
        return RecorderEndpoint(listen=str(known["listen"]), api=str(known["api"]))

    def stop_recorder(self) -> list[str]:
        record = self._memory.load()
        known = RECORDER_NAME in record.services
        ended = self._end([RECORDER_NAME], record)
        if known:  # otherwise nothing changed, and a full disk would refuse the write
            self._memory.save(record)
        return ended

    # -- the nodes of a cluster -------------------------------------------------------------------

    def kill_node(self, name: str) -> list[str]:
        record = self._memory.load()
        found = self._running(name, record)
        for process in found:
            process.kill()
        record.services.pop(name, None)
        self._memory.save(record)
        return [f"{title_of(name)} (pid {process.pid})" for process in found]

    def start_node(self, name: str) -> None:
        record = self._memory.load()
        if not self._keep(name, record):
            self._launch(name, record, known_members(record, self._data_dir))

    def add_node(self) -> NodeEndpoint:
        record = self._memory.load()
        members = known_members(record, self._data_dir)
        name = next_name(members, self._data_dir)
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
        record = self._memory.load()
        members = known_members(record, self._data_dir)
        self._lead_to(record, [member for member in members if member != name])
        ended = self._end([name], record)
        self._memory.save(record)
        shutil.rmtree(self._directory(name), ignore_errors=True)
        return [*ended, str(self._directory(name))]

    def _lead_to(self, record: KnownServers, members: list[str]) -> None:
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

    # -- nodes that are cut off -------------------------------------------------------------------

    def make_cuttable(self) -> None:
        """Let nodes reach each other through a relay, which can close one node's routes.

        Processes share loopback, so only a relay can do it. Its folder marks a cluster as cuttable.
        """
        folder = self._directory(RELAY_NAME)
        if folder.is_dir():
            return
        if sys.platform != "linux":
            raise CapabilityMissing(
                "nodes that are processes can only be cut off on Linux",
                looked_at=f"the platform {sys.platform}, which hides who owns a connection",
                remedy=f"HARNESS_ENGINE=docker for a stack in another folder (HARNESS_DATA_DIR): "
                f"{named('up', '--ha')}",
            )
        record = self._memory.load()
        found = self._all_running(known_members(record, self._data_dir), record)
        running = [name for name, processes in found.items() if processes]
        if running:
            raise StackError(
                f"{', '.join(running)} run already, and reach each other directly",
                looked_at=str(self._data_dir),
                remedy=f"{named('down')}, then {named('up', '--ha', '--cuttable')}: the data stays",
            )
        files.private_directory(self._data_dir)
        files.private_directory(folder)

    def cut_node(self, name: str, *, hears: bool = False, is_heard: bool = False) -> None:
        relay = self._relay_of(self._memory.load())
        if relay is None and self._directory(RELAY_NAME).is_dir():
            raise EngineError(
                "the relay between the nodes does not run",
                looked_at=str(self._directory(RELAY_NAME)),
                remedy=f"{named('up')} starts another, and leaves the nodes as they are; "
                f"{named('logs', RELAY_NAME)} has its log",
            )
        if relay is None:
            raise CapabilityMissing(
                f"{name} cannot be cut off: the nodes of this cluster reach each other directly",
                looked_at=str(self._data_dir),
                remedy=f"{named('down')}, then {named('up', '--ha', '--cuttable')}: the data stays",
            )
        relay.shut(name, Cut(hears=hears, is_heard=is_heard))

    def join_node(self, name: str) -> bool:
        relay = self._relay_of(self._memory.load())
        if relay is None or name not in relay.state()["cut"]:
            return False
        relay.open(name)
        return True

    def cut_nodes(self) -> list[str]:
        with contextlib.suppress(HarnessError):
            record = self._memory.load()
            relay = self._relay_of(record)
            cut = sorted(relay.state()["cut"]) if relay is not None else []
            found = self._all_running(cut, record) if cut else {}
            return [name for name, processes in found.items() if processes]  # none without its node
        return []

    def _relay_of(self, record: KnownServers) -> Relay | None:
        # The port alone is not enough: another stack's nodes have the same names.
        known = record.services.get(RELAY_NAME, {})
        if "api" not in known or not self._running(RELAY_NAME, record):
            return None
        return Relay(str(known["api"]))

    # -- all of it ---------------------------------------------------------------------------------

    def destroy(self) -> list[str]:
        return self.stop() + remove_directories(self._data_dir)

    def belongings(self) -> list[str]:
        record = self._record_if_readable()
        return [
            *ServiceProcesses(self._data_dir).running(),
            *(
                f"{title_of(name)} (pid {process.pid})"
                for name, processes in self._all_running(self._all_names(record), record).items()
                for process in processes
            ),
            *known_directories(self._data_dir),
        ]

    def describe(self) -> list[ServiceState]:
        record = self._record_if_readable()
        states = []
        names, members = self._names(record), known_members(record, self._data_dir)
        for name, found in self._all_running(self._all_names(record), record).items():
            if name not in names and not found:
                continue  # it should not run, and does not
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
        return [*self._names(self._record_if_readable()), "audit"]

    def logs(self, name: str, *, tail: int | None = None, follow: bool = False) -> Iterator[str]:
        path = self._log_path(name)
        yield from lines(path, tail=tail)
        if follow:
            yield from follow_file(path)
