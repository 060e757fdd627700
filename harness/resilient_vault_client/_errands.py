"""Make requests on behalf of all calls of a client, one at a time.

A login counts even if nobody waits for its answer: Vault has made a token, and a secret-id has one
use less. Its call must end in time, so it runs in a thread of the client, for at most a few
timeouts. The next call waits for it or finds its result. A forked child makes its own errands.
"""

from __future__ import annotations

import contextlib
import logging
import queue
import threading
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar

from resilient_vault_client._deadline import Deadline, Outliving
from resilient_vault_client._errors import (
    ClientClosed,
    VaultError,
    VaultTimeout,
    VaultUnavailable,
    boundary,
    from_outside,
    where,
)
from resilient_vault_client.events import Event, Notifier

# Seconds. A wait stands still while the machine sleeps; due times do not.
_LOOK_EVERY = 30.0


class Background(ABC):
    """Work that a client does in the background.

    The lock is reentrant, since a signal handler may run in the middle of a start. ``purpose``
    completes "no thread to ...". A finalizer reads `running`, since it must not ask the thread.
    """

    def __init__(self, name: str, purpose: str) -> None:
        self._name = name
        self._purpose = purpose
        self._lock = threading.RLock()
        self._starting = False
        self._wake: queue.SimpleQueue[None] = queue.SimpleQueue()
        self._stopped = False
        self.running = False
        self._farewell: Callable[[], None] | None = None
        self._thread: threading.Thread | None = None

    @abstractmethod
    def _step(self) -> float | None:
        """Do what is due; return the seconds until the next work, or None for never."""

    def _restarted(self) -> None:  # noqa: B027 - a subclass without listeners keeps it empty
        """Report that the thread had died and was started again."""

    @property
    def alive(self) -> bool:
        thread = self._thread
        return thread is not None and thread.is_alive()

    @property
    def started_before(self) -> bool:
        return self._thread is not None

    def ensure_running(self) -> None:
        if self.alive or self._stopped:
            return
        with self._lock:
            if self._starting:
                return  # a signal handler has interrupted the start
            self._starting = True
            try:
                before = self._thread
                if before is not None and before.is_alive():
                    return
                thread = threading.Thread(target=self._run, name=self._name, daemon=True)
                thread.start()
                self._thread = thread
            except RuntimeError as error:
                # The machine is out of threads, or the interpreter is ending. Reads still work.
                _log.warning("vault: no thread to %s: %s", self._purpose, error)
                return
            finally:
                self._starting = False
        if before is not None:
            self._restarted()

    def wake(self) -> None:
        """Let the thread look now what is due."""
        # A finalizer must not take a lock; only a queue wakes a thread without one.
        self._wake.put(None)

    def stop(self) -> None:
        self._stopped = True
        self._wake.put(None)

    def abandon(self, farewell: Callable[[], None]) -> None:
        """Stop without a lock, for a finalizer; the thread calls ``farewell`` at its end."""
        self._farewell = farewell
        self.stop()

    def join(self, timeout: float) -> None:
        thread = self._thread
        if thread is not None and thread is not threading.current_thread():
            thread.join(timeout)

    @boundary
    def _run(self) -> None:
        self.running = True
        try:
            self._work()
        finally:
            self.running = False

    def _work(self) -> None:
        while not self._stopped:
            wait: float | None = 1.0
            try:
                wait = self._step()
            except Exception as error:  # noqa: BLE001 - a mistake here must not end all renewal
                _log.error("vault: the renewal failed with %s", where(error))
            self._rest(wait)
        if self._farewell is not None:
            self._farewell()

    def _rest(self, seconds: float | None) -> None:
        with contextlib.suppress(queue.Empty):
            self._wake.get(timeout=None if seconds is None else min(seconds, _LOOK_EVERY))
            while True:
                self._wake.get_nowait()


T = TypeVar("T")
T_co = TypeVar("T_co", covariant=True)

# An errand ends after this many client timeouts, once something was sent. A smaller number would
# cut off a login; a larger one would block the next login if the server vanished.
_LONGEST = 2.0

# Seconds between two checks whether waiting for another errand makes sense.
_LOOK_UP_EVERY = 0.05

# Seconds for the errand's thread to report at the end of a call.
_A_WORD = 0.5

_log = logging.getLogger("resilient_vault_client")


@dataclass(frozen=True)
class Errand(Generic[T_co]):
    """A request to Vault, sent by `do` within a deadline."""

    do: Callable[[Deadline], T_co]


@dataclass(eq=False)
class _Turn(Generic[T]):
    """One caller's turn at an errand.

    `caller` needs the errand; `thread` asks Vault. While `awaited`, the caller waits and gets the
    events in `heard`. Once `over`, `result` is valid if `failure` is None. `late` is the error for
    a caller whose time ends first.
    """

    caller: int = field(default_factory=threading.get_ident)
    awaited: bool = True
    thread: int | None = None
    over: bool = False
    result: T | None = None
    failure: BaseException | None = field(
        default_factory=lambda: VaultUnavailable("the thread that asked Vault was ended")
    )
    late: VaultError | None = None
    heard: list[Event] = field(default_factory=list)


class Errands:
    """Make errands, one at a time.

    Args:
        known_failure: Returns the error of an outage older than so many seconds.
        on_news: Called after an errand with its events, if any.
        threaded: False starts no thread: a call makes its errand itself, and both end together.
    """

    def __init__(
        self,
        notifier: Notifier,
        known_failure: Callable[[float], VaultUnavailable | None],
        on_news: Callable[[list[Event]], None],
        *,
        timeout: float,
        threaded: bool,
    ) -> None:
        self._notifier = notifier
        self._known_failure = known_failure
        self._on_news = on_news
        self._longest = timeout * _LONGEST
        self._threaded = threaded
        self._changed = threading.Condition()
        self._under_way: _Turn[Any] | None = None
        self._thread: threading.Thread | None = None
        self._inside: set[int] = set()
        self._news: list[Event] = []
        self._closed = False

    def run(self, begin: Callable[[], T | Errand[T]], deadline: Deadline) -> T:
        """Run an errand if one is needed, and return its result.

        Args:
            begin: Called while no other errand is under way; returns the result, or the errand that
                gets it. It must be quick.
            deadline: A sent request goes on after it.
        """
        if self._in_the_middle_of_one():
            raise self._known_failure(0.0) or VaultTimeout(
                "a callback or a signal's handler asks in the middle of a login", sent=False
            )
        turn = _Turn[T]()
        with self._notifier.later():
            try:
                step = self._await_turn(turn, begin, deadline)
                if isinstance(step, Errand):
                    errand: Errand[T] = step
                    return self._made(turn, errand, deadline)
                return step
            finally:
                self._leave(turn)

    def _in_the_middle_of_one(self) -> bool:
        """Return whether this thread is inside an errand: it would wait for itself."""
        me, turn = threading.get_ident(), self._under_way
        return me in self._inside or (turn is not None and turn.awaited and turn.caller == me)

    def note(self, event: Event) -> None:
        """Note an event, to be told after the errand."""
        self._news.append(event)

    def close(self) -> None:
        """Stop all waiting; the errand goes on."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()

    def finish(self, timeout: float) -> None:
        """Wait for the errand under way, except from inside it."""
        deadline = Deadline(timeout)
        with self._changed:
            turn = self._under_way
            # A signal handler must not wait for the errand it interrupted.
            if turn is None or (turn.thread or turn.caller) != threading.get_ident():
                self._changed.wait_for(lambda: self._under_way is None, timeout)
        thread = self._thread
        if thread is not None and thread is not threading.current_thread():
            thread.join(deadline.remaining())

    # The caller's thread

    def _await_turn(
        self,
        turn: _Turn[T],
        begin: Callable[[], T | Errand[T]],
        deadline: Deadline,
    ) -> T | Errand[T]:
        """Call ``begin`` when no errand is under way, unless waiting is hopeless."""
        while True:
            with self._changed:
                wait = min(_LOOK_UP_EVERY, deadline.remaining())
                if self._changed.wait_for(lambda: self._under_way is None, wait):
                    self._under_way = turn
                    return begin()
            known = self._known_failure(deadline.patience)
            if known is not None:
                raise known
            if self._closed:
                raise ClientClosed("the client was closed meanwhile")
            if deadline.passed:
                raise VaultTimeout("another thread's login was not over in time", sent=False)

    def _made(self, turn: _Turn[T], errand: Errand[T], deadline: Deadline) -> T:
        if self._threaded and self._started(turn, errand, deadline):
            return self._await_end(turn, deadline)
        self._take(turn)
        try:
            return errand.do(deadline)
        finally:
            self._end(turn)

    def _started(self, turn: _Turn[T], errand: Errand[T], deadline: Deadline) -> bool:
        def let_go(error: VaultError | None) -> None:
            with self._changed:
                turn.late = error or VaultTimeout("Vault did not answer in time")
                self._changed.notify_all()

        outliving = Outliving(deadline, self._longest, let_go)
        thread = threading.Thread(
            target=self._make, args=(turn, errand, outliving), name="vault-login", daemon=True
        )
        try:
            thread.start()
        except RuntimeError as error:
            # The machine is out of threads, or the interpreter is about to end.
            _log.warning("vault: no thread to log in: %s", error)
            return False
        self._thread = thread
        return True

    def _await_end(self, turn: _Turn[T], deadline: Deadline) -> T:
        """Wait for the errand's result and report its events meanwhile.

        The application's callback runs in this thread and may use the client: the client knows
        which locks this thread holds.
        """
        me = threading.get_ident()
        self._inside.add(me)
        try:
            while True:
                with self._changed:
                    self._changed.wait_for(
                        lambda: turn.heard or turn.over or turn.late or self._closed,
                        deadline.remaining() + _A_WORD,
                    )
                    heard, turn.heard = turn.heard, []
                    if not heard:
                        return self._outcome(turn)
                for event in heard:
                    self._notifier.pass_on(event)
        finally:
            self._inside.discard(me)

    def _outcome(self, turn: _Turn[T]) -> T:
        failure: BaseException | None = turn.late or VaultTimeout("Vault did not answer in time")
        if turn.over:
            failure = turn.failure
        elif self._closed:
            failure = ClientClosed("the client was closed meanwhile")
        # The exception holds the caller's frames, and the errand lives longer.
        turn.failure = turn.late = None
        try:
            if failure is not None:
                raise failure
            return turn.result  # type: ignore[return-value]  # set if nothing failed
        finally:
            del failure  # a cycle: the failure holds this frame

    def _leave(self, turn: _Turn[T]) -> None:
        """Release the caller, and report the events that it missed."""
        with self._changed:
            turn.awaited = False
            heard, turn.heard = turn.heard, []
            news = [] if turn.thread is not None else self._freed(turn)
        for event in heard:
            self._notifier.pass_on(event)
        if news:
            self._on_news(news)

    # The thread that asks Vault

    @boundary
    def _make(self, turn: _Turn[T], errand: Errand[T], deadline: Deadline) -> None:
        """Make an errand, even if no caller waits for it."""
        try:
            with (
                self._notifier.heard_by(lambda event: self._taken_over(turn, event)),
                self._notifier.later(),
            ):
                if not self._take(turn):
                    return  # its caller was interrupted before it began
                try:
                    turn.result, turn.failure = errand.do(deadline), None
                except Exception as error:  # noqa: BLE001 - the caller gets the exception
                    turn.failure = from_outside(error)
                finally:
                    self._end(turn)
        finally:
            with self._changed:
                turn.over = True
                self._inside.discard(threading.get_ident())
                if self._under_way is turn:  # another thread may have ended the turn during its end
                    self._under_way = None
                self._changed.notify_all()

    def _taken_over(self, turn: _Turn[T], event: Event) -> bool:
        """Offer the event to the caller; return whether it will report it."""
        with self._changed:
            if not turn.awaited:
                return False
            turn.heard.append(event)
            self._changed.notify_all()
            return True

    def _take(self, turn: _Turn[T]) -> bool:
        """Claim the errand for this thread; return False if its turn is over."""
        with self._changed:
            if self._under_way is not turn:
                return False
            turn.thread = threading.get_ident()
            self._inside.add(turn.thread)
            return True

    def _end(self, turn: _Turn[T]) -> None:
        with self._changed:
            self._inside.discard(threading.get_ident())
            news = self._freed(turn)
        if news:
            self._on_news(news)

    def _freed(self, turn: _Turn[T]) -> list[Event]:
        if self._under_way is not turn:
            return []
        self._under_way = None
        self._changed.notify_all()
        news, self._news = self._news, []
        return news
