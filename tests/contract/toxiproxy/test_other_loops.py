"""The embedded server on each event loop, with each way of watching sockets, and short of files."""

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

import pytest

from vault_harness.toxiproxy import Bandwidth, Latency, Toxiproxy

if TYPE_CHECKING:
    from tests.contract.toxiproxy.conftest import Clock, Lab, Wait, Wire

CODE = """
import asyncio, sys
from vault_harness.toxiproxy.server import main, polling
loop, poller = sys.argv[1:3]
if loop == "asyncio":
    main.loop_factory = lambda: None
if poller == "loop":
    polling.make = polling.LoopPoller
sys.exit(main.main(["-port", "0"]))
"""


@contextlib.contextmanager
def _started(loop: str, poller: str, files: int = 0) -> Iterator[Toxiproxy]:
    def limit() -> None:
        if files:
            resource.setrlimit(resource.RLIMIT_NOFILE, (files, files))

    with subprocess.Popen(
        [sys.executable, "-c", CODE, loop, poller],
        stdout=subprocess.PIPE,
        text=True,
        preexec_fn=limit,
    ) as process:
        assert process.stdout is not None
        stdout = process.stdout
        started = json.loads(stdout.readline())
        assert started["loop"].startswith(loop)
        line = json.loads(stdout.readline())
        threading.Thread(target=lambda: [None for _ in stdout], daemon=True).start()
        try:
            yield Toxiproxy(f"http://{line['address']}", timeout=15)
        finally:
            process.terminate()
            assert process.wait(15) == 0


@pytest.mark.parametrize(
    ("loop", "poller"), [("asyncio", "best"), ("asyncio", "loop"), ("uvloop", "loop")]
)
def test_everything_works_on(
    embedded: Lab, wire: type[Wire], clock: Clock, loop: str, poller: str
) -> None:
    """Large and small messages, a slow reader, a toxic, an end, a proxy that is disabled."""
    if loop == "uvloop":
        pytest.importorskip("uvloop")
    upstream = embedded.upstream()
    with _started(loop, poller) as toxiproxy:
        proxy = toxiproxy.create("it", upstream=upstream.address)
        pair = embedded.join(proxy, upstream)
        wire.echo(pair.server)
        data = bytes(range(250)) * 20_000
        thread = threading.Thread(target=pair.client.sendall, args=(data,))
        thread.start()
        time.sleep(0.05)  # the reader is slow, so buffers on the way fill
        assert wire.read(pair.client, len(data)) == data
        thread.join()

        def ping() -> None:
            pair.client.sendall(b"ping")
            assert wire.read(pair.client, 4) == b"ping"

        with proxy.toxic(Latency(latency=50)):
            clock.takes(50, ping)
        with proxy.toxic(Bandwidth(rate=1000), stream="upstream"):
            ping()
        other = embedded.join(proxy, upstream)
        other.server.sendall(b"bye")
        other.server.close()
        assert wire.read_all(other.client) == b"bye"
        proxy.disable()
        assert wire.read_all(pair.client) == b""
        assert wire.refused(proxy)


def test_a_server_out_of_files_recovers(embedded: Lab, wire: type[Wire], wait: type[Wait]) -> None:
    """It neither dies nor burns time, and serves again when files are free."""
    upstream = embedded.upstream()
    with _started("", "best", files=64) as toxiproxy:
        proxy = toxiproxy.create("many", upstream=upstream.address)
        clients = [socket.create_connection(proxy.address, timeout=15) for _ in range(100)]
        time.sleep(0.3)  # in which it runs out of files
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
