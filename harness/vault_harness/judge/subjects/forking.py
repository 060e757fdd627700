"""Use a Python client in a forked child, as under a server that forks its workers."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import sys
import threading
import time
import traceback
from collections.abc import Callable
from functools import partial
from typing import Any, NoReturn

from vault_harness.judge.subjects import python_object
from vault_harness.judge.subjects.shape import OperationFailed

_forking = threading.Lock()
"""Held from the making of a pipe to the fork: another child must not inherit the writing end."""


def reads_of_a_child(
    client: Any, path: str, key: str, *, seconds: float, every: float
) -> list[dict[str, Any]]:
    """Fork this process. The child uses the existing client, closes it, and ends.

    Args:
        seconds: How long the child reads.
        every: Seconds between the starts of two reads, or more if a read takes longer.

    Returns:
        For each read of the child, the members of an answer to ``read``.

    Raises:
        OperationFailed: The child failed.
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
