"""A Python client as a process of its own, by the line protocol.

For scenarios that end, freeze or signal the client's process, which cannot be done to a client that
shares the harness's own::

    --subject 'command:python -m vault_harness.subjects python:package.module:factory'

Configured by its environment, logs on standard error.
"""

from __future__ import annotations

import contextlib
import functools
import logging
import os
import signal
import sys
import threading
import time
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any, BinaryIO

from vault_harness import errors
from vault_harness.subjects import _claims, _forking, _protocol, _python_object
from vault_harness.subjects._herd import Herd
from vault_harness.subjects._shape import OperationFailed
from vault_harness.subjects._spec import parse_subject
from vault_harness.subjects._workers import Workers

_USAGE = "usage: python -m vault_harness.subjects reference | python:package.module:factory\n"


LAST_ANSWERS = 10.0
"""Seconds for the answers that are still owed when standard input ends."""


def main(arguments: Sequence[str]) -> int:
    """Serve one client until standard input ends or SIGTERM comes; the exit code."""
    if len(arguments) != 1 or arguments[0].startswith("-"):
        sys.stderr.write(_USAGE)
        return 2
    logging.basicConfig(
        level=logging.INFO,
        stream=sys.stderr,
        format="%(asctime)s %(levelname)s %(name)s: %(message)s",
    )
    if "FAKETIME_TIMESTAMP_FILE" in os.environ:
        # With a monotonic clock that it leaves alone, libfaketime 0.9.10 fails the absolute sleeps
        # of Python 3.11 and newer with EINVAL; its waits for locks are right.
        time.sleep = _sleep  # type: ignore[assignment]  # of numbers, which is what it is given
    answers = os.fdopen(os.dup(sys.stdout.fileno()), "wb", buffering=0)
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())  # a client's print() is a log, not an answer
    try:
        spec = parse_subject(arguments[0])
        if spec.kind != "in-process":
            sys.stderr.write(_USAGE)
            return 2
        factory = _python_object.find_factory(spec)
        client = factory(dict(os.environ))
        said = _python_object.describe(client)
    except errors.HarnessError as error:
        sys.stderr.write(f"{error}\n")
        return error.exit_code
    signal.signal(signal.SIGTERM, _leave)
    herd = Herd(client, lambda: factory(dict(os.environ)))
    server = _Server(herd, said, answers)
    with contextlib.suppress(_Leave):
        server.serve(sys.stdin.buffer)
        signal.signal(signal.SIGTERM, signal.SIG_IGN)  # it is leaving
    try:
        herd.close()
    except BaseException as error:
        server.end(_failed(_python_object.as_failure(error)))
        raise
    server.end({"ok": True})
    return 0


def _sleep(seconds: float) -> None:
    threading.Event().wait(seconds)


class _Leave(BaseException):
    """SIGTERM: what a service manager says when it is time to go."""


def _leave(*_: object) -> None:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)  # once: what follows is the end
    raise _Leave


class _Server:
    """Answers requests, each on a thread of its own."""

    def __init__(self, herd: Herd, said: _claims.Hello, answers: BinaryIO) -> None:
        self._herd = herd
        self._said = said
        self._answers = answers
        self._workers = Workers("operation")
        self._lock = threading.Lock()
        self._answered = threading.Condition(self._lock)
        self._pending = 0
        self._closed_by: object = None

    def end(self, answer: _protocol.Object) -> None:
        """Answer ``close``, if that is what the end came by, once it is known how it went."""
        if self._closed_by is not None:
            self._say({"id": self._closed_by, **answer})

    def serve(self, requests: BinaryIO) -> None:
        """Answer until the requests end, or one is ``close``.

        Where they end without a ``close``, as when a person pipes one in, what was asked is still
        answered, for `LAST_ANSWERS` seconds at most.
        """
        for line in requests:
            request = _protocol.decode(line)
            if request.get("op") == "close":
                self._closed_by = request["id"]
                return
            with self._lock:
                self._pending += 1
            self._workers.start(functools.partial(self._answer, request))
        with self._answered:
            self._answered.wait_for(lambda: not self._pending, LAST_ANSWERS)

    def _answer(self, request: _protocol.Object) -> None:
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

    def _do(self, request: _protocol.Object) -> dict[str, Any]:
        if request["op"] == "hello":
            return {
                "capabilities": sorted(self._said.capabilities - _claims.WAYS_IN),
                "auth": sorted(self._said.capabilities & _claims.WAYS_IN),
                "declares": dict(self._said.declares),
                **({"version": self._said.version} if self._said.version else {}),
            }
        try:
            value = self._call(request)
        except OperationFailed:
            raise
        except BaseException as error:  # SystemExit too: who asked is to have an answer
            raise _python_object.as_failure(error) from error
        return _as_answer(request["op"], value)

    def _call(self, request: _protocol.Object) -> object:
        """What the client returns."""
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
                return _forking.reads_of_a_child(
                    client,
                    request["path"],
                    request["key"],
                    seconds=request["seconds"],
                    every=request["every"],
                )
            case "health":
                return client.health()
            case "lease":
                return client.lease(request["path"], request.get("failed"))
            case _:
                raise OperationFailed(None, f"there is no operation {op!r}")

    def _say(self, answer: _protocol.Object) -> None:
        with self._lock:
            self._answers.write(_protocol.encode(answer))


def _failed(failure: OperationFailed) -> dict[str, Any]:
    """What failed, as an answer."""
    return {"ok": False, "error": failure.outcome, "message": failure.message}


def _as_answer(op: str, value: object) -> dict[str, Any]:
    """What a client returned, as members of an answer."""
    match op:
        case "write" | "update" | "herd":
            return {}
        case "health":
            return {"value": _python_object.as_flag(value)}
        case "read_all":
            whole = _python_object.as_whole(value)
            return {"value": dict(whole.values), "stale": whole.stale}
        case "fork":
            return {"value": value}
        case "lease":
            return {"value": asdict(_python_object.as_credential(value))}
        case _:
            reading = _python_object.as_reading(value)
            return {"value": reading.value, "stale": reading.stale}
