"""Run orders side by side: warm workers fork a process for each run.

A fork has everything imported, and a broken client leaves nothing behind: no thread, no memory, no
changed environment. `on_cluster` gives an executor with workers on other machines.
"""

from __future__ import annotations

import atexit
import gc
import itertools
import multiprocessing
import os
import pickle
import select
import shutil
import signal
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Executor, Future, ProcessPoolExecutor
from contextlib import ExitStack, closing, contextmanager, suppress
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import ParamSpec, TypeVar

from vault_harness.errors import SettingsError
from vault_harness.judge.environment import Environment, open_environment
from vault_harness.judge.explore.life import Order, Seen, live
from vault_harness.judge.explore.shared import Servers, SharedVault
from vault_harness.judge.subjects import parse_subject
from vault_harness.local.engine.process.spawn import die_with_parent
from vault_harness.settings import Settings

P = ParamSpec("P")
T = TypeVar("T")

AT_ONCE_PER_CORE = 20
"""Runs for each core, at most: a run waits for more than nine tenths of its time."""

LONGEST = 120.0
"""Seconds after which a run is killed."""

CONNECT = 10.0
"""Seconds in which a scheduler must answer."""


@dataclass(frozen=True)
class Place:
    """The servers that runs share."""

    environment: Environment
    shared: SharedVault
    servers: Servers


_place: Place | None = None
_opening = threading.Lock()
_numbers = itertools.count(1)


@contextmanager
def opened(settings: Settings, subject: str, *, seed: int) -> Iterator[Place]:
    global _place
    with (
        open_environment(settings, parse_subject(subject), seed=seed) as environment,
        closing(Servers(environment)) as servers,
    ):
        _place = Place(environment, servers.current.shared, servers)
        try:
            yield _place
        finally:
            _place = None


@contextmanager
def workers(at_once: int) -> Iterator[Executor]:
    """Return an executor whose workers are forks of this process, in `opened`."""
    gc.collect()
    gc.freeze()  # so that no fork copies what it only reads
    pool = ProcessPoolExecutor(
        at_once, mp_context=multiprocessing.get_context("fork"), initializer=_begin
    )
    assert _place is not None, "it is open"
    try:
        yield Crew(pool, _place.servers)
    finally:
        pool.shutdown(wait=False, cancel_futures=True)
        for process in multiprocessing.active_children():
            process.kill()  # the kernel then ends its run, and the run's servers
            process.join()


class Crew(Executor):
    """An executor that gives each order its Vault."""

    def __init__(self, pool: Executor, servers: Servers) -> None:
        self._pool = pool
        self._servers = servers

    def submit(self, fn: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> Future[T]:
        served = self._servers.take()
        call = partial(fn, *args, **kwargs)
        future = self._pool.submit(_with, served.shared, call)
        future.add_done_callback(lambda _: self._servers.give_back(served))
        return future


def _with(shared: SharedVault, call: Callable[[], T]) -> T:
    global _place
    assert _place is not None, "a worker is a fork of a process that opened it"
    _place = replace(_place, shared=shared)
    return call()


def _begin() -> None:
    die_with_parent()
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent gets Ctrl-C too
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    nothing = os.open(os.devnull, os.O_RDWR)
    for descriptor in (0, 1, 2):
        os.dup2(nothing, descriptor)
    os.close(nothing)


def carry_out(subject: str, order: Order) -> Seen:
    """Run an order in a fork of this process. A run that fails raises nothing."""
    assert _place is not None, "it is open"
    return _forked(_place, subject, order)


def carry_out_there(subject: str, order: Order) -> Seen:
    """Run an order in a worker of a cluster, which starts servers for its first order."""
    with _opening:
        if _place is None:
            _open_for_good(subject)
        place, number = _place, next(_numbers)  # two searches may use one worker
    assert place is not None, "it is open"
    served = place.servers.take()
    try:
        return _forked(replace(place, shared=served.shared), subject, replace(order, number=number))
    finally:
        place.servers.give_back(served)


@contextmanager
def on_cluster(address: str) -> Iterator[tuple[Executor, int]]:
    """Return a Dask cluster's executor, and how many runs it does side by side."""
    try:
        from distributed import Client
    except ImportError:
        raise SettingsError(
            "a cluster needs the package distributed",
            looked_at=f"--cluster {address}",
            remedy="pip install 'vault-harness[cluster]'",
        ) from None
    try:
        client = Client(address, timeout=CONNECT)
    except (OSError, ValueError) as error:
        raise SettingsError(
            f"no Dask scheduler answers there: {error}",
            looked_at=f"--cluster {address}",
            remedy="start one with `dask scheduler`, and give its address, such as tcp://host:8786",
        ) from None
    with client:
        threads = sum(client.nthreads().values())
        if not threads:
            raise SettingsError(
                "the cluster has no workers",
                looked_at=f"--cluster {address}",
                remedy=f"on each machine: dask worker {address} --nthreads N, 10 for each core",
            )
        yield client.get_executor(pure=False), threads


def _forked(place: Place, subject: str, order: Order) -> Seen:
    began = time.monotonic()
    ours, theirs = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(ours)
        _in_the_fork(place, subject, order, theirs)
    os.close(theirs)
    told = _read(ours, began + LONGEST)
    if told is None:
        os.kill(child, signal.SIGKILL)
    _, _, used = os.wait4(child, 0)
    cpu = used.ru_utime + used.ru_stime
    if not told:
        how = f"was killed after {LONGEST:g} s" if told is None else "ended without a result"
        seen = Seen("error", f"the process of a run {how}")
    else:
        seen = pickle.loads(told)  # noqa: S301 - our own fork wrote it
    return replace(seen, cpu=cpu, seconds=time.monotonic() - began)


def _in_the_fork(place: Place, subject: str, order: Order, pipe: int) -> None:
    """Run an order, and end without waiting for a client's threads."""
    folder: Path | None = None
    try:
        die_with_parent()
        folder = Path(tempfile.mkdtemp(prefix="run-", dir=place.environment.directory))
        client = parse_subject(subject)
        environment = replace(place.environment, directory=folder, subject=client)
        data = pickle.dumps(live(environment, order, place.shared))
        while data:
            data = data[os.write(pipe, data) :]
    except BaseException as error:  # noqa: BLE001 - the parent tells it
        with suppress(OSError):
            os.write(pipe, pickle.dumps(Seen("error", f"{type(error).__name__}: {error}")))
    finally:
        if folder is not None:
            shutil.rmtree(folder, ignore_errors=True)
        os._exit(0)


def _read(pipe: int, deadline: float) -> bytes | None:
    """Return a pipe's content; None if it does not end in time."""
    found = bytearray()
    with os.fdopen(pipe, "rb", buffering=0) as reader:
        while True:
            ready, _, _ = select.select([reader], [], [], max(0.0, deadline - time.monotonic()))
            if not ready:
                return None
            if not (data := reader.read(65536)):
                return bytes(found)
            found += data


def _open_for_good(subject: str) -> None:
    undo = ExitStack()
    undo.enter_context(opened(Settings.from_environment(), subject, seed=0))
    atexit.register(undo.close)
