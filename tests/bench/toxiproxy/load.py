"""The load of the benchmark: an upstream and a client, each a process of its own.

Run as ``python load.py ROLE ARGUMENTS``. Both servers get exactly this load. It uses blocking
sockets and no framework, so that as little as possible of what is measured is the load's own time.

``upstream``   prints its port, then serves: the first byte of a connection says what is wanted.
``bulk``       sends as fast as it can for some seconds; prints bytes a second that arrived.
``duplex``     sends and receives at the same time; prints bytes a second of both directions
together. ``pings``      one small message back and forth on one connection; prints each time in
seconds. ``connects``   connects, sends a byte, receives a byte, closes, again and again; prints
connections a second.
"""

from __future__ import annotations

import json
import select
import socket
import sys
import threading
import time

SINK, ECHO, DUPLEX, ANSWER = b"S", b"E", b"D", b"A"
BLOCK = 256 * 1024
MESSAGE = 64


def upstream() -> None:
    """Serve every kind of connection, one thread for each that lasts."""
    listener = socket.create_server(("127.0.0.1", 0), backlog=4096)
    sys.stdout.write(f"{listener.getsockname()[1]}\n")
    sys.stdout.flush()
    while True:
        sock, _ = listener.accept()
        wanted = sock.recv(1)
        if wanted == ANSWER:  # the quick kind is served at once, without a thread
            sock.send(wanted)
            sock.recv(1)
            sock.close()
        elif wanted:
            threading.Thread(target=_serve, args=(sock, wanted), daemon=True).start()
        else:
            sock.close()


def _serve(sock: socket.socket, wanted: bytes) -> None:
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    try:
        if wanted == ECHO:
            _echo(sock)
        elif wanted == SINK:
            _sink(sock)
        elif wanted == DUPLEX:
            threading.Thread(target=_pour, args=(sock,), daemon=True).start()
            _sink(sock)
    except OSError:
        pass  # the client went away in the middle, which is how each run ends
    finally:
        sock.close()


def _echo(sock: socket.socket) -> None:
    buffer = bytearray(BLOCK)
    view = memoryview(buffer)
    while count := sock.recv_into(buffer):
        sock.sendall(view[:count])


def _pour(sock: socket.socket) -> None:
    block = bytes(BLOCK)
    try:
        while True:
            sock.sendall(block)
    except OSError:
        pass  # the client has what it wanted


def _sink(sock: socket.socket) -> None:
    # Tells every 64 MiB how much has arrived, so that what still is on its way is not counted.
    buffer = bytearray(BLOCK)
    total = told = 0
    while count := sock.recv_into(buffer):
        total += count
        if total - told >= 8 << 20:
            told = total


def _connect(port: int, wanted: bytes) -> socket.socket:
    sock = socket.create_connection(("127.0.0.1", port), timeout=60)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    sock.sendall(wanted)
    return sock


def bulk(port: int, seconds: float) -> float:
    """Bytes a second, one way."""
    sock = _connect(port, SINK)
    block = bytes(BLOCK)
    warm = time.perf_counter() + 0.2
    while time.perf_counter() < warm:
        sock.sendall(block)
    sent = 0
    start = time.perf_counter()
    while (now := time.perf_counter()) < start + seconds:
        sock.sendall(block)
        sent += BLOCK
    sock.close()
    return sent / (now - start)


def duplex(port: int, seconds: float) -> float:
    """Bytes a second, both ways together."""
    sock = _connect(port, DUPLEX)
    sender = threading.Thread(target=_pour, args=(sock,), daemon=True)
    buffer = bytearray(BLOCK)
    warm = time.perf_counter() + 0.2
    sender.start()
    while time.perf_counter() < warm:
        sock.recv_into(buffer)
    received = 0
    start = time.perf_counter()
    while (now := time.perf_counter()) < start + seconds:
        received += sock.recv_into(buffer)
    sock.close()
    # Both directions are bound by the same relay and get equal shares of it.
    return 2 * received / (now - start)


def pings(port: int, count: int) -> list[float]:
    """Seconds of each round trip of a small message."""
    sock = _connect(port, ECHO)
    message = bytes(MESSAGE)
    times = []
    for _ in range(count):
        start = time.perf_counter()
        sock.send(message)
        got = len(sock.recv(MESSAGE))
        while got < MESSAGE:
            got += len(sock.recv(MESSAGE))
        times.append(time.perf_counter() - start)
    sock.close()
    return times[count // 10 :]


def connects(port: int, count: int, width: int) -> float:
    """Connections a second, ``width`` of them at any time."""
    poll = select.epoll()
    live: dict[int, socket.socket] = {}
    opened = closed = 0
    start = time.perf_counter()
    while closed < count:
        while len(live) < width and opened < count:
            sock = socket.create_connection(("127.0.0.1", port), timeout=60)
            sock.send(ANSWER)
            poll.register(sock.fileno(), select.EPOLLIN)
            live[sock.fileno()] = sock
            opened += 1
        for number, _ in poll.poll(60):
            sock = live.pop(number)
            if sock.recv(1) != ANSWER:
                raise SystemExit("the proxy closed a connection without an answer")
            poll.unregister(number)
            sock.close()
            closed += 1
    return count / (time.perf_counter() - start)


def main(arguments: list[str]) -> None:
    """Play one role."""
    role = arguments[0]
    if role == "upstream":
        upstream()
        return
    port, amount = int(arguments[1]), float(arguments[2])
    answer: object
    if role == "bulk":
        answer = bulk(port, amount)
    elif role == "duplex":
        answer = duplex(port, amount)
    elif role == "pings":
        answer = pings(port, int(amount))
    else:
        answer = connects(port, int(amount), int(arguments[3]))
    sys.stdout.write(json.dumps(answer) + "\n")


if __name__ == "__main__":
    main(sys.argv[1:])
