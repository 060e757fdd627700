r"""Read and write dotenv files without losing a byte.

The grammar is python-dotenv's, which gets some things wrong for a migration:

- It opens a path with newline translation, so ``\r\n`` inside a quoted value becomes ``\n``.
- It strips every kind of Unicode space from an unquoted value, not only blanks and tabs.
- It drops a line that it cannot read, and a quote that is never closed spoils the rest of the file.
  Here both stop a migration.
- It sets the value to None for ``export NAME`` after ``NAME=value``.
- It cannot read the shell's way of writing a quote (``'it'"'"'s'``).
- With interpolation on, it expands single-quoted values too, which no shell does.
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
from vault_harness.errors import SettingsError, without_frames
from vault_harness.operator.migrate.doubts import ASSIGNMENT_INSIDE, Note, Piece, Variable, doubts

_NAME = re.compile(r"[^\W\d][\w.-]*\Z")
_HEAD = re.compile(
    r"\s*(?:export[^\S\r\n]+)?(?P<name>'[^']+'|[^=#\s]+)[^\S\r\n]*=(?P<rest>.*)\Z", re.DOTALL
)
_COMMENT = re.compile(r"[ \t]+#.*\Z", re.DOTALL)
# '...', "...", an escaped character, or plain characters of a POSIX shell word.
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
    """A dotenv file.

    Attributes:
        variables: The last assignment of each name.
        notes: Duplicates, and what dotenv readers disagree on.
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
        encoding: None takes UTF-8, or what the byte order mark says.
        interpolate: Replace ``${NAME}`` and ``${NAME:-default}`` outside single quotes.
    """
    try:
        if path.exists() and not path.is_file():
            # A pipe can be read once, and a migration compares the file later.
            raise SettingsError(
                f"{path} is {'a folder' if path.is_dir() else 'not a regular file'}",
                looked_at=str(path.absolute()),
                remedy="Name the file in it with --env-file."
                if path.is_dir()
                else "Write its content into a regular file (umask 077), and name that file.",
            )
        raw = path.read_bytes()
    except OSError as error:
        told = files.told(path, "the file that --env-file names")
        raise SettingsError(
            f"{told} cannot be read: {error.strerror}",
            looked_at=str(path.absolute()) if told == str(path) else "--env-file",
            remedy="Name the dotenv file with --env-file.",
        ) from None  # it repeats the path, which may be a secret
    found = parse(decode(raw, source=str(path), encoding=encoding), source=str(path))
    return expand(found, environ or {}) if interpolate else found


@without_frames
def decode(raw: bytes, *, source: str, encoding: str | None = None) -> str:
    """Decode a dotenv file. Line ends stay, a byte order mark goes."""
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
            # "from None", since the original error holds the whole file with its secrets.
            remedy="Say what it is written in: --encoding latin-1, say. Nothing was changed.",
        ) from None


@without_frames
def parse(text: str, *, source: str = ".env") -> DotEnv:
    """Parse without interpolation."""
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
            remedy="Mend these lines and run it again (put quotes around a value of several lines, "
            "and around a value that contains quotes). Nothing was changed.",
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
    """Replace ``${NAME}``, from the lines above first, then from ``environ``, as a shell does."""
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
    """Return one line that shells, Compose and dotenv libraries read alike."""
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
    found: dict[str, Variable] = {}
    for each in assignments:
        found.pop(each.name, None)
        found[each.name] = each
    return found


def _statements(text: str) -> Iterator[Variable | str]:
    """Yield each assignment, or what is wrong with a line."""
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
                return  # where the value ends is unknown
            elif _HEAD.match(binding.original.string):
                yield f"line {start}: something follows the closing quote"
            else:
                yield f"line {start}: neither NAME=value nor a comment"
            continue
        if binding.key is not None:
            yield _checked(binding, start)


def _checked(binding: Binding, line: int) -> Variable | str:
    assert binding.key is not None
    head = _HEAD.match(binding.original.string)
    if binding.value is None or head is None:
        if re.match(r"\s*export[^\S\r\n]", binding.original.string):
            return f"line {line}: export without a value; remove the line, or give it one"
        return f"line {line}: neither NAME=value nor a comment"
    if not _NAME.match(binding.key):
        return f"line {line}: the text before the = is not a variable's name"
    rest = head["rest"].lstrip(" \t")
    quote = rest[:1] if rest[:1] in {"'", '"'} else ""
    value = binding.value
    if not quote:
        # python-dotenv strips Unicode spaces that belong to the value.
        value = _COMMENT.sub("", re.split(r"\r\n|\n|\r", head["rest"])[0]).strip(" \t")
        if "-----BEGIN " in value and "-----END " not in value:
            return f"line {line}: a key of several lines that is not in quotes"
    return Variable(binding.key, value, line, quote, rest)


def _line_breaks(original: str) -> int:
    return len(re.findall(r"\r\n|\n|\r", original[: len(original) - len(original.lstrip())]))


def _opens_quote(original: str) -> bool:
    head = _HEAD.match(original)
    rest = head["rest"].lstrip(" \t") if head else ""
    return (
        bool(rest)
        and rest[0] in "'\""
        and not re.match(r"'(?:\\.|[^'\\])*'|\"(?:\\.|[^\"\\])*\"", rest, re.DOTALL)
    )


def _shell_assignment(text: str, start: int) -> tuple[str, tuple[Piece, ...], int] | None:
    """Parse a POSIX shell's assignment into name, pieces of the value, and end."""
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
    # Two stray quotes on different lines also match.
    value = "".join(written for written, _ in pieces)
    if not end or at == head.end() or ASSIGNMENT_INSIDE.search(value):
        return None
    return head[1], tuple(pieces), end.end()


def _double_quoted(text: str) -> Iterator[Piece]:
    """Split the text between double quotes. An escaped dollar begins no variable."""
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
