"""Break processes: the server's, the client's, and the client's wall clock."""

from __future__ import annotations

import mmap
import os
import signal
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import replace
from functools import partial
from math import inf
from pathlib import Path
from typing import Protocol

import psutil

from vault_harness.errors import DeadlineExceeded, ProgramMissing, ServerDied
from vault_harness.files import write_private
from vault_harness.judge.verdict import NotClaimed
from vault_harness.local.engine.shape import Node
from vault_harness.local.programs import find_faketime
from vault_harness.recorder.fault import Fault, FaultLog, Signature, noted
from vault_harness.recorder.history import History
from vault_harness.waiting import wait_until

PAUSE = 1.0
"""Seconds between an end of a supervised server and its next start."""

REVIVAL = 60.0
"""Seconds in which a supervised server must serve again."""


class Supervisor:
    """Start a server again whenever it ends, as systemd or a container engine would.

    `ends` counts how often the server ended by itself, before it answered or after.
    """

    def __init__(self, node: Node) -> None:
        self._node = node
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
            self._over.wait(PAUSE)

    def close(self) -> None:
        """Stop supervising, after a start that is under way."""
        self._over.set()
        self._thread.join()


WATCHDOG = "vault-harness-watchdog"
"""In the command line of the process that ends a subject when the harness dies."""


_NO_LEADER = Signature(unanswered=True, late=0.5, statuses=frozenset({500, 503}))


class Storage(Protocol):
    """A server that comes back with its data."""

    def stop(self) -> None:
        """Stop the server."""

    def start(self) -> None:
        """Start the server, and wait until it serves."""


class ProcessFaults:
    """Freeze and kill processes."""

    def __init__(self, log: FaultLog) -> None:
        self._log = log

    @contextmanager
    def server_paused(self, node: Node) -> Iterator[Fault]:
        """Freeze the server: it accepts connections and never answers (SIGSTOP)."""
        node.pause()
        with noted(
            self._log, "server paused", Signature(unanswered=True, late=1.0), undo=node.resume
        ) as fault:
            yield fault

    @contextmanager
    def server_killed(self, node: Node, *, revive: Callable[[], object]) -> Iterator[Fault]:
        """Kill the server, and start it afterwards.

        ``revive`` gives a Shamir-sealed Vault its keys.
        """
        node.kill()
        mark = Signature(unanswered=True, turned_away=True, statuses=frozenset({503}))
        with noted(self._log, "server killed", mark, undo=_started(node, revive)) as fault:
            yield fault

    @contextmanager
    def server_killed_under_supervision(
        self, node: Node, *, serves: Callable[[], bool]
    ) -> Iterator[tuple[Fault, Supervisor]]:
        """Kill the server; only a supervisor starts it again.

        The fault ends when the server serves again, at most `REVIVAL` seconds after the block.
        """
        node.kill()
        mark = Signature(unanswered=True, turned_away=True, statuses=frozenset({500, 503}))
        supervisor = Supervisor(node)
        with noted(self._log, "server killed", mark, undo=supervisor.close) as fault:
            yield fault, supervisor
            wait_until(serves, "Vault to serve again", timeout=REVIVAL, evidence=node.logs)

    @contextmanager
    def leader_killed(self, node: Node, *, revive: Callable[[], object]) -> Iterator[Fault]:
        """Kill a cluster's leader, and start it afterwards.

        ``revive`` gives a Shamir-sealed node its keys.
        """
        # Note the fault first: a request under way in the leader dies with it.
        mark = replace(_NO_LEADER, turned_away=True)
        with noted(self._log, "leader killed", mark, undo=_started(node, revive)) as fault:
            node.kill()
            yield fault

    @contextmanager
    def leader_paused(self, node: Node) -> Iterator[Fault]:
        """Freeze a cluster's leader (SIGSTOP): connections to it stay open, and silent."""
        with noted(self._log, "leader paused", _NO_LEADER, undo=node.resume) as fault:
            node.pause()
            yield fault

    @contextmanager
    def quorum_lost(self, nodes: Sequence[Node]) -> Iterator[Fault]:
        """Freeze nodes of a cluster, at least half of all, so that there is no leader."""
        with ExitStack() as paused:
            detail = {"nodes": len(nodes)}
            with noted(self._log, "quorum lost", _NO_LEADER, detail, undo=paused.close) as fault:
                for node in nodes:
                    paused.callback(node.resume)
                    node.pause()
                yield fault

    @contextmanager
    def storage_stopped(self, storage: Storage) -> Iterator[Fault]:
        """Stop Vault's storage; Vault answers 500 to requests that need it."""
        storage.stop()
        with noted(
            self._log, "storage stopped", Signature(statuses=frozenset({500})), undo=storage.start
        ) as fault:
            yield fault

    @contextmanager
    def client_paused(self, pid: int) -> Iterator[Fault]:
        """Freeze a client (SIGSTOP) with all its processes; ``pid`` is the first."""
        stopped = _stop(pid)
        fault = self._log.begin_fault(
            "client paused",
            Signature(answers_late=inf),  # answers wait in the client's sockets
            {"pid": pid, "processes": len(stopped)},
            optional=True,
        )
        try:
            yield fault
        finally:
            # Note the end first: due work begins at once, before the last process is awake.
            self._log.end_fault(fault)
            for process in reversed(stopped):  # a waiting parent finds its child awake
                with suppress(psutil.Error):  # killed meanwhile
                    process.send_signal(signal.SIGCONT)


def _started(node: Node, revive: Callable[[], object]) -> Callable[[], None]:
    def start() -> None:
        node.start()
        revive()

    return start


def process_tree(pid: int) -> list[psutil.Process]:
    """Return a process, its descendants, and its session if it leads one.

    A wrapper, a shell or an agent lets its children do the work, and a child that has left its
    parent is still in the session. The harness's own watchdog is left out. Raise
    `ProcessLookupError` if there is no such process.
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
    """Stop all processes, also those that start meanwhile."""
    stopped: list[psutil.Process] = []
    os.kill(pid, signal.SIGSTOP)
    while more := [process for process in process_tree(pid) if process not in stopped]:
        for process in more:
            with suppress(psutil.Error):
                process.send_signal(signal.SIGSTOP)
            stopped.append(process)
    return stopped


PROC = Path("/proc")

_GO = b"\xff Go buildinf:"
"""In every Go program. Go asks the kernel for the time, so libfaketime cannot change it."""

_SERVED = "vault_harness.judge.subjects"
"""In the command line of a Python client that the harness runs as a program."""


class ClientClock:
    """The wall clock of all processes that are started with its `environ`.

    Their monotonic clock does not change, as on a real machine whose time is set.
    """

    def __init__(self, directory: Path, history: History) -> None:
        self._history = history
        self._file = directory / "clock"
        try:
            self._library = find_faketime()
        except ProgramMissing as missing:
            raise NotClaimed(f"{missing.cause} (looked at: {missing.looked_at})") from None
        self._write(0)

    def environ(self) -> dict[str, str]:
        others = os.environ.get("LD_PRELOAD")
        return {
            "LD_PRELOAD": f"{self._library}:{others}" if others else str(self._library),
            "FAKETIME_TIMESTAMP_FILE": str(self._file),
            "FAKETIME_NO_CACHE": "1",
            "FAKETIME_DONT_FAKE_MONOTONIC": "1",
            # This fix is for a faked monotonic clock. Waits on a true one would return at once:
            # threads of a Java VM would spin, and its requests would take seconds.
            "FAKETIME_FORCE_MONOTONIC_FIX": "0",
            "NO_FAKE_STAT": "1",
        }

    def look(self, pid: int) -> str:
        """Return evidence that libfaketime controls all of a client's processes."""
        names = []
        for process in process_tree(pid):
            name = process.name()
            if not self._loaded(process.pid):
                continue
            if _is_of_go(process.pid):
                raise NotClaimed(f"{name} is a program of Go, whose clock cannot be set for it")
            if name.startswith("python") and _SERVED not in process.cmdline():
                raise NotClaimed(
                    "libfaketime breaks time.sleep of Python 3.11 and newer, so a Python program "
                    "cannot be asked. A client that is a Python object can be asked: "
                    f"run python -m {_SERVED} python:MODULE:FACTORY"
                )
            names.append(name)
        if not names:
            raise NotClaimed("its process loads no libfaketime: is it linked statically?")
        return f"{', '.join(names)}: {self._library.name} is loaded"

    @contextmanager
    def set(self, by: int) -> Iterator[Fault]:
        name, undo = f"client's clock set by {by:+d} s", partial(self._write, 0)
        with noted(self._history, name, Signature(), {"by": by}, optional=True, undo=undo) as fault:
            self._write(by)
            yield fault

    def _write(self, by: int) -> None:
        write_private(self._file, f"{by:+d}\n")

    def _loaded(self, pid: int) -> bool:
        try:
            return self._library.name in (PROC / str(pid) / "maps").read_text(errors="replace")
        except OSError:
            return False


def _is_of_go(pid: int) -> bool:
    try:
        with (
            (PROC / str(pid) / "exe").open("rb") as file,
            mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content,
        ):
            return content.find(_GO) >= 0
    except (OSError, ValueError):  # the process is gone
        return False
