"""Run scenarios side by side, in forks of the process with the terminal.

Scenarios wait most of the time, so many of them share few cores. Starting a process is expensive,
and a fork begins with everything imported and collected.
"""

from __future__ import annotations

import contextlib
import gc
import importlib
import itertools
import logging
import multiprocessing
import os
import signal
import time
import traceback
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from multiprocessing.connection import Connection, wait
from multiprocessing.context import ForkProcess
from typing import Any

import pytest

from vault_harness.errors import EngineError, HarnessError, SettingsError
from vault_harness.judge.plugin.item import ScenarioItem, Tries
from vault_harness.judge.plugin.options import POSTGRESQL, TABLE, TOXIPROXY, WITNESS, options
from vault_harness.judge.servers import platform
from vault_harness.judge.subjects import SubjectSpec, check_subject
from vault_harness.local.engine.choice import open_engine
from vault_harness.local.engine.folders import run_directory
from vault_harness.local.engine.process.postgresql import SharedPostgresql
from vault_harness.local.engine.shape import ToxiproxyProcess
from vault_harness.recorder.witness import Witness
from vault_harness.settings import Settings


def load_for_forks(*, leases: bool) -> None:
    """Load what scenarios need before the forks, so that none of them loads it again."""
    from vault_harness.judge import report, run  # noqa: F401 -- for the forks
    from vault_harness.local.engine import process  # noqa: F401 -- for the forks

    platform()
    importlib.import_module("trustme")
    if leases:
        importlib.import_module("psycopg")


@contextlib.contextmanager
def shared_toxiproxies(
    settings: Settings, *, seed: int, sharers: int
) -> Iterator[list[ToxiproxyProcess]]:
    """Start Toxiproxy servers for `sharers` forks of this process, and stop them after the block.

    There is one for each core, as the embedded Toxiproxy uses only one. If a start fails there is
    none, which the forks report.
    """
    with ExitStack() as closing:
        servers: list[ToxiproxyProcess] = []
        with contextlib.suppress(EngineError):
            directory = closing.enter_context(run_directory())
            engine = closing.enter_context(open_engine(settings, directory=directory / "engine"))
            count = min(sharers, os.cpu_count() or 1)
            servers = [engine.toxiproxy(seed=seed) for _ in range(count)]
        yield servers


_FORK = multiprocessing.get_context("fork")

PATIENCE = 30.0
"""Seconds that a fork has to clean up when the run is interrupted."""

IMPORT = 180.0
"""Seconds for the import of a client that is a Python object, as for a start."""

QUIET = 0.5
"""The share of all cores that scenarios may use while one is confirmed."""

USE = 0.25
"""The cores that a scenario uses before its first run has ended."""

LEAST_USE = 0.05
"""The cores that any scenario uses. Shared servers, and clients in a server, are not measured.

In containers no server is measured, so a scenario there uses `USE` at least.
"""

_ENDED_BY = (
    "  what to do: check whether memory ran out (-9). A client that is a Python object runs in "
    "that process and can end it by os._exit or a crash. Run it as a program to have that judged: "
    "'command:python -m vault_harness.judge.subjects python:MODULE:FACTORY'"
)


@dataclass
class _Order:
    """A run of an item, and the runs before it."""

    index: int
    tries: Tries | None = None

    @property
    def seconds(self) -> float:
        """How long its last run took."""
        return float(self.tries.runs[-1]["seconds"]) if self.tries else 0.0

    @property
    def use(self) -> float:
        """The cores that its last run used on average."""
        last = self.tries.runs[-1] if self.tries else {}
        if "spent" not in last:
            return USE
        used: float = sum(last["spent"]["cpu"].values()) / max(1.0, last["seconds"])
        return max(LEAST_USE if last["engine"] == "process" else USE, used)


@dataclass
class _Work:
    """The work that is left: every item once, then quiet runs of the unsettled items.

    `cores` is how many cores the scenarios may use together while one is confirmed.
    """

    waiting: deque[_Order]
    cores: float
    unsettled: list[_Order] = field(default_factory=list)

    def take(self, beside: list[_Order]) -> _Order | None:
        """Return the next order, the longest first among the unsettled ones."""
        if self.waiting:
            return self.waiting.popleft()
        free = self.cores - sum(order.use for order in beside)
        found = [one for one in self.unsettled if one.use <= free or not beside]
        if not found:
            return None
        longest = max(found, key=lambda one: one.seconds)
        self.unsettled.remove(longest)
        return longest


@dataclass
class _Slot:
    process: ForkProcess
    pipe: Connection
    item: pytest.Item
    order: _Order


@dataclass
class _Forks:
    """Starts forks.

    Attributes:
        close: Called in each fork at its end.
        servers: The Toxiproxy servers that forks share; empty if each has its own.
        postgresql: Prepared but not started; None if nobody needs it.
    """

    session: pytest.Session
    count: int
    close: Callable[[], None]
    servers: list[ToxiproxyProcess]
    postgresql: SharedPostgresql | None

    def __post_init__(self) -> None:
        self._turns = itertools.cycle(self.servers or [None])

    def begin(self, others: list[_Slot], order: _Order) -> _Slot:
        ours, theirs = multiprocessing.Pipe()
        pipes = [ours, *(slot.pipe for slot in others)]
        process = _FORK.Process(
            target=_work, args=(self.session, theirs, pipes, self.close, next(self._turns))
        )
        process.start()
        theirs.close()
        slot = _Slot(process, ours, self.session.items[order.index], order)
        _give(self.session, slot, order)
        return slot


def run_side_by_side(session: pytest.Session, count: int, close: Callable[[], None]) -> None:
    """Run the items of a session in `count` forks, in order; call `close` in each at its end."""
    begun = session.config.stash.get(POSTGRESQL, None)
    load_for_forks(leases=begun is not None)
    gc.collect()
    gc.freeze()  # objects so far stay shared with the forks
    if (terminal := session.config.pluginmanager.get_plugin("terminalreporter")) is not None:
        terminal.showfspath = False  # a scenario's line is printed at its end
    work = _Work(deque(map(_Order, range(len(session.items)))), QUIET * (os.cpu_count() or 1))
    count = min(count, len(session.items))
    settings, seed = Settings.from_environment(), options(session.config).seed
    with Witness() as witness, shared_toxiproxies(settings, seed=seed, sharers=count) as servers:
        session.config.stash[WITNESS] = witness
        _run(session, work, _Forks(session, count, close, servers, begun))


def _orders(slots: Iterable[_Slot]) -> list[_Order]:
    return [slot.order for slot in slots]


def _start(postgresql: SharedPostgresql) -> None:
    """Start the shared PostgreSQL. Only scenarios that need it wait for it."""
    with contextlib.suppress(HarnessError):  # those scenarios report it
        postgresql.server()


def _run(session: pytest.Session, work: _Work, forks: _Forks) -> None:
    slots: list[_Slot] = []
    leaving: list[_Slot] = []
    try:
        begun = forks.postgresql
        while True:
            while len(slots) < forks.count and (order := work.take(_orders(slots))) is not None:
                # The order is passed with the fork, so that the first fork also starts first.
                slots.append(forks.begin(slots, order))
            if not slots:
                break
            if begun is not None:
                _start(begun)
                begun = None
            ready = wait([slot.pipe for slot in slots])
            for slot in [slot for slot in slots if slot.pipe in ready]:
                lives = _hear(session, slot, work)
                others = [other for other in slots if other is not slot]
                following = work.take(_orders(others)) if lives else None
                if lives:
                    _give(session, slot, following)
                if following is None:
                    slots.remove(slot)
                    leaving.append(slot)
    finally:
        # A second Ctrl-C must not leave forks running.
        with _deaf_to_interrupts():
            own_accord = {slot.process for slot in leaving}
            for process in multiprocessing.active_children():  # only if the run is interrupted
                if process not in own_accord:
                    process.terminate()
            _bury([*leaving, *slots])
        gc.unfreeze()


@contextlib.contextmanager
def _deaf_to_interrupts() -> Iterator[None]:
    numbers = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    before = {number: signal.signal(number, signal.SIG_IGN) for number in numbers}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _hear(session: pytest.Session, slot: _Slot, work: _Work) -> bool:
    """Return False if the fork has ended."""
    hook = session.config.hook
    try:
        told = slot.pipe.recv()
    except (EOFError, OSError):  # the fork died, perhaps while sending
        slot.process.join()
        hook.pytest_runtest_logreport(report=_died(slot))
        return False
    if isinstance(told, Tries):
        table = session.config.pluginmanager.get_plugin(TABLE)
        if table is not None:
            table.put_off(slot.item)
        work.unsettled.append(_Order(slot.order.index, told))
        return True
    for data in told:
        report = hook.pytest_report_from_serializable(config=session.config, data=data)
        hook.pytest_runtest_logreport(report=report)
    if session.shouldfail:
        raise session.Failed(session.shouldfail)
    if session.shouldstop:
        raise session.Interrupted(session.shouldstop)
    return True


def _give(session: pytest.Session, slot: _Slot, order: _Order | None) -> None:
    """None lets the fork end."""
    if order is not None:
        slot.order, slot.item = order, session.items[order.index]
        slot.item.config.hook.pytest_runtest_logstart(
            nodeid=slot.item.nodeid, location=slot.item.location
        )
    # If the fork has died, the next look at the pipe finds its end.
    with contextlib.suppress(ConnectionError):
        slot.pipe.send(order)


def _died(slot: _Slot) -> pytest.TestReport:
    text = f"the process that ran it ended with exit code {slot.process.exitcode}\n{_ENDED_BY}"
    return pytest.TestReport(
        slot.item.nodeid, slot.item.location, {}, "failed", text, "call", start=0.0, stop=0.0
    )


def _bury(slots: list[_Slot]) -> None:
    """Wait for the forks, which have servers to stop. Kill them after `PATIENCE`."""
    until = time.monotonic() + PATIENCE
    for slot in slots:
        slot.pipe.close()  # a fork that waits for an order ends
    for slot in slots:
        slot.process.join(max(0.0, until - time.monotonic()))
        slot.process.kill()
        slot.process.join()


def check_apart(spec: SubjectSpec) -> None:
    """Call `check_subject` in a fork: a parent of forks must not run threads of an import."""
    ours, theirs = multiprocessing.Pipe(duplex=False)
    process = _FORK.Process(target=_check, args=(spec, theirs))
    process.start()
    theirs.close()
    with contextlib.closing(ours):
        try:
            told = ours.recv() if ours.poll(IMPORT) else _never_imported(spec)
        except EOFError:
            process.join()
            told = {
                "cause": f"the import of {spec.text} ends the process",
                "looked_at": f"its exit code {process.exitcode}, and what it printed",
                "remedy": "import it by hand",
            }
    process.kill()  # it has sent everything
    process.join()
    if told:
        raise SettingsError(told["cause"], looked_at=told["looked_at"], remedy=told["remedy"])


def _never_imported(spec: SubjectSpec) -> dict[str, str]:
    return {
        "cause": f"the import of {spec.text} has not ended within {IMPORT:g} s",
        "looked_at": f"module {spec.module}, in a process of its own",
        "remedy": "import it by hand, and see what it waits for: Vault is for its factory to reach",
    }


class _Reports:
    def __init__(self, config: pytest.Config) -> None:
        self._config = config
        self._kept: list[Any] = []

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        hook = self._config.hook
        data = hook.pytest_report_to_serializable(config=self._config, report=report)
        self._kept.append(data)

    def take(self) -> list[Any]:
        taken, self._kept = self._kept, []
        return taken


def _work(
    session: pytest.Session,
    pipe: Connection,
    parents: list[Connection],
    close: Callable[[], None],
    toxiproxy: ToxiproxyProcess | None,
) -> None:
    from vault_harness.local.engine.process.spawn import die_with_parent

    die_with_parent()
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent gets Ctrl-C too, and ends the forks
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    if signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:
        # Clients would inherit an ignored signal, but not a handler. The parent handles the hangup.
        signal.signal(signal.SIGHUP, lambda *_: None)
    for other in parents:
        other.close()  # a pipe must close when its parent dies
    _be_silent(session.config)
    if toxiproxy is not None:
        session.config.stash[TOXIPROXY] = toxiproxy
    reports = _Reports(session.config)
    session.config.pluginmanager.register(reports)
    with _final():
        try:
            while (order := pipe.recv()) is not None:
                item = session.items[order.index]
                if isinstance(item, ScenarioItem):
                    item.begin(order.tries)
                session.config.hook.pytest_runtest_protocol(item=item, nextitem=None)
                told = reports.take()
                unsettled = isinstance(item, ScenarioItem) and item.is_unsettled
                pipe.send(item.tries if unsettled else told)
        finally:
            close()


def _check(spec: SubjectSpec, pipe: Connection) -> None:
    with _final():
        try:
            check_subject(spec)
        except SettingsError as error:
            told = {"cause": error.cause, "looked_at": error.looked_at, "remedy": error.remedy}
        else:
            told = {}
        pipe.send(told)


@contextlib.contextmanager
def _final() -> Iterator[None]:
    """End the process after the block, without waiting for threads that a client left."""
    code = 1
    try:
        with contextlib.suppress(KeyboardInterrupt, EOFError, ConnectionError):
            yield
        code = 0
    except BaseException:  # noqa: BLE001 - it ends here
        traceback.print_exc()
    finally:
        os._exit(code)


def _be_silent(config: pytest.Config) -> None:
    """Leave the terminal, and the files of captured output, to the parent."""
    config.pluginmanager.unregister(name=TABLE)
    if (captured := config.pluginmanager.get_plugin("logging-plugin")) is not None:
        # A client's log goes into a file of its own, so pytest need not format each line twice
        # more.
        for handler in (captured.caplog_handler, captured.report_handler):
            handler.setLevel(logging.WARNING)
    if (capture := config.pluginmanager.get_plugin("capturemanager")) is not None:
        config.pluginmanager.unregister(capture)
    nothing = os.open(os.devnull, os.O_RDWR)
    for descriptor in (1, 2):
        os.dup2(nothing, descriptor)
    os.close(nothing)
