"""The local stack as it lives, for `watch` and `console`.

Both break things with the tasks ``break.*``, each in a process of its own, which undoes its fault
when it ends.
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
import os
import signal
import subprocess
import sys
import threading
import time
from collections import deque
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from vault_harness.cli import breaking
from vault_harness.cli.audit import stack_logs
from vault_harness.cli.command import Command
from vault_harness.closable import Closable
from vault_harness.errors import (
    RUNNER_VARIABLE,
    HarnessError,
    SettingsError,
    StackError,
    named,
    runner,
)
from vault_harness.namespaces import below

if TYPE_CHECKING:
    from vault_harness.local.stack.local import LocalStack
    from vault_harness.local.stack.status import StackStatus
    from vault_harness.operator.audit import AuditEntry

LOOK = 1.0
"""Seconds between two looks."""

_ENDING = 60.0
"""Seconds to undo a fault; unsealing a cluster takes longest."""

_KEPT = 200
"""Requests for a page that is opened."""

_TOKENS = 40
"""Tokens to look up, each with a request to Vault."""

VERBS: Mapping[str, Command] = {
    task.path: task
    for task in vars(breaking).values()
    if isinstance(task, Command) and task.group_name == "break"
}

_ONE_TOXIC = {"break.latency", "break.slow"}
"""These replace each other's fault, so the earlier task must end first."""


@dataclass(frozen=True)
class Fault:
    """A fault from here, and the task that undoes it."""

    id: str
    verb: str
    target: str
    text: str
    since: float
    until: float
    task: subprocess.Popen[str]


class Faults(Closable):
    """Faults that end with the block, each a task of its own.

    If this process is killed, the kernel ends the tasks, and each undoes its fault.
    """

    def __init__(self) -> None:
        # The kernel ends a task with the thread that started it, so one thread starts all.
        self._starter = ThreadPoolExecutor(1, thread_name_prefix="faults")
        self._lock = threading.RLock()
        self._set: dict[str, Fault] = {}
        self._count = 0

    def close(self) -> None:
        with self._lock:
            self._end(list(self._set.values()))
        self._starter.shutdown()

    def in_force(self) -> list[Fault]:
        return [one for one in list(self._set.values()) if one.task.poll() is None]

    def put(self, verb: str, given: Mapping[str, str], seconds: str | None) -> str:
        """Break something, and return what the task says.

        ``given`` has options by their parameters' names, and ``seconds`` is the text after
        ``--for``.
        """
        task = VERBS.get(verb)
        if task is None:
            raise SettingsError(
                f"there is no fault {verb}",
                looked_at="the request",
                remedy=f"name one of {', '.join(VERBS)}",
            )
        words = [verb]
        for name, value in given.items():
            if name not in task.parameters:
                raise SettingsError(
                    f"{verb} has no option {name}",
                    looked_at="the request",
                    remedy=f"it takes {', '.join(task.parameters)}",
                )
            words.append(f"{task.option(name)}={value}")
        if "for_" in task.parameters:
            words.append(f"--for={seconds or '10s'}")
        with self._lock:
            self._end([one for one in self.in_force() if _replaces(verb, given, one)])
            return self._begin(verb, words, given.get("target", ""))

    def _begin(self, verb: str, words: list[str], target: str) -> str:
        started = self._starter.submit(_start, words).result()
        assert started.stdout is not None
        first = started.stdout.readline().strip()
        what, timed, _ = first.partition("; Ctrl-C")
        if not timed:  # it undoes nothing, or it was refused
            rest, _ = started.communicate(timeout=_ENDING)
            if started.returncode:
                raise _refused(f"{first}\n{rest}")
            return " ".join([first, *rest.split("\n")]).strip()
        self._count += 1
        text, _, length = what.rpartition(", for ")
        now = time.time()
        fault = Fault(
            *(f"fault-{self._count}", verb, target, text, now, now + _length(words)), started
        )
        self._set[fault.id] = fault
        threading.Thread(target=self._reap, args=[fault], daemon=True).start()
        return f"{text}, for {length}"

    def _reap(self, fault: Fault) -> None:
        assert fault.task.stdout is not None
        for _ in fault.task.stdout:
            pass
        fault.task.wait()
        self._set.pop(fault.id, None)

    def mend(self, fault: str) -> str:
        with self._lock:
            found = self._set.get(fault)
            if found is None:
                raise StackError(
                    "this fault is not in force any more",
                    looked_at=f"{fault}, and {', '.join(self._set) or 'no others'}",
                    remedy="nothing needs to be done",
                )
            self._end([found])
        return f"undone: {found.text}"

    def heal(self) -> str:
        """Undo everything on the stack, also what was broken elsewhere."""
        with self._lock:
            done = [f"undone: {one.text}" for one in self.in_force()]
            self._end(self.in_force())
            healing = self._starter.submit(_start, ["heal"]).result()
            said, _ = healing.communicate(timeout=_ENDING)
        if healing.returncode:
            raise _refused(said)
        healed = [line for line in said.splitlines() if line != "nothing was broken"]
        return "; ".join([*done, *healed]) or "nothing was broken"

    def _end(self, faults: list[Fault]) -> None:
        for one in reversed(faults):  # as nested blocks would
            with contextlib.suppress(ProcessLookupError):
                one.task.terminate()
            try:
                one.task.wait(_ENDING)
            except subprocess.TimeoutExpired:
                raise StackError(
                    f"this was not undone within {_ENDING:g} s: {one.text}",
                    looked_at=f"the task {one.verb}, process {one.task.pid}",
                    remedy=f"{named('heal')}, then {named('status')}",
                ) from None
            self._set.pop(one.id, None)


def _replaces(verb: str, given: Mapping[str, str], other: Fault) -> bool:
    if verb in _ONE_TOXIC:
        return other.verb in _ONE_TOXIC
    return (other.verb, other.target) == (verb, given.get("target", ""))


def _length(words: list[str]) -> float:
    from vault_harness.cli.command import seconds_in

    return seconds_in(words[-1].partition("=")[2]) or 0.0


def _refused(said: str) -> StackError:
    parts = {"looked at": "", "what to do": ""}
    lines = [line.strip() for line in said.splitlines() if line.strip()]
    for line in lines[1:]:
        name, _, text = line.partition(": ")
        if name in parts:
            parts[name] = text
    cause = lines[0].removeprefix("error: ") if lines else "the task failed without a word"
    return StackError(cause, looked_at=parts["looked at"], remedy=parts["what to do"])


def _start(words: list[str]) -> subprocess.Popen[str]:
    from vault_harness.local.engine.process.spawn import die_with_parent
    from vault_harness.settings import PACKAGE_ROOT

    roots = [str(PACKAGE_ROOT), *filter(None, [os.environ.get("PYTHONPATH")])]
    return subprocess.Popen(
        [sys.executable, "-P", "-m", "vault_harness", *words],
        env={
            **os.environ,
            RUNNER_VARIABLE: os.environ.get(RUNNER_VARIABLE) or runner(),
            "PYTHONPATH": os.pathsep.join(roots),
        },
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        process_group=0,  # a terminal's Ctrl-C reaches this program, which ends them
        preexec_fn=functools.partial(die_with_parent, signal.SIGTERM),
    )


class Feed(Closable):
    """What happens on the stack, for as many readers as like to look.

    It looks once a second. Tokens are looked up when it begins and after requests that change them;
    those look-ups are not shown.
    """

    def __init__(self, stack: LocalStack, faults: Faults) -> None:
        self._stack = stack
        self._faults = faults
        self._changed = threading.Condition()
        self._number = 0
        self._requests: deque[tuple[int, dict[str, Any]]] = deque(maxlen=_KEPT)
        self._seen: dict[str, float] = {}
        self._tokens: list[dict[str, Any]] = []
        self._stale = True
        self._state: dict[str, Any] = {}
        self._over = threading.Event()
        self._namespace = ""
        self._threads = [
            threading.Thread(target=target, name=f"feed-{target.__name__}", daemon=True)
            for target in (self._look, self._follow)
        ]
        for thread in self._threads:
            thread.start()

    def close(self) -> None:
        self._over.set()
        with self._changed:
            self._changed.notify_all()
        for thread in self._threads:
            thread.join(_ENDING)

    def events(self) -> Iterator[dict[str, Any]]:
        with self._changed:  # a request before the first look must not be lost
            self._changed.wait_for(lambda: self._state or self._over.is_set())
        number = 0
        while not self._over.is_set():
            with self._changed:
                new = [one for at, one in self._requests if at > number]
                number, state = self._number, self._state
            yield {**state, "faults": self._put(), "requests": new}
            with self._changed:
                self._changed.wait(LOOK)

    def _put(self) -> list[dict[str, Any]]:
        return [
            {"id": one.id, "text": one.text, "since": one.since, "until": one.until}
            for one in self._faults.in_force()
        ]

    def _look(self) -> None:
        while not self._over.is_set():
            try:
                state = self._told(self._stack.status(inside=False))
            except (HarnessError, OSError) as error:
                state = {**self._state, "trouble": str(error).partition("\n")[0]}
            with self._changed:
                self._state = state
                self._changed.notify_all()
            self._over.wait(LOOK)

    def _told(self, status: StackStatus) -> dict[str, Any]:
        if status.sealed is False and (self._stale or self._ended()):
            self._look_up()
        lines = list(status.obstacles)
        lines += ["Vault is sealed"] if status.sealed else []
        now = time.time()
        self._seen = {line: self._seen.get(line, now) for line in lines}
        self._namespace = status.namespace
        return {
            "state": status.state,
            "sealed": status.sealed,
            "address": status.proxy or status.address or "",
            "product": " ".join(filter(None, [status.product, status.version])),
            "servers": _servers(status),
            "broken": [{"text": line, "since": at} for line, at in self._seen.items()],
            "counts": [
                f"{one.text}: acted on {one.acted} of {one.seen}"
                for one in (status.recorder.faults if status.recorder else ())
            ],
            "tokens": self._tokens,
            "trouble": "",
        }

    def _ended(self) -> bool:
        return any(0 < one["until"] < time.time() for one in self._tokens)

    def _look_up(self) -> None:
        from vault_harness.local.vault import tokens

        self._stale = False
        with contextlib.suppress(HarnessError), contextlib.closing(self._stack.operator()) as op:
            found = [
                _token(accessor, token)
                for accessor in tokens.living(op)[-_TOKENS:]
                if (token := tokens.look_up(op, accessor))
            ]
            self._tokens = sorted(found, key=lambda one: (one["who"], one["made"]))

    def _follow(self) -> None:
        from vault_harness.operator.audit import Filter, follow_joined

        class Others(Filter):
            """Not the look-ups of tokens, which would push others out of the last requests."""

            def wants(self, entry: AuditEntry) -> bool:
                return entry.who != "root" or not entry.path.startswith(_OWN)

        while not self._over.is_set():
            with contextlib.suppress(HarnessError):
                for entry in follow_joined(
                    lambda: stack_logs(self._stack),
                    Others(),
                    last=_KEPT // 4,
                    pause=lambda: not self._over.wait(0.2),
                ):
                    self._note(entry)
            self._over.wait(LOOK)  # no log yet, or it cannot be read now

    def _note(self, entry: AuditEntry) -> None:
        if entry.path.startswith("auth/"):
            self._stale = True
        with self._changed:
            self._number += 1
            self._requests.append((self._number, _request(entry)))
            self._changed.notify_all()


_OWN = ("auth/token/lookup-accessor", "auth/token/accessors", "auth/token/lookup-self")
"""Made by looking at tokens, with the operator's token."""


def _request(entry: AuditEntry) -> dict[str, Any]:
    return {
        "time": entry.time.timestamp(),
        "node": entry.node,
        "who": entry.who,
        "what": entry.operation,
        "path": below(entry.namespace, entry.path),
        "status": entry.status,
        "ms": None if entry.took is None else round(entry.took * 1000, 1),
        "error": entry.error,
    }


def _token(accessor: str, found: Mapping[str, Any]) -> dict[str, Any]:
    meta = found.get("meta") or {}
    made = float(found.get("creation_time") or 0)
    renewed = found.get("last_renewal_time") or made
    until = time.time() + found["ttl"] if found.get("expire_time") else 0.0
    return {
        # An accessor can revoke its token, so a page gets only a name for it.
        "id": hashlib.sha256(accessor.encode()).hexdigest()[:12],
        "who": meta.get("role_name") or found.get("display_name") or "-",
        "made": made,
        "renewed": float(renewed),
        "until": until,
    }


def _servers(status: StackStatus) -> list[dict[str, str]]:
    roles = {node.name: node.role for node in status.nodes}
    found = []
    for name, detail in status.services.items():
        state = "runs" if detail else "does not run"
        if detail and name in roles:
            state = roles[name]
        elif detail and name == "vault":
            state = {True: "sealed", False: "unsealed", None: "does not answer"}[status.sealed]
        found.append({"name": name, "state": state})
    return found
