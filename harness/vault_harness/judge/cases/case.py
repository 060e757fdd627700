"""Run a scenario whose subject answers through an author's own test runner."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Mapping
from typing import Any

from vault_harness.judge.run import Result

Message = Mapping[str, Any]

IDLE = 60.0
"""Seconds without a request after which the runner counts as gone."""


class NobodyThere(Exception):
    """Raised if nobody answers an operation: the runner has gone, or the case was ended."""


class Case:
    """Operations that wait to be fetched and answered, and the scenario's result.

    Attributes:
        result: None before the scenario ends.
        broke: The error that prevented a result; otherwise empty.
        environ: The client's first environment; None before the scenario starts it.
    """

    def __init__(
        self,
        id: str,  # noqa: A002 - it is one
        scenario: str,
        run: Callable[[], Result],
        *,
        idle: float = IDLE,
    ) -> None:
        self.id = id
        self.scenario = scenario
        self.result: Result | None = None
        self.broke = ""
        self.environ: Message | None = None
        self._idle = idle
        self._changed = threading.Condition()
        self._waiting: deque[Message] = deque()
        self._answers: dict[int, Message | None] = {}
        self._next = 1
        self._seen = time.monotonic()
        self._ended = False
        self._thread = threading.Thread(target=self._run, args=(run,), name=f"case {id}")
        self._thread.daemon = True
        self._thread.start()

    def _run(self, run: Callable[[], Result]) -> None:
        result, broke = None, ""
        try:
            result = run()
        except Exception as error:  # noqa: BLE001 - a full disk, for example, must be reported
            broke = f"{type(error).__name__}: {error}"
        with self._changed:
            self.result, self.broke = result, broke
            self._changed.notify_all()

    @property
    def over(self) -> bool:
        return self.result is not None or bool(self.broke)

    # The scenario's side

    def configure(self, environ: Message) -> Message:
        """Hand over a client's environment: the first with the case, later ones as operations."""
        with self._changed:
            first = self.environ is None
            if first:
                self.environ = environ
                self._seen = time.monotonic()
                self._changed.notify_all()
        return {"ok": True} if first else self.ask({"op": "configure", "environ": environ})

    def ask(self, message: Message) -> Message:
        """Queue an operation for the runner, and wait for the answer."""
        with self._changed:
            number, self._next = self._next, self._next + 1
            self._answers[number] = None
            self._waiting.append(asked := {**message, "id": number})
            self._changed.notify_all()
            try:
                while (answer := self._answers[number]) is None:
                    left = self._seen + self._idle - time.monotonic()
                    if self._ended or left <= 0:
                        raise NobodyThere
                    self._changed.wait(left)
            finally:
                del self._answers[number]
                if asked in self._waiting:  # nobody fetched the operation, or waits for it now
                    self._waiting.remove(asked)
        mine = {"id": message["id"]} if "id" in message else {}
        return {**{name: value for name, value in answer.items() if name != "id"}, **mine}

    # The runner's side

    def await_start(self, within: float) -> bool:
        with self._changed:
            return self._changed.wait_for(lambda: self.environ is not None or self.over, within)

    def next(self, within: float, gone: Callable[[], bool] = lambda: False) -> Message | None:
        """Return the next operation; None if none came in time, or the case is over.

        After `end` this waits until the case is over, since a runner would ask again at once. If
        the runner has `gone`, the operation stays in the queue: nobody would answer it, and the
        client would count as hung.
        """
        with self._changed:
            self._seen = time.monotonic()
            self._changed.wait_for(lambda: bool(self._waiting) or self.over, within)
            if gone():
                return None
            self._seen = time.monotonic()
            return self._waiting.popleft() if self._waiting else None

    def answer(self, message: Message) -> bool:
        """Take an answer. Return False if nobody waits for it."""
        with self._changed:
            self._seen = time.monotonic()
            number = message.get("id")
            if not isinstance(number, int) or self._answers.get(number, message) is not None:
                return False
            self._answers[number] = message
            self._changed.notify_all()
            return True

    def await_result(self, within: float) -> Result | None:
        """Return the result; None if it takes longer."""
        with self._changed:
            self._seen = time.monotonic()
            self._changed.wait_for(lambda: self.over, within)
            return self.result

    def give_up(self) -> None:
        """Let every operation fail from now on."""
        with self._changed:
            self._ended = True
            self._changed.notify_all()

    def end(self, within: float) -> bool:
        """Let every operation fail from now on; return whether the scenario ended in time."""
        self.give_up()
        self._thread.join(within)
        return not self._thread.is_alive()
