"""Find what dotenv readers (libraries, Compose, shells) disagree on.

A migration goes on and reports each line. An application whose reader read it differently gets
another value from Vault.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

ASSIGNMENT_INSIDE = re.compile(r"[\r\n][ \t]*(?:export[ \t]+)?[A-Za-z_]\w*=")


Piece = tuple[str, bool]
"""Text, and whether a shell expands ``${NAME}`` in it."""


@dataclass(frozen=True)
class Variable:
    """One assignment. Its ``repr`` shows no value.

    Attributes:
        line: Where it starts, from 1.
        quote: Around the value, empty for none, ``shell`` for several pieces.
        pieces: Empty for a single one.
    """

    name: str
    value: str = field(repr=False)
    line: int
    quote: str = ""
    written: str = field(default="", repr=False, compare=False)
    pieces: tuple[Piece, ...] = field(default=(), repr=False, compare=False)

    @property
    def parts(self) -> tuple[Piece, ...]:
        return self.pieces or ((self.value, self.quote != "'"),)


@dataclass(frozen=True)
class Note:
    """Something unusual in the file, without a value."""

    line: int
    name: str
    text: str

    def __str__(self) -> str:
        return f"line {self.line}: {self.name}: {self.text}"


def doubts(variable: Variable) -> Iterator[Note]:
    for applies, text in _DOUBTS:
        if applies(variable):
            yield Note(variable.line, variable.name, text)


def _unquoted(variable: Variable) -> bool:
    return variable.quote == ""


def _expands(variable: Variable) -> bool:
    return any(expands and re.search(r"\$(?:\w|\{|\()", text) for text, expands in variable.parts)


_DOUBTS: tuple[tuple[Callable[[Variable], bool], str], ...] = (
    (lambda v: not v.value, "is empty"),
    (
        lambda v: _unquoted(v) and v.value.startswith("$'"),
        "the shell's $'...' is taken as written, not decoded",
    ),
    (
        lambda v: _unquoted(v) and v.value.startswith("`"),
        "backticks are part of the value here; some readers take them as quotes",
    ),
    (
        lambda v: _unquoted(v) and v.value.endswith("\\"),
        "ends in a backslash; the next line is not joined to it",
    ),
    (
        lambda v: _unquoted(v) and re.search(r"[;&|<>()]|\S[ \t]+\S", v.value) is not None,
        (
            "has a blank or one of ; & | < > ( ) and no quotes around it: a shell ends the value "
            "there, and may take what follows for another assignment; all of it is taken here"
        ),
    ),
    (
        lambda v: _unquoted(v) and "\\" in v.value[:-1],
        "has a backslash and no quotes around it, which a shell takes away; it is kept",
    ),
    (
        lambda v: _unquoted(v) and v.value != v.value.strip(),
        "begins or ends with a Unicode space, which is part of the value; some readers drop it",
    ),
    (
        lambda v: _unquoted(v) and "#" in v.value,
        (
            "has a # without a blank before it, which is part of the value; some readers take it "
            "for a comment"
        ),
    ),
    (
        lambda v: v.quote == "shell",
        (
            "is written in several pieces, and joined as a shell does it; other readers refuse the "
            "line or take the quotes as part of the value"
        ),
    ),
    (
        lambda v: v.quote == '"' and re.search(r"\\[$`ux]", v.value) is not None,
        "a backslash before $, `, u or x is kept; other readers drop or decode it",
    ),
    (
        lambda v: v.quote == "'" and re.search(r"\\['\\]", v.written) is not None,
        "a backslash inside single quotes is decoded; a shell keeps it",
    ),
    (
        lambda v: v.quote != "" and "\r" in v.written.rstrip("\r\n"),
        "has a carriage return inside its quotes, which is kept; some readers make it a line feed",
    ),
    (
        lambda v: "\0" in v.value,
        "has a NUL character, which neither an environment variable nor a shell can hold",
    ),
    (
        lambda v: ASSIGNMENT_INSIDE.search(v.value) is not None,
        "its quotes span a line that looks like another assignment",
    ),
    (
        _expands,
        "has a $ that a shell would expand; taken as written unless --interpolate",
    ),
)
