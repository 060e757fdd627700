from __future__ import annotations

import os
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from vault_harness.errors import DeadlineExceeded, ServerDied
from vault_harness.local.engine.ports import PortLease
from vault_harness.local.engine.process.server import Server
from vault_harness.local.engine.process.spawn import Process
from vault_harness.waiting import crowding

SERVE = (
    "import http.server, sys; print('listening', flush=True);"
    "http.server.HTTPServer(('127.0.0.1', int(sys.argv[1])),"
    " http.server.SimpleHTTPRequestHandler).serve_forever()"
)


@pytest.fixture
def lease() -> Iterator[PortLease]:
    lease = PortLease()
    yield lease
    lease.release()


def make(tmp_path: Path, lease: PortLease, code: str) -> Server:
    return Server(
        title="the test server",
        command=(sys.executable, "-u", "-c", code, str(lease.port)),
        log=tmp_path / "server.log",
        probe=f"http://{lease.listen}/",
    )


def test_it_is_ready_when_it_answers(tmp_path: Path, lease: PortLease) -> None:
    """`stop` returns when the server is gone."""
    server = make(tmp_path, lease, SERVE)
    server.start(timeout=30)
    assert server.is_running()
    first = server.process

    server.start(timeout=30)
    assert server.process is first, "a running server is not started twice"

    server.stop(timeout=10)
    assert not server.is_running()
    server.start(timeout=30)
    server.kill()
    assert not server.is_running()


def test_a_server_that_ends_gives_its_last_words(tmp_path: Path, lease: PortLease) -> None:
    server = make(tmp_path, lease, "print('no such storage'); raise SystemExit(3)")

    with pytest.raises(ServerDied) as caught:
        server.start(timeout=30)

    assert "exit code 3" in caught.value.cause
    assert "no such storage" in caught.value.looked_at


def test_a_server_that_never_answers(tmp_path: Path, lease: PortLease) -> None:
    server = make(tmp_path, lease, "print('thinking'); import time; time.sleep(300)")

    with pytest.raises(DeadlineExceeded) as caught:
        server.start(timeout=1.5)

    assert not server.is_running(), "nobody waits for it any more"
    assert "did not answer within" in caught.value.cause
    assert f"http://{lease.listen}/" in caught.value.looked_at
    assert "thinking" in caught.value.looked_at


@pytest.mark.parametrize(("load", "longer"), [(0.0, 1.0), (3.0, 3.0), (99.0, 8.0)])
def test_starts_on_a_busy_machine(
    tmp_path: Path, lease: PortLease, monkeypatch: pytest.MonkeyPatch, load: float, longer: float
) -> None:
    """More processes per core give more time."""
    cores = os.cpu_count() or 1
    monkeypatch.setattr(os, "getloadavg", lambda: (load * cores, 0.0, 0.0))
    server = make(tmp_path, lease, "import time; time.sleep(300)")
    began = time.monotonic()
    with pytest.raises(DeadlineExceeded):
        server.start(timeout=0.05)
    assert time.monotonic() - began >= 0.05 * longer
    assert crowding() == longer


def test_a_process_that_is_long_in_the_making(
    tmp_path: Path, lease: PortLease, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The time to create the process is part of the longer timeout, and counts once."""
    cores = os.cpu_count() or 1
    monkeypatch.setattr(os, "getloadavg", lambda: (3.0 * cores, 0.0, 0.0))
    server = make(tmp_path, lease, "import time; time.sleep(300)")
    spawn = server.spawn

    def slowly() -> Process:
        time.sleep(0.25)
        return spawn()

    monkeypatch.setattr(server, "spawn", slowly)
    began = time.monotonic()
    with pytest.raises(DeadlineExceeded):
        server.start(timeout=0.2)
    assert time.monotonic() - began >= 0.6


def test_a_server_that_ignores_sigterm_is_killed(tmp_path: Path, lease: PortLease) -> None:
    stubborn = "import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN);" + SERVE
    server = make(tmp_path, lease, stubborn)
    server.start(timeout=30)

    server.stop(timeout=0.3)

    assert not server.is_running()


def test_somebody_elses_answer_does_not_count(tmp_path: Path, lease: PortLease) -> None:
    """Our own server is dead."""
    other = make(tmp_path, lease, SERVE)
    other.start(timeout=30)
    ours = Server(
        title="ours",
        command=(sys.executable, "-c", "pass"),
        log=tmp_path / "ours.log",
        probe=f"http://{lease.listen}/",
    )
    try:
        process = ours.spawn()
        assert process.wait(30)
        with pytest.raises(ServerDied):
            ours.wait_ready(timeout=10)
    finally:
        other.kill()
