"""A killed run leaves no server, and nothing that looks like a pass."""

from __future__ import annotations

import contextlib
import json
import os
import re
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from tests.engine.scenario.conftest import ROOT, Suite
from vault_harness.waiting import wait_until


@contextlib.contextmanager
def running(suite: Suite, said: Path, *options: str) -> Iterator[subprocess.Popen[bytes]]:
    """Start two long scenarios and a short one, in a session of its own."""
    words = suite.command("Good", "--vault-only", "NET-03,SRV-04,KV-01", *options)
    # A script in the background ignores Ctrl-C, and nohup ignores SIGHUP. The child would inherit
    # that.
    words = ["env", "--default-signal=INT,HUP", *words]
    with (
        said.open("wb") as file,
        subprocess.Popen(
            words,
            cwd=ROOT,
            env=suite.environ(),
            stdout=file,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        ) as child,
    ):
        try:
            yield child
        finally:
            child.kill()


def servers(child: subprocess.Popen[bytes]) -> list[psutil.Process]:
    found = []
    for process in psutil.Process(child.pid).children(recursive=True):
        with contextlib.suppress(psutil.Error):
            words = process.cmdline()
            if "server" in words or "vault_harness.local.toxiproxy" in words:
                found.append(process)
    return found


def wait_for_servers(child: subprocess.Popen[bytes], count: int) -> list[psutil.Process]:
    wait_until(
        lambda: len(servers(child)) >= count,
        f"{count} servers to run",
        timeout=90,
        interval=0.1,
        evidence=lambda: f"exit code {child.poll()}",
    )
    return psutil.Process(child.pid).children(recursive=True)


def all_gone(processes: list[psutil.Process]) -> bool:
    """A zombie does not count."""
    for process in processes:
        with contextlib.suppress(psutil.NoSuchProcess):
            if process.is_running() and process.status() != psutil.STATUS_ZOMBIE:
                return False
    return True


def look_at_what_is_told(said: str, report: Path) -> None:
    """Check that an ended run says how far it got, and removes its parts.

    Its JUnit file has a failed case, even if all finished scenarios passed.
    """
    assert "it comes to its end" in (report / "junit.xml").read_text()
    assert "KeyboardInterrupt" not in said
    assert list(report.glob("parts-*")) == []
    assert re.fullmatch(
        r"interrupted: \d of 3 scenarios have a verdict(, \d were under way \(.*\))?"
        r"(, \d had not begun)?; this is no pass, whatever is written above",
        said.strip().splitlines()[-1],
    )


def look_at_the_report(report: Path) -> None:
    journal = json.loads((report / "journal.json").read_text())
    assert not journal["complete"]
    assert "NET-03" in str(journal.get("planned", journal["summary"]))
    left = [name for name in ("score.json", "badge.json") if (report / name).exists()]
    assert left == []


@pytest.mark.slow  # a run each
@pytest.mark.parametrize(
    ("workers", "number", "code"),
    [
        ("-n 0", signal.SIGKILL, -9),
        ("-n 0", signal.SIGTERM, 143),
        ("-n 2", signal.SIGKILL, -9),
        ("-n 2", signal.SIGINT, 130),
        ("--vault-workers 2", signal.SIGKILL, -9),
        ("--vault-workers 2", signal.SIGINT, 130),
        ("--vault-workers 2", signal.SIGHUP, 129),
    ],
)
def test_run_that_is_ended(suite: Suite, workers: str, number: signal.Signals, code: int) -> None:
    """A run is no pass after SIGKILL, SIGTERM, Ctrl-C or the end of its terminal.

    Its servers end as well. One run checks both, since each takes long to get there.
    """
    report, output = suite.directory / "report", suite.directory / "said"
    report.mkdir()
    for name in ("journal.json", "index.html", "junit.xml", "score.json"):
        (report / name).write_text(
            '{"schema_version": 1, "suite_version": "1", "complete": true, "scenarios": []}'
        )
    with running(suite, output, *workers.split()) as child:
        wait_until(lambda: any(report.glob("parts-*/turns")), "a scenario to begin", timeout=120)
        # Each worker has a Vault and a Toxiproxy. Forks share a Toxiproxy for each core.
        count = max(1, int(workers[-1]))
        shared = count if workers.startswith("-n") else min(count, os.cpu_count() or 1)
        descendants = wait_for_servers(child, count + shared)
        child.send_signal(number)
        ended = child.wait(60)
        wait_until(
            lambda: all_gone(descendants),
            "all servers and workers to end",
            timeout=60,
            interval=0.1,
            evidence=lambda: str([p for p in descendants if not all_gone([p])]),
        )
    said = output.read_text()
    assert ended == code, said
    if number != signal.SIGKILL:
        look_at_what_is_told(said, report)
    look_at_the_report(report)
