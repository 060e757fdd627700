"""Compare the embedded Toxiproxy with the real one: the same load, side by side, in one run.

``python -m tests.bench.toxiproxy.run [--quick] [--json FILE]``. The real server is
``toxiproxy-server`` on PATH or the program that ``TOXIPROXY_SERVER_BINARY`` names. Without it only
the embedded server is measured. Each number is the median of several rounds in which the servers
take turns, so that the load of the machine hits both. CPU rows are the server's own processor time,
which depends much less on that load.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import shutil
import socket
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil
from rich.console import Console
from rich.table import Table

from vault_harness.local.toxiproxy.client import Proxy, Toxiproxy
from vault_harness.local.toxiproxy.toxics import (
    Attributes,
    Bandwidth,
    Latency,
    LimitData,
    Noop,
    ResetPeer,
    Slicer,
    SlowClose,
    Stream,
    Timeout,
)

LOAD = str(Path(__file__).with_name("load.py"))
AT_LEAST = {"bulk": 1.2, "duplex": 1.2}
"""Factors of the real server's throughput."""
AT_MOST = {"p50": 1.3, "p99": 1.3, "late": 1.3, "late p99": 1.3, "api": 2.0}
"""Factors of the real server's times, also under load: timing matters more than throughput."""
STREAMS_AT_ONCE = 64
"""Connections that send while the timing of others is measured."""
LATENCY_MS = 50
START_BAR = 0.4
"""Seconds from the start of the process to an API that answers."""
IDLE_CONNECTIONS = 1000

Chain = list[tuple[Attributes, float]]
CHAINS: dict[str, Chain] = {
    "no toxic": [],
    "latency 0": [(Latency(), 1.0)],
    "bandwidth 10 GB/s": [(Bandwidth(rate=10_000_000), 1.0)],
    "eight chained": [
        (Noop(), 1.0),
        (Latency(), 1.0),
        (Bandwidth(rate=10_000_000), 1.0),
        (SlowClose(), 1.0),
        (Slicer(average_size=65_536), 1.0),
        (LimitData(bytes=2**62), 1.0),
        # These two end connections when they act, so here they never act.
        (Timeout(), 0.0),
        (ResetPeer(), 0.0),
    ],
}
STREAMS: tuple[Stream, Stream] = ("upstream", "downstream")


@dataclass
class Server:
    name: str
    command: Callable[[int], list[str]]
    process: subprocess.Popen[bytes] | None = None
    proxy: Proxy | None = None
    url: str = ""
    results: dict[tuple[str, str], list[float]] = field(default_factory=dict)

    def start(self, upstream: str) -> float:
        """Return the seconds until the API answered, with a proxy."""
        with socket.create_server(("127.0.0.1", 0)) as free:
            port = free.getsockname()[1]
        environment = {**os.environ, "LOG_LEVEL": "warn"}
        begin = time.perf_counter()
        self.process = subprocess.Popen(
            self.command(port), stdout=subprocess.DEVNULL, env=environment
        )
        while not _answers(port):
            if self.process.poll() is not None or time.perf_counter() - begin > 30:
                raise SystemExit(f"the {self.name} server did not start")
            time.sleep(0.002)
        seconds = time.perf_counter() - begin
        self.url = f"http://127.0.0.1:{port}"
        self.proxy = Toxiproxy(self.url).create("bench", upstream=upstream)
        return seconds

    def stop(self) -> None:
        if self.process is not None:
            self.process.kill()
            self.process.wait()
            self.process = None

    @property
    def port(self) -> int:
        assert self.proxy is not None
        return self.proxy.address[1]

    def cpu(self) -> float:
        """Return the processor seconds that the server has used."""
        assert self.process is not None
        times = psutil.Process(self.process.pid).cpu_times()
        return float(times.user + times.system)

    def memory(self) -> int:
        """Return the resident bytes of the server."""
        assert self.process is not None
        return int(psutil.Process(self.process.pid).memory_info().rss)

    def note(self, chain: str, metric: str, value: float) -> None:
        self.results.setdefault((chain, metric), []).append(value)

    def median(self, chain: str, metric: str) -> float:
        return statistics.median(self.results[chain, metric])


def _answers(port: int) -> bool:
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=1) as sock:
            sock.sendall(b"GET /version HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
            return sock.recv(12).endswith(b" 200")
    except OSError:
        return False


def _servers() -> list[Server]:
    embedded = [sys.executable, "-m", "vault_harness.local.toxiproxy", "-port"]
    servers = [Server("embedded", lambda port: [*embedded, str(port)])]
    program = os.environ.get("TOXIPROXY_SERVER_BINARY") or shutil.which("toxiproxy-server")
    if program is not None:
        servers.append(Server("real", lambda port: [program, "-port", str(port)]))
    return servers


def _load(*arguments: object) -> Any:
    command = [sys.executable, LOAD, *map(str, arguments)]
    return json.loads(subprocess.run(command, stdout=subprocess.PIPE, check=True).stdout)


@contextlib.contextmanager
def _upstream() -> Iterator[str]:
    with subprocess.Popen([sys.executable, LOAD, "upstream"], stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        yield f"127.0.0.1:{int(process.stdout.readline())}"
        process.kill()


def _measure(server: Server, chain: str, seconds: float, count: int) -> None:
    assert server.proxy is not None
    with contextlib.ExitStack() as stack:
        for attributes, toxicity in CHAINS[chain]:
            for stream in STREAMS:
                stack.enter_context(server.proxy.toxic(attributes, stream, toxicity))
        for metric in ("bulk", "duplex"):
            before = server.cpu()
            rate = _load(metric, server.port, seconds)
            server.note(chain, metric, rate / 1e6)
            server.note(chain, f"cpu {metric}", (server.cpu() - before) * 1e12 / (rate * seconds))
        before = server.cpu()
        times = sorted(_load("pings", server.port, count))
        server.note(chain, "cpu pings", (server.cpu() - before) / count * 1e6)
        server.note(chain, "p50", times[len(times) // 2] * 1e6)
        server.note(chain, "p99", times[len(times) * 99 // 100] * 1e6)
        before = server.cpu()
        server.note(chain, "connects", _load("connects", server.port, count, 16))
        server.note(chain, "cpu connects", (server.cpu() - before) / count * 1e6)


def _under_load(server: Server, count: int) -> None:
    assert server.proxy is not None
    command = [sys.executable, LOAD, "streams", str(server.port), str(STREAMS_AT_ONCE)]
    toxiproxy = Toxiproxy(server.url, timeout=30)
    slow = toxiproxy.create("slow", upstream=server.proxy.upstream)
    with (
        subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as streams,
        slow.toxic(Latency(latency=LATENCY_MS)),
    ):
        assert streams.stdin is not None
        assert streams.stdout is not None
        streams.stdout.readline()
        times = sorted(_load("pings", slow.address[1], count))
        asked = []
        for _ in range(count):
            begin = time.perf_counter()
            toxiproxy.version()
            asked.append(time.perf_counter() - begin)
        streams.stdin.close()
        server.note("under load", "bulk all", json.loads(streams.stdout.readline()) / 1e6)
        server.note("under load", "late", times[len(times) // 2] * 1e3)
        server.note("under load", "late p99", times[len(times) * 99 // 100] * 1e3)
        server.note("under load", "api", statistics.median(asked) * 1e3)
    slow.delete()


def _memory(server: Server) -> None:
    before = server.memory()
    command = [sys.executable, LOAD, "idle", str(server.port), str(IDLE_CONNECTIONS)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as idle:
        assert idle.stdout is not None
        idle.stdout.readline()
        time.sleep(0.3)  # until the last connections reach the upstream
        server.note("", "memory", server.memory() / 1e6)
        server.note("", "memory each", (server.memory() - before) / 1e3 / IDLE_CONNECTIONS)


ROWS = [
    ("bulk", "one way, MB/s"),
    ("duplex", "both ways, MB/s"),
    ("p50", "round trip median, µs"),
    ("p99", "round trip 99th percentile, µs"),
    ("connects", "connections a second"),
    ("cpu bulk", "CPU one way, ms/GB"),
    ("cpu duplex", "CPU both ways, ms/GB"),
    ("cpu pings", "CPU for a round trip, µs"),
    ("cpu connects", "CPU for a connection, µs"),
]


LOADED_ROWS = [
    ("late", f"round trip under a latency of {LATENCY_MS} ms, median, ms"),
    ("late p99", "the same, 99th percentile, ms"),
    ("api", "answer of the API, median, ms"),
    ("bulk all", "all streams together, MB/s"),
]


def _table(servers: Sequence[Server]) -> Table:
    table = Table(title="Toxiproxy: embedded against real")
    for column in ("toxics", "measure"):
        table.add_column(column)
    for server in servers:
        table.add_column(server.name, justify="right")
    table.add_column("ratio", justify="right")
    table.add_column("bar", justify="right")
    for chain in CHAINS:
        for metric, title in ROWS:
            _row(table, servers, chain, metric, title)
        table.add_section()
    for metric, title in LOADED_ROWS:
        _row(table, servers, "under load", metric, title)
    table.add_section()
    _row(table, servers, "", "start", "start to ready, s")
    _row(table, servers, "", "memory", f"memory at {IDLE_CONNECTIONS} idle connections, MB")
    _row(table, servers, "", "memory each", "memory for each of them, kB")
    return table


def _row(table: Table, servers: Sequence[Server], chain: str, metric: str, title: str) -> None:
    values = [server.median(chain, metric) for server in servers]
    digits = {"start": 3, "late": 1, "late p99": 1, "api": 1}.get(metric, 0)
    shown = [f"{value:,.{digits}f}" for value in values]
    ratio, bar = "", ""
    if metric == "start":
        bar = _verdict(values[0] < START_BAR, f"< {START_BAR} s")
    if len(values) == 2:
        quotient = values[0] / values[1] if values[1] else float("inf")
        ratio = f"{quotient:.2f}"
        if metric in AT_LEAST:
            bar = _verdict(quotient >= AT_LEAST[metric], f"≥ {AT_LEAST[metric]}")
        elif metric in AT_MOST:
            bar = _verdict(quotient <= AT_MOST[metric], f"≤ {AT_MOST[metric]}")
    table.add_row(chain, title, *shown, ratio, bar)


def _verdict(good: bool, bar: str) -> str:
    return f"[green]{bar}[/green]" if good else f"[red]{bar} missed[/red]"


def main(arguments: Sequence[str] | None = None) -> int:
    """Always return 0, since the machine may be busy."""
    parser = argparse.ArgumentParser(prog="bench toxiproxy", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="one short round")
    parser.add_argument("--json", type=Path, help="also write all medians to this file")
    options = parser.parse_args(arguments)
    rounds, seconds, count = (1, 0.3, 500) if options.quick else (5, 1.0, 3000)
    console = Console()
    servers = _servers()
    try:
        with _upstream() as upstream:
            for _ in range(rounds):
                for server in servers:
                    server.note("", "start", server.start(upstream))
                    _memory(server)
                    server.stop()
            for server in servers:
                server.start(upstream)
            for number in range(rounds):
                for chain in CHAINS:
                    console.print(f"round {number + 1} of {rounds}: {chain}", style="dim")
                    # The order alternates, so that no server is always first.
                    for server in servers[:: 1 if number % 2 else -1]:
                        _measure(server, chain, seconds, count)
                console.print(f"round {number + 1} of {rounds}: under load", style="dim")
                for server in servers[:: 1 if number % 2 else -1]:
                    _under_load(server, max(20, count // 60))
    finally:
        for server in servers:
            server.stop()
    console.print(_table(servers))
    if len(servers) == 1:
        console.print(
            "No real server: put toxiproxy-server on PATH or set TOXIPROXY_SERVER_BINARY."
        )
    if options.json:
        medians = {
            server.name: {
                " / ".join(filter(None, key)): statistics.median(values)
                for key, values in server.results.items()
            }
            for server in servers
        }
        options.json.write_text(json.dumps(medians, indent=2) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
