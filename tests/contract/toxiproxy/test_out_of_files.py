from __future__ import annotations

import contextlib
import json
import resource
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from typing import TYPE_CHECKING

from vault_harness.local.toxiproxy.client import Toxiproxy

if TYPE_CHECKING:
    from tests.contract.toxiproxy.conftest import Lab, Wait

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
