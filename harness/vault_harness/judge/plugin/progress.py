"""Show the running scenarios, what each waits for, and the time left."""

from __future__ import annotations

import contextlib
import os
import textwrap
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO, cast

if TYPE_CHECKING:
    from rich.live import Live

    from vault_harness.judge.lab import Lab

PLAIN_EVERY = 15.0
"""Seconds between two lines where the output is no terminal."""

_LAST_LINE_SECONDS = 5.0

_GLUE = "\N{NO-BREAK SPACE}"

LEAST = 1.0
"""Assumed seconds left of a scenario that already took longer than planned."""

NOW = ".now"
"""Suffix of the files in which processes say what their scenarios wait for."""


@contextmanager
def telling(lab: Lab, parts: Path) -> Iterator[None]:
    file, over = parts / f"{lab.entry.id}{NOW}", threading.Event()

    def tell() -> None:
        while not over.is_set():
            with contextlib.suppress(OSError):  # progress then lacks this scenario
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
    """Write a line and flush it: pytest does not flush the pipe of a CI log."""
    terminal.write_line(text, **markup)
    terminal.flush()


class LossyStream:
    """A stream that drops what cannot be written.

    A run takes minutes and leaves a report. A closed pipe must neither end it nor change its exit
    code.
    """

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)

    def write(self, text: str) -> int:
        """Write and flush at once, or drop the text: a later flush by other code would raise."""
        self._try(lambda: self._stream.write(text))
        self.flush()
        return len(text)

    def flush(self) -> None:
        self._try(self._stream.flush)

    def _try(self, write: Callable[[], object]) -> None:
        try:
            write()
        except OSError:
            with contextlib.suppress(OSError, ValueError):
                self._lose()

    def _lose(self) -> None:
        """Send the unwritten rest to the null device, or the interpreter would retry at exit."""
        descriptor = self._stream.fileno()
        before, nowhere = os.dup(descriptor), os.open(os.devnull, os.O_WRONLY)
        try:
            os.dup2(nowhere, descriptor)
            self._stream.flush()
        finally:
            os.dup2(before, descriptor)  # the original may work again, and other code writes to it
            os.close(nowhere)
            os.close(before)


def _own_stream(terminal: Any) -> TextIO | None:
    """Return a second stream to pytest's output; None if the output is no file.

    While a scenario runs in this process, pytest captures the first stream, and nobody would see
    the progress.
    """
    try:
        stream = terminal._tw._file  # noqa: SLF001 - where pytest itself writes
        handle = os.dup(stream.fileno())
    except (AttributeError, OSError, ValueError):
        return None
    own = os.fdopen(handle, "w", encoding=stream.encoding, errors="backslashreplace")
    return cast("TextIO", LossyStream(own))


class Progress:
    """Shows the progress of a run: in place on a terminal, otherwise in lines.

    Args:
        parts: Folder in which processes say what their scenarios wait for.
        planned: The approximate seconds of each scenario.
    """

    def __init__(
        self, terminal: Any, parts: Path, planned: Mapping[str, float], workers: int
    ) -> None:
        self._terminal, self._parts, self._workers = terminal, parts, max(1, workers)
        self._left = dict(planned)
        self._running: dict[str, float] = {}
        self._unsettled: set[str] = set()
        self._took = self._meant = 0.0  # seconds of all scenarios that have ended
        self._over = threading.Event()
        self._own = _own_stream(terminal)
        self._live: Live | None = None
        self._thread: threading.Thread | None = None
        if terminal.isatty:
            from rich.console import Console
            from rich.live import Live
            from rich.text import Text

            # Highlighting would colour the digits inside ids.
            console = Console(file=self._own, highlight=False)
            self._live = Live(
                get_renderable=lambda: Text(self.wrapped(console.width)),
                console=console,
                transient=True,
                refresh_per_second=2,
            )
            self._live.start()
        else:
            self._thread = threading.Thread(target=self._lines, name="progress", daemon=True)
            self._thread.start()

    def began(self, id: str) -> None:  # noqa: A002 - it is one
        self._running[id] = time.monotonic()

    def ended(self, id: str) -> None:  # noqa: A002 - it is one
        began, planned = self._running.pop(id, None), self._left.pop(id, 0.0)
        self._unsettled.discard(id)
        if began is not None:
            self._took += time.monotonic() - began
            self._meant += planned

    def put_off(self, id: str) -> None:  # noqa: A002 - it is one
        self._running.pop(id, None)
        self._unsettled.add(id)

    @property
    def running(self) -> frozenset[str]:
        return frozenset(self._running)

    def write(self, text: str, colour: str) -> None:
        if self._live is None:
            say(self._terminal, text, **{colour: True})
        else:
            self._live.console.print(text, style=colour, markup=False, highlight=False)

    def close(self) -> None:
        self._over.set()
        if self._thread is not None:
            self._thread.join(_LAST_LINE_SECONDS)
        if self._live is not None:
            self._live.stop()
        if self._own is not None:
            with contextlib.suppress(OSError):
                self._own.close()

    def text(self) -> str:
        now = time.monotonic()
        running = dict(self._running)
        told = [
            f"{id} {now - began:.0f} s ({self._waits(id)})"
            if id not in self._unsettled
            else f"{id} confirming {now - began:.0f} s ({self._waits(id)})"
            for id, began in sorted(running.items())  # noqa: A001 - it is one
        ]
        late = max(self._rest(now), default=0.0) < 0
        when = "later than was foreseen" if late else f"about {self.seconds_left(now):.0f} s"
        confirmed = f", {rest} to confirm" if (rest := len(self._unsettled)) else ""
        return f"{len(self._left)} to go{confirmed}, {when}; {', '.join(told)}"

    def wrapped(self, width: int) -> str:
        """Wrap the text without a break inside a scenario."""
        parts = self.text().split(", ")
        glued = ", ".join(part.replace(" ", _GLUE) if "(" in part else part for part in parts)
        lines = textwrap.wrap(
            glued, width, subsequent_indent="  ", break_long_words=False, break_on_hyphens=False
        )
        return "\n".join(lines).replace(_GLUE, " ")

    def seconds_left(self, now: float) -> float:
        rest = [max(LEAST, seconds) for seconds in self._rest(now)]
        return max(max(rest, default=0.0), sum(rest) / self._workers)

    def _rest(self, now: float) -> list[float]:
        """Return negative seconds for a scenario that took longer than planned."""
        running, left = dict(self._running), dict(self._left)
        slower = self._slower(running, left, now)
        return [
            slower * seconds - (now - running.get(id, now))
            for id, seconds in left.items()  # noqa: A001 - it is one
        ]

    def _slower(self, running: Mapping[str, float], left: Mapping[str, float], now: float) -> float:
        """Return the factor by which scenarios are slower here than planned; at least 1."""
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
