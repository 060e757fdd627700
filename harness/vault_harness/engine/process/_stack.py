"""The stack of ``invoke up`` as detached processes; see `vault_harness.engine.StackProvider`."""

from __future__ import annotations

import contextlib
import json
import signal
import time
from collections.abc import Iterable, Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import psutil

from vault_harness import files
from vault_harness.addresses import base_url
from vault_harness.engine._configuration import AUDIT_LOG_NAME
from vault_harness.engine._logs import follow as follow_file
from vault_harness.engine._ports import LOOPBACK, listens, port_taken
from vault_harness.engine._product import check_product
from vault_harness.engine._provider import (
    NODE_NAME,
    PROXY_NAME,
    SERVICES,
    Endpoints,
    KnownServers,
    LogName,
    Memory,
    NodeEndpoint,
    ServiceName,
    ServiceState,
    own_directories,
    remove_directories,
)
from vault_harness.engine._shape import EngineName, NodeSpec
from vault_harness.engine.process._node import ProcessNode
from vault_harness.engine.process._server import Server
from vault_harness.engine.process._spawn import DetachedProcess
from vault_harness.engine.process._toxiproxy import ProcessToxiproxy
from vault_harness.errors import HarnessError
from vault_harness.programs import find_toxiproxy, find_vault
from vault_harness.settings import Settings

_STOP_SECONDS = 10.0
_TITLES: dict[ServiceName, str] = {"vault": "Vault", "toxiproxy": "Toxiproxy"}


class ProcessStack:
    """Vault and Toxiproxy as processes that belong to nobody, found again by pid and birth.

    Should the record be lost, they are found by their configuration file, which their command line
    names and which nobody else's would.
    """

    def __init__(self, settings: Settings, memory: Memory) -> None:
        self._settings = settings
        self._memory = memory
        self._data_dir = settings.data_dir
        self._directories: dict[ServiceName, Path] = {
            name: self._data_dir / name for name in SERVICES
        }

    @property
    def name(self) -> EngineName:
        """``process``."""
        return "process"

    @property
    def audit_path(self) -> Path | None:
        """Vault's audit log."""
        return self._directories["vault"] / AUDIT_LOG_NAME

    @property
    def server_audit_path(self) -> str | None:
        """Its name in the directory that the server runs in; see `ProcessNode`."""
        return AUDIT_LOG_NAME

    def start(self) -> Endpoints:
        """Start what does not run, and wait until both servers answer."""
        record = self._memory.load()
        started: list[ServiceName] = []
        try:
            for name in SERVICES:
                if not self._keep(name, record):
                    started.append(name)
                    self._launch(name, record)
        except BaseException:
            self._end(started, record)
            self._memory.save(record)
            raise
        record.engine = self.name
        record.endpoints = self._endpoints(record)
        self._memory.save(record)
        return record.endpoints

    def _keep(self, name: ServiceName, record: KnownServers) -> bool:
        """Whether it runs already; then it answers too when this returns."""
        process = self._recorded(name, record)
        if process is None or not process.alive():
            self._end([name], record)  # what a crashed start may have left
            return False
        process.signal(signal.SIGCONT)  # whoever paused it wants it up now
        Server(
            title=_TITLES[name],
            command=(),
            log=self._log_path(name),
            probe=str(record.services[name]["probe"]),
            detached=True,
            process=process,
        ).wait_ready(timeout=self._settings.start_timeout)
        return True

    def _launch(self, name: ServiceName, record: KnownServers) -> None:
        files.private_directory(self._data_dir)
        server = self._vault(record) if name == "vault" else self._toxiproxy(record)
        process = server.process
        assert process is not None  # it was just started
        born = process.born if isinstance(process, DetachedProcess) else 0.0
        record.services[name] = {
            **record.services.get(name, {}),
            "pid": process.pid,
            "born": born,
            "probe": server.probe,
        }
        # At once: the next server may fail.
        record.engine = self.name
        self._memory.save(record)

    def _vault(self, record: KnownServers) -> Server:
        port = self._port(self._settings.vault_port, "HARNESS_VAULT_PORT", record, "vault")
        spec = NodeSpec(
            name=NODE_NAME,
            directory=self._directories["vault"],
            storage="raft",
            port=port,
            cluster_port=self._last_cluster_port(record),
            detached=True,
        )
        program = find_vault(self._settings)
        files.private_directory(spec.directory)
        check_product(spec.directory, program.dialect, looked_at=str(program.path))
        node = ProcessNode(spec, program, start_timeout=self._settings.start_timeout)
        node.start()
        record.services["vault"] = {"upstream": node.upstream, "cluster": node.cluster_address}
        node.close()
        return node.server

    def _toxiproxy(self, record: KnownServers) -> Server:
        settings = self._settings
        port = self._port(settings.toxiproxy_port, "HARNESS_TOXIPROXY_PORT", record, "toxiproxy")
        proxy_port = self._port(settings.proxy_port, "HARNESS_PROXY_PORT", record, "proxy")
        toxiproxy = ProcessToxiproxy(
            find_toxiproxy(settings),
            directory=self._directories["toxiproxy"],
            port=port,
            detached=True,
        )
        listen = f"{LOOPBACK}:{proxy_port}" if proxy_port else toxiproxy.listen()
        upstream = record.services["vault"]["upstream"]
        proxy = {"name": PROXY_NAME, "listen": listen, "upstream": upstream, "enabled": True}
        toxiproxy.write_proxies(json.dumps([proxy]))
        toxiproxy.start(timeout=settings.start_timeout)
        record.services["toxiproxy"] = {"listen": listen, "api": toxiproxy.api}
        toxiproxy.close()
        return toxiproxy.server

    def _port(self, wanted: int, setting: str, record: KnownServers, endpoint: str) -> int:
        """The setting's port, which must be free; for 0 the one of last time if it is free."""
        if wanted:
            if listens(wanted):
                raise port_taken(wanted, setting=setting)
            return wanted
        if record.endpoints is None:
            return 0
        url: str = getattr(record.endpoints, endpoint)
        last = int(url.rsplit(":", 1)[1])
        return 0 if listens(last) else last

    def _last_cluster_port(self, record: KnownServers) -> int:
        """The one that other nodes know, if it is free."""
        cluster = record.endpoints.nodes[0].cluster if record.endpoints else ""
        host, _, port = cluster.rpartition(":")
        if host != LOOPBACK or listens(int(port)):
            return 0  # unknown, or another engine's
        return int(port)

    def _endpoints(self, record: KnownServers) -> Endpoints:
        vault, toxiproxy = record.services["vault"], record.services["toxiproxy"]
        node = NodeEndpoint(
            name=NODE_NAME,
            address=base_url(str(vault["upstream"])),
            proxy=base_url(str(toxiproxy["listen"])),
            proxy_listen=str(toxiproxy["listen"]),
            upstream=str(vault["upstream"]),
            cluster=str(vault.get("cluster") or ""),
        )
        return Endpoints(nodes=(node,), toxiproxy=str(toxiproxy["api"]))

    def stop(self) -> list[str]:
        """End both servers, and whatever a crashed start left; keep the data."""
        record = self._record_if_readable()
        ended = self._end(SERVICES, record)
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

    def _end(self, names: Iterable[ServiceName], record: KnownServers) -> list[str]:
        found = [(name, process) for name in names for process in self._running(name, record)]
        for _, process in found:  # all at once: each takes a second or two
            process.signal(signal.SIGTERM)
            process.signal(signal.SIGCONT)  # a paused one sees SIGTERM only now
        deadline = time.monotonic() + _STOP_SECONDS
        for _, process in found:
            if not process.wait(max(deadline - time.monotonic(), 0.0)):
                process.kill()
        for name in names:
            record.services.pop(name, None)
        return [f"{_TITLES[name]} (pid {process.pid})" for name, process in found]

    def _running(self, name: ServiceName, record: KnownServers) -> list[DetachedProcess]:
        """Its process by the record, and those by their command line."""
        processes = {process.pid: process for process in self._leftovers(name)}
        recorded = self._recorded(name, record)
        if recorded is not None and recorded.alive():
            processes[recorded.pid] = recorded
        return list(processes.values())

    def _recorded(self, name: ServiceName, record: KnownServers) -> DetachedProcess | None:
        service: dict[str, Any] = record.services.get(name, {})
        if "pid" not in service:
            return None
        return DetachedProcess(int(service["pid"]), float(service["born"]))

    def _leftovers(self, name: ServiceName) -> list[DetachedProcess]:
        """Processes that were given our configuration file as theirs."""
        path = str(self._directories[name] / _CONFIGURATION[name])
        found = []
        for process in psutil.process_iter(["cmdline", "create_time"]):
            arguments: list[str] = process.info["cmdline"] or []
            # Not just the path: an editor that has the file open is not to be ended.
            if f"-config={path}" in arguments or ("-config", path) in pairwise(arguments):
                found.append(DetachedProcess(process.pid, float(process.info["create_time"])))
        return found

    def restart_vault(self) -> None:
        """End Vault politely and start it again at the same address."""
        record = self._memory.load()
        self._end(["vault"], record)
        try:
            self._launch("vault", record)
        finally:
            self._memory.save(record)

    def destroy(self) -> list[str]:
        """Stop, and delete Vault's data, logs and configuration."""
        return self.stop() + remove_directories(self._data_dir)

    def belongings(self) -> list[str]:
        """Servers that run, and the directories of both."""
        record = self._record_if_readable()
        return [
            *(
                f"{_TITLES[name]} (pid {process.pid})"
                for name in SERVICES
                for process in self._running(name, record)
            ),
            *map(str, own_directories(self._data_dir)),
        ]

    def describe(self) -> list[ServiceState]:
        """Both servers' state."""
        record = self._record_if_readable()
        states = []
        for name in SERVICES:
            found = self._running(name, record)
            detail = ", ".join(f"pid {process.pid}" for process in found)
            paused = any(process.paused() for process in found)
            states.append(
                ServiceState(name=name, running=bool(found), paused=paused, detail=detail)
            )
        return states

    def logs(
        self, name: LogName, *, tail: int | None = None, follow: bool = False
    ) -> Iterator[str]:
        """Lines of a log."""
        path = self._log_path(name)
        text = files.tail(path, tail)
        yield from text.splitlines()
        if follow:
            yield from follow_file(path)

    def _log_path(self, name: LogName) -> Path:
        if name == "audit":
            return self._directories["vault"] / AUDIT_LOG_NAME
        return self._directories[name] / f"{name}.log"


_CONFIGURATION: dict[ServiceName, str] = {"vault": "vault.json", "toxiproxy": "proxies.json"}
