"""Command line, start and end of the embedded server."""

from __future__ import annotations

import asyncio
import gc
import os
import signal
import socket
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import cast

from vault_harness.toxiproxy.server import VERSION, addresses
from vault_harness.toxiproxy.server.api import Api
from vault_harness.toxiproxy.server.bodies import Problem
from vault_harness.toxiproxy.server.log import Log
from vault_harness.toxiproxy.server.protocol import Protocol
from vault_harness.toxiproxy.server.proxies import Server

USAGE = """\
Usage of python -m vault_harness.toxiproxy:
  -config string
        JSON file containing proxies to create on startup
  -host string
        Host for the API to listen on (default "localhost")
  -port string
        Port for the API to listen on (default "8474")
  -proxy-metrics
        enable toxiproxy-specific prometheus metrics (default "false")
  -runtime-metrics
        accepted for compatibility; there are no Go runtime metrics here (default "false")
  -seed int
        Seed of all random draws; the same seed and order of connections repeat a run
  -version
        print the version (default "false")
"""

TEXT_FLAGS = ("host", "port", "config", "seed")
BOOL_FLAGS = ("proxy-metrics", "runtime-metrics", "version")
BOOL_WORDS = {
    **dict.fromkeys(("1", "t", "T", "TRUE", "true", "True"), True),
    **dict.fromkeys(("0", "f", "F", "FALSE", "false", "False"), False),
}


class UsageError(Exception):
    """A flag that does not exist or has no good value."""


@dataclass(frozen=True)
class Options:
    """What the command line says."""

    host: str = "localhost"
    port: str = "8474"
    config: str = ""
    seed: int | None = None
    proxy_metrics: bool = False
    runtime_metrics: bool = False
    version: bool = False


def parse(arguments: Sequence[str]) -> Options:
    """Read flags as Go does: one or two dashes, value after ``=`` or a space.

    Raises:
        UsageError: An unknown flag, or a value that does not fit.
    """
    found: dict[str, object] = {}
    rest = list(arguments)
    while rest and rest[0].startswith("-") and rest[0] != "-":
        argument = rest.pop(0)
        if argument == "--":
            break
        name, equals, value = argument.removeprefix("-").removeprefix("-").partition("=")
        if name in BOOL_FLAGS:
            if equals and value not in BOOL_WORDS:
                raise UsageError(f"invalid boolean value {value!r} for -{name}")
            found[name.replace("-", "_")] = BOOL_WORDS[value] if equals else True
        elif name in TEXT_FLAGS:
            if not equals:
                if not rest:
                    raise UsageError(f"flag needs an argument: -{name}")
                value = rest.pop(0)
            found[name] = _seed(value) if name == "seed" else value
        elif name in {"h", "help"}:
            raise UsageError("")
        else:
            raise UsageError(f"flag provided but not defined: -{name}")
    return Options(**found)  # type: ignore[arg-type]  # names and types were checked just above


def _seed(text: str) -> int:
    try:
        return int(text, 0)
    except ValueError:
        raise UsageError(f"invalid value {text!r} for flag -seed: parse error") from None


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the server until SIGTERM or SIGINT.

    Returns:
        0 after a signal, 1 if the API could not listen, 2 for a wrong command line.
    """
    try:
        options = parse(sys.argv[1:] if arguments is None else arguments)
    except UsageError as error:
        sys.stderr.write(f"{error}\n{USAGE}" if str(error) else USAGE)
        return 2 if str(error) else 0
    if options.version:
        sys.stdout.write(f"toxiproxy-server version {VERSION}\n")
        return 0
    log = Log.from_environment()
    factory = loop_factory()
    try:
        with asyncio.Runner(loop_factory=factory) as runner:
            return runner.run(_run(options, log))
    finally:
        log.close()


def loop_factory() -> Callable[[], asyncio.AbstractEventLoop] | None:
    """The loop: uvloop where it is installed, else asyncio's own.

    ``HARNESS_TOXIPROXY_LOOP=asyncio`` insists on the latter.
    """
    if os.environ.get("HARNESS_TOXIPROXY_LOOP") == "asyncio":
        return None
    try:
        import uvloop
    except ImportError:
        return None
    return cast("Callable[[], asyncio.AbstractEventLoop]", uvloop.new_event_loop)


async def _run(options: Options, log: Log) -> int:
    loop = asyncio.get_running_loop()
    stopped = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stopped.set)
    seed = int.from_bytes(os.urandom(7)) if options.seed is None else options.seed
    log.info("Starting Toxiproxy", version=VERSION, seed=seed, loop=type(loop).__module__)
    server = Server(loop, log, seed)
    api = Api(server, proxy_metrics=options.proxy_metrics, runtime_metrics=options.runtime_metrics)
    if options.config:
        await _populate(api, options.config, log)
    try:
        sock = await _listen(options)
    except addresses.AddressError as error:
        log.error("Server finished with error", error=str(error))
        return 1
    name = addresses.join(*sock.getsockname()[:2])
    http = await asyncio.start_server(Protocol(api, log).serve, sock=sock)
    log.info("Starting Toxiproxy HTTP server", address=name)
    gc.freeze()  # what was imported stays, and need not be looked through again and again
    await stopped.wait()
    log.info("Shutdown started")
    http.close()
    for proxy in list(server.proxies.values()):
        proxy.stop("server stopped")
    server.poller.close()
    return 0


async def _listen(options: Options) -> socket.socket:
    port = addresses.port_number(options.port)
    host = (await addresses.candidates(options.host))[0]
    return addresses.listen(addresses.Address(host, port))[0]


async def _populate(api: Api, config: str, log: Log) -> None:
    # As upstream: whatever is wrong with the file, the server starts, with the proxies that could
    # be made.
    try:
        proxies = await api.populate(Path(config).read_bytes())
    except OSError as error:
        log.error("Error reading config file", config=config, error=addresses.reason(error))
    except Problem as problem:
        log.error("Failed to populate proxies from file", config=config, error=problem.text)
    else:
        log.info("Populated proxies from file", config=config, proxies=len(proxies))
