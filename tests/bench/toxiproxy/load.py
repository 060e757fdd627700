"""The load of the benchmark: an upstream and a client, each a process of its own.

Run as ``python load.py ROLE ARGUMENTS``. Blocking sockets and no framework, so that the load itself
takes little of the measured time.

``upstream``   prints its port; the first byte of a connection says what is wanted.
``bulk``       sends for some seconds; prints received bytes a second.
``duplex``     sends and receives at once; prints bytes a second of both directions.
``pings``      sends a small message back and forth; prints the seconds of each round trip.
``connects``   connects, sends a byte, receives one, closes, in a loop; prints the rate a second.
``streams``    sends on many connections until its input ends; prints a line when all have begun,
               and at the end bytes a second of all together.
``idle``       opens connections, prints a line, and holds them until its input ends.
"""

from __future__ import annotations

import contextlib
import json
import select
import socket
import sys
import threading
import time

SINK, ECHO, DUPLEX, ANSWER, IDLE = b"S", b"E", b"D", b"A", b"I"
BLOCK = 256 * 1024
MESSAGE = 64
WARM_UP = 0.2
"""Seconds before anything is counted."""


def upstream() -> None:
    listener = socket.create_server(("127.0.0.1", 0), backlog=4096)
    listener.setblocking(False)
    _tell(listener.getsockname()[1])
    poll = select.epoll()
    poll.register(listener.fileno(), select.EPOLLIN)
    live: dict[int, socket.socket] = {}
    while True:
        for number, _ in poll.poll():
            if number == listener.fileno():
                with contextlib.suppress(BlockingIOError):
                    while True:
                        sock, _ = listener.accept()
                        live[sock.fileno()] = sock
                        poll.register(sock.fileno(), select.EPOLLIN)
                continue
            sock = live[number]
            try:
                wanted = sock.recv(1)
            except OSError:
                wanted = b""  # reset instead of closed
            if wanted == ANSWER:
                sock.send(wanted)
            elif wanted != IDLE:
                del live[number]
                poll.unregister(number)
                if wanted:
                    threading.Thread(target=_serve, args=(sock, wanted), daemon=True).start()
                else:
                    sock.close()


def _serve(sock: socket.socket, wanted: bytes) -> None:
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    with sock, contextlib.suppress(OSError):  # the client hangs up in the middle: each run ends so
        if wanted == ECHO:
            _echo(sock)
            return
        if wanted == DUPLEX:
            threading.Thread(target=_pour, args=(sock,), daemon=True).start()
        buffer = bytearray(BLOCK)
        while sock.recv_into(buffer):
            pass


def _echo(sock: socket.socket) -> None:
    buffer = bytearray(BLOCK)
    view = memoryview(buffer)
    while count := sock.recv_into(buffer):
        sock.sendall(view[:count])


def _pour(sock: socket.socket) -> None:
    block = bytes(BLOCK)
    with contextlib.suppress(OSError):
        while True:
            sock.sendall(block)


def _connect(port: int, wanted: bytes) -> socket.socket:
    sock = socket.create_connection(("127.0.0.1", port), timeout=60)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    sock.sendall(wanted)
    return sock


def bulk(port: int, seconds: float) -> float:
    """Return bytes a second in one direction, once all buffers on the way are full."""
    sock = _connect(port, SINK)
    block = bytes(BLOCK)
    warm = time.perf_counter() + WARM_UP
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
    sock = _connect(port, DUPLEX)
    sent = [0]

    def send() -> None:
        block = bytes(BLOCK)
        with contextlib.suppress(OSError):
            while True:
                sock.sendall(block)
                sent[0] += BLOCK

    threading.Thread(target=send, daemon=True).start()
    buffer = bytearray(BLOCK)
    warm = time.perf_counter() + WARM_UP
    while time.perf_counter() < warm:
        sock.recv_into(buffer)
    received, sent_before = 0, sent[0]
    start = time.perf_counter()
    while (now := time.perf_counter()) < start + seconds:
        received += sock.recv_into(buffer)
    total = received + sent[0] - sent_before
    sock.close()
    return total / (now - start)


def pings(port: int, count: int) -> list[float]:
    sock = _connect(port, ECHO)
    message = bytes(MESSAGE)
    times = []
    for _ in range(count):
        start = time.perf_counter()
        sock.send(message)
        got = len(sock.recv(MESSAGE))
        while got < MESSAGE:
            got += len(sock.recv(MESSAGE - got))
        times.append(time.perf_counter() - start)
    sock.close()
    return times[count // 10 :]


def connects(port: int, count: int, width: int) -> float:
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
            sock.close()
            closed += 1
    return count / (time.perf_counter() - start)


def streams(port: int, count: int) -> None:
    socks = {sock.fileno(): sock for sock in (_connect(port, SINK) for _ in range(count))}
    poll = select.epoll()
    for number, sock in socks.items():
        sock.setblocking(False)
        poll.register(number, select.EPOLLOUT)
    poll.register(sys.stdin.fileno(), select.EPOLLIN)
    block = bytes(BLOCK)
    sent = dict.fromkeys(socks, 0)
    started = 0.0
    before = 0
    while True:
        for number, _ in poll.poll():
            if number not in socks:
                total = sum(sent.values()) - before
                _tell(total / (time.perf_counter() - started))
                return
            with contextlib.suppress(BlockingIOError):
                sent[number] += socks[number].send(block)
        if not started and all(sent.values()):
            started = time.perf_counter()
            before = sum(sent.values())
            _tell(len(socks))


def idle(port: int, count: int) -> None:
    held = [_connect(port, IDLE) for _ in range(count)]
    _tell(len(held))
    sys.stdin.read()


def _tell(value: object) -> None:
    sys.stdout.write(json.dumps(value) + "\n")
    sys.stdout.flush()


def main(arguments: list[str]) -> None:
    role, *rest = arguments
    if role == "upstream":
        upstream()
    elif role == "bulk":
        _tell(bulk(int(rest[0]), float(rest[1])))
    elif role == "duplex":
        _tell(duplex(int(rest[0]), float(rest[1])))
    elif role == "pings":
        _tell(pings(int(rest[0]), int(rest[1])))
    elif role == "connects":
        _tell(connects(int(rest[0]), int(rest[1]), int(rest[2])))
    elif role == "streams":
        streams(int(rest[0]), int(rest[1]))
    elif role == "idle":
        idle(int(rest[0]), int(rest[1]))
    else:
        raise SystemExit(f"no such role: {role}")


if __name__ == "__main__":
    main(sys.argv[1:])
