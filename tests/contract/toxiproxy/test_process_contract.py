"""The server as a process: contract section 1."""

from __future__ import annotations

import contextlib
import json
import os
import resource
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator

import pytest

from tests.contract.toxiproxy.conftest import Kind, Lab, Start, Wait
from vault_harness.local.toxiproxy.client import Toxiproxy


def _run(*flags: str, timeout: float = 15) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "vault_harness.local.toxiproxy", *flags]
    return subprocess.run(command, capture_output=True, text=True, timeout=timeout)


def _command(kind: Kind) -> list[str]:
    if kind != "real":
        return [sys.executable, "-m", "vault_harness.local.toxiproxy"]
    program = os.environ.get("TOXIPROXY_SERVER_BINARY") or shutil.which("toxiproxy-server")
    if program is None:
        pytest.skip("no toxiproxy-server on PATH, and TOXIPROXY_SERVER_BINARY is not set")
    return [program]


def test_version_flag(kind: Kind) -> None:
    done = subprocess.run([*_command(kind), "-version"], capture_output=True, text=True, timeout=15)
    assert done.returncode == 0
    assert done.stdout.startswith("toxiproxy-server version ")


def test_a_wrong_flag_is_explained(kind: Kind) -> None:
    """Every flag is printed, and the exit code is 2."""
    done = subprocess.run(
        [*_command(kind), "-nonsense"], capture_output=True, text=True, timeout=15
    )
    assert done.returncode == 2
    assert "-proxy-metrics" in done.stderr


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_it(kind: Kind, start_server: Start, number: signal.Signals) -> None:
    server = start_server(kind)
    server.process.send_signal(number)
    assert server.process.wait(15) == 0


def test_a_signal_ends_the_embedded_server_whatever_holds_it(start_server: Start) -> None:
    """Open API requests and connections do not delay it."""
    server = start_server("embedded")
    toxiproxy = Toxiproxy(server.url)
    with (
        socket.create_server(("127.0.0.1", 0)) as upstream,
        socket.create_connection(server.host_port, timeout=15) as api,
    ):
        port = upstream.getsockname()[1]
        proxy = toxiproxy.create("held", upstream=f"127.0.0.1:{port}")
        api.sendall(b"POST /proxies HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\n{")
        with socket.create_connection(proxy.address, timeout=15):
            start = time.monotonic()
            server.process.terminate()
            assert server.process.wait(15) == 0
            assert time.monotonic() - start < 5


def test_a_taken_api_port_ends_the_embedded_server(start_server: Start) -> None:
    """Upstream goes on without an API."""
    server = start_server("embedded")
    done = _run("-port", str(server.host_port[1]))
    assert done.returncode == 1
    assert "address already in use" in done.stdout


def test_log_lines_are_json_on_standard_output() -> None:
    """LOG_LEVEL sets the level."""
    with subprocess.Popen(
        [sys.executable, "-m", "vault_harness.local.toxiproxy", "-port", "0", "-seed", "5"],
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "LOG_LEVEL": "info"},
    ) as process:
        assert process.stdout is not None
        first = json.loads(process.stdout.readline())
        process.terminate()
        rest = [json.loads(line) for line in process.stdout]
    assert (first["level"], first["message"], first["seed"]) == ("info", "Starting Toxiproxy", 5)
    assert rest[-1]["message"] == "Shutdown started"


def test_a_full_log_pipe_does_not_stop_it() -> None:
    """Lines are dropped."""
    with subprocess.Popen(
        [sys.executable, "-m", "vault_harness.local.toxiproxy", "-port", "0"],
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "LOG_LEVEL": "debug"},
    ) as process:
        assert process.stdout is not None
        url = ""
        while not url:
            entry = json.loads(process.stdout.readline())
            if entry["message"] == "Starting Toxiproxy HTTP server":
                url = f"http://{entry['address']}"
        toxiproxy = Toxiproxy(url)
        for number in range(400):  # some 200 bytes each: more than a pipe holds
            toxiproxy.create(f"proxy {number}", upstream="127.0.0.1:9", enabled=False)
        assert len(toxiproxy.proxies()) == 400
        process.kill()


def test_a_log_whose_reader_is_gone_does_not_stop_it() -> None:
    """It ends with 0."""
    with subprocess.Popen(
        [sys.executable, "-m", "vault_harness.local.toxiproxy", "-port", "0"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.readline()
        address = json.loads(process.stdout.readline())["address"]
        process.stdout.close()
        toxiproxy = Toxiproxy(f"http://{address}")
        for number in range(100):
            toxiproxy.create(f"proxy {number}", upstream="127.0.0.1:9")
        process.terminate()
        assert process.wait(15) == 0
        assert process.stderr.read() == ""


@pytest.mark.parametrize("content", ["nonsense", '[{"name":"x"}]', None])
def test_a_wrong_configuration_does_not_stop_it(
    kind: Kind, start_server: Start, content: str | None, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """It starts without proxies."""
    path = tmp_path_factory.mktemp("config") / "proxies.json"
    if content is not None:
        path.write_text(content)
    server = start_server(kind, "-config", str(path))
    assert Toxiproxy(server.url).proxies() == {}


FILES = 64


@contextlib.contextmanager
def _short_of_files() -> Iterator[Toxiproxy]:
    with subprocess.Popen(
        [sys.executable, "-m", "vault_harness.local.toxiproxy", "-port", "0"],
        stdout=subprocess.PIPE,
        text=True,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_NOFILE, (FILES, FILES)),
    ) as process:
        assert process.stdout is not None
        stdout = process.stdout
        stdout.readline()
        line = json.loads(stdout.readline())
        reader = threading.Thread(target=lambda: [None for _ in stdout], daemon=True)
        reader.start()
        try:
            yield Toxiproxy(f"http://{line['address']}", timeout=15)
        finally:
            process.terminate()
            assert process.wait(15) == 0
            reader.join(15)  # read the last line before the file is closed


def test_a_server_out_of_files_recovers(embedded: Lab, wait: type[Wait]) -> None:
    """It does not die or spin, and serves again when some are free."""
    upstream = embedded.upstream()
    with _short_of_files() as toxiproxy:
        proxy = toxiproxy.create("many", upstream=upstream.address)
        clients = [socket.create_connection(proxy.address, timeout=15) for _ in range(100)]
        time.sleep(0.3)  # the server runs out of files meanwhile
        for client in clients:
            client.close()

        def served() -> bool:
            with socket.create_connection(proxy.address, timeout=15) as client:
                client.sendall(b"x")
                client.settimeout(0.5)
                upstream.listener.settimeout(0.5)
                try:
                    server = upstream.accept()
                except TimeoutError:
                    return False
                with server:
                    server.settimeout(0.5)
                    return server.recv(1) == b"x"

        wait.until(served, "a connection to be served again")
        assert list(toxiproxy.proxies()) == ["many"]
