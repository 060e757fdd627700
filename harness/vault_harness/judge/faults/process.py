"""Faults of processes: the server's and the client's."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import replace
from math import inf
from typing import Protocol

import psutil

from vault_harness.errors import DeadlineExceeded, ServerDied
from vault_harness.local.engine.shape import Node
from vault_harness.recorder.fault import Fault, FaultLog, Signature
from vault_harness.waiting import wait_until


class Supervisor:
    """Starts a server again when it has ended, as systemd or a container engine would.

    ``every`` is the pause in seconds before the next start. `ends` counts how often the server
    ended by itself, before it answered or after.
    """

    def __init__(self, node: Node, *, every: float) -> None:
        self._node = node
        self._every = every
        self._over = threading.Event()
        self.ends = 0
        self._thread = threading.Thread(target=self._run, name="supervisor", daemon=True)
        self._thread.start()

    def _run(self) -> None:
        while not self._over.is_set():
            if not self._node.is_running():
                try:
                    self._node.start()
                except (ServerDied, DeadlineExceeded):
                    self.ends += 1
            self._over.wait(self._every)

    def close(self) -> None:
        """Stop supervising, after a start under way; the server stays as it is."""
        self._over.set()
        self._thread.join()


WATCHDOG = "vault-harness-watchdog"
"""A word in the command line of the process that ends a subject when the harness dies."""


_NO_LEADER = Signature(unanswered=True, late=0.5, statuses=frozenset({500, 503}))


class Storage(Protocol):
    """A server that can be away for a while, and comes back with its data."""

    def stop(self) -> None:
        """Stop it."""

    def start(self) -> None:
        """Start it, and wait until it serves."""


class ProcessFaults:
    """Freezing and killing."""

    def __init__(self, log: FaultLog) -> None:
        self._log = log

    @contextmanager
    def server_paused(self, node: Node) -> Iterator[Fault]:
        """Freeze the server: it accepts connections and never answers (SIGSTOP)."""
        node.pause()
        fault = self._log.begin_fault("server paused", Signature(unanswered=True, late=1.0))
        try:
            yield fault
        finally:
            node.resume()
            self._log.end_fault(fault)

    @contextmanager
    def server_killed(self, node: Node, *, revive: Callable[[], object]) -> Iterator[Fault]:
        """Kill the server; afterwards start it again and call ``revive``.

        A Shamir-sealed Vault needs its keys from ``revive``.
        """
        node.kill()
        mark = Signature(unanswered=True, turned_away=True, statuses=frozenset({503}))
        fault = self._log.begin_fault("server killed", mark)
        try:
            yield fault
        finally:
            node.start()
            revive()
            self._log.end_fault(fault)

    @contextmanager
    def server_killed_under_supervision(
        self, node: Node, *, serves: Callable[[], bool], every: float = 1.0, timeout: float = 60.0
    ) -> Iterator[tuple[Fault, Supervisor]]:
        """Kill the server; a supervisor starts it again whenever it ends.

        Only the supervisor restarts it. The fault ends when the server serves again.

        Args:
            node: The server.
            serves: Returns whether it serves.
            every: Seconds between an end and the next start.
            timeout: Seconds in which it must serve after the block, else `DeadlineExceeded`.
        """
        node.kill()
        mark = Signature(unanswered=True, turned_away=True, statuses=frozenset({500, 503}))
        fault = self._log.begin_fault("server killed", mark)
        supervisor = Supervisor(node, every=every)
        try:
            yield fault, supervisor
            wait_until(serves, "Vault to serve again", timeout=timeout, evidence=node.logs)
        finally:
            supervisor.close()
            self._log.end_fault(fault)

    @contextmanager
    def leader_killed(self, node: Node, *, revive: Callable[[], object]) -> Iterator[Fault]:
        """Kill a cluster's leader; afterwards start it again and call ``revive``.

        A Shamir-sealed node needs its keys from ``revive``.
        """
        # Noted first: a request under way in the leader dies with it.
        mark = replace(_NO_LEADER, turned_away=True)
        fault = self._log.begin_fault("leader killed", mark)
        node.kill()
        try:
            yield fault
        finally:
            node.start()
            revive()
            self._log.end_fault(fault)

    @contextmanager
    def leader_paused(self, node: Node) -> Iterator[Fault]:
        """Freeze a cluster's leader (SIGSTOP): connections to it stay open, and silent."""
        fault = self._log.begin_fault("leader paused", _NO_LEADER)
        node.pause()
        try:
            yield fault
        finally:
            node.resume()
            self._log.end_fault(fault)

    @contextmanager
    def quorum_lost(self, nodes: Sequence[Node]) -> Iterator[Fault]:
        """Freeze so many nodes of a cluster that the others are no quorum and have no leader.

        ``nodes`` must be at least half of all.
        """
        fault = self._log.begin_fault("quorum lost", _NO_LEADER, {"nodes": len(nodes)})
        try:
            for node in nodes:
                node.pause()
            yield fault
        finally:
            for node in nodes:
                node.resume()
            self._log.end_fault(fault)

    @contextmanager
    def storage_stopped(self, storage: Storage) -> Iterator[Fault]:
        """Stop Vault's storage; Vault answers 500 to requests that need it."""
        storage.stop()
        fault = self._log.begin_fault("storage stopped", Signature(statuses=frozenset({500})))
        try:
            yield fault
        finally:
            storage.start()
            self._log.end_fault(fault)

    @contextmanager
    def client_paused(self, pid: int) -> Iterator[Fault]:
        """Freeze a client (SIGSTOP) with all its processes, while everything else goes on.

        ``pid`` is its first process. Raise `ProcessLookupError` if there is none.
        """
        stopped = _stop(pid)
        fault = self._log.begin_fault(
            "client paused",
            Signature(answers_late=inf),  # they wait in its sockets
            {"pid": pid, "processes": len(stopped)},
            optional=True,
        )
        try:
            yield fault
        finally:
            # Noted first: due work begins at once, before the last process is awake.
            self._log.end_fault(fault)
            for process in reversed(stopped):  # a waiting parent finds its child awake
                with suppress(psutil.Error):  # it was killed meanwhile
                    process.send_signal(signal.SIGCONT)


def process_tree(pid: int) -> list[psutil.Process]:
    """Return a process, its descendants, and its session if it leads one.

    A wrapper, a shell or an agent lets its children work, and a child that has left its parent is
    still in the session. The harness's own watchdog is excluded. Raise `ProcessLookupError` if
    there is no such process.
    """
    try:
        first = psutil.Process(pid)
        if first.status() == psutil.STATUS_ZOMBIE:
            raise ProcessLookupError(pid)
        found = [first, *first.children(recursive=True)]
        if os.getsid(pid) == pid:
            known = {process.pid for process in found}
            found += [p for p in psutil.process_iter() if p.pid not in known and _of(p, pid)]
    except psutil.NoSuchProcess:
        raise ProcessLookupError(pid) from None
    return [process for process in found if not _is_watchdog(process)]


def _of(process: psutil.Process, session: int) -> bool:
    try:
        return os.getsid(process.pid) == session
    except ProcessLookupError:
        return False


def _is_watchdog(process: psutil.Process) -> bool:
    try:
        return WATCHDOG in process.cmdline()
    except psutil.Error:
        return True  # it has ended


def _stop(pid: int) -> list[psutil.Process]:
    """Stop all processes, also those that one of them started just before it was stopped."""
    stopped: list[psutil.Process] = []
    os.kill(pid, signal.SIGSTOP)
    while more := [process for process in process_tree(pid) if process not in stopped]:
        for process in more:
            with suppress(psutil.Error):
                process.send_signal(signal.SIGSTOP)
            stopped.append(process)
    return stopped
