"""Faults of processes: the server's and the client's."""

from __future__ import annotations

import ctypes
import os
import signal
import threading
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import replace
from math import inf
from typing import Protocol

import psutil

from vault_harness.engine import Node
from vault_harness.errors import DeadlineExceeded, ServerDied
from vault_harness.faults._fault import Fault, Journal, Signature
from vault_harness.waiting import wait_until


class Supervisor:
    """Starts a server again whenever it has ended, as systemd or a container engine would.

    Args:
        node: The server.
        every: Seconds between an end and the next start.

    Attributes:
        ends: How often it ended by itself, before it answered or after.
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
        """Leave the server as it is. A start that goes on is waited for."""
        self._over.set()
        self._thread.join()


WATCHDOG = "vault-harness-watchdog"
"""A word in the command line of the process that ends a subject when the harness dies."""


_NO_LEADER = Signature(unanswered=True, late=0.5, statuses=frozenset({500, 503}))


class Storage(Protocol):
    """A server that can be away for a while, and comes back with its data."""

    def stop(self) -> None:
        """End it."""

    def start(self) -> None:
        """Start it, and wait until it serves."""


class ProcessFaults:
    """Freezing and killing.

    Args:
        journal: Where faults are noted.
    """

    def __init__(self, journal: Journal) -> None:
        self._journal = journal

    @contextmanager
    def server_paused(self, node: Node) -> Iterator[Fault]:
        """A server that accepts connections and never answers (SIGSTOP)."""
        node.pause()
        fault = self._journal.begin_fault("server paused", Signature(unanswered=True, late=1.0))
        try:
            yield fault
        finally:
            node.resume()
            self._journal.end_fault(fault)

    @contextmanager
    def server_killed(self, node: Node, *, revive: Callable[[], object]) -> Iterator[Fault]:
        """A server that dies without a goodbye; afterwards it is started again.

        Args:
            node: The server.
            revive: Called once it runs again: a Shamir-sealed Vault needs its keys.
        """
        node.kill()
        mark = Signature(unanswered=True, turned_away=True, statuses=frozenset({503}))
        fault = self._journal.begin_fault("server killed", mark)
        try:
            yield fault
        finally:
            node.start()
            revive()
            self._journal.end_fault(fault)

    @contextmanager
    def server_killed_under_supervision(
        self, node: Node, *, serves: Callable[[], bool], every: float = 1.0, timeout: float = 60.0
    ) -> Iterator[tuple[Fault, Supervisor]]:
        """A server that dies, and that a supervisor starts again whenever it ends.

        Nobody but the supervisor does anything for it, at the end neither: the fault ends when it
        serves again.

        Args:
            node: The server.
            serves: Whether it serves.
            every: Seconds between an end and the next start.
            timeout: Seconds in which it must serve once the block has ended.

        Raises:
            DeadlineExceeded: It does not.
        """
        node.kill()
        mark = Signature(unanswered=True, turned_away=True, statuses=frozenset({500, 503}))
        fault = self._journal.begin_fault("server killed", mark)
        supervisor = Supervisor(node, every=every)
        try:
            yield fault, supervisor
            wait_until(serves, "Vault to serve again", timeout=timeout, evidence=node.logs)
        finally:
            supervisor.close()
            self._journal.end_fault(fault)

    @contextmanager
    def leader_killed(self, node: Node, *, revive: Callable[[], object]) -> Iterator[Fault]:
        """A cluster whose leader dies without a goodbye; afterwards it is started again.

        Args:
            node: The leader.
            revive: Called once it runs again: a Shamir-sealed node needs its keys.
        """
        # Noted first: a request that is under way in the leader dies with it.
        mark = replace(_NO_LEADER, turned_away=True)
        fault = self._journal.begin_fault("leader killed", mark)
        node.kill()
        try:
            yield fault
        finally:
            node.start()
            revive()
            self._journal.end_fault(fault)

    @contextmanager
    def leader_paused(self, node: Node) -> Iterator[Fault]:
        """A cluster whose leader stands still (SIGSTOP): connections to it stay open, and silent.

        Args:
            node: The leader.
        """
        fault = self._journal.begin_fault("leader paused", _NO_LEADER)
        node.pause()
        try:
            yield fault
        finally:
            node.resume()
            self._journal.end_fault(fault)

    @contextmanager
    def threads_ended(self, threads: Collection[threading.Thread]) -> Iterator[Fault]:
        """Threads of this process end as by a defect of their own; nobody else is told.

        One that waits ends when it wakes: it does nothing more, whatever it woke for.

        Args:
            threads: Which.
        """
        fault = self._journal.begin_fault(
            "client's threads ended", Signature(), {"threads": len(threads)}, optional=True
        )
        for thread in threads:
            ctypes.pythonapi.PyThreadState_SetAsyncExc(
                ctypes.c_ulong(thread.ident or 0), ctypes.py_object(SystemExit)
            )
        try:
            yield fault
        finally:
            self._journal.end_fault(fault)

    @contextmanager
    def quorum_lost(self, nodes: Sequence[Node]) -> Iterator[Fault]:
        """So many nodes of a cluster stand still that the others are no quorum: nobody leads.

        Args:
            nodes: Those to stop, at least half of all.
        """
        fault = self._journal.begin_fault("quorum lost", _NO_LEADER, {"nodes": len(nodes)})
        try:
            for node in nodes:
                node.pause()
            yield fault
        finally:
            for node in nodes:
                node.resume()
            self._journal.end_fault(fault)

    @contextmanager
    def storage_stopped(self, storage: Storage) -> Iterator[Fault]:
        """Where Vault keeps its data is gone; it answers 500 to whatever needs them.

        Args:
            storage: The server of that storage.
        """
        storage.stop()
        fault = self._journal.begin_fault("storage stopped", Signature(statuses=frozenset({500})))
        try:
            yield fault
        finally:
            storage.start()
            self._journal.end_fault(fault)

    @contextmanager
    def client_paused(self, pid: int) -> Iterator[Fault]:
        """A client that stands still (SIGSTOP), with all its processes, while the world goes on.

        Args:
            pid: Of its first process.

        Raises:
            ProcessLookupError: There is no such process.
        """
        stopped = _stop(pid)
        fault = self._journal.begin_fault(
            "client paused",
            Signature(answers_late=inf),  # they wait in its sockets
            {"pid": pid, "processes": len(stopped)},
            optional=True,
        )
        try:
            yield fault
        finally:
            # Noted first: what was due is done at once, before the last of them is awake.
            self._journal.end_fault(fault)
            for process in reversed(stopped):  # whoever waits for a child finds it awake
                with suppress(psutil.Error):  # it was killed meanwhile
                    process.send_signal(signal.SIGCONT)


def process_tree(pid: int) -> list[psutil.Process]:
    """A process and all that belong to it: its descendants, and its session if it leads one.

    A wrapper, a shell or an agent has its work done by children; one that lets go of its parent is
    still of the session. The harness's own watchdog is none of them.

    Raises:
        ProcessLookupError: There is no such process.
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
    """Stop them all, and those that one of them started a moment before it was stopped."""
    stopped: list[psutil.Process] = []
    os.kill(pid, signal.SIGSTOP)
    while more := [process for process in process_tree(pid) if process not in stopped]:
        for process in more:
            with suppress(psutil.Error):
                process.send_signal(signal.SIGSTOP)
            stopped.append(process)
    return stopped
