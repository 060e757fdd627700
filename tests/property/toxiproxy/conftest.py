from __future__ import annotations

import json
import subprocess
import sys
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from urllib.parse import urlsplit

import psutil
import pytest

from vault_harness.local.toxiproxy.client import Toxiproxy


@dataclass
class Running:
    process: subprocess.Popen[str]
    url: str
    errors: list[str]

    @property
    def toxiproxy(self) -> Toxiproxy:
        return Toxiproxy(self.url, timeout=15)

    @property
    def host_port(self) -> tuple[str, int]:
        parts = urlsplit(self.url)
        assert parts.hostname is not None
        assert parts.port is not None
        return parts.hostname, parts.port

    def descriptors(self) -> int:
        return psutil.Process(self.process.pid).num_fds()

    def memory(self) -> int:
        """Return its resident memory in bytes."""
        return int(psutil.Process(self.process.pid).memory_info().rss)

    def alive(self) -> bool:
        """Return True if it runs and has reported no defect of its own."""
        return self.process.poll() is None and not self.errors


@pytest.fixture(scope="session")
def running() -> Iterator[Running]:
    """An embedded server. Any error that it reports or writes to stderr fails the test."""
    process = subprocess.Popen(
        [sys.executable, "-m", "vault_harness.local.toxiproxy", "-port", "0", "-seed", "1"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    assert process.stderr is not None
    stdout, stderr = process.stdout, process.stderr
    url = ""
    while not url:
        entry = json.loads(stdout.readline())
        if entry["message"] == "Starting Toxiproxy HTTP server":
            url = f"http://{entry['address']}"
    errors: list[str] = []

    def read_log() -> None:
        errors.extend(line for line in stdout if json.loads(line)["level"] == "error")

    threads = [
        threading.Thread(target=read_log),
        threading.Thread(target=lambda: errors.extend(stderr)),
    ]
    for thread in threads:
        thread.start()
    yield Running(process, url, errors)
    process.terminate()
    assert process.wait(15) == 0
    for thread in threads:
        thread.join(15)
    stdout.close()
    stderr.close()
    assert errors == []
