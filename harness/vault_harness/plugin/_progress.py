"""What is going on while scenarios run: which ones, what each waits for, and how long still."""

from __future__ import annotations

import contextlib
import os
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO, cast

if TYPE_CHECKING:
    from rich.live import Live

    from vault_harness.scenario import Lab

PLAIN_EVERY = 15.0
"""Seconds between two lines where the output is no terminal."""

_LAST_LINE_SECONDS = 5.0

LEAST = 1.0
"""Seconds that a scenario still takes which has taken longer by now than was foreseen."""

NOW = ".now"
"""Ending of the files in which processes that run scenarios say what each one waits for."""


@contextmanager
def telling(lab: Lab, parts: Path) -> Iterator[None]:
    """Say in a file what a scenario waits for, while the block runs."""
    file, over = parts / f"{lab.entry.id}{NOW}", threading.Event()

    def tell() -> None:
        while not over.is_set():
            with contextlib.suppress(OSError):  # nobody is told then
                file.write_text(_waits_for(lab), encoding="utf-8")
            over.wait(1.0)

    parts.mkdir(parents=True, exist_ok=True)
    thread = threading.Thread(target=tell, name="telling", daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join(5.0)
        file.unlink(missing_ok=True)


def _waits_for(lab: Lab) -> str:
    """What a scenario waits for, in a few words: what is broken, or what the client does."""
    history = lab.history
    faults = [fault for fault in list(history.faults) if fault.ended is None]
    if faults:
        since = history.now() - faults[-1].began
        return f"{faults[-1].name} for {since:.0f} s"
    if not lab.started:
        return "the client to start"
    operations = list(history.operations)
    if operations and operations[-1].verb == "close":
        return "the client's end" if operations[-1].ended is None else "its verdict"
    if not history.faults:
        return f"a steady state, or a life of {lab.ttl:g} s"
    return "the steady state to hold again"


def say(terminal: Any, text: str, **markup: bool) -> None:
    """Write a line that is there at once: a log of CI is a pipe, which pytest does not flush."""
    terminal.write_line(text, **markup)
    terminal.flush()


def _own_stream(terminal: Any) -> TextIO | None:
    """Another way to where pytest writes; None where that is no file.

    While a scenario runs in this very process, as one alone does, pytest keeps what comes by the
    first way: nobody would see how far it is. What cannot be written, as to a terminal that was
    closed, is lost, and ends no run.
    """
    try:
        stream = terminal._tw._file  # noqa: SLF001 - where pytest itself writes
        handle = os.dup(stream.fileno())
    except (AttributeError, OSError, ValueError):
        return None
    from vault_harness.plugin._heedless import Heedless

    own = os.fdopen(handle, "w", encoding=stream.encoding, errors="backslashreplace")
    return cast("TextIO", Heedless(own))


class Progress:
    """Keeps count of a run, and shows it: in place on a terminal, else as a line now and then.

    Args:
        terminal: Pytest's.
        parts: Where processes say what their scenarios wait for.
        planned: How long each scenario takes, about, in seconds.
        workers: How many run side by side.
    """

    def __init__(
        self, terminal: Any, parts: Path, planned: Mapping[str, float], workers: int
    ) -> None:
        self._terminal, self._parts, self._workers = terminal, parts, max(1, workers)
        self._left = dict(planned)
        self._running: dict[str, float] = {}
        self._took = self._meant = 0.0  # seconds, of all that have ended
        self._over = threading.Event()
        self._own = _own_stream(terminal)
        self._live: Live | None = None
        self._thread: threading.Thread | None = None
        if terminal.isatty:
            from rich.console import Console
            from rich.live import Live

            console = Console(file=self._own)
            self._live = Live(
                get_renderable=self.text, console=console, transient=True, refresh_per_second=2
            )
            self._live.start()
        else:
            self._thread = threading.Thread(target=self._lines, name="progress", daemon=True)
            self._thread.start()

    def began(self, id: str) -> None:  # noqa: A002 - it is one
        """A scenario began."""
        self._running[id] = time.monotonic()

    def ended(self, id: str) -> None:  # noqa: A002 - it is one
        """A scenario ended."""
        began, planned = self._running.pop(id, None), self._left.pop(id, 0.0)
        if began is not None:
            self._took += time.monotonic() - began
            self._meant += planned

    @property
    def running(self) -> frozenset[str]:
        """The scenarios that are under way."""
        return frozenset(self._running)

    def write(self, text: str, colour: str) -> None:
        """A line that stays."""
        if self._live is None:
            say(self._terminal, text, **{colour: True})
        else:
            self._live.console.print(text, style=colour, markup=False, highlight=False)

    def close(self) -> None:
        """Show nothing any more, once a line that is being written is there."""
        self._over.set()
        if self._thread is not None:
            self._thread.join(_LAST_LINE_SECONDS)
        if self._live is not None:
            self._live.stop()
        if self._own is not None:
            with contextlib.suppress(OSError):
                self._own.close()

    def text(self) -> str:
        """What runs, what it waits for, how long still."""
        now = time.monotonic()
        running = dict(self._running)
        told = [
            f"{id} {now - began:.0f} s ({self._waits(id)})"
            for id, began in sorted(running.items())  # noqa: A001 - it is one
        ]
        late = max(self._rest(now), default=0.0) < 0
        when = "later than was foreseen" if late else f"about {self.seconds_left(now):.0f} s"
        return f"{len(self._left)} to go, {when}; {', '.join(told)}"

    def seconds_left(self, now: float) -> float:
        """Seconds until the last scenario ends, about: as planned, or as slow as it has been."""
        rest = [max(LEAST, seconds) for seconds in self._rest(now)]
        return max(max(rest, default=0.0), sum(rest) / self._workers)

    def _rest(self, now: float) -> list[float]:
        """What each scenario takes still; less than nothing where it has taken longer by now."""
        running, left = dict(self._running), dict(self._left)
        slower = self._slower(running, left, now)
        return [
            slower * seconds - (now - running.get(id, now))
            for id, seconds in left.items()  # noqa: A001 - it is one
        ]

    def _slower(self, running: Mapping[str, float], left: Mapping[str, float], now: float) -> float:
        """By which factor scenarios take longer here than where they were measured, 1 or more."""
        took, meant = self._took, self._meant
        for id, began in running.items():  # noqa: A001 - it is one
            planned = left.get(id, 0.0)
            took += max(planned, now - began)
            meant += planned
        return max(1.0, took / meant) if meant else 1.0

    def _waits(self, id: str) -> str:  # noqa: A002 - it is one
        with contextlib.suppress(OSError):
            return (self._parts / f"{id}{NOW}").read_text(encoding="utf-8") or "its turn"
        return "its turn"

    def _lines(self) -> None:
        while not self._over.wait(PLAIN_EVERY):
            if self._own is None:
                say(self._terminal, self.text())
                continue
            self._own.write(f"{self.text()}\n")
