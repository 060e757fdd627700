"""A run that is one of scenarios, and nothing else."""

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
from vault_harness.plugin._options import (
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

    from vault_harness.report.outcome import Outcome
    from vault_harness.scenario import Entry
    from vault_harness.settings import Settings

SUITE = pytest.StashKey[str]()
"""In a run of scenarios: which engine they will run on, and why."""


COST = pytest.StashKey[str]()
"""What a start of the subject was measured to cost, in words."""

OF_A_SUITE = pytest.StashKey[bool]()
"""Set where a run is one of scenarios, in its workers too."""


SLOTS = pytest.StashKey[int]()
"""In how many forks the scenarios of this run go side by side; 0 for none."""


ENDED_BY = pytest.StashKey[int]()
"""The signal other than Ctrl-C's that has come: the run ends alike, with a code of its own."""


_MEASURING = "starting the subject once, to see what that costs"

_REPORTED = "fE"
"""What pytest tells once more at the end of a run where nobody says what (``-r``)."""

_INTERRUPTED = "interrupted before any scenario began: this is no pass"


def begin_suite(config: pytest.Config, catalogue: Path) -> None:
    """Make a run one of scenarios: side by side, with a JUnit file.

    For the ``pytest_cmdline_main`` of a ``conftest.py`` beside scenarios; they run without it too.

    Args:
        config: Of the run.
        catalogue: Of the scenarios.

    Raises:
        pytest.UsageError: A setting or an option does not make sense.
    """
    option = config.option
    config.stash[OF_A_SUITE] = True
    if hasattr(config, "workerinput"):
        return
    _end_by_signals(config)
    try:
        chosen = options(config)
        # Who names a number of workers by pytest's own option has them started by pytest-xdist.
        if getattr(option, "numprocesses", None) is None and not option.collectonly:
            wanted = 0 if option.usepdb else _workers(config, chosen, catalogue)
            if wanted and _may_fork():
                config.stash[SLOTS], wanted = wanted, 0
                _begin_postgresql(config, chosen, catalogue)
            option.numprocesses = wanted
    except HarnessError as error:
        raise pytest.UsageError(str(error)) from error
    except pytest.UsageError:  # of the report's folder, which is begun before a start is measured
        raise
    except KeyboardInterrupt:  # pytest does not listen yet
        with contextlib.suppress(OSError):  # of a terminal that is gone: the code tells it
            sys.stderr.write(f"{_INTERRUPTED}\n")
        raise SystemExit(int(_ended(config))) from None
    except Exception as error:  # nor look after what breaks down: Python would end with 1
        from vault_harness.report.outcome import Outcome

        traceback.print_exc()
        raise SystemExit(int(Outcome.CRASHED)) from error
    if getattr(option, "maxschedchunk", 0) is None:
        option.maxschedchunk = 1  # else the last worker to start has a queue that nobody shares
    # Imports Hypothesis for its summary, which takes a second of processor time that nobody needs.
    config.pluginmanager.unregister(name="hypothesispytest")
    option.showcapture = "no"  # a failure's text says what matters, and has no secrets in it
    if option.reportchars == _REPORTED:
        # The verdict names them by their ids; the same again, by places in a package, hides it.
        option.reportchars = ""
    if option.xmlpath is None:
        option.xmlpath = str(chosen.report / "junit.xml")


def check_suite(config: pytest.Config, catalogue: Path) -> None:
    """Refuse a subject or a choice that makes no sense before anything starts.

    For the ``pytest_configure`` of a ``conftest.py`` beside scenarios, before the plugin's own.

    Raises:
        pytest.UsageError: It makes none.
    """
    from vault_harness.engine import die_with_parent

    if hasattr(config, "workerinput"):
        # The process with the terminal has looked at all of this; when it is killed, so are we.
        die_with_parent()
        return
    try:
        chosen = options(config)
        if SUITE not in config.stash:  # else it was refused before the subject was measured
            _refuse(config, chosen, catalogue)
    except HarnessError as error:
        raise pytest.UsageError(str(error)) from error
    except KeyboardInterrupt:
        pytest.exit(_INTERRUPTED, returncode=_ended(config))
    if not config.option.collectonly:
        try:
            _begin(config, chosen)
        except HarnessError as error:
            raise pytest.UsageError(str(error)) from error


def _end_by_signals(config: pytest.Config) -> None:
    """Have SIGTERM and SIGHUP end the run as Ctrl-C does: scenarios undo what they did, and so on.

    The report is made, too. By default either would end this process alone, and at once. Who
    ignores one (``nohup``), or has a use of its own for it, is left alone. A session that is closed
    may send both, and the second must not end what the first has begun.
    """
    if threading.current_thread() is not threading.main_thread():
        return  # nobody may ask for signals elsewhere
    from vault_harness.interrupts import SAME_SECONDS

    ending = (signal.SIGTERM, signal.SIGHUP)
    heard = [number for number in ending if signal.getsignal(number) is signal.SIG_DFL]
    pid, came = os.getpid(), [-SAME_SECONDS]

    def end(number: int, frame: FrameType | None) -> None:  # noqa: ARG001 -- signal's shape
        if os.getpid() != pid:  # a fork that has not said yet what it does then
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
    """The exit code of a run that somebody ended."""
    from vault_harness.report.outcome import outcome

    return outcome((), interrupted=True, by=config.stash.get(ENDED_BY, signal.SIGINT))


def _refuse(config: pytest.Config, chosen: Options, catalogue: Path) -> None:
    """Look at all that may make no sense, and touch nothing: the last report is still there.

    Raises:
        HarnessError: The subject, a choice, the known failures or the engine is of no use.
    """
    from vault_harness.scenario.catalogue import load
    from vault_harness.settings import Settings
    from vault_harness.subjects import check_subject, parse_subject

    spec = parse_subject(chosen.subject)
    # Our own client begins nothing when it is imported: it is there before the first fork.
    if config.stash.get(SLOTS, 0) and spec.text != "reference":
        from vault_harness.plugin._slots import check_apart as check
    else:
        check = check_subject
    check(spec)
    entries = load(catalogue)
    refuse_unknown(chosen.only, entries.values(), str(catalogue))
    refuse_foreign(known(config), entries.values(), chosen.known_file)
    config.stash[SUITE] = _engine(Settings.from_environment())


REPORT = pytest.StashKey[int]()
"""The folder of the report, open and locked: no other run may write there meanwhile."""


def _begin(config: pytest.Config, chosen: Options) -> None:
    """Have the report's folder say that a run has begun, and is not through.

    Raises:
        pytest.UsageError: Nothing can be written there.
        SettingsError: Another run writes there, or it has files of somebody else's that would be
            replaced.
    """
    from vault_harness.report import begin, hold

    try:
        if REPORT not in config.stash:
            config.stash[REPORT] = held = hold(chosen.report)
            config.add_cleanup(lambda: os.close(held))
        begin(
            chosen.report,
            subject=chosen.subject,
            run=chosen.run,
            planned={},
            left_out={},
            shard=chosen.part,
        )
    except OSError as error:
        told = SettingsError(
            f"the report cannot be written: {error.strerror or error}",
            looked_at=str(error.filename or chosen.report),
            remedy="make room there, or make it a folder that you may write to; "
            "or start the run in another folder",
        )
        raise pytest.UsageError(str(told)) from error


def _engine(settings: Settings) -> str:
    """Which engine the scenarios will run on, and why.

    Raises:
        EngineUnavailable: docker was asked for and cannot be used.
        HarnessError: The external Vault cannot be used; see `vault_harness.stack.check_external`.
    """
    from vault_harness.commands import named
    from vault_harness.engine import choose, docker_state
    from vault_harness.errors import EngineUnavailable

    name, why = choose(settings)
    if name == "external":
        from vault_harness.stack import check_external

        check_external(settings)
    if settings.engine == "docker" and (reason := docker_state(settings)):
        raise EngineUnavailable(
            f"docker cannot be used: {reason}",
            looked_at="HARNESS_ENGINE=docker",
            remedy=f"start an engine, or `{named('images')}` for the images, "
            "or HARNESS_ENGINE=process",
        )
    return f"{name} engine ({why})"


def _may_fork() -> bool:
    """Whether scenarios run in forks of this process; else pytest-xdist starts workers.

    Other systems than Linux do not let a fork use all that its parent has loaded, and the docker
    engine's client was not made to be used in one.
    """
    from vault_harness.engine import choose
    from vault_harness.settings import Settings

    return sys.platform == "linux" and choose(Settings.from_environment())[0] == "process"


def _workers(config: pytest.Config, chosen: Options, catalogue: Path) -> int:
    """How many workers are of use; none where there is one scenario to run.

    A subject with a process of its own is started once to see what it costs, and the deadline of
    its starts follows from that too; one behind a server, to see whether that holds several.
    """
    from vault_harness.scenario.catalogue import load
    from vault_harness.settings import Settings
    from vault_harness.subjects import parse_subject

    settings = Settings.from_environment()
    entries = _asked(chosen, load(catalogue).values())
    if len(entries) <= 1:
        return 0
    workers = min(chosen.workers or side_by_side(settings), len(entries))
    costly = parse_subject(chosen.subject).kind in ("command", "agent", "http")
    if costly and not chosen.workers and workers > 1:
        _refuse(config, chosen, catalogue)
        _begin(config, chosen)  # the last run's verdicts must not survive one that is killed here
        workers = _by_cost(config, chosen, settings, workers)
    return workers


def _begin_postgresql(config: pytest.Config, chosen: Options, catalogue: Path) -> None:
    """Begin the PostgreSQL that all forks use, if a scenario is nothing without leases in one.

    Its data take a second to make, and are made while pytest collects; later, and by each fork for
    itself, they would take several, since all others start then.
    """
    from vault_harness.scenario.catalogue import load
    from vault_harness.scenario.postgresql import SharedPostgresql

    asked = _asked(chosen, load(catalogue).values())
    leases = (e.lease_ttl is not None and e.needs_postgresql for e in asked)
    shared = SharedPostgresql()
    if any(leases) and not shared.lacking():
        # Else each begins one for itself, and finds out.
        with contextlib.suppress(HarnessError, OSError):
            shared.begin()
            config.stash[POSTGRESQL] = shared
            config.add_cleanup(shared.close)


def _asked(chosen: Options, entries: Iterable[Entry]) -> list[Entry]:
    return [entry for entry in entries if not chosen.only or chosen.only & words_of(entry)]


def side_by_side(settings: Settings) -> int:
    """How many scenarios run at once for the settings' engine, however cheap the client is.

    Half of the default in containers: each scenario has some of its own, a network too, and what
    starts and ends them takes the cores that servers and clients wait for.
    """
    from vault_harness.engine import choose

    if "workers" not in settings.model_fields_set and choose(settings)[0] == "docker":
        return max(1, settings.workers // 2)
    return settings.workers


def _by_cost(config: pytest.Config, chosen: Options, settings: Settings, most: int) -> int:
    """How many workers a subject leaves room for, by one start of it."""
    from vault_harness.commands import named
    from vault_harness.plugin._heedless import Heedless
    from vault_harness.report import one_line
    from vault_harness.scenario import open_environment
    from vault_harness.scenario.cost import measure
    from vault_harness.subjects import parse_subject

    told = Heedless(sys.stdout)
    told.write(f"{_MEASURING}\n")
    told.flush()
    spec = parse_subject(chosen.subject)
    with open_environment(settings, spec, seed=chosen.seed) as environment:
        cost = measure(environment)
    if isinstance(cost, str):
        more = f"`{named('subject.check', chosen.subject)}` says more"
        config.stash[COST] = f"it does not start: {one_line(cost)}\n{more}"
        return most
    # What a start costs a server that runs already nobody can tell.
    workers = cost.workers(most) if cost.alone or spec.kind != "http" else most
    set_start(config, cost.start(workers))
    config.stash[COST] = f"{cost}: {workers} side by side"
    return workers
