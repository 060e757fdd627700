"""Read and write a client's known failures, in a file that its authors commit.

::

    [known-failing]
    TOK-12 = "https://example.org/issues/7: the renewer gives up after one error"

    [known-flaky]
    NET-11 = "one attempt more is on its way"

A known failure does not fail the run, but a pass of a known-failing scenario does, so that the file
stays true. Harm, such as a wrong value, fails the run too, unless the reason begins with ``harm:``.
A reason for one broken promise excuses no other.
"""

from __future__ import annotations

import json
import os
import re
import tomllib
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

from vault_harness import files
from vault_harness.errors import SettingsError
from vault_harness.judge.report.lines import HARM, Line
from vault_harness.judge.report.timing import one_line
from vault_harness.toml_lines import line_of

KNOWN_FILE = "vault-harness.toml"

NOT_BY_HALF = (
    "the file of known failures was not changed: this run did not finish, and half a run says "
    "nothing of the rest"
)

Expected = Literal["", "failing", "flaky"]

_FAILING, _FLAKY = "known-failing", "known-flaky"

_PAIR = re.compile(
    r"""\s*["']?([A-Za-z0-9-]+)["']?\s*=\s*(?:(?:"(?:[^"\\]|\\.)*"|'[^']*')\s*(\#.*)?)?"""
)
"""A line with an id and its reason, and the comment behind it."""

_TABLE = re.compile(r"\s*\[\s*([A-Za-z-]+)\s*\]")
_BEHIND, _END = " behind", " end"

_HEAD = """\
# Promises that this client is known not to keep, each with a reason or a link. They are asked in
# every run: one of known-failing that is kept fails it until its line is gone from here.
"""


@dataclass(frozen=True)
class Known:
    """The known failures of a client: reasons by scenario id.

    Attributes:
        failing: Scenarios that fail in every run.
        flaky: Scenarios that pass in some runs and fail in others.
    """

    failing: Mapping[str, str] = field(default_factory=dict)
    flaky: Mapping[str, str] = field(default_factory=dict)

    @property
    def ids(self) -> frozenset[str]:
        return frozenset({*self.failing, *self.flaky})

    def kind(self, id: str) -> Expected:  # noqa: A002 - it is one
        return "failing" if id in self.failing else "flaky" if id in self.flaky else ""

    def mark(self, line: Line) -> Line:
        reason = self.failing.get(line.id) or self.flaky.get(line.id, "")
        return replace(line, known=self.kind(line.id), reason=reason)

    def after(self, lines: Iterable[Line]) -> Known:
        """Return the known failures after a run with these lines; reasons written by hand stay.

        A known-failing scenario that passed is removed. One that did not run, or proved nothing,
        stays. The reason records any harm.
        """
        failing, flaky = dict(self.failing), dict(self.flaky)
        for line in lines:
            why = line.broken[0] if line.broken else line.promise
            if line.word == "fail" and line.id not in flaky:
                failing[line.id] = _told(line, failing.get(line.id, why))
            elif line.word in ("fail", "flaky"):
                old = flaky.get(line.id) or failing.pop(line.id, why)
                flaky[line.id] = _told(line, old)
            elif line.word == "pass" and not line.undecided:
                failing.pop(line.id, None)
        return Known(failing, flaky)


def _told(line: Line, reason: str) -> str:
    return f"{HARM} {reason}" if line.harm and not reason.lower().startswith(HARM) else reason


def load_known(path: Path | None = None, *, begin: bool = False) -> Known:
    """Read a file of known failures.

    Args:
        path: By default `KNOWN_FILE` in the working directory, which may be missing.
        begin: Whether a named file may be missing, because it will be written.
    """
    if path is None:
        path, begin = Path(KNOWN_FILE), True
    if begin and not os.path.lexists(path):
        return Known()
    try:
        # Some editors write a byte order mark, which TOML takes for a part of the first line.
        text = path.read_text(encoding="utf-8-sig")
        found = tomllib.loads(text)
    except OSError as error:
        raise SettingsError(
            f"the file of known failures cannot be read: {error.strerror or error}",
            looked_at=str(path),
            remedy="name a file that exists and that you can read; --write-known creates one",
        ) from error
    except ValueError as error:
        raise _wrong(str(path), f"the file of known failures cannot be read: {error}") from error

    def place(*keys: str) -> str:
        return f"{path}:{line_of(text, keys)}"

    if foreign := sorted(set(found) - {_FAILING, _FLAKY}):
        raise _wrong(place(foreign[0]), f"there is no {foreign[0]} in a file of known failures")
    known = Known(*(_reasons(place, name, found.get(name, {})) for name in (_FAILING, _FLAKY)))
    if both := sorted(set(known.failing) & set(known.flaky)):
        where = _place_of(both[0], text, found)
        raise _wrong(f"{path}{where}", f"{both[0]} is said to fail always, and to be flaky")
    return known


def place_of(id: str, path: Path | None = None) -> str:  # noqa: A002 - it is one
    """Return ``FILE:LINE``, or the file alone."""
    path = Path(KNOWN_FILE) if path is None else path
    try:
        text = path.read_text(encoding="utf-8-sig")
        return f"{path}{_place_of(id, text, tomllib.loads(text))}"
    except (OSError, ValueError):
        return str(path)


def _place_of(id: str, text: str, found: Mapping[str, Any]) -> str:  # noqa: A002 - it is one
    """Return the last line that names the scenario, as ``:LINE``, or an empty text."""
    keys = [(name, key) for name in (_FAILING, _FLAKY) for key in found.get(name, {})]
    lines = [line_of(text, pair) for pair in keys if pair[1].upper() == id]
    return f":{max(lines)}" if lines else ""


def no_more_asked(
    known: Known,
    records: Iterable[Mapping[str, Any]],
    there: Collection[str] | None = None,
    path: Path | None = None,
) -> list[str]:
    """Return a line for each known scenario that no longer runs.

    Scenarios that only this machine cannot run are left out. `there` has all existing ids.
    """
    gone = known.ids - set(there) if there is not None else frozenset[str]()
    found = dict.fromkeys(gone, "there is no such scenario")
    for record in records:
        if record["word"] == "skipped" and record["id"] in known.ids and not record.get("cannot"):
            found[str(record["id"])] = f"skipped: {record.get('why') or 'no reason is given'}"
    return [
        one_line(f"{id} is known to fail, and is no longer asked: {why} ({place_of(id, path)})")
        for id, why in sorted(found.items())  # noqa: A001 - it is one
    ]


def write_known(known: Known, path: Path | None = None) -> Path:
    """Write the file atomically and return its path. A link stays a link.

    Comments stay at the head and the end, above a table, and above or behind a line that stays.
    """
    path = Path(KNOWN_FILE) if path is None else path
    notes = _notes(path)
    text = _HEAD + "".join(f"{note}\n" for note in notes[""] if note not in _HEAD)
    for name, reasons in ((_FAILING, known.failing), (_FLAKY, known.flaky)):
        if reasons:
            text += "\n" + "".join(f"{note}\n" for note in notes.get(name, ())) + f"[{name}]\n"
        for id in sorted(reasons):  # noqa: A001 - it is one
            text += "".join(f"{note}\n" for note in notes.get(id, ()))
            behind = "".join(f"  {note}" for note in notes.get(f"{id}{_BEHIND}", ()))
            text += f"{id} = {_quoted(reasons[id])}{behind}\n"
    text += "".join(f"\n{note}" for note in notes.get(_END, ())) + "\n" * bool(notes.get(_END))
    files.write_text(files.led_to(path), text)
    return path


def _notes(path: Path) -> dict[str, list[str]]:
    """Return the comments above each id and table, and behind each id (`_BEHIND`).

    Those before the first table have an empty key, those after the last id have `_END`.
    """
    found: dict[str, list[str]] = {"": []}
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, ValueError):  # not there yet
        return found
    if '"""' in text or "'''" in text:  # a line inside such a text may look like a comment
        return found
    head = True
    above: list[str] = []
    for line in text.splitlines():
        if line.lstrip().startswith("#"):
            above.append(line.strip())
            continue
        if pair := _PAIR.match(line):
            found[pair[1].upper()] = above
            found[f"{pair[1].upper()}{_BEHIND}"] = [pair[2]] if pair[2] else []
        elif head:
            found[""] += above
        elif table := _TABLE.match(line):
            found[table[1]] = above
        elif not line.strip():
            continue  # the comment above belongs to what follows
        head = head and not line.strip()
        above = []
    return found | {_END: above}


def _quoted(text: str) -> str:
    """Return a TOML string: a JSON string without surrogate pairs, and with DEL escaped."""
    return json.dumps(files.encodable(text), ensure_ascii=False).replace("\x7f", "\\u007f")


def _reasons(place: Callable[..., str], name: str, table: object) -> dict[str, str]:
    if not isinstance(table, dict):
        raise _wrong(place(name), f"{name} is not a table of ids and reasons")
    seen = set()
    for id, reason in table.items():  # noqa: A001 - it is one
        if not isinstance(reason, str) or not reason.strip():
            raise _wrong(place(name, id), f"{name}: {id} has no reason")
        if id.upper() in seen:
            raise _wrong(place(name, id), f"{name}: {id.upper()} is there twice")
        seen.add(id.upper())
    return {id.upper(): reason for id, reason in table.items()}  # noqa: A001 - it is one


def _wrong(place: str, cause: str) -> SettingsError:
    return SettingsError(
        cause,
        looked_at=place,
        remedy=f'write [{_FAILING}] or [{_FLAKY}], and below it lines such as TOK-12 = "why"',
    )
