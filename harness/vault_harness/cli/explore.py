"""Search for the shortest sequence of faults that breaks a client, and replay one."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from vault_harness.cli.command import command, option, repeated, typed
from vault_harness.cli.common import ENGINE, settings, use_engine, wrong
from vault_harness.cli.printing import complain, plural, say
from vault_harness.errors import HarnessDefect, SettingsError, named

if TYPE_CHECKING:
    from concurrent.futures import Executor

    from vault_harness.judge.explore.life import Order, Seen
    from vault_harness.judge.explore.search import Explorer


@dataclass(frozen=True)
class Search:
    """Which client is explored, and how far."""

    subject: str = option(
        "the client: reference, python:MODULE:FACTORY, command:..., http://..., 'clients NAME'",
        default="reference",
    )
    minutes: int | None = option("end after this time, default when everything is tried")
    only: list[str] = repeated(
        "a fault (503, sealed), a kind of request (renew) or a phase; may be repeated"
    )
    seed: int = option("order in which faults are tried", default=0)
    shard: str | None = option("try one of several parts: 2/4")
    workers: int | None = option(
        "how many clients live side by side, default what the cores can serve"
    )
    cluster: str | None = option("a Dask scheduler (tcp://host:8786), whose workers do the runs")
    singles: bool = option("try no pairs of faults", default=False)
    schedules: str | None = option("folder of schedules found before, which are tried first")
    report: str = option("where schedules and scenarios go, default report/", default="report")
    engine: str | None = option(ENGINE)


@command(
    "explore",
    group="judge",
    judges=True,
    examples=(
        "explore --subject 'command:./my-client' --minutes 10",
        "explore --only renew --only sealed",
    ),
)
def explore(search: Search) -> None:
    """Find the shortest sequence of faults that breaks a client.

    It watches the client without faults, tries every fault at every kind of request that it saw,
    and then pairs. What it tells has happened three times of three.

    Exit code 0: nothing was found; 1: something was; 2: no fault reached the client; 3: the harness
    broke down; 4: the command line is wrong; 130, 143: interrupted.
    """
    from vault_harness.judge.explore import telling
    from vault_harness.judge.explore.passed import Passed
    from vault_harness.judge.explore.search import Explorer, Options
    from vault_harness.judge.report.formats import suite_version

    if search.cluster is not None and search.engine is not None:
        raise SettingsError(
            "each worker of a cluster chooses its own engine",
            looked_at=f"--engine {search.engine}",
            remedy="leave it out, and set HARNESS_ENGINE where the workers run",
        )
    use_engine(search.engine)
    subject, report = search.subject, Path(search.report)
    runs = _made(subject)
    folder = Path(search.schedules) if search.schedules else report / telling.FOLDER
    options = Options(
        seed=search.seed,
        only=_words(search.only),
        shard=_part(search.shard),
        minutes=search.minutes,
        pairs=not search.singles,
        before=telling.read_folder(folder),
    )
    passed = Passed(
        folder / telling.PASSED,
        {"suite": suite_version(), "subject": subject, "engine": settings().engine},
    )
    with _crew(search, runs) as crew:
        options = replace(options, at_once=crew.at_once, quiet=crew.quiet, cores=crew.cores)
        explorer = Explorer(partial(crew.run, runs), crew.pool, options, complain, passed)
        try:
            explorer.search()
        except KeyboardInterrupt:
            _tell(explorer, subject, report, options.shard)
            complain(f"interrupted; this goes on: {named('explore', *typed(search))}")
            raise
    passed.end()
    _tell(explorer, subject, report, options.shard)
    if explorer.broken:
        raise SystemExit(1)
    if not explorer.coverage.reached:
        raise SystemExit(2)


@dataclass(frozen=True)
class _Crew:
    """Who does the runs, and how many at once."""

    pool: Executor
    run: Callable[[str, Order], Seen]
    at_once: int
    quiet: int
    cores: int | None = None


@contextmanager
def _crew(search: Search, subject: str) -> Iterator[_Crew]:
    from vault_harness.judge.explore import workers

    cores = os.cpu_count() or 1
    if search.cluster is not None:
        with workers.on_cluster(search.cluster) as (pool, threads):
            at_once = search.workers or threads
            yield _Crew(pool, workers.carry_out_there, at_once, max(1, at_once // 5))
        return
    at_once = search.workers or workers.AT_ONCE_PER_CORE * cores
    with (
        workers.opened(settings(), subject, seed=search.seed),
        workers.workers(at_once) as pool,
    ):
        # A number that was asked for holds.
        shared = None if search.workers else cores
        yield _Crew(pool, workers.carry_out, at_once, min(at_once, 2 * cores), shared)


def _made(subject: str) -> str:
    """Return what is run: a published client (``clients NAME``) is made first."""
    from vault_harness.judge.clients import find, install

    word, _, name = subject.partition(" ")
    if word != "clients":
        return subject
    client = find(name)
    return client.subject(install(client))


def _tell(explorer: Explorer, subject: str, report: Path, shard: tuple[int, int]) -> None:
    from vault_harness.judge.explore import telling

    paths = telling.write(report, explorer.broken, subject)
    for found, path in zip(explorer.broken, paths, strict=True):
        say(telling.prose(found))
        say(f"    {named('replay', str(path))}")
        say()
    say(plural(len(explorer.broken), "finding"))
    if page := telling.write_timelines(report, explorer.broken, subject):
        say(f"their timelines: {page}")
    say(telling.claim(explorer.coverage, shard))


def _words(only: list[str]) -> frozenset[str]:
    from vault_harness.judge.explore.points import KINDS, PHASES
    from vault_harness.judge.explore.schedule import FAULTS

    words = frozenset(word.strip() for text in only for word in text.split(","))
    if foreign := sorted(words - {*FAULTS, *KINDS, *PHASES}):
        raise wrong(
            f"--only {foreign[0]} names no fault, no kind of request and no phase",
            f"faults: {', '.join(FAULTS)}; requests: {', '.join(KINDS)}; "
            f"phases: {', '.join(PHASES)}",
        )
    return words


def _part(shard: str | None) -> tuple[int, int]:
    if shard is None:
        return 1, 1
    part, _, parts = shard.partition("/")
    if part.isdecimal() and parts.isdecimal() and 1 <= int(part) <= int(parts):
        return int(part), int(parts)
    raise wrong(f"--shard {shard} names no part", "write 2/4")


@command(
    "replay",
    group="judge",
    judges=True,
    examples=("replay report/schedules/renew-renewal-due-lost.toml",),
    help={
        "file": "a schedule that explore wrote",
        "subject": "the client; default: the client in the file",
        "engine": ENGINE,
    },
)
def replay(file: str, subject: str | None = None, engine: str | None = None) -> None:
    """Run a schedule three times.

    Exit code 0: the client survived all three; 1: it broke a promise; 2: a fault's point never came
    or a run did not count; 3: the harness broke down; 4: the file is wrong.
    """
    from vault_harness.judge.explore.life import Order
    from vault_harness.judge.explore.schedule import load_schedule
    from vault_harness.judge.explore.search import TIMES
    from vault_harness.judge.explore.workers import carry_out, opened, workers

    use_engine(engine)
    schedule = load_schedule(Path(file))
    client = subject or schedule.subject
    if not client:
        raise SettingsError(
            "the file names no client", looked_at=file, remedy="give the client with --subject"
        )
    say(f"{client}: {schedule}")
    client = _made(client)
    words = []
    with opened(settings(), client, seed=0), workers(1) as pool:
        for number in range(1, TIMES + 1):
            seen = pool.submit(carry_out, client, Order(number, schedule)).result()
            if seen.word == "error":
                raise HarnessDefect(seen.why, looked_at=file)
            reached = seen.begun == len(schedule.steps)
            word = "not exercised" if seen.too_slow or not reached else seen.word
            words.append("fail" if seen.findings and not seen.too_slow else word)
            why = seen.too_slow or ("" if reached else f"step {seen.begun + 1} never came")
            why = "; ".join(text for _, text in seen.findings) or why
            if words[-1] != "pass":
                why = why or seen.why
            say(f"run {number} of {TIMES}: {words[-1]}{': ' * bool(why)}{why}")
    if "fail" in words:
        raise SystemExit(1)
    raise SystemExit(0 if set(words) == {"pass"} else 2)
