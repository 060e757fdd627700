"""Serve a Python client as a process of its own, by the line protocol.

Scenarios can end, freeze or signal such a process, but not the harness's own::

    --subject 'command:python -m vault_harness.judge.subjects python:package.module:factory'

Logs go to standard error. The client can also be used in a forked child, as under a server that
forks its workers.
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
import signal
import sys
import threading
import time
import traceback
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from functools import partial
from typing import Any, BinaryIO, NoReturn

from vault_harness import errors
from vault_harness.judge.subjects import protocol, python_object
from vault_harness.judge.subjects.protocol import Object, decode, encode
from vault_harness.judge.subjects.python_object import Workers
from vault_harness.judge.subjects.shape import OperationFailed
from vault_harness.judge.subjects.spec import parse_subject

AT_ONCE = 16
"""Clients that are closed at once. Each may wait for Vault."""


class Herd:
    """The clients of a herd. The number of `first` is 0."""

    def __init__(self, first: Any, make: Callable[[], Any]) -> None:
        self._make = make
        self._growing = threading.Lock()
        self._clients = [first]

    def client(self, number: int) -> Any:
        clients = self._clients
        if not 0 <= number < len(clients):
            raise OperationFailed(None, f"there are {len(clients)} clients, and no {number}")
        return clients[number]

    def grow(self, count: int) -> None:
        with self._growing:
            while len(self._clients) < count:
                self._clients.append(self._make())

    def close(self) -> None:
        with self._growing:
            clients = list(self._clients)
        if len(clients) == 1:
            clients[0].close()
            return
        with ThreadPoolExecutor(AT_ONCE, thread_name_prefix="close") as pool:
            ends = [pool.submit(client.close) for client in clients]
        for end in ends:
            end.result()


_USAGE = "usage: python -m vault_harness.judge.subjects reference | python:package.module:factory\n"


LAST_ANSWERS = 10.0
"""Seconds for outstanding answers when standard input ends."""


def main(arguments: Sequence[str]) -> int:
    """Serve one client until standard input ends or SIGTERM comes."""
    if len(arguments) != 1 or arguments[0].startswith("-"):
        sys.stderr.write(_USAGE)
        return 2
    logging.basicConfig(
        level=logging.INFO,
        stream=sys.stderr,
        format="%(asctime)s %(levelname)s %(name)s: %(message)s",
    )
    if "FAKETIME_TIMESTAMP_FILE" in os.environ:
        # libfaketime 0.9.10 fails the absolute sleeps of Python 3.11 and newer with EINVAL if it
        # leaves the monotonic clock alone. Its waits for locks are right.
        time.sleep = _sleep  # type: ignore[assignment] # it gets numbers only
    answers = os.fdopen(os.dup(sys.stdout.fileno()), "wb", buffering=0)
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())  # a client's print() is a log, not an answer
    try:
        spec = parse_subject(arguments[0])
        if spec.kind != "in-process":
            sys.stderr.write(_USAGE)
            return 2
        factory = python_object.find_factory(spec)
        client = factory(dict(os.environ))
        said = python_object.describe(client)
    except errors.HarnessError as error:
        sys.stderr.write(f"{error}\n")
        return error.exit_code
    signal.signal(signal.SIGTERM, _leave)
    herd = Herd(client, lambda: factory(dict(os.environ)))
    server = _Server(herd, said, answers)
    with contextlib.suppress(_Leave):
        server.serve(sys.stdin.buffer)
        signal.signal(signal.SIGTERM, signal.SIG_IGN)  # the process is about to end
    try:
        herd.close()
    except BaseException as error:
        server.end(_failed(python_object.as_failure(error)))
        raise
    server.end({"ok": True})
    return 0


def _sleep(seconds: float) -> None:
    threading.Event().wait(seconds)


class _Leave(BaseException):
    """Raised at SIGTERM, which a service manager sends."""


def _leave(*_: object) -> None:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)  # only once: the client is closing
    raise _Leave


class _Server:
    """Answers requests, each on a thread of its own."""

    def __init__(self, herd: Herd, said: protocol.Hello, answers: BinaryIO) -> None:
        self._herd = herd
        self._said = said
        self._answers = answers
        self._workers = Workers("operation")
        self._lock = threading.Lock()
        self._answered = threading.Condition(self._lock)
        self._pending = 0
        self._closed_by: object = None

    def end(self, answer: Object) -> None:
        if self._closed_by is not None:
            self._say({"id": self._closed_by, **answer})

    def serve(self, requests: BinaryIO) -> None:
        """Answer until the requests end, or a request is ``close``.

        If they end without ``close``, as when a person pipes requests in, outstanding requests are
        still answered for at most `LAST_ANSWERS` seconds.
        """
        for line in requests:
            request = decode(line)
            if request.get("op") == "close":
                self._closed_by = request["id"]
                return
            with self._lock:
                self._pending += 1
            self._workers.start(partial(self._answer, request))
        with self._answered:
            self._answered.wait_for(lambda: not self._pending, LAST_ANSWERS)

    def _answer(self, request: Object) -> None:
        try:
            answer = {"ok": True, **self._do(request)}
        except OperationFailed as failure:
            answer = _failed(failure)
        except errors.SubjectError as breach:
            answer = {"ok": False, "message": str(breach)}
        self._say({"id": request["id"], **answer})
        with self._answered:
            self._pending -= 1
            self._answered.notify_all()

    def _do(self, request: Object) -> dict[str, Any]:
        if request["op"] == "hello":
            return {
                "capabilities": sorted(self._said.capabilities - protocol.WAYS_IN),
                "auth": sorted(self._said.capabilities & protocol.WAYS_IN),
                "declares": dict(self._said.declares),
                "leaves": sorted(self._said.leaves),
                **({"version": self._said.version} if self._said.version else {}),
            }
        try:
            value = self._call(request)
        except OperationFailed:
            raise
        except BaseException as error:  # SystemExit too: every request gets an answer
            raise python_object.as_failure(error) from error
        return _as_answer(request["op"], value)

    def _call(self, request: Object) -> object:
        op, client = request["op"], self._herd.client(request.get("client", 0))
        match op:
            case "herd":
                self._herd.grow(request["clients"])
                return None
            case "read" | "read_cached":
                return getattr(client, op)(request["path"], request["key"])
            case "read_all":
                return client.read_all(request["path"])
            case "write" | "update":
                return getattr(client, op)(request["path"], request["data"])
            case "fork":
                return reads_of_a_child(
                    client,
                    request["path"],
                    request["key"],
                    seconds=request["seconds"],
                    every=request["every"],
                )
            case "health":
                return client.health()
            case "lease" | "static":
                return getattr(client, op)(request["path"], request.get("failed"))
            case _:
                raise OperationFailed(None, f"there is no operation {op!r}")

    def _say(self, answer: Object) -> None:
        with self._lock:
            self._answers.write(encode(answer))


def _failed(failure: OperationFailed) -> dict[str, Any]:
    return {"ok": False, "error": failure.outcome, "message": failure.message}


def _as_answer(op: str, value: object) -> dict[str, Any]:
    match op:
        case "write" | "update" | "herd":
            return {}
        case "health":
            return {"value": python_object.as_flag(value)}
        case "read_all":
            whole = python_object.as_whole(value)
            return {"value": dict(whole.values), "stale": whole.stale}
        case "fork":
            return {"value": value}
        case "lease" | "static":
            found = asdict(python_object.as_credential(value, of=op))
            stale = found.pop("stale")
            return {"value": found, **({"stale": True} if stale else {})}
        case _:
            reading = python_object.as_reading(value)
            return {"value": reading.value, "stale": reading.stale}


_forking = threading.Lock()
"""Held from the making of a pipe to the fork: another child must not inherit the writing end."""


def reads_of_a_child(
    client: Any, path: str, key: str, *, seconds: float, every: float
) -> list[dict[str, Any]]:
    """Fork this process. The child uses the existing client, closes it, and ends.

    Args:
        seconds: How long the child reads.
        every: Seconds between the starts of two reads, or more if a read takes longer.
    """
    with _forking:
        ours, theirs = os.pipe()
        _flush()  # or the child would print it again
        child = os.fork()
        if not child:
            read = partial(_read, client, path, key)
            _work(client, read, seconds=seconds, every=every, pipe=theirs)
        os.close(theirs)
    with os.fdopen(ours, "rb") as pipe:
        said = pipe.read()
    _, status = os.waitpid(child, 0)
    if code := os.waitstatus_to_exitcode(status):
        raise OperationFailed(None, f"the forked child ended with {code}, see the log")
    answers: list[dict[str, Any]] = json.loads(said)
    return answers


def _work(
    client: Any, read: Callable[[], dict[str, Any]], *, seconds: float, every: float, pipe: int
) -> NoReturn:
    """Run the child, and always end its process here: the stack above is the parent's."""
    code = 1
    try:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        answers = []
        due = time.monotonic()
        end = due + seconds
        while due < end:
            answers.append(read())
            due = max(due + every, time.monotonic())
            time.sleep(max(0.0, due - time.monotonic()))
        client.close()
        with os.fdopen(pipe, "wb") as told:
            told.write(json.dumps(answers).encode())
        code = 0
    except BaseException:  # noqa: BLE001 - the child must not return into its parent's stack
        traceback.print_exc(limit=0, file=sys.stderr)
    finally:
        _flush()  # a client's output may be a leak, and would be lost with its process
        os._exit(code)


def _flush() -> None:
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(OSError, ValueError):  # it may be closed
            stream.flush()


def _read(client: Any, path: str, key: str) -> dict[str, Any]:
    try:
        reading = python_object.as_reading(client.read(path, key))
    except Exception as error:  # noqa: BLE001 - whatever a client raises is its answer
        failure = python_object.as_failure(error)
        return {"ok": False, "error": failure.outcome, "message": failure.message}
    return {"ok": True, "value": reading.value, "stale": reading.stale}
