"""Command line, log, start and end of the embedded server."""

from __future__ import annotations

import argparse
import asyncio
import gc
import json
import logging
import os
import select
import signal
import socket
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from vault_harness.local.toxiproxy.server import VERSION, addresses
from vault_harness.local.toxiproxy.server.addresses import AddressError, Resolver
from vault_harness.local.toxiproxy.server.api import Api
from vault_harness.local.toxiproxy.server.bodies import Problem
from vault_harness.local.toxiproxy.server.protocol import Protocol

BOOL_WORDS = {"1": True, "t": True, "true": True, "0": False, "f": False, "false": False}

ROOM = 4096
"""A ready pipe takes so many bytes at once (POSIX: ``PIPE_BUF``); longer lines are cut."""
STANDARD_OUTPUT = 1
LEVELS = {
    "trace": logging.DEBUG,
    "debug": logging.DEBUG,
    "info": logging.INFO,
    "warn": logging.WARNING,
    "error": logging.ERROR,
    "fatal": logging.CRITICAL,
    "panic": logging.CRITICAL,
}
NAMES = {level: name for name, level in reversed(LEVELS.items())} | {logging.DEBUG: "debug"}

_log = logging.getLogger(__name__)


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    """Read the real server's flags: one or two dashes, value after ``=`` or a space."""
    parser = argparse.ArgumentParser(
        prog="python -m vault_harness.local.toxiproxy", allow_abbrev=False, add_help=False
    )

    def flag(name: str, **options: object) -> None:
        parser.add_argument(f"-{name}", f"--{name}", **options)  # type: ignore[arg-type]

    def switch(name: str, text: str) -> None:
        flag(name, nargs="?", const=True, default=False, type=_bool, metavar="BOOL", help=text)

    parser.add_argument("-h", "-help", "--help", action="help", help="show this and exit")
    flag("host", default="localhost", help="host for the API to listen on (localhost)")
    flag("port", default="8474", help="port for the API to listen on (8474)")
    flag("config", default="", help="JSON file with proxies to make at the start")
    flag("seed", type=_int, help="seed of all random draws, to repeat a run")
    switch("proxy-metrics", "show each proxy's bytes under /metrics")
    switch("runtime-metrics", "accepted for compatibility: there is no Go runtime here")
    switch("version", "print the version and exit")
    return parser.parse_args(arguments)


def _bool(text: str) -> bool:
    try:
        return BOOL_WORDS[text.lower()]
    except KeyError:
        raise argparse.ArgumentTypeError(f"invalid boolean value {text!r}") from None


def _int(text: str) -> int:
    return int(text, 0)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the server until SIGTERM or SIGINT. Return 1 if the API could not listen."""
    options = parse(arguments)
    if options.version:
        sys.stdout.write(f"toxiproxy-server version {VERSION}\n")
        return 0
    set_up_log()
    return asyncio.run(_run(options))


async def _run(options: argparse.Namespace) -> int:
    loop = asyncio.get_running_loop()
    stopped = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stopped.set)
    seed = int.from_bytes(os.urandom(7)) if options.seed is None else options.seed
    _log.info("Starting Toxiproxy", {"version": VERSION, "seed": seed})
    api = Api(seed, proxy_metrics=options.proxy_metrics, runtime_metrics=options.runtime_metrics)
    if options.config:
        await _populate(api, options.config)
    try:
        sock = await _listen(options)
    except AddressError as error:
        _log.error("Server finished with error", {"error": str(error)})
        return 1
    name = addresses.join(*sock.getsockname()[:2])
    http = await asyncio.start_server(Protocol(api).serve, sock=sock)
    _log.info("Starting Toxiproxy HTTP server", {"address": name})
    gc.freeze()  # the collector need not look at imported modules
    await stopped.wait()
    _log.info("Shutdown started")
    http.close()
    api.stop()
    return 0


async def _listen(options: argparse.Namespace) -> socket.socket:
    port = addresses.port_number(options.port)
    host = (await Resolver().addresses(options.host))[0]
    return addresses.listen(addresses.Address(host, port))[0]


async def _populate(api: Api, config: str) -> None:
    # As upstream: a bad file does not prevent the start.
    try:
        proxies = await api.populate(Path(config).read_bytes())
    except OSError as error:
        problem = {"config": config, "error": addresses.reason(error)}
        _log.error("Error reading config file", problem)
    except Problem as error:
        problem = {"config": config, "error": error.text}
        _log.error("Failed to populate proxies from file", problem)
    else:
        _log.info("Populated proxies from file", {"config": config, "proxies": len(proxies)})


class JsonLines(logging.Handler):
    """Writes each record as a line of JSON if there is room, and never blocks the server.

    A full pipe that nobody reads would stop a server that waits for it. A line without room is
    dropped, and the next line says how many were. The fields are a mapping instead of `logging`
    arguments.
    """

    def __init__(self, descriptor: int) -> None:
        super().__init__()
        self._descriptor = descriptor
        self._dropped = 0

    def format(self, record: logging.LogRecord) -> str:
        seconds = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(record.created))
        line: dict[str, object] = {
            "level": NAMES.get(record.levelno, record.levelname.lower()),
            "time": f"{seconds}.{int(record.msecs):03d}Z",
            "message": str(record.msg) if isinstance(record.args, Mapping) else record.getMessage(),
        }
        if isinstance(record.args, Mapping):
            line |= record.args
        if record.exc_info:
            line["error"] = repr(record.exc_info[1])
        if self._dropped:
            line["dropped_lines"] = self._dropped
        text = json.dumps(line, default=str)
        if len(text) >= ROOM:
            line = {**line, "message": text[: ROOM // 4], "cut": True}
            text = json.dumps({key: line[key] for key in ("level", "time", "message", "cut")})
        return text

    def emit(self, record: logging.LogRecord) -> None:
        try:
            if select.select([], [self._descriptor], [], 0)[1]:
                # Directly: a line in the buffer of sys.stdout would stay there if nobody reads.
                os.write(self._descriptor, self.format(record).encode() + b"\n")
                self._dropped = 0
            else:
                self._dropped += 1
        except (OSError, ValueError):
            self._dropped += 1  # nobody reads any more


def set_up_log() -> None:
    name = os.environ.get("LOG_LEVEL", "info").lower()
    root = logging.getLogger()
    root.handlers = [JsonLines(STANDARD_OUTPUT)]
    root.setLevel(LEVELS.get(name, logging.INFO))
    if name not in LEVELS:
        root.error("unknown LOG_LEVEL", {"value": name})
