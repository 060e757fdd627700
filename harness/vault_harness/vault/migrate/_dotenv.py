r"""Reading and writing dotenv files without losing a byte.

The grammar is python-dotenv's. What it gets wrong for a migration is put right here, each with its
reason:

- a path is opened with newline translation, so ``\r\n`` inside a quoted value becomes ``\n``;
- an unquoted value loses every kind of Unicode space at its ends, not only blanks and tabs;
- a line that cannot be read is dropped with a log line, and a quote that is never closed turns the
  rest of the file into nonsense: both stop a migration;
- ``export NAME`` after ``NAME=value`` makes the value None;
- the shell's way of writing a quote (``'it'"'"'s'``) cannot be read;
- with interpolation on, single-quoted values are expanded too, which no shell does.
"""

from __future__ import annotations

import codecs
import io
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from dotenv.parser import Binding, Reader, parse_binding
from dotenv.variables import parse_variables

from vault_harness import files
from vault_harness.boundary import without_frames
from vault_harness.errors import SettingsError
from vault_harness.vault.migrate._doubts import ASSIGNMENT_INSIDE, Note, Piece, Variable, doubts

_NAME = re.compile(r"[^\W\d][\w.-]*\Z")
_HEAD = re.compile(
    r"\s*(?:export[^\S\r\n]+)?(?P<name>'[^']+'|[^=#\s]+)[^\S\r\n]*=(?P<rest>.*)\Z", re.DOTALL
)
_COMMENT = re.compile(r"[ \t]+#.*\Z", re.DOTALL)
# One piece of a word as a POSIX shell writes it: '...', "...", an escaped character, or plain
# characters.
_SHELL_PIECE = re.compile(
    r"""'(?P<single>[^']*)'|"(?P<double>(?:\\.|[^"\\])*)"|\\(?P<escaped>[^\r\n])|(?P<plain>[^\s'"\\$`#;&|<>()]+)""",
    re.DOTALL,
)
_SHELL_END = re.compile(r"[ \t]*(?:#[^\r\n]*)?(?:\r\n|\n|\r|\Z)")
_BYTE_ORDER_MARKS = (
    (codecs.BOM_UTF8, "utf-8"),
    (codecs.BOM_UTF16_LE, "utf-16-le"),
    (codecs.BOM_UTF16_BE, "utf-16-be"),
)


@dataclass(frozen=True)
class DotEnv:
    """What a dotenv file says.

    Attributes:
        variables: By name; of a name that is there twice, the last.
        notes: Duplicates, and what dotenv readers disagree on.
        assignments: All of them as they are in the file, in its order.
    """

    variables: Mapping[str, Variable]
    notes: tuple[Note, ...] = ()
    assignments: tuple[Variable, ...] = ()


@without_frames
def read(
    path: Path,
    *,
    encoding: str | None = None,
    interpolate: bool = False,
    environ: Mapping[str, str] | None = None,
) -> DotEnv:
    """Read a dotenv file.

    Args:
        path: The file.
        encoding: What it is written in; None takes UTF-8, or what its byte order mark says.
        interpolate: Whether ``${NAME}`` and ``${NAME:-default}`` are replaced, outside single
            quotes.
        environ: Where names come from that the file does not have, when interpolating.

    Raises:
        SettingsError: No such file, not that encoding, or a line that cannot be read.
    """
    try:
        if path.exists() and not path.is_file():
            # A pipe can be read once, and a migration compares the file with its copy later.
            raise SettingsError(
                f"{path} is not a regular file",
                looked_at=str(path.absolute()),
                remedy="Write what it gives into a file of your own (umask 077), and name that.",
            )
        raw = path.read_bytes()
    except OSError as error:
        told = files.told(path, "the file that --env-file names")
        raise SettingsError(
            f"{told} cannot be read: {error.strerror}",
            looked_at=str(path.absolute()) if told == str(path) else "--env-file",
            remedy="Name the dotenv file with --env-file.",
        ) from None  # the error of the system repeats what was given
    found = parse(decode(raw, source=str(path), encoding=encoding), source=str(path))
    return expand(found, environ or {}) if interpolate else found


@without_frames
def decode(raw: bytes, *, source: str, encoding: str | None = None) -> str:
    """Text of a dotenv file's bytes, line ends untouched and without byte order mark.

    Raises:
        SettingsError: They are not in that encoding; the message names the line.
    """
    for mark, marked_as in _BYTE_ORDER_MARKS:
        if raw.startswith(mark):
            raw, encoding = raw[len(mark) :], encoding or marked_as
            break
    encoding = encoding or "utf-8"
    try:
        return raw.decode(encoding)
    except LookupError as error:
        raise SettingsError(
            f"there is no encoding called {encoding}", remedy="Try --encoding latin-1, or utf-8."
        ) from error
    except UnicodeDecodeError as error:
        line = raw[: error.start].count(b"\n") + 1
        raise SettingsError(
            f"{source}, line {line}: this is not {encoding} text",
            looked_at=f"byte {error.start} of the file",
            # "from None" below: the original error holds the whole file, secrets included.
            remedy="Say what it is written in: --encoding latin-1, say. Nothing was changed.",
        ) from None


@without_frames
def parse(text: str, *, source: str = ".env") -> DotEnv:
    """What a dotenv text says, nothing interpolated.

    Raises:
        SettingsError: Lines that cannot be read, all of them by number.
    """
    assignments: list[Variable] = []
    lines: dict[str, list[int]] = {}
    notes: list[Note] = []
    problems: list[str] = []
    for found in _statements(text):
        if isinstance(found, str):
            problems.append(found)
            continue
        lines.setdefault(found.name, []).append(found.line)
        assignments.append(found)
        notes.extend(doubts(found))
    if problems:
        raise SettingsError(
            f"{source} cannot be read completely: " + "; ".join(problems),
            looked_at=source,
            remedy="Mend these lines and run it again (values of several lines, and values with "
            "quotes in them, need quotes around them). Nothing was changed.",
        )
    for name, places in lines.items():
        if len(places) > 1:
            where = ", ".join(str(line) for line in places)
            notes.append(
                Note(
                    places[-1],
                    name,
                    f"is there {len(places)} times (lines {where}); the last one counts",
                )
            )
    in_order = tuple(assignments)
    return DotEnv(_last(in_order), tuple(sorted(notes, key=lambda note: note.line)), in_order)


def expand(dotenv: DotEnv, environ: Mapping[str, str]) -> DotEnv:
    """The same with ``${NAME}`` replaced, from the lines above first, then from ``environ``.

    As a shell goes through the file: of a name that is there twice, what stands between the two has
    the first.
    """
    known: dict[str, str | None] = dict(environ)
    expanded: list[Variable] = []
    for variable in dotenv.assignments:
        value = "".join(
            "".join(atom.resolve(known) for atom in parse_variables(text)) if expands else text
            for text, expands in variable.parts
        )
        expanded.append(replace(variable, value=value))
        known[variable.name] = value
    in_order = tuple(expanded)
    return DotEnv(_last(in_order), dotenv.notes, in_order)


def assignment(name: str, value: str) -> str:
    """One line, ``NAME=value``, that shells, Compose and dotenv libraries all read alike.

    Raises:
        SettingsError: No form exists that all of them read alike (a line break, or both kinds of
            quote).
    """
    if re.fullmatch(r"[\w./:@%+,~-]*", value, re.ASCII):
        return f"{name}={value}\n"
    if not set("'\\\r\n") & set(value):
        return f"{name}='{value}'\n"
    if not set('"\\$`\r\n') & set(value):
        return f'{name}="{value}"\n'
    raise SettingsError(
        f"the value of {name} cannot be written so that every dotenv reader reads it alike",
        looked_at="line breaks, backslashes and quotes in it",
        remedy="Choose a directory without such characters.",
    )


def _last(assignments: Iterable[Variable]) -> dict[str, Variable]:
    """By name, what the last assignment of it says; it has that one's place, too."""
    found: dict[str, Variable] = {}
    for each in assignments:
        found.pop(each.name, None)
        found[each.name] = each
    return found


def _statements(text: str) -> Iterator[Variable | str]:
    """Each assignment, or what is wrong with a line."""
    reader = Reader(io.StringIO(text, newline=""))
    while reader.has_next():
        chars, line = reader.position.chars, reader.position.line
        binding = parse_binding(reader)
        start = line + _line_breaks(binding.original.string)
        if binding.error:
            shell = _shell_assignment(reader.string, chars)
            if shell is not None:
                name, pieces, end = shell
                value = "".join(text for text, _ in pieces)
                yield Variable(name, value, start, "shell", reader.string[chars:end], pieces)
                reader.position.chars = end
                reader.position.line = line + len(
                    re.findall(r"\r\n|\n|\r", reader.string[chars:end])
                )
            elif _opens_quote(binding.original.string):
                yield f"line {start}: a quote is opened and never closed"
                return  # where it should have ended nobody knows, so nothing below means anything
            elif _HEAD.match(binding.original.string):
                yield f"line {start}: something follows the closing quote"
            else:
                yield f"line {start}: neither NAME=value nor a comment"
            continue
        if binding.key is not None:
            yield _checked(binding, start)


def _checked(binding: Binding, line: int) -> Variable | str:
    """The assignment that a statement is, or what is wrong with it."""
    assert binding.key is not None
    head = _HEAD.match(binding.original.string)
    if binding.value is None or head is None:
        if re.match(r"\s*export[^\S\r\n]", binding.original.string):
            return f"line {line}: export without a value; remove the line, or give it one"
        return f"line {line}: neither NAME=value nor a comment"
    if not _NAME.match(binding.key):
        return f"line {line}: what stands before the = is not a variable's name"
    rest = head["rest"].lstrip(" \t")
    quote = rest[:1] if rest[:1] in {"'", '"'} else ""
    value = binding.value
    if not quote:
        # Again from the text: python-dotenv strips Unicode spaces that belong to the value.
        value = _COMMENT.sub("", re.split(r"\r\n|\n|\r", head["rest"])[0]).strip(" \t")
        if "-----BEGIN " in value and "-----END " not in value:
            return f"line {line}: a key of several lines that is not in quotes"
    return Variable(binding.key, value, line, quote, rest)


def _line_breaks(original: str) -> int:
    """How many empty lines a statement's text begins with."""
    return len(re.findall(r"\r\n|\n|\r", original[: len(original) - len(original.lstrip())]))


def _opens_quote(original: str) -> bool:
    """Whether a statement that could not be read starts a quoted value without ending it."""
    head = _HEAD.match(original)
    rest = head["rest"].lstrip(" \t") if head else ""
    return (
        bool(rest)
        and rest[0] in "'\""
        and not re.match(r"'(?:\\.|[^'\\])*'|\"(?:\\.|[^\"\\])*\"", rest, re.DOTALL)
    )


def _shell_assignment(text: str, start: int) -> tuple[str, tuple[Piece, ...], int] | None:
    """Name, value in pieces and end of an assignment as a POSIX shell writes it; None if none."""
    head = re.compile(r"\s*(?:export[ \t]+)?([A-Za-z_]\w*)=", re.ASCII).match(text, start)
    if head is None:
        return None
    at = head.end()
    pieces: list[Piece] = []
    while piece := _SHELL_PIECE.match(text, at):
        single, double, escaped, plain = piece.group("single", "double", "escaped", "plain")
        if double is not None:
            pieces += _double_quoted(double)
        else:
            pieces.append((single if single is not None else escaped or plain, False))
        at = piece.end()
    end = _SHELL_END.match(text, at)
    # Two stray quotes on different lines pair up as well: what swallowed an assignment is no value.
    value = "".join(written for written, _ in pieces)
    if not end or at == head.end() or ASSIGNMENT_INSIDE.search(value):
        return None
    return head[1], tuple(pieces), end.end()


def _double_quoted(text: str) -> Iterator[Piece]:
    """What stands between double quotes; an escaped dollar begins no variable."""
    value, at = "", 0
    for found in re.finditer(r'\\([$`"\\]|\r?\n)', text):
        value += text[at : found.start()]
        at = found.end()
        if found[1] == "$":
            yield value, True
            yield "$", False
            value = ""
        else:
            value += found[1].strip("\r\n")
    yield value + text[at:], True
