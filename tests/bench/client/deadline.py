"""Measure how exactly a client call keeps a deadline of 1.0 s while nothing answers.

Each way hangs in another place: the connection, the handshake, the first byte of the answer, the
last byte. No Vault is needed.
"""

from __future__ import annotations

import argparse
import contextlib
import logging
import socket
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import trustme

from resilient_vault_client import VaultClient, VaultUnavailable

DEADLINE = 1.0
BAR = 1.05

_HEAD = b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n"


@contextlib.contextmanager
def serving(serve: Callable[[socket.socket], None]) -> Iterator[str]:
    listener = socket.create_server(("127.0.0.1", 0), backlog=64)

    def treat(connection: socket.socket) -> None:
        with connection, contextlib.suppress(OSError):
            serve(connection)

    def accept() -> None:
        with contextlib.suppress(OSError):
            while True:
                connection, _ = listener.accept()
                threading.Thread(target=treat, args=(connection,), daemon=True).start()

    threading.Thread(target=accept, daemon=True).start()
    try:
        yield f"127.0.0.1:{listener.getsockname()[1]}"
    finally:
        with contextlib.suppress(OSError):
            listener.shutdown(socket.SHUT_RDWR)
        listener.close()


def silent(connection: socket.socket) -> None:
    while connection.recv(65536):
        pass


def dripping(connection: socket.socket) -> None:
    connection.recv(65536)
    connection.sendall(_HEAD)
    while True:
        connection.sendall(b" ")
        time.sleep(0.05)  # the pace of the drip


@contextlib.contextmanager
def unconnectable() -> Iterator[str]:
    """Yield the ``host:port`` of a listener whose queue is full: connecting hangs."""
    with socket.socket() as listener, contextlib.ExitStack() as stack:
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)
        address = listener.getsockname()
        for _ in range(4):
            filler = stack.enter_context(socket.socket())
            filler.setblocking(False)
            filler.connect_ex(address)
        yield f"127.0.0.1:{address[1]}"


def measure(address: str, rounds: int, **settings: object) -> list[float]:
    """Return the seconds of each call, shortest first."""
    took = []
    for _ in range(rounds):
        with VaultClient(
            environ={"VAULT_ADDR": address, "VAULT_ROLE_ID": "r", "VAULT_SECRET_ID": "s"},
            timeout=DEADLINE,
            renew=False,
            **settings,  # type: ignore[arg-type]  # settings of the client
        ) as client:
            started = time.perf_counter()
            with contextlib.suppress(VaultUnavailable):
                client.get_secret("a/b")
            took.append(time.perf_counter() - started)
    return sorted(took)


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5, help="calls of each kind")
    rounds = parser.parse_args(arguments).rounds
    logging.disable()  # the failures are what is measured
    rows: list[tuple[str, list[float]]] = []
    with tempfile.TemporaryDirectory() as directory:
        ca = trustme.CA()
        file = Path(directory) / "ca.pem"
        ca.cert_pem.write_to_path(file)
        with unconnectable() as where:
            rows.append(("no connection", measure(f"http://{where}", rounds)))
        with serving(silent) as where:
            rows.append(("silent", measure(f"http://{where}", rounds)))
            rows.append(("silent handshake", measure(f"https://{where}", rounds, ca_cert=file)))
        with serving(dripping) as where:
            rows.append(("dripping", measure(f"http://{where}", rounds)))
    for name, took in rows:
        sys.stdout.write(f"{name:20}{took[0]:8.3f} s {took[-1]:8.3f} s   <= {BAR} s\n")
    return 0 if all(took[-1] <= BAR for _, took in rows) else 1


if __name__ == "__main__":
    raise SystemExit(main())
