"""Command line, start and end of the embedded server."""

from __future__ import annotations

import argparse
import asyncio
import gc
import logging
import os
import signal
import socket
import sys
from collections.abc import Sequence
from pathlib import Path

from vault_harness.local.toxiproxy.server import VERSION, addresses, log
from vault_harness.local.toxiproxy.server.addresses import AddressError, Resolver
from vault_harness.local.toxiproxy.server.api import Api
from vault_harness.local.toxiproxy.server.bodies import Problem
from vault_harness.local.toxiproxy.server.protocol import Protocol

BOOL_WORDS = {"1": True, "t": True, "true": True, "0": False, "f": False, "false": False}

_log = logging.getLogger(__name__)


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    """Read the real server's flags: one or two dashes, value after ``=`` or a space.

    Exits with 2 for an unknown flag or a wrong value, with 0 after help.
    """
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
    """Run the server until SIGTERM or SIGINT.

    Returns 0 after a signal, 1 if the API could not listen.
    """
    options = parse(arguments)
    if options.version:
        sys.stdout.write(f"toxiproxy-server version {VERSION}\n")
        return 0
    log.set_up()
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
    gc.freeze()  # imported modules stay, so the collector need not look at them
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
    # As upstream: a problem with the file does not prevent the start, with the proxies that could
    # be made.
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
