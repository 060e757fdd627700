"""One case: a scenario under way whose subject is asked by somebody else's test runner."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Mapping
from typing import Any

from vault_harness.scenario import Result

Message = Mapping[str, Any]

IDLE = 60.0
"""Seconds without a request for the next operation after which nobody is taken to be there."""


class NobodyThere(Exception):
    """The runner has gone, or the case was ended: an operation has no answer."""


class Case:
    """Operations that wait to be fetched and answered, and what the scenario came to.

    Args:
        id: Of the case.
        scenario: Id of the scenario.
        run: Runs it, to its result.
        idle: Seconds without a sign of the runner after which the case is given up.

    Attributes:
        result: What the scenario came to; None until then.
        broke: Why there will be no result; empty where there may be one.
        environ: The client's first environment, once it is there.
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
        except Exception as error:  # noqa: BLE001 - a full disk, say; else nobody would ever know
            broke = f"{type(error).__name__}: {error}"
        with self._changed:
            self.result, self.broke = result, broke
            self._changed.notify_all()

    @property
    def over(self) -> bool:
        """Whether the scenario has ended."""
        return self.result is not None or bool(self.broke)

    # The scenario's side

    def configure(self, environ: Message) -> Message:
        """Hand over a client's environment: the first with the case itself, others as operations.

        A scenario that starts the client twice, or is run anew, has a second one.
        """
        with self._changed:
            first = self.environ is None
            if first:
                self.environ = environ
                self._seen = time.monotonic()
                self._changed.notify_all()
        return {"ok": True} if first else self.ask({"op": "configure", "environ": environ})

    def ask(self, message: Message) -> Message:
        """Put an operation where the runner finds it, and wait for the answer.

        Raises:
            NobodyThere: There will be none.
        """
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
                if asked in self._waiting:  # nobody fetched it, and nobody waits for it any more
                    self._waiting.remove(asked)
        mine = {"id": message["id"]} if "id" in message else {}
        return {**{name: value for name, value in answer.items() if name != "id"}, **mine}

    # The runner's side

    def await_start(self, within: float) -> bool:
        """Whether there is an environment, or a result, within so many seconds."""
        with self._changed:
            return self._changed.wait_for(lambda: self.environ is not None or self.over, within)

    def next(self, within: float, gone: Callable[[], bool] = lambda: False) -> Message | None:
        """The next operation; None where there was none in so many seconds, or it is over.

        A case that was ended is waited for until it is over: a runner asks again at once.

        Args:
            within: Seconds.
            gone: Whether who asks has hung up meanwhile. An operation is then left for who asks
                next: the scenario would wait for its answer in vain, and call the client hung.
        """
        with self._changed:
            self._seen = time.monotonic()
            self._changed.wait_for(lambda: bool(self._waiting) or self.over, within)
            if gone():
                return None
            self._seen = time.monotonic()
            return self._waiting.popleft() if self._waiting else None

    def answer(self, message: Message) -> bool:
        """Take an answer; False where nobody waits for it, any more or at all."""
        with self._changed:
            self._seen = time.monotonic()
            number = message.get("id")
            if not isinstance(number, int) or self._answers.get(number, message) is not None:
                return False
            self._answers[number] = message
            self._changed.notify_all()
            return True

    def await_result(self, within: float) -> Result | None:
        """What it came to; None if that takes longer."""
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
        """Let every operation fail from now on; whether the scenario ended in so many seconds."""
        self.give_up()
        self._thread.join(within)
        return not self._thread.is_alive()
