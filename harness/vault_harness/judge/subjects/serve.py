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
        self._say({"id": request["id"], **_answered(partial(self._do, request))})
        with self._answered:
            self._pending -= 1
            self._answered.notify_all()

    def _do(self, request: Object) -> Object:
        op = request["op"]
        if op == "hello":
            return {
                "ok": True,
                "capabilities": sorted(self._said.capabilities - protocol.WAYS_IN),
                "auth": sorted(self._said.capabilities & protocol.WAYS_IN),
                "declares": dict(self._said.declares),
                "leaves": sorted(self._said.leaves),
                **({"version": self._said.version} if self._said.version else {}),
            }
        if op == "herd":
            self._herd.grow(request["clients"])
            return {"ok": True}
        client = self._herd.client(request.get("client", 0))
        if op == "fork":
            return {"ok": True, "value": reads_of_a_child(client, request)}
        return python_object.answer(client, op, request)

    def _say(self, answer: Object) -> None:
        with self._lock:
            self._answers.write(encode(answer))


def _answered(do: Callable[[], Object]) -> Object:
    """Return an answer in any case, also if the client raises SystemExit."""
    try:
        return do()
    except errors.SubjectError as breach:
        return {"ok": False, "message": str(breach)}
    except OperationFailed as failure:
        return _failed(failure)
    except BaseException as error:  # noqa: BLE001 - whatever a client raises is its answer
        return _failed(python_object.as_failure(error))


def _failed(failure: OperationFailed) -> dict[str, Any]:
    return {"ok": False, "error": failure.outcome, "message": failure.message}


_forking = threading.Lock()
"""Held from the making of a pipe to the fork: another child must not inherit the writing end."""


def reads_of_a_child(client: Any, request: Object) -> list[Object]:
    """Fork this process. The child reads with the existing client, closes it, and ends."""
    with _forking:
        ours, theirs = os.pipe()
        _flush()  # or the child would print it again
        child = os.fork()
        if not child:
            _work(client, request, pipe=theirs)
        os.close(theirs)
    with os.fdopen(ours, "rb") as pipe:
        said = pipe.read()
    _, status = os.waitpid(child, 0)
    if code := os.waitstatus_to_exitcode(status):
        raise OperationFailed(None, f"the forked child ended with {code}, see the log")
    answers: list[Object] = json.loads(said)
    return answers


def _work(client: Any, request: Object, *, pipe: int) -> NoReturn:
    """Run the child, and always end its process here: the stack above is the parent's."""
    code = 1
    try:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        answers = []
        due = time.monotonic()
        end = due + request["seconds"]
        while due < end:
            answers.append(_answered(partial(python_object.answer, client, "read", request)))
            due = max(due + request["every"], time.monotonic())
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
