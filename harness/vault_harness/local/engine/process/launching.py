"""Start, keep and end the servers of a stack of processes."""

from __future__ import annotations

import contextlib
import json
import signal
import time
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

from vault_harness import files
from vault_harness.certificates import OPERATOR
from vault_harness.errors import CapabilityMissing, DeadlineExceeded, PortTaken, StackError, named
from vault_harness.local.engine.balancing import Backends
from vault_harness.local.engine.configuration import check_product
from vault_harness.local.engine.members import known_cluster
from vault_harness.local.engine.ports import LOOPBACK, PortLease, listens, port_taken
from vault_harness.local.engine.process.balancer import ProcessBalancer
from vault_harness.local.engine.process.engine import ProcessToxiproxy
from vault_harness.local.engine.process.finding import of_another, recorded, started_with
from vault_harness.local.engine.process.links import files_are_seen
from vault_harness.local.engine.process.node import ProcessNode
from vault_harness.local.engine.process.own_program import Led, OwnProgram, ProcessRelay, Relay
from vault_harness.local.engine.process.places import (
    TOXIPROXY,
    Places,
    free_port_of,
    keeps_nothing,
    title_of,
)
from vault_harness.local.engine.process.server import Server
from vault_harness.local.engine.process.spawn import DetachedProcess
from vault_harness.local.engine.provider import (
    BALANCER_NAME,
    HOLDER_NAME,
    NODE_NAME,
    PROXY_NAME,
    RECORDER_NAME,
    RELAY_NAME,
    TLS_DIRECTORY,
    KnownServers,
    Memory,
    tls_files,
)
from vault_harness.local.engine.seal import node_extra, with_cloud_seal
from vault_harness.local.engine.shape import EngineName, NodeSpec
from vault_harness.local.programs import find_balancer, find_toxiproxy, find_vault
from vault_harness.settings import Settings

_PROGRAM = "vault_harness.judge.by_hand"


class ProcessRecorder(OwnProgram):
    """An HTTP recorder that takes orders for faults.

    Args:
        upstream: ``host:port`` of Vault, or of a cluster's balancer.
        tls: The folder with Vault's certificate; None for plain HTTP.
    """

    def __init__(self, *, directory: Path, upstream: str, tls: Path | None) -> None:
        shown = str(tls) if tls is not None else None
        super().__init__(RECORDER_NAME, _PROGRAM, directory=directory, upstream=upstream, tls=shown)
        self.listen = self._address("listen")


_STOP_SECONDS = 10.0


class Launching(Places):
    """Starts and ends any server of a stack, and records what runs where."""

    def __init__(self, settings: Settings, memory: Memory) -> None:
        super().__init__(settings.data_dir)
        self._settings = settings
        self._memory = memory

    @property
    def name(self) -> EngineName:
        return "process"

    def _keep(self, name: str, record: KnownServers) -> bool:
        """Return whether a server already runs; if so, wait until it answers.

        A server without data is ended if it does not answer. A Vault is not: it may be unsealed,
        and its keys may be lost.
        """
        process = recorded(name, record, self._configuration(name))
        if process is None or not process.alive():
            self._refuse_another(name, record)
            self._end([name], record)  # a crashed start may have left one
            return False
        record.services[name]["born"] = process.born  # corrected for a changed clock
        process.signal(signal.SIGCONT)  # the start overrides a pause
        server = Server(
            title=title_of(name),
            command=(),
            log=self._log_path(name),
            probe=str(record.services[name]["probe"]),
            detached=True,
            process=process,
            own=self._own(OPERATOR),
        )
        try:
            server.wait_ready(timeout=self._settings.start_timeout)
        except DeadlineExceeded:
            if not keeps_nothing(name):
                raise
            self._end([name], record)
            return False
        return True

    def _refuse_another(self, name: str, record: KnownServers) -> None:
        """Refuse a copy of a folder whose servers run.

        Two copies of one Vault would end each other's leases, and nodes would talk to those of the
        other folder.
        """
        given = of_another(name, record, self._configuration(name))
        if given is not None:
            raise StackError(
                "this folder is a copy of another one, whose servers run",
                looked_at=f"{self._data_dir}; {title_of(name)} was started with {given}",
                remedy="let HARNESS_DATA_DIR name that folder; to start what is in this one, end "
                f"those servers first: {named('down')} there",
            )

    def _launch(self, name: str, record: KnownServers, members: Iterable[str] = ()) -> None:
        """Start one server.

        Args:
            record: Saved at once, because the next server may fail.
            members: All nodes of its cluster; empty for a single Vault.
        """
        files.private_directory(self._data_dir)
        if name == BALANCER_NAME:
            server = self._balancer(record, members)
        elif name == RECORDER_NAME:
            server = self._recorder(record)
        elif name == RELAY_NAME:
            server = self._relay(record, members)
        elif name == TOXIPROXY:
            server = self._toxiproxy(record)
        else:
            server = self._node(name, record, list(members))
        process = server.process
        assert process is not None  # it was just started
        born = process.born if isinstance(process, DetachedProcess) else 0.0
        record.services[name] = {
            **record.services.get(name, {}),
            "pid": process.pid,
            "born": born,
            "probe": server.probe,
        }
        record.engine = self.name
        self._memory.save(record)

    def _node(self, name: str, record: KnownServers, members: list[str]) -> Server:
        api, others = self._known(name, record)
        cluster = bool(members)
        if cluster:
            # Clients use the balancer's address, which may be the former address of a node.
            port = free_port_of(api) if known_cluster(record, self._data_dir) else 0
        elif name == HOLDER_NAME:
            port = free_port_of(api)
        else:
            port = self._port(self._settings.vault_port, "HARNESS_VAULT_PORT", record, "vault")
        extra = {} if name == HOLDER_NAME else node_extra(self._data_dir, cluster=cluster)
        relay, led = self._running_relay(record, members), Led(configuration="")
        if relay is not None:
            led = Led(configuration=str(self._configuration(name)), listen=others)
            others = relay.lead(name, led)
            led = replace(led, listen=others)
            extra |= {"cluster_addr": f"https://{others}"}
        spec = NodeSpec(
            name=name,
            directory=self._directory(name),
            storage="raft",
            port=port,
            # The port that other nodes know, if it is free and not another engine's.
            cluster_port=free_port_of(others) if relay is None else 0,
            # The holder is on the same loopback, and only Vault talks to it.
            tls=None if name == HOLDER_NAME else tls_files(self._data_dir),
            extra=extra,
            audit=name != HOLDER_NAME,
            detached=True,
        )
        program = find_vault(self._settings)
        files.private_directory(spec.directory)
        check_product(spec.directory, program.dialect, looked_at=str(program.path))
        spec = with_cloud_seal(spec, self._settings)
        node = ProcessNode(spec, program, start_timeout=self._settings.start_timeout)
        with contextlib.closing(node):  # also if it fails to start: it holds ports
            if relay is not None:
                relay.lead(name, replace(led, upstream=node.cluster_address))
            node.start()
            record.services[name] = {"upstream": node.upstream, "cluster": node.cluster_address}
            if relay is not None:  # again: the start may have changed the ports
                self._check_seen(name, node.server)
                relay.lead(name, replace(led, upstream=node.cluster_address))
                record.services[name] |= {"cluster": others, "behind": node.cluster_address}
        return node.server

    def _running_relay(self, record: KnownServers, members: list[str]) -> Relay | None:
        if not members or not self._directory(RELAY_NAME).is_dir():
            return None
        if not self._keep(RELAY_NAME, record):
            self._launch(RELAY_NAME, record, members)
        return Relay(str(record.services[RELAY_NAME]["api"]))

    @staticmethod
    def _check_seen(name: str, server: Server) -> None:
        """Check that a relay can see a node's connections."""
        process = server.process
        if process is not None and not files_are_seen(process.pid):
            raise CapabilityMissing(
                f"a relay cannot tell which connections belong to {name}",
                looked_at=f"/proc/{process.pid}/fd, which this user may not read",
                remedy="use a program without capabilities of its own (getcap PROGRAM; "
                "HARNESS_VAULT_BINARY names another), or HARNESS_ENGINE=docker",
            )

    def _relay(self, record: KnownServers, members: Iterable[str]) -> Server:
        nodes = {
            name: Led(
                configuration=str(self._configuration(name)),
                listen=self._known(name, record)[1],
                upstream=str(record.services.get(name, {}).get("behind") or ""),
            )
            for name in members
        }
        for name, led in nodes.items():
            if led.listen:
                self._check_free(name, led.listen)
        relay = ProcessRelay(directory=self._directory(RELAY_NAME), nodes=nodes)
        with contextlib.closing(relay):
            relay.start(timeout=self._settings.start_timeout)
            record.services[RELAY_NAME] = {"api": relay.api}
        return relay.server

    @staticmethod
    def _check_free(name: str, listen: str) -> None:
        """Check that a node can have the address that others know."""
        try:
            PortLease(int(listen.rpartition(":")[2])).release()
        except PortTaken as error:
            raise PortTaken(
                f"{error.cause}; the other nodes know {name} by that port",
                looked_at=error.looked_at,
                remedy=f"{error.remedy}; then {named('up')} again",
            ) from None

    def _balancer(
        self, record: KnownServers, members: Iterable[str], *, instead_of: int | None = None
    ) -> Server:
        if instead_of:
            port = int(str(record.services[BALANCER_NAME]["listen"]).rpartition(":")[2])
        else:
            port = self._port(self._settings.vault_port, "HARNESS_VAULT_PORT", record, "vault")
        balancer = ProcessBalancer(
            find_balancer(),
            directory=self._directory(BALANCER_NAME),
            port=port,
            backends=Backends(
                {name: self._known(name, record)[0] for name in members},
                tls=tls_files(self._data_dir) is not None,
                own=self._own(BALANCER_NAME),
            ),
            instead_of=instead_of,
        )
        with contextlib.closing(balancer):
            balancer.start(timeout=self._settings.start_timeout)
            record.services[BALANCER_NAME] = {"listen": balancer.listen}
        return balancer.server

    def _toxiproxy(self, record: KnownServers) -> Server:
        settings = self._settings
        port = self._port(settings.toxiproxy_port, "HARNESS_TOXIPROXY_PORT", record, "toxiproxy")
        proxy_port = self._port(settings.proxy_port, "HARNESS_PROXY_PORT", record, "proxy")
        toxiproxy = ProcessToxiproxy(
            find_toxiproxy(settings),
            directory=self._directory(TOXIPROXY),
            port=port,
            detached=True,
        )
        with contextlib.closing(toxiproxy):
            listen = f"{LOOPBACK}:{proxy_port}" if proxy_port else toxiproxy.listen()
            balancer = record.services.get(BALANCER_NAME)
            upstream = balancer["listen"] if balancer else record.services[NODE_NAME]["upstream"]
            proxy = {"name": PROXY_NAME, "listen": listen, "upstream": upstream, "enabled": True}
            toxiproxy.write_proxies(json.dumps([proxy]))
            toxiproxy.start(timeout=settings.start_timeout)
            record.services[TOXIPROXY] = {"listen": listen, "api": toxiproxy.api}
        return toxiproxy.server

    def _recorder(self, record: KnownServers) -> Server:
        assert record.endpoints is not None  # a recorder starts only in front of a started stack
        recorder = ProcessRecorder(
            directory=self._directory(RECORDER_NAME),
            upstream=record.endpoints.targets[0].upstream,
            tls=self._data_dir / TLS_DIRECTORY if tls_files(self._data_dir) else None,
        )
        with contextlib.closing(recorder):
            recorder.start(timeout=self._settings.start_timeout)
            record.services[RECORDER_NAME] = {"listen": recorder.listen, "api": recorder.api}
        return recorder.server

    def _port(self, wanted: int, setting: str, record: KnownServers, endpoint: str) -> int:
        """Return the setting's port, which must be free; for 0 the last port if it is free."""
        if wanted:
            if listens(wanted):
                raise port_taken(wanted, setting=setting)
            return wanted
        if record.endpoints is None:
            return 0
        url: str = getattr(record.endpoints, endpoint)
        return free_port_of(url)

    def _end(self, names: Iterable[str], record: KnownServers) -> list[str]:
        names = list(names)
        running = self._all_running(names, record)
        found = [(name, process) for name in names for process in running[name]]
        for _, process in found:  # all at once, because each takes a second or two
            process.signal(signal.SIGTERM)
            process.signal(signal.SIGCONT)  # a paused process sees SIGTERM only then
        deadline = time.monotonic() + _STOP_SECONDS
        for _, process in found:
            if not process.wait(max(deadline - time.monotonic(), 0.0)):
                process.kill()
        for name in names:
            if of_another(name, record, self._configuration(name)) is None:
                record.services.pop(name, None)
        return [f"{title_of(name)} (pid {process.pid})" for name, process in found]

    def _running(self, name: str, record: KnownServers) -> list[DetachedProcess]:
        return self._all_running([name], record)[name]

    def _all_running(
        self, names: Iterable[str], record: KnownServers
    ) -> dict[str, list[DetachedProcess]]:
        paths = {name: self._configuration(name) for name in names}
        started = started_with(*paths.values())
        found = {}
        for name, path in paths.items():
            processes = {process.pid: process for process in started[path]}
            known = recorded(name, record, path)
            if known is not None and known.alive():
                processes[known.pid] = known
            found[name] = list(processes.values())
        return found

    def _own(self, name: str) -> Path | None:
        """Return that client certificate; None if Vault requires none."""
        tls = tls_files(self._data_dir)
        return tls.own(name) if tls is not None else None
