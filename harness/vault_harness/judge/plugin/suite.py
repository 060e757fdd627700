"""Prepare a run that has only scenarios."""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import threading
import time
import traceback
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from vault_harness.errors import HarnessError, SettingsError
from vault_harness.judge.plugin.options import (
    OF_A_SUITE,
    POSTGRESQL,
    Options,
    known,
    options,
    refuse_foreign,
    refuse_unknown,
    set_start,
    words_of,
)

if TYPE_CHECKING:
    from types import FrameType

    from vault_harness.judge.catalogue import Entry
    from vault_harness.judge.report.outcome import Outcome
    from vault_harness.settings import Settings

SUITE = pytest.StashKey[str]()
"""The engine of a suite of scenarios, and the reason."""


COST = pytest.StashKey[str]()

SLOTS = pytest.StashKey[int]()
"""The number of forks in which scenarios run; 0 for none."""


ENDED_BY = pytest.StashKey[int]()
"""The signal, other than SIGINT, that ended the run. It sets the exit code."""


_MEASURING = "starting the subject once, to see what that costs"

_REPORTED = "fE"
"""What pytest repeats at the end of a run by default (``-r``)."""

_INTERRUPTED = "interrupted before any scenario began: this is no pass"


def begin_suite(config: pytest.Config, catalogue: Path) -> None:
    from vault_harness.local.engine.process.spawn import die_with_parent

    option = config.option
    config.stash[OF_A_SUITE] = True
    if hasattr(config, "workerinput"):  # the parent has checked everything
        die_with_parent()
        return
    _end_by_signals(config)
    try:
        _prepare(config, catalogue)
    except HarnessError as error:
        raise pytest.UsageError(str(error)) from error
    except KeyboardInterrupt:  # pytest does not handle it yet
        with contextlib.suppress(OSError):  # the terminal is gone; the exit code remains
            sys.stderr.write(f"{_INTERRUPTED}\n")
        raise SystemExit(int(_ended(config))) from None
    except Exception as error:  # pytest does not handle it yet: Python would exit with 1
        from vault_harness.judge.report.outcome import Outcome

        traceback.print_exc()
        raise SystemExit(int(Outcome.CRASHED)) from error
    if getattr(option, "maxschedchunk", 0) is None:
        option.maxschedchunk = 1  # otherwise the last worker has a queue that nobody shares
    # This plugin imports Hypothesis for its summary, which costs a second of CPU.
    config.pluginmanager.unregister(name="hypothesispytest")
    # A client that leaves an event loop open, or loses a thread, is judged by its verdicts. Where
    # warnings are errors, these plugins would end the run as if the harness had failed.
    for name in ("unraisableexception", "threadexception"):
        config.pluginmanager.unregister(name=name)
    option.showcapture = "no"  # a failure's text has what matters, without secrets
    if option.reportchars == _REPORTED:
        # The verdict names the failures by their ids already.
        option.reportchars = ""
    if option.xmlpath is None:
        option.xmlpath = str(options(config).report / "junit.xml")


def _prepare(config: pytest.Config, catalogue: Path) -> None:
    """Check everything that may be wrong, begin the report, and choose how scenarios run.

    Nothing is touched before all is checked. The report begins before a subject is measured: a kill
    must not leave the last run's verdicts.
    """
    from vault_harness.judge.catalogue import load
    from vault_harness.settings import Settings

    option, chosen, settings = config.option, options(config), Settings.from_environment()
    entries = load(catalogue)
    asked = [e for e in entries.values() if not chosen.only or chosen.only & words_of(e)]
    # With pytest's own option for a number of workers, pytest-xdist starts them.
    ours = getattr(option, "numprocesses", None) is None and not option.collectonly
    workers = 0
    if ours and not option.usepdb and len(asked) > 1:
        workers = min(chosen.workers or side_by_side(settings), len(asked))
    forks = bool(workers) and _may_fork(settings)
    _check_subject(chosen, forks=forks)
    refuse_unknown(chosen.only, entries.values(), str(catalogue))
    refuse_foreign(known(config), entries.values(), chosen.known_file)
    config.stash[SUITE] = _engine(settings)
    if option.collectonly:
        return
    _begin(config, chosen)
    if not ours:
        return
    if workers > 1 and not chosen.workers:
        workers = _by_cost(config, chosen, settings, workers)
    option.numprocesses = 0 if forks else workers
    if forks:
        config.stash[SLOTS] = workers
        _begin_postgresql(config, asked)


def _end_by_signals(config: pytest.Config) -> None:
    """Make SIGTERM and SIGHUP end the run as Ctrl-C does, with cleanup and report.

    An ignored signal (``nohup``) or one with a handler stays as it is. A closing session may send
    both, and the second must not stop the cleanup of the first.
    """
    if threading.current_thread() is not threading.main_thread():
        return
    from vault_harness.interrupts import SAME_SECONDS

    ending = (signal.SIGTERM, signal.SIGHUP)
    heard = [number for number in ending if signal.getsignal(number) is signal.SIG_DFL]
    pid, came = os.getpid(), [-SAME_SECONDS]

    def end(number: int, frame: FrameType | None) -> None:  # noqa: ARG001 -- signal's shape
        if os.getpid() != pid:  # a fork that has not set its own handlers yet
            os._exit(128 + number)
        before, came[0] = came[0], time.monotonic()
        if came[0] - before < SAME_SECONDS:
            return
        config.stash[ENDED_BY] = number
        raise KeyboardInterrupt

    def forget() -> None:
        for number in heard:
            signal.signal(number, signal.SIG_DFL)

    for number in heard:
        signal.signal(number, end)
    config.add_cleanup(forget)


def _ended(config: pytest.Config) -> Outcome:
    from vault_harness.judge.report.outcome import interrupted

    return interrupted(config.stash.get(ENDED_BY, signal.SIGINT))


def _check_subject(chosen: Options, *, forks: bool) -> None:
    from vault_harness.judge.subjects import check_subject, parse_subject

    spec = parse_subject(chosen.subject)
    # The import of the reference client starts nothing, so it can be done before the first fork.
    if forks and spec.text != "reference":
        from vault_harness.judge.plugin.slots import check_apart

        check_apart(spec)
    else:
        check_subject(spec)


def _begin(config: pytest.Config, chosen: Options) -> None:
    """Record in the report's folder that a run has begun and has not ended."""
    from vault_harness.judge.report import Asked, begin, hold

    try:
        held = hold(chosen.report)
        config.add_cleanup(lambda: os.close(held))
        asked = Asked(shard=chosen.part)
        begin(chosen.report, subject=chosen.subject, run=chosen.run, planned={}, asked=asked)
    except OSError as error:
        raise SettingsError(
            f"the report cannot be written: {error.strerror or error}",
            looked_at=str(error.filename or chosen.report),
            remedy="make room there, or make it a folder that you may write to; "
            "or start the run in another folder",
        ) from error


def _engine(settings: Settings) -> str:
    from vault_harness.errors import EngineUnavailable, named
    from vault_harness.local.engine.choice import choose, docker_state

    name, why = choose(settings)
    if name == "external":
        from vault_harness.local.stack.launching import check_external

        check_external(settings)
    if settings.engine == "docker" and (reason := docker_state(settings)):
        raise EngineUnavailable(
            f"docker cannot be used: {reason}",
            looked_at="HARNESS_ENGINE=docker",
            remedy=f"start an engine, or `{named('images')}` for the images, "
            "or HARNESS_ENGINE=process",
        )
    if settings.engine == "auto" and name == "process":
        return "process engine"  # the default needs no reason
    return f"{name} engine ({why})"


def _may_fork(settings: Settings) -> bool:
    """Return whether scenarios run in forks of this process, or else in workers of pytest-xdist.

    Outside Linux a fork cannot use everything that its parent loaded. The client of the docker
    engine does not support forks.
    """
    from vault_harness.local.engine.choice import choose

    return sys.platform == "linux" and choose(settings)[0] == "process"


def _begin_postgresql(config: pytest.Config, asked: Iterable[Entry]) -> None:
    """Begin a PostgreSQL that all forks share, if a scenario with leases was chosen.

    Its data are made while pytest collects, in about a second. In each fork that would take several
    seconds.
    """
    from vault_harness.local.engine.process.postgresql import SharedPostgresql

    shared = SharedPostgresql()
    if any(e.logs_in and e.needs_postgresql for e in asked) and not shared.lacking():
        # On failure each fork begins its own server, and reports the error.
        with contextlib.suppress(HarnessError, OSError):
            shared.begin()
            config.stash[POSTGRESQL] = shared
            config.add_cleanup(shared.close)


def side_by_side(settings: Settings) -> int:
    """Give containers half: starting and ending several for each scenario takes the cores."""
    from vault_harness.local.engine.choice import choose

    if "workers" not in settings.model_fields_set and choose(settings)[0] == "docker":
        return max(1, settings.workers // 2)
    return settings.workers


def _by_cost(config: pytest.Config, chosen: Options, settings: Settings, most: int) -> int:
    """Return how many scenarios may run side by side.

    A subject with its own process is started once to measure its cost, and one behind a server to
    see whether the server holds several.
    """
    from vault_harness.errors import named
    from vault_harness.judge.cost import measure
    from vault_harness.judge.environment import open_environment
    from vault_harness.judge.plugin.progress import LossyStream
    from vault_harness.judge.report import one_line
    from vault_harness.judge.subjects import parse_subject

    spec = parse_subject(chosen.subject)
    if spec.kind not in ("command", "agent", "http"):
        return most
    told = LossyStream(sys.stdout)
    told.write(f"{_MEASURING}\n")
    told.flush()
    with open_environment(settings, spec, seed=chosen.seed) as environment:
        cost = measure(environment)
    if isinstance(cost, str):
        more = f"`{named('subject.check', chosen.subject)}` says more"
        config.stash[COST] = f"it does not start: {one_line(cost)}\n{more}"
        return most
    # The cost of a start inside a running server cannot be measured.
    workers = cost.workers(most) if cost.alone or spec.kind != "http" else most
    set_start(config, cost.start(workers))
    config.stash[COST] = f"{cost}: {workers} side by side"
    return workers
