"""Scenarios side by side, in forks of the process that has the terminal.

Scenarios wait for most of their time, so many of them go side by side on few cores; what costs is
to bring a process up to where it can begin. A fork begins with everything imported and collected.
Each fork asks for one scenario after the other, and sends back what pytest reports of it.
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
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from multiprocessing.context import ForkProcess
from typing import Any

import pytest

from vault_harness.engine import ToxiproxyProcess
from vault_harness.errors import HarnessError, SettingsError
from vault_harness.plugin._options import POSTGRESQL, TABLE, TOXIPROXY, options
from vault_harness.scenario.postgresql import SharedPostgresql
from vault_harness.scenario.shared import load_for_forks, shared_toxiproxies
from vault_harness.settings import Settings
from vault_harness.subjects import SubjectSpec, check_subject

_FORK = multiprocessing.get_context("fork")

PATIENCE = 30.0
"""Seconds for a fork to undo what its scenario did, when the run is broken off."""

IMPORT = 180.0
"""Seconds for the import of a client that is a Python object; as many as a start may take."""

_NEEDED = ("vault_harness.report", "vault_harness.scenario", "vault_harness.engine.process")
"""What every scenario needs; loaded once, before the first fork."""


_ENDED_BY = (
    "  what to do: see whether memory ran out (-9). A client that is a Python object runs in that "
    "process, and may have ended it, by os._exit or in an extension: as a program "
    "('command:python -m vault_harness.subjects python:MODULE:FACTORY') it is judged for that"
)


@dataclass
class _Slot:
    """A fork, as its parent sees it.

    Attributes:
        process: Itself.
        pipe: To it.
        item: What it runs now.
    """

    process: ForkProcess
    pipe: Connection
    item: pytest.Item | None = None


@dataclass
class _Forks:
    """Begins forks.

    Attributes:
        session: Of which they run items.
        count: How many at once.
        close: Called at the end of each, in it.
        servers: The Toxiproxy servers that they share; none where each has its own.
        postgresql: What they share of those, if any of them needs it: begun, not started.
    """

    session: pytest.Session
    count: int
    close: Callable[[], None]
    servers: list[ToxiproxyProcess]
    postgresql: SharedPostgresql | None

    def __post_init__(self) -> None:
        self._turns = itertools.cycle(self.servers or [None])

    def begin(self, others: list[_Slot]) -> _Slot:
        """A fork beside those that there are."""
        ours, theirs = multiprocessing.Pipe()
        pipes = [ours, *(slot.pipe for slot in others)]
        process = _FORK.Process(
            target=_work, args=(self.session, theirs, pipes, self.close, next(self._turns))
        )
        process.start()
        theirs.close()
        return _Slot(process, ours)


def run_side_by_side(session: pytest.Session, count: int, close: Callable[[], None]) -> None:
    """Run the items of a session in so many forks, begun in their order.

    Args:
        session: Collected.
        count: How many at once.
        close: Called at the end of each fork, in it.

    Raises:
        pytest.Session.Failed: As many failed as the command line allows.
        pytest.Session.Interrupted: A plugin asked for the end.
    """
    for name in _NEEDED:
        importlib.import_module(name)
    begun = session.config.stash.get(POSTGRESQL, None)
    load_for_forks(leases=begun is not None)
    gc.collect()
    gc.freeze()  # what is there stays shared with the forks
    if (terminal := session.config.pluginmanager.get_plugin("terminalreporter")) is not None:
        terminal.showfspath = False  # the line of a scenario is printed at its end
    waiting = deque(enumerate(session.items))
    count = min(count, len(waiting))
    settings, seed = Settings.from_environment(), options(session.config).seed
    with shared_toxiproxies(settings, seed=seed, sharers=count) as servers:
        _run(session, waiting, _Forks(session, count, close, servers, begun))


def _start(postgresql: SharedPostgresql) -> None:
    """Start what was begun: scenarios that need it wait for it, and no others."""
    with contextlib.suppress(HarnessError):  # they find out
        postgresql.server()


def _run(session: pytest.Session, waiting: deque[tuple[int, pytest.Item]], forks: _Forks) -> None:
    slots: list[_Slot] = []
    leaving: list[_Slot] = []
    try:
        begun = forks.postgresql
        while waiting or slots:
            while len(slots) < forks.count and waiting:
                slots.append(forks.begin(slots))
                _give(slots[-1], waiting)  # at once: who comes first has the first turn to start
            if begun is not None:
                _start(begun)
                begun = None
            ready = wait([slot.pipe for slot in slots])
            for slot in [slot for slot in slots if slot.pipe in ready]:
                if not _hear(session, slot) or not _give(slot, waiting):
                    slots.remove(slot)
                    leaving.append(slot)
    finally:
        # Whoever presses Ctrl-C twice must not leave a fork that nobody ends.
        with _deaf_to_interrupts():
            own_accord = {slot.process for slot in leaving}
            for process in multiprocessing.active_children():  # where the run is broken off
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


def _hear(session: pytest.Session, slot: _Slot) -> bool:
    """Take the reports that a fork sends; False if it has ended instead."""
    hook = session.config.hook
    try:
        reports = slot.pipe.recv()
    except (EOFError, OSError):  # killed in the middle of what it said, too: out of memory, say
        slot.process.join()
        hook.pytest_runtest_logreport(report=_died(slot))
        return False
    slot.item = None
    for data in reports:
        report = hook.pytest_report_from_serializable(config=session.config, data=data)
        hook.pytest_runtest_logreport(report=report)
    if session.shouldfail:
        raise session.Failed(session.shouldfail)
    if session.shouldstop:
        raise session.Interrupted(session.shouldstop)
    return True


def _give(slot: _Slot, waiting: deque[tuple[int, pytest.Item]]) -> bool:
    """Give a fork what comes next; False if nothing does, and it may end."""
    index, slot.item = waiting.popleft() if waiting else (None, None)
    if slot.item is not None:
        slot.item.config.hook.pytest_runtest_logstart(
            nodeid=slot.item.nodeid, location=slot.item.location
        )
    # If it has died by now, the next look at the pipe finds its end.
    with contextlib.suppress(ConnectionError):
        slot.pipe.send(index)
    return index is not None


def _died(slot: _Slot) -> pytest.TestReport:
    """The report of an item whose process came to its end with it."""
    assert slot.item is not None  # it waits for none, but for the word that it may end
    text = f"the process that ran it ended with exit code {slot.process.exitcode}\n{_ENDED_BY}"
    return pytest.TestReport(
        slot.item.nodeid, slot.item.location, {}, "failed", text, "call", start=0.0, stop=0.0
    )


def _bury(slots: list[_Slot]) -> None:
    """See forks to their end: they have servers to end themselves; or else by force."""
    until = time.monotonic() + PATIENCE
    for slot in slots:
        slot.pipe.close()  # whoever waits for a word has none to wait for
    for slot in slots:
        slot.process.join(max(0.0, until - time.monotonic()))
        slot.process.kill()
        slot.process.join()


def check_apart(spec: SubjectSpec) -> None:
    """`check_subject` in a fork, so that what its import begins is begun in no parent of forks.

    Raises:
        SettingsError: Its factory cannot be imported, or that does not end.
    """
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
    process.kill()  # it has told all that it has to tell
    process.join()
    if told:
        raise SettingsError(told["cause"], looked_at=told["looked_at"], remedy=told["remedy"])


def _never_imported(spec: SubjectSpec) -> dict[str, str]:
    return {
        "cause": f"the import of {spec.text} has not ended within {IMPORT:g} s",
        "looked_at": f"module {spec.module}, in a process of its own",
        "remedy": "import it by hand, and see what it waits for: Vault is for its factory to reach",
    }


# In the fork


class _Reports:
    """Keeps the reports of one item, as data."""

    def __init__(self, config: pytest.Config) -> None:
        self._config = config
        self._kept: list[Any] = []

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Keep it."""
        hook = self._config.hook
        data = hook.pytest_report_to_serializable(config=self._config, report=report)
        self._kept.append(data)

    def take(self) -> list[Any]:
        """Those since the last time."""
        taken, self._kept = self._kept, []
        return taken


def _work(
    session: pytest.Session,
    pipe: Connection,
    parents: list[Connection],
    close: Callable[[], None],
    toxiproxy: ToxiproxyProcess | None,
) -> None:
    """Run one item after the other, until there is none or the parent is gone."""
    from vault_harness.engine import die_with_parent

    die_with_parent()
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent hears Ctrl-C too, and ends us
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    if signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:
        # So it hears of a terminal that goes away. Not ignored, lest the clients begin so, too.
        signal.signal(signal.SIGHUP, lambda *_: None)
    for other in parents:
        other.close()  # lest a pipe seem open whose parent is gone
    _be_silent(session.config)
    if toxiproxy is not None:
        session.config.stash[TOXIPROXY] = toxiproxy
    reports = _Reports(session.config)
    session.config.pluginmanager.register(reports)
    with _final():
        try:
            while (index := pipe.recv()) is not None:
                item = session.items[index]
                session.config.hook.pytest_runtest_protocol(item=item, nextitem=None)
                pipe.send(reports.take())
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
    """End the process after the block, without a wait for threads that a client has left."""
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
    """Leave the terminal, and the files that take what tests print, to the parent."""
    config.pluginmanager.unregister(name=TABLE)
    if (captured := config.pluginmanager.get_plugin("logging-plugin")) is not None:
        # A client's log is taken at every level, into a file of its own. Pytest, which shows it to
        # nobody, keeps what it keeps elsewhere, and does not write out each line twice more.
        for handler in (captured.caplog_handler, captured.report_handler):
            handler.setLevel(logging.WARNING)
    if (capture := config.pluginmanager.get_plugin("capturemanager")) is not None:
        config.pluginmanager.unregister(capture)
    nothing = os.open(os.devnull, os.O_RDWR)
    for descriptor in (1, 2):
        os.dup2(nothing, descriptor)
    os.close(nothing)
