"""Break single requests, chosen by purpose and count: the third renewal, each login.

Toxiproxy knows no requests. These faults act behind it, so both can be combined.
"""

from __future__ import annotations

import itertools
import json
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import asdict, dataclass
from typing import Any, Final, Literal, Self, TypedDict, Unpack, get_args

from vault_harness.errors import DeadlineExceeded, SettingsError
from vault_harness.recorder.fault import (
    Affected,
    Choice,
    Fault,
    FaultLog,
    Interference,
    Relay,
    RequestKind,
    Signature,
    Stub,
    noted,
)

JSON: Final[Mapping[str, str]] = {"Content-Type": "application/json"}
HTML: Final[Mapping[str, str]] = {"Content-Type": "text/html"}

INTERNAL_ERROR: Final = b'{"errors":["internal error"]}\n'

QUOTA: Final = b'{"errors":["rate limit quota exceeded"]}\n'

SEALED: Final = b'{"errors":["Vault is sealed"]}\n'

NEVER: Final = 600.0
"""Seconds, longer than any client waits."""

NOTICE: Final = b'{"status":"maintenance","retry":true}'
"""JSON of another server, without Vault's fields."""

SIGN_IN: Final = b"<html><head><title>Sign in</title></head><body>Sign in to go on.</body></html>\n"
"""A gateway's page that asks for a sign-in, sent with 200."""

_PAGE = b"""<!DOCTYPE html>
<html><head><title>%d</title></head><body><h1>The service is not there</h1></body></html>
"""


def a_page(status: int) -> bytes:
    """Return a gateway's page, to be sent as `HTML`."""
    return _PAGE % status


class Which(TypedDict, total=False):
    """Requests on which a fault acts; give at most one of the counts.

    Attributes:
        first: Only this many requests from the first on.
        every: 3 means the third, the sixth and so on.
    """

    path: str | None
    first: int | None
    nth: int | None
    every: int | None


class HttpFaults:
    """Break single requests.

    Each fault counts matching requests from when it is set. If several are set, each counts, and
    the newest acts.
    """

    def __init__(self, relay: Relay, log: FaultLog) -> None:
        self._relay = relay
        self._log = log
        self._numbers = itertools.count(1)

    @contextmanager
    def fail(
        self,
        *targets: Affected,
        status: int = 503,
        body: bytes | None = None,
        headers: Mapping[str, str] | None = None,
        **which: Unpack[Which],
    ) -> Iterator[Fault]:
        """Answer requests with an error; they never reach Vault.

        Use it for errors that Vault cannot be made to send, or not to single requests.
        """
        stub = answered(status, body=body, headers=headers)
        choice = choose(*targets, **which)
        what = f"{words(targets)} answered {status}"
        one = Interference(self._named(what), choice, stub=stub)
        with self._acting(what, one) as fault:
            yield fault

    @contextmanager
    def delay(
        self,
        *targets: Affected,
        by: float,
        **which: Unpack[Which],
    ) -> Iterator[Fault]:
        """Let Vault act at once, and deliver its answer `by` seconds late."""
        choice = choose(*targets, **which)
        what = f"answer to {words(targets)} {by:g} s late"
        one = Interference(self._named(what), choice, late=lateness(by))
        with self._acting(what, one) as fault:
            yield fault

    @contextmanager
    def lose_answer(
        self,
        *targets: Affected,
        by: float | None = None,
        status: int | None = None,
        **which: Unpack[Which],
    ) -> Iterator[Fault]:
        """Let Vault act, drop its answer, and end the connection.

        Args:
            by: Seconds before the connection ends; None ends it at once.
            status: Send a gateway's page with this status instead, and keep the connection.
        """
        choice = choose(*targets, **which)
        what = f"answer to {words(targets)} lost"
        late = 0.0 if by is None else lateness(by)
        if by is not None:
            what += f" after {by:g} s"
        page = None
        if status is not None:
            what += f", {status} in its place"
            page = answered(status, body=a_page(status), headers=HTML)
        one = Interference(self._named(what), choice, late=late, loses=True, instead=page)
        with self._acting(what, one) as fault:
            yield fault

    @contextmanager
    def say_goodbye(
        self,
        *targets: Affected,
        by: float | None = None,
        **which: Unpack[Which],
    ) -> Iterator[Fault]:
        """Announce in answers that the connection ends: ``Connection: close``, or a GOAWAY.

        A gateway that is about to stop does this. Later requests on the connection are ignored, and
        it ends seconds later if the client does not end it. The answers are also `by` seconds late.
        """
        choice = choose(*targets, **which)
        what = f"answer to {words(targets)} says goodbye"
        late = 0.0 if by is None else lateness(by)
        one = Interference(self._named(what), choice, late=late, closes=True)
        with self._acting(what, one) as fault:
            yield fault

    def _named(self, what: str) -> str:
        return f"{what} #{next(self._numbers)}"

    @contextmanager
    def _acting(self, what: str, one: Interference) -> Iterator[Fault]:
        choice = one.choice
        given = {
            "path": choice.path,
            "first": choice.first,
            "nth": choice.nth,
            "every": choice.every,
        }
        detail = {key: value for key, value in given.items() if value is not None}
        with ExitStack() as acting:
            acting.enter_context(self._relay.interfere(one))
            mark = Signature(interference=one.name)
            with noted(self._log, what, mark, detail, undo=acting.close) as fault:
                fault.counter = one
                yield fault


SCENARIO, COMMAND = "the call of lab.http", "the command line"
"""Who may ask for a fault."""


def answered(
    status: int,
    *,
    body: bytes | None = None,
    headers: Mapping[str, str] | None = None,
    asked_by: str = SCENARIO,
) -> Stub:
    """Return an error answer, by default as Vault writes one."""
    if not 200 <= status <= 599:
        raise _senseless(f"status {status}", "a status from 200 to 599", asked_by)
    return Stub(
        status=status,
        body=_error(status) if body is None else body,
        headers=dict(JSON if headers is None else headers),
    )


def lateness(seconds: float, *, asked_by: str = SCENARIO) -> float:
    if not 0 < seconds < float("inf"):
        raise _senseless(f"by {seconds:g}", "a number of seconds above 0", asked_by)
    return seconds


def choose(*targets: Affected, asked_by: str = SCENARIO, **which: Unpack[Which]) -> Choice:
    known = (*get_args(RequestKind), "health", "any")
    for target in targets or ("nothing",):
        if target not in known:
            raise _senseless(target, f"any of {', '.join(known)}", asked_by)
    path = which.get("path")
    first, nth, every = which.get("first"), which.get("nth"), which.get("every")
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


@contextmanager
def flapping(
    fault: Callable[[], AbstractContextManager[Fault]], *, on: float, off: float
) -> Iterator[list[Fault]]:
    """Break for `on` seconds and mend for `off` seconds in turn.

    It begins broken and ends mended. The list of faults grows with each turn.
    """
    stop = threading.Event()
    turns: list[Fault] = []
    failures: list[BaseException] = []

    def run() -> None:
        try:
            while not stop.is_set():
                with fault() as turn:
                    turns.append(turn)
                    stop.wait(on)
                stop.wait(off)
        except BaseException as error:  # noqa: BLE001 - raised in the scenario's thread below
            failures.append(error)

    thread = threading.Thread(target=run, name="flapping", daemon=True)
    thread.start()
    try:
        yield turns
    finally:
        stop.set()
        thread.join(timeout=30)
        if thread.is_alive():
            raise DeadlineExceeded(
                "A flapping fault could not be undone within 30 s", looked_at=repr(turns[-1:])
            )
        if failures:
            raise failures[0]


Act = Literal["fail", "delay", "lose answer"]


@dataclass(frozen=True, kw_only=True)
class Order:
    """A fault for certain requests, as data for another process.

    Attributes:
        status: HTTP status, for ``fail``.
        by: Seconds by which the answer is late, for ``delay``.
        path: A pattern (``*``, ``?``) for the path below ``/v1/``; None for any.
    """

    act: Act
    targets: tuple[Affected, ...]
    status: int = 503
    by: float = 0.0
    path: str | None = None
    first: int | None = None
    nth: int | None = None
    every: int | None = None

    def __post_init__(self) -> None:
        self.choice()
        if self.act == "fail":
            answered(self.status, asked_by=COMMAND)
        if self.act == "delay":
            lateness(self.by, asked_by=COMMAND)

    @classmethod
    def from_json(cls, told: Mapping[str, Any]) -> Self:
        return cls(**{**told, "targets": tuple(told["targets"])})

    def to_json(self) -> dict[str, Any]:
        return asdict(self)

    def choice(self) -> Choice:
        return choose(
            *self.targets,
            path=self.path,
            first=self.first,
            nth=self.nth,
            every=self.every,
            asked_by=COMMAND,
        )

    @property
    def subject(self) -> tuple[object, ...]:
        """Return the key by which a later order replaces this one."""
        return self.act, frozenset(self.targets), self.path

    def begun(self, kind: type[Interference] = Interference) -> Interference:
        stub: Stub | None = answered(self.status) if self.act == "fail" else None
        return kind(
            str(self),
            self.choice(),
            stub=stub,
            late=self.by if self.act == "delay" else 0.0,
            loses=self.act == "lose answer",
        )

    def __str__(self) -> str:
        """Describe the order for a person: ``login answered 503, the first 2``."""
        target = words(self.targets)
        what = {
            "fail": f"{target} answered {self.status}",
            "delay": f"answer to {target} {self.by:g} s late",
            "lose answer": f"answer to {target} lost",
        }[self.act]
        where = f" of {self.path}" if self.path is not None else ""
        return f"{what}{where}, {self._how_many()}"

    def _how_many(self) -> str:
        if self.first is not None:
            return f"the first {self.first}"
        if self.nth is not None:
            return f"number {self.nth} alone"
        return f"one of every {self.every}" if self.every is not None else "all"
