"""Callers share one errand at a time, and its result is for all of them."""

from __future__ import annotations

import queue
import threading
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from resilient_vault_client import ClientClosed, VaultSealed, VaultTimeout
from resilient_vault_client._deadline import Deadline
from resilient_vault_client._errands import Errand, Errands
from resilient_vault_client.events import Authenticated, Event, Notifier
from vault_harness.waiting import wait_until

LONG = 30.0
"""Seconds of each call: none ends by itself."""

GRANTED, REFUSED, LATE = "granted", "refused", "late"


class Calls(RuleBasedStateMachine):
    """Calls that want a token, and a Vault that answers as the rules say."""

    def __init__(self) -> None:
        super().__init__()
        self.heard: list[Event] = []
        self.notifier = Notifier(self.heard.append)
        self.errands = Errands(
            self.notifier, lambda _: None, self.tell, timeout=LONG, threaded=True
        )
        self.pool = ThreadPoolExecutor(8)
        self.orders: queue.SimpleQueue[str] = queue.SimpleQueue()
        self.pending: set[Future[int]] = set()
        self.lock = threading.Lock()
        self.began = self.now = self.most = 0
        self.token: int | None = None
        self.closed = False
        # What the rules expect.
        self.errands_made = self.told = 0
        self.under_way = self.left = False

    # The client's authenticator

    def begin(self) -> int | Errand[int]:
        if self.closed:
            raise ClientClosed("the client is closed")
        return Errand(self.ask) if self.token is None else self.token

    def ask(self, deadline: Deadline) -> int:
        """Ask Vault, which answers when told."""
        with self.lock:
            self.began += 1
            self.now += 1
            self.most = max(self.most, self.now)
        try:
            while (order := self.orders.get(timeout=2 * LONG)) == LATE:
                assert deadline.goes_on()
                assert not deadline.passed
            if order == REFUSED:
                raise VaultSealed("sealed")
            self.errands.note(Authenticated(reason="start", ttl=1.0, renewable=True))
            self.token = self.began
            return self.token
        finally:
            with self.lock:
                self.now -= 1

    def tell(self, events: list[Event]) -> None:
        for event in events:
            self.notifier.notify(event)

    # Rules

    @precondition(lambda self: len(self.pending) < 8)
    @rule()
    def call(self) -> None:
        made = self.pool.submit(self.errands.run, self.begin, Deadline(LONG))
        if self.closed:
            assert isinstance(made.exception(LONG), ClientClosed)
        elif self.token is not None:
            assert made.result(LONG) == self.token
        else:
            self.pending.add(made)
            self.expect_errand()

    @precondition(lambda self: self.under_way and not self.left)
    @rule()
    def time_is_over(self) -> None:
        """The call that made the errand times out and returns at once; the errand goes on."""
        self.orders.put(LATE)
        assert isinstance(self.one_ends(), VaultTimeout)
        self.left = True

    @precondition(lambda self: self.under_way)
    @rule()
    def grant(self) -> None:
        """All waiting callers get the token, whoever made the errand."""
        self.orders.put(GRANTED)
        self.under_way = False
        self.told += 1
        wait_until(lambda: len(self.heard) == self.told, "what happened to be told", timeout=LONG)
        for one in self.pending:
            assert one.result(LONG) == self.errands_made
        self.pending.clear()

    @precondition(lambda self: self.under_way)
    @rule()
    def refuse(self) -> None:
        """The maker of the errand gets the error, and the next waiting caller makes another."""
        self.orders.put(REFUSED)
        self.under_way = False
        if not self.left:
            assert isinstance(self.one_ends(), VaultSealed)
        if self.pending:
            self.expect_errand()

    @precondition(lambda self: self.token is not None)
    @rule()
    def lose(self) -> None:
        self.token = None

    @precondition(lambda self: not self.closed)
    @rule(wanted=st.sampled_from([False] * 9 + [True]))
    def close(self, wanted: bool) -> None:
        """All waiting callers end at once, and the errand itself goes on."""
        if not wanted:
            return
        self.closed = True
        self.errands.close()
        for one in self.pending:
            assert isinstance(one.exception(LONG), ClientClosed)
        self.pending.clear()
        self.left = True

    # Invariants

    @invariant()
    def one_at_a_time(self) -> None:
        """Errands never overlap, and each was wanted."""
        assert self.most <= 1
        assert self.began == self.errands_made

    def expect_errand(self) -> None:
        if not self.under_way:
            self.under_way, self.left = True, False
            self.errands_made += 1
        wait_until(lambda: self.began == self.errands_made, "an errand", timeout=LONG)

    def one_ends(self) -> BaseException | None:
        done, self.pending = wait(self.pending, LONG, FIRST_COMPLETED)
        (one,) = done
        return one.exception()

    def teardown(self) -> None:
        if self.under_way:
            self.grant()
        self.errands.finish(LONG)
        self.pool.shutdown()
        assert not [one for one in threading.enumerate() if one is self.errands._thread]
        assert len(self.heard) == self.told


def test_calls() -> None:
    half = settings(max_examples=settings().max_examples // 2, stateful_step_count=25)
    run_state_machine_as_test(Calls, settings=half)
