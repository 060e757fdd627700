"""Find the line of a key in a TOML text, which `tomllib` does not report."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

_BARE_OR_QUOTED = r"""(?:[A-Za-z0-9_-]+|"(?:[^"\\]|\\.)*"|'[^']*')"""
_KEY = rf"{_BARE_OR_QUOTED}(?:\s*\.\s*{_BARE_OR_QUOTED})*"
_HEADER = re.compile(rf"^\s*\[\[?\s*({_KEY})\s*\]\]?")
_PAIR = re.compile(rf"^\s*({_KEY})\s*=\s*(.*)$")
_MULTILINE = re.compile(r'"""|\'\'\'')

KeyPath = tuple[str | int, ...]


def line_of(text: str, path: Sequence[str | int]) -> int:
    """Return the line (from 1) that sets ``path`` or its nearest parent; 1 if there is none."""
    lines = _lines(text)
    for length in range(len(path), 0, -1):
        found = lines.get(tuple(part for part in path[:length] if isinstance(part, str)))
        if found is not None:
            return found
    return 1


def _lines(text: str) -> dict[KeyPath, int]:
    found: dict[KeyPath, int] = {}
    table: KeyPath = ()
    for number, line in _logical_lines(text):
        header = _HEADER.match(line)
        if header:
            table = tuple(_split(header[1]))
            _remember(found, table, number)
            continue
        pair = _PAIR.match(line)
        if pair:
            _remember(found, (*table, *_split(pair[1])), number)
    return found


def _remember(found: dict[KeyPath, int], path: KeyPath, number: int) -> None:
    for length in range(1, len(path) + 1):
        found.setdefault(path[:length], number)


def _logical_lines(text: str) -> Iterator[tuple[int, str]]:
    """Yield the numbered lines outside multi-line strings."""
    closing = ""
    # `splitlines` also splits at characters that TOML allows within a string.
    for number, line in enumerate(re.split(r"\r?\n", text), start=1):
        if closing:
            if closing in line:
                closing = ""
            continue
        yield number, line
        opened = [match[0] for match in _MULTILINE.finditer(line)]
        if opened and line.count(opened[0]) % 2:
            closing = opened[0]


def _split(key: str) -> list[str]:
    parts = re.findall(_BARE_OR_QUOTED, key)
    return [_unquote(part) for part in parts]


def _unquote(part: str) -> str:
    if part.startswith("'"):
        return part[1:-1]
    if part.startswith('"'):
        return re.sub(r'\\(["\\])', r"\1", part[1:-1])
    return part
