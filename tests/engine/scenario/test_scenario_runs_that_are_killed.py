"""Whatever happens to the run, no server stays behind."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
from collections.abc import Iterator

import psutil
import pytest

from tests.engine.scenario.conftest import ROOT, Suite
from vault_harness.waiting import wait_until


@contextlib.contextmanager
def running(suite: Suite, *options: str) -> Iterator[subprocess.Popen[bytes]]:
    """A run of two long scenarios, in a session of its own."""
    with subprocess.Popen(
        suite.command("Good", "--vault-only", "NET-03,SRV-04", *options),
        cwd=ROOT,
        env=suite.environ(),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    ) as child:
        try:
            yield child
        finally:
            child.kill()


def servers(child: subprocess.Popen[bytes]) -> list[psutil.Process]:
    """Vault and Toxiproxy servers among its descendants."""
    found = []
    for process in psutil.Process(child.pid).children(recursive=True):
        with contextlib.suppress(psutil.Error):
            words = process.cmdline()
            if "server" in words or "vault_harness.toxiproxy" in words:
                found.append(process)
    return found


def wait_for_servers(child: subprocess.Popen[bytes], count: int) -> list[psutil.Process]:
    """All descendants, once so many servers run."""
    wait_until(
        lambda: len(servers(child)) >= count,
        f"{count} servers to run",
        timeout=90,
        interval=0.1,
        evidence=lambda: f"exit code {child.poll()}",
    )
    return psutil.Process(child.pid).children(recursive=True)


def all_gone(processes: list[psutil.Process]) -> bool:
    """Whether none of them lives; a zombie whose parent does not look does not count."""
    for process in processes:
        with contextlib.suppress(psutil.NoSuchProcess):
            if process.is_running() and process.status() != psutil.STATUS_ZOMBIE:
                return False
    return True


@pytest.mark.slow  # a run each
@pytest.mark.parametrize(
    "workers", [["-n", "0"], ["-n", "2"], ["--vault-workers", "2"]], ids=" ".join
)
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
def test_no_server_outlives_the_run(
    suite: Suite, workers: list[str], number: signal.Signals
) -> None:
    """Killed without a goodbye, ended politely, or by Ctrl-C."""
    with running(suite, *workers) as child:
        # For each worker a Vault for its scenario and a Toxiproxy; forks share one for each core.
        count = max(1, int(workers[-1]))
        shared = min(count, os.cpu_count() or 1) if workers[0] != "-n" else count
        descendants = wait_for_servers(child, count + shared)
        child.send_signal(number)
        child.wait(60)
        wait_until(
            lambda: all_gone(descendants),
            "all servers and workers to end",
            timeout=60,
            interval=0.1,
            evidence=lambda: str([p for p in descendants if not all_gone([p])]),
        )
