"""What a client asks Vault for on behalf of all its calls: one thing at a time, and nobody's own.

A login whose answer nobody awaits has happened all the same: Vault has made a token, and a
secret-id for few logins is good for one less. So it is not made in the thread of the call that
needs it, which must end in time, but in one of the client's. The call waits for as long as it may,
and leaves; the next one waits for the same login, or finds what came of it.

That thread lives as long as its errand does, a few times the client's timeout at most, and `finish`
waits for its end. Nothing of it is known in a forked child, which makes errands of its own.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar

from resilient_vault_client._boundary import boundary, from_outside
from resilient_vault_client._deadline import Deadline, Outliving
from resilient_vault_client._errors import (
    ClientClosed,
    VaultError,
    VaultTimeout,
    VaultUnavailable,
)
from resilient_vault_client._notifier import Notifier
from resilient_vault_client.events import Event

T = TypeVar("T")
T_co = TypeVar("T_co", covariant=True)

# Times the client's timeout for which an errand goes on at most, once something was sent. Fewer
# would cut off the login that a call has begun with, more hold up the next one where the server on
# the other side is gone and nothing says so.
_LONGEST = 2.0

# How often a thread that waits for another one's errand looks whether that makes sense.
_LOOK_UP_EVERY = 0.05

# Seconds that the errand's thread has for saying, at the end of a call, what has become of it.
_A_WORD = 0.5

_log = logging.getLogger("resilient_vault_client")


@dataclass(frozen=True)
class Errand(Generic[T_co]):
    """Something to ask Vault for.

    Attributes:
        do: Asks, by a deadline.
    """

    do: Callable[[Deadline], T_co]


@dataclass(eq=False)
class _Turn(Generic[T]):
    """One caller's turn at an errand.

    Attributes:
        caller: The thread that needs it.
        awaited: Whether its caller waits, and hears of what happens in it.
        thread: The thread that asks Vault, once it does.
        over: Whether that has nothing more to say.
        result: What came of it, once `failure` is None.
        failure: Why nothing did.
        late: What its caller is told whose time is over before it is.
        heard: What happened in it that its caller is to hear of.
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
    """Makes errands, one at a time.

    Args:
        notifier: Who hears of what happens in one.
        known_failure: What is known of an outage that is older than so many seconds.
        on_news: Called with what was noted, after the errand in which it was, if anything was.
        timeout: What a call may take.
        threaded: False starts no thread: a call makes its errand itself, and ends it with its own
            end.
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

    def run(self, begin: Callable[[], T | Errand[T]], deadline: Deadline, patience: float) -> T:
        """What comes of an errand, if one is needed.

        Args:
            begin: Called when no errand is under way, as none is until what comes of this call is
                there: gives that, or the errand that leads to it. It must be quick.
            deadline: When this call must be over. Its errand goes on, if Vault has it.
            patience: How old an outage may be for another call's errand to be worth waiting for.

        Raises:
            VaultError: What `begin` or the errand raised, or there was no time for them.
        """
        if self._in_the_middle_of_one():
            raise self._known_failure(0.0) or VaultTimeout(
                "a callback or a signal's handler asks in the middle of a login", sent=False
            )
        turn = _Turn[T]()
        with self._notifier.later():
            try:
                step = self._await_turn(turn, begin, deadline, patience)
                if isinstance(step, Errand):
                    errand: Errand[T] = step
                    return self._made(turn, errand, deadline)
                return step
            finally:
                self._leave(turn)

    def _in_the_middle_of_one(self) -> bool:
        """Whether this thread makes an errand, or waits for its own: it would wait for itself."""
        me, turn = threading.get_ident(), self._under_way
        return me in self._inside or (turn is not None and turn.awaited and turn.caller == me)

    def note(self, event: Event) -> None:
        """It happened in the errand, or in the beginning of one, and is told afterwards."""
        self._news.append(event)

    def close(self) -> None:
        """Nobody waits any longer; what is under way ends by itself."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()

    def finish(self, timeout: float) -> None:
        """Wait until nothing is under way, but not in the middle of it."""
        deadline = Deadline(timeout)
        with self._changed:
            turn = self._under_way
            # Nor for what this thread has begun and does not go on with, in a signal's handler.
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
        patience: float,
    ) -> T | Errand[T]:
        """Begin when no errand is under way.

        Who waits looks up now and then whether waiting has become hopeless.
        """
        while True:
            with self._changed:
                wait = min(_LOOK_UP_EVERY, deadline.remaining())
                if self._changed.wait_for(lambda: self._under_way is None, wait):
                    self._under_way = turn
                    return begin()
            known = self._known_failure(patience)
            if known is not None:
                raise known
            if self._closed:
                raise ClientClosed("the client was closed meanwhile")
            if deadline.passed:
                raise VaultTimeout("another thread's login was not over in time", sent=False)

    def _made(self, turn: _Turn[T], errand: Errand[T], deadline: Deadline) -> T:
        """Have the errand made, here or in a thread of its own."""
        if self._threaded and self._started(turn, errand, deadline):
            return self._await_end(turn, deadline)
        self._take(turn)
        try:
            return errand.do(deadline)
        finally:
            self._end(turn)

    def _started(self, turn: _Turn[T], errand: Errand[T], deadline: Deadline) -> bool:
        """Whether a thread makes the errand."""

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
        """Wait for what comes of it, and tell what happens meanwhile.

        The application's callback runs in this thread, as it does in a call that does all itself:
        it may use the client, which knows what this thread has locked.
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
        """What came of it for its caller."""
        failure: BaseException | None = turn.late or VaultTimeout("Vault did not answer in time")
        if turn.over:
            failure = turn.failure
        elif self._closed:
            failure = ClientClosed("the client was closed meanwhile")
        # What is raised holds the caller's frames, and those the client; the errand lasts longer.
        turn.failure = turn.late = None
        try:
            if failure is not None:
                raise failure
            return turn.result  # type: ignore[return-value]  # there is one where nothing failed
        finally:
            del failure  # it holds this frame, which must not hold it

    def _leave(self, turn: _Turn[T]) -> None:
        """The caller goes; what it has not heard of is told now."""
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
        """Make an errand, whether or not somebody waits for it."""
        try:
            with (
                self._notifier.heard_by(lambda event: self._taken_over(turn, event)),
                self._notifier.later(),
            ):
                if not self._take(turn):
                    return  # its caller was interrupted before it began
                try:
                    turn.result, turn.failure = errand.do(deadline), None
                except Exception as error:  # noqa: BLE001 - whatever it is, its caller is told
                    turn.failure = from_outside(error)
                finally:
                    self._end(turn)
        finally:
            with self._changed:
                turn.over = True
                self._inside.discard(threading.get_ident())
                if self._under_way is turn:  # who ends a thread may do so in the midst of its end
                    self._under_way = None
                self._changed.notify_all()

    def _taken_over(self, turn: _Turn[T], event: Event) -> bool:
        """Whether the caller will tell the event."""
        with self._changed:
            if not turn.awaited:
                return False
            turn.heard.append(event)
            self._changed.notify_all()
            return True

    def _take(self, turn: _Turn[T]) -> bool:
        """Whether it is still this errand's turn; it is this thread's now."""
        with self._changed:
            if self._under_way is not turn:
                return False
            turn.thread = threading.get_ident()
            self._inside.add(turn.thread)
            return True

    def _end(self, turn: _Turn[T]) -> None:
        """The next one has its turn, and what was noted is told."""
        with self._changed:
            self._inside.discard(threading.get_ident())
            news = self._freed(turn)
        if news:
            self._on_news(news)

    def _freed(self, turn: _Turn[T]) -> list[Event]:
        """Let the next one have its turn; what was noted in this one."""
        if self._under_way is not turn:
            return []
        self._under_way = None
        self._changed.notify_all()
        news, self._news = self._news, []
        return news
