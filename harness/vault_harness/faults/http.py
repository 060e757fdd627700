"""Faults of single requests, by what they are for and their count: the third renewal, each login.

A toxic of Toxiproxy acts on bytes and knows no request. These act on requests, behind Toxiproxy, so
that both can be there at once: answers that come late to logins only, on a narrow network.
"""

from __future__ import annotations

import itertools
import json
import threading
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from typing import Literal, Protocol, get_args

from vault_harness.errors import SettingsError
from vault_harness.faults._fault import Fault, Journal, Signature
from vault_harness.faults.answers import HTML, JSON, a_page

RequestKind = Literal[
    "login",
    "renew",
    "lookup",
    "revoke",
    "capabilities",
    "unwrap",
    "lease",
    "credential",
    "read",
    "write",
    "metadata",
    "status",
    "other",
]
"""What a request to Vault is for."""

Affected = RequestKind | Literal["health", "any"]
"""What a fault is for: a kind of request, ``sys/health`` alone, or whatever comes."""


@dataclass(frozen=True, kw_only=True)
class Stub:
    """An answer given in Vault's place, which is not asked.

    Attributes:
        status: HTTP status.
        body: The whole body.
        headers: Beyond ``Content-Length``.
        kinds: Which requests get it; empty means all.
        times: How many of them; None means as long as the stub is set.
    """

    status: int
    body: bytes = b""
    headers: Mapping[str, str] = field(default_factory=dict)
    kinds: frozenset[RequestKind] = frozenset()
    times: int | None = None


@dataclass(frozen=True, kw_only=True)
class Choice:
    """Which of the requests a fault acts on.

    Attributes:
        kinds: What they are for; empty means anything.
        path: A pattern (``*``, ``?``) for the path below ``/v1/``; None for any.
        first: The first so many of them.
        nth: That one alone, counted from 1.
        every: 3 means the third, the sixth and so on.
    """

    kinds: frozenset[RequestKind] = frozenset()
    path: str | None = None
    first: int | None = None
    nth: int | None = None
    every: int | None = None

    def fits(self, kind: RequestKind, path: str) -> bool:
        """Whether a request is one of those that are counted."""
        return (not self.kinds or kind in self.kinds) and (
            self.path is None or fnmatchcase(path, self.path)
        )

    def turn(self, number: int) -> bool:
        """Whether it is the turn of the request with this number, counted from 1."""
        if self.first is not None:
            return number <= self.first
        if self.nth is not None:
            return number == self.nth
        return self.every is None or number % self.every == 0

    def over(self, seen: int) -> bool:
        """Whether it is nobody's turn any more after so many requests."""
        last = self.first if self.first is not None else self.nth
        return last is not None and seen >= last


class Interference:
    """What is done to some of the requests that pass, and to how many it was done.

    Safe to be asked from several threads.

    Args:
        name: A mark of its own, by which requests that it acted on are known.
        choice: Which requests.
        stub: Answer them with this, and let Vault know nothing of them.
        late: Hold the answer of Vault back for so many seconds.
        loses: Take the answer of Vault away, and the connection with it; after those seconds.
        instead: What the client gets in place of an answer that is lost; the connection stays then.
        closes: Say with the answer that the connection ends, and hear nothing over it any more.
    """

    def __init__(
        self,
        name: str,
        choice: Choice,
        *,
        stub: Stub | None = None,
        late: float = 0.0,
        loses: bool = False,
        instead: Stub | None = None,
        closes: bool = False,
    ) -> None:
        self.name = name
        self.stub = stub
        self.late = late
        self.loses = loses
        self.instead = instead
        self.closes = closes
        self._choice = choice
        self._seen = 0
        self._taken = 0
        self._lock = threading.Lock()

    def takes(self, kind: RequestKind, path: str) -> bool:
        """Count a request, and say whether this acts on it."""
        if not self._choice.fits(kind, path):
            return False
        with self._lock:
            self._seen += 1
            taken = self._choice.turn(self._seen)
            self._taken += taken
            return taken

    @property
    def seen(self) -> int:
        """How many requests were counted, whether it acted on them or not."""
        return self._seen

    @property
    def taken(self) -> int:
        """On how many requests it has acted."""
        return self._taken

    @property
    def over(self) -> bool:
        """Whether it has acted for the last time."""
        return self._choice.over(self._seen)


class Relay(Protocol):
    """What stands between clients and Vault, and reads their requests."""

    def interfere(self, one: Interference) -> AbstractContextManager[None]:
        """Do this while the block runs."""


class HttpFaults:
    """What can happen to single requests.

    Each fault counts the requests that fit, from the moment that it is set, and acts on those whose
    turn it is: the `first` so many, the `nth` alone, `every` third, or all. Where several are set
    each of them counts, and of those whose turn it is the one that was set last acts.

    Args:
        relay: Where the requests pass.
        journal: Where faults are noted.
    """

    def __init__(self, relay: Relay, journal: Journal) -> None:
        self._relay = relay
        self._journal = journal
        self._numbers = itertools.count(1)

    @contextmanager
    def fail(
        self,
        *targets: Affected,
        status: int = 503,
        body: bytes | None = None,
        headers: Mapping[str, str] | None = None,
        path: str | None = None,
        first: int | None = None,
        nth: int | None = None,
        every: int | None = None,
    ) -> Iterator[Fault]:
        """Requests are answered with an error, and never get to Vault.

        For what Vault itself cannot be made to say, or not to this request alone.

        Args:
            targets: What they are for.
            status: HTTP status of the answer.
            body: Its body; by default an error as Vault writes one.
            headers: Its headers; by default they say that the body is JSON.
            path: As in `Choice`, like those that follow.
            first: The first so many.
            nth: That one alone.
            every: The third, the sixth and so on, for 3.

        Raises:
            SettingsError: That makes no sense.
        """
        stub = answered(status, body=body, headers=headers)
        choice = choose(targets, path, first, nth, every)
        what = f"{words(targets)} answered {status}"
        with self._acting(what, choice, stub=stub) as fault:
            yield fault

    @contextmanager
    def delay(
        self,
        *targets: Affected,
        by: float,
        path: str | None = None,
        first: int | None = None,
        nth: int | None = None,
        every: int | None = None,
    ) -> Iterator[Fault]:
        """Vault does at once what is asked, and its answer comes `by` seconds late.

        Args:
            targets: What the requests are for.
            by: Seconds.
            path: As in `Choice`, like those that follow.
            first: The first so many.
            nth: That one alone.
            every: The third, the sixth and so on, for 3.

        Raises:
            SettingsError: That makes no sense.
        """
        choice = choose(targets, path, first, nth, every)
        what = f"answer to {words(targets)} {by:g} s late"
        with self._acting(what, choice, late=lateness(by)) as fault:
            yield fault

    @contextmanager
    def lose_answer(
        self,
        *targets: Affected,
        by: float | None = None,
        status: int | None = None,
        path: str | None = None,
        first: int | None = None,
        nth: int | None = None,
        every: int | None = None,
    ) -> Iterator[Fault]:
        """Vault does what is asked; its answer is lost, and the connection ends.

        Args:
            targets: What the requests are for.
            by: Seconds for which it hangs before; at once without them.
            status: HTTP status of the page that a gateway answers with instead; the connection
                stays then. Without it there is no answer.
            path: As in `Choice`, like those that follow.
            first: The first so many.
            nth: That one alone.
            every: The third, the sixth and so on, for 3.

        Raises:
            SettingsError: That makes no sense.
        """
        choice = choose(targets, path, first, nth, every)
        what = f"answer to {words(targets)} lost"
        late = 0.0 if by is None else lateness(by)
        if by is not None:
            what += f" after {by:g} s"
        page = None
        if status is not None:
            what += f", {status} in its place"
            page = answered(status, body=a_page(status), headers=HTML)
        with self._acting(what, choice, late=late, loses=True, instead=page) as fault:
            yield fault

    @contextmanager
    def say_goodbye(
        self,
        *targets: Affected,
        by: float | None = None,
        path: str | None = None,
        first: int | None = None,
        nth: int | None = None,
        every: int | None = None,
    ) -> Iterator[Fault]:
        """Answers say that their connection ends: ``Connection: close``, over HTTP/2 a GOAWAY.

        So does a server, or a gateway, that is about to go. What a client sends over it after that
        is not heard, and the connection ends seconds later, if the client does not end it.

        Args:
            targets: What the requests are for.
            by: Seconds by which the answers are late as well.
            path: As in `Choice`, like those that follow.
            first: The first so many.
            nth: That one alone.
            every: The third, the sixth and so on, for 3.

        Raises:
            SettingsError: That makes no sense.
        """
        choice = choose(targets, path, first, nth, every)
        what = f"answer to {words(targets)} says goodbye"
        late = 0.0 if by is None else lateness(by)
        with self._acting(what, choice, late=late, closes=True) as fault:
            yield fault

    @contextmanager
    def _acting(
        self,
        what: str,
        choice: Choice,
        *,
        stub: Stub | None = None,
        late: float = 0.0,
        loses: bool = False,
        instead: Stub | None = None,
        closes: bool = False,
    ) -> Iterator[Fault]:
        name = f"{what} #{next(self._numbers)}"
        one = Interference(
            name, choice, stub=stub, late=late, loses=loses, instead=instead, closes=closes
        )
        fault: Fault | None = None
        try:
            with self._relay.interfere(one):
                counts = {"first": choice.first, "nth": choice.nth, "every": choice.every}
                given = {"path": choice.path, **counts}
                detail = {key: value for key, value in given.items() if value is not None}
                fault = self._journal.begin_fault(what, Signature(interference=name), detail)
                fault.counter = one
                yield fault
        finally:
            if fault is not None:
                self._journal.end_fault(fault)


ASKED_BY = "the call of lab.http"
"""Where a fault was asked for, if nobody says otherwise."""


def answered(
    status: int,
    *,
    body: bytes | None = None,
    headers: Mapping[str, str] | None = None,
    asked_by: str = ASKED_BY,
) -> Stub:
    """An answer with an error, as Vault writes one unless there is another body.

    Raises:
        SettingsError: It is no status of an answer.
    """
    if not 200 <= status <= 599:
        raise _senseless(f"status {status}", "a status from 200 to 599", asked_by)
    return Stub(
        status=status,
        body=_error(status) if body is None else body,
        headers=dict(JSON if headers is None else headers),
    )


def lateness(seconds: float, *, asked_by: str = ASKED_BY) -> float:
    """By how much an answer may be late.

    Raises:
        SettingsError: It would not be late, or never come.
    """
    if not 0 < seconds < float("inf"):
        raise _senseless(f"by {seconds:g}", "a number of seconds above 0", asked_by)
    return seconds


def choose(
    targets: tuple[Affected, ...],
    path: str | None,
    first: int | None,
    nth: int | None,
    every: int | None,
    *,
    asked_by: str = ASKED_BY,
) -> Choice:
    """Which requests a fault is for, from what it was asked for.

    Raises:
        SettingsError: That makes no sense.
    """
    known = (*get_args(RequestKind), "health", "any")
    for target in targets or ("nothing",):
        if target not in known:
            raise _senseless(target, f"any of {', '.join(known)}", asked_by)
    counts = [count for count in (first, nth, every) if count is not None]
    if len(counts) > 1:
        raise _senseless("several of first, nth and every", "one of them", asked_by)
    if counts and counts[0] < 1:
        raise _senseless(f"a count of {counts[0]}", "a count from 1 on", asked_by)
    kinds = frozenset(_kind(target) for target in targets if target != "any")
    if "any" in targets:
        kinds = frozenset()
    if "health" in targets:
        if len(targets) > 1 or path is not None:
            raise _senseless("health with another target or a path", "health alone", asked_by)
        path = "sys/health"
    return Choice(kinds=kinds, path=path, first=first, nth=nth, every=every)


def words(targets: tuple[Affected, ...]) -> str:
    """What a fault is for, in words."""
    return " or ".join(targets)


def _kind(target: Affected) -> RequestKind:
    if target == "health":
        return "status"
    assert target != "any", "it names no kind"
    return target


def _error(status: int) -> bytes:
    return json.dumps({"errors": [f"answered {status} on purpose"]}).encode()


def _senseless(what: str, wanted: str, asked_by: str) -> SettingsError:
    return SettingsError(
        f"a fault was asked for {what}, which makes no sense",
        looked_at=asked_by,
        remedy=f"give {wanted}",
    )
