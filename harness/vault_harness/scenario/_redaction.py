"""Looking for known secrets in texts, however they are written there, and taking them out."""

from __future__ import annotations

import json
from base64 import b64encode
from collections.abc import Iterable
from functools import cached_property
from typing import Any
from urllib.parse import quote

from vault_harness.files import encodable

SHORTEST = 8
"""Shorter values are not looked for: a four-letter password is in every English text."""

LONG = 24
"""Of a value so long its first half is looked for too: an answer that was cut off, or the excerpt
that a parser shows of what it could not read, holds no more of it. Of one of several lines each
line so long is: a log has them apart.
"""

_IN_GO = {ord(letter): f"\\u{ord(letter):04x}" for letter in "&<>\u2028\u2029"}
"""What Go's ``encoding/json`` escapes beside what must be, for pages that have JSON in them."""

_ESCAPED = frozenset("\"'\\&<>")
"""Letters of ASCII that do not stand everywhere as they are."""

_IN_URL = str.maketrans("+/", "-_")
"""The letters of Base64 that a URL or a file's name cannot have."""

_ARMOUR = "-----"
"""What the first and last line of a PEM file begin with, the same in all of them."""


class Redaction:
    """What is looked for, worked out once for many texts.

    Args:
        labels: The label of each secret.
    """

    def __init__(self, labels: Iterable[tuple[str, str]]) -> None:
        # Longest first: a secret that holds another is replaced whole.
        known = sorted(labels, key=lambda item: -len(item[0]))
        spelled = [(*both, label) for value, label in known for both in _with_halves(value)]
        spelled += [(text, "", label) for value, label in known for text in _encoded(value)]
        spelled.sort(key=lambda item: -len(item[0]))
        self._wholes = [(text, label) for text, _, label in spelled if len(text) >= SHORTEST]
        self._begun = [(half, text, label) for text, half, label in spelled if half]
        self._lines = [
            (text, label)
            for value, label in known
            for line in _lines(value)
            for text, _ in _with_halves(line)
        ]
        self._lines.sort(key=lambda item: -len(item[0]))

    @cached_property
    def _sought(self) -> dict[str, str]:
        """All that is looked for, and how a JSON document has it.

        Asked once a scenario, while each new secret makes what looks for messages' own anew.
        """
        sought = [one[0] for one in (*self._wholes, *self._begun, *self._lines)]
        return {text: _in_json(text)[0] for text in sought}

    def narrowed(self, document: str) -> Redaction | None:
        """The same for what may stand in the strings of a JSON document; None if none needs it.

        Args:
            document: Written with ``ensure_ascii=False``, so that each letter has one form in it.
        """
        there = {text for text, escaped in self._sought.items() if escaped in document}
        if not there and encodable(document) == document:
            return None
        few = Redaction(())
        few._wholes = [one for one in self._wholes if one[0] in there]
        few._begun = [one for one in self._begun if one[0] in there]
        few._lines = [one for one in self._lines if one[0] in there]
        return few

    def of(self, text: str) -> str:
        """A text with every secret, the first half and the lines of one replaced by its label.

        It can be written, whatever a client said: see `vault_harness.files.encodable`.
        """
        text = encodable(text)
        for whole, label in self._wholes:
            if whole in text:
                text = text.replace(whole, f"<{label}>")
        for half, whole, label in self._begun:
            while begun := _begun_in(half, whole, text):
                text = text.replace(begun, f"<half of {label}>")
        for line, label in self._lines:
            if line in text:
                text = text.replace(line, f"<a line of {label}>")
        return text

    def of_data(self, data: Any) -> Any:
        """Plain data, as JSON has them, with this done to every string in them, keys included."""
        done: dict[str, str] = {}  # many repeat

        def of(value: Any) -> Any:
            if isinstance(value, str):
                if (text := done.get(value)) is None:
                    text = done[value] = self.of(value)
                return text
            if isinstance(value, dict):
                return {of(name): of(one) for name, one in value.items()}
            return [of(one) for one in value] if isinstance(value, list) else value

        return of(data)

    def found_in(self, text: str) -> list[str]:
        """Labels of what stands in a text: ``v1``, ``half of v1``, ``a line of v1``."""
        whole = {value: label for value, label in self._wholes if value in text}
        for value in whole:
            text = text.replace(value, "")
        halves = {f"half of {label}" for half, _, label in self._begun if half in text}
        lines = {f"a line of {label}" for line, label in self._lines if line in text}
        return sorted({*whole.values(), *halves, *lines})


def _in_json(value: str) -> tuple[str, str]:
    """A string as JSON has it, with letters beyond ASCII as they are, and escaped."""
    plain, escaped = json.dumps(value, ensure_ascii=False), json.dumps(value)
    return plain[1:-1], escaped[1:-1]


def _spellings(value: str) -> set[str]:
    """A value, and how it stands in a log of JSON lines or where its ``repr`` was printed."""
    if value.isascii() and value.isprintable() and not _ESCAPED & set(value):
        return {value}
    plain, escaped = _in_json(value)
    return {value, plain, escaped, plain.translate(_IN_GO), repr(value)[1:-1]}


def _encoded(value: str) -> set[str]:
    """A whole value as a URL has it, and in Base64, as Kubernetes shows secrets.

    Of a half nothing is known then: how it is written depends on what stands around it.
    """
    if len(value) < SHORTEST:
        return set()
    base = b64encode(value.encode("utf-8", "replace")).decode("ascii").rstrip("=")
    in_url = [quote(value, safe=safe, errors="replace") for safe in ("", "/")]
    return {base, base.translate(_IN_URL), *in_url, in_url[0].replace("%20", "+")} - {value}


def _with_halves(value: str) -> set[tuple[str, str]]:
    """The spellings of a value with the first half of each, also with slashes as PHP has them.

    That is done last: a URL, of which all but the password may be shown, is known by its ``://``.
    """
    found = {(text, _first_half(text)) for text in _spellings(value)}
    return found | {(text.replace("/", r"\/"), half.replace("/", r"\/")) for text, half in found}


def _lines(value: str) -> set[str]:
    """The long lines of a value of several, but for those that every such value has."""
    lines = {line.strip() for line in value.splitlines()}
    return {line for line in lines - {value} if len(line) >= LONG and not line.startswith(_ARMOUR)}


def _first_half(value: str) -> str:
    """The half of a long value that may not be shown either; nothing if there is none.

    A URL's first half is its scheme and its host, which may be shown, or a password, which may not:
    of one that has a password all up to its end is looked for.
    """
    half = value[: (len(value) + 1) // 2]
    if "://" in half:
        half = _up_to_its_password(value)
    return half if len(value) >= LONG else ""


def _begun_in(half: str, value: str, text: str) -> str:
    """The beginning of `value` that stands in `text`, if its `half` or more does; else nothing."""
    if (at := text.find(half)) < 0:
        return ""
    end = len(half)
    while end < len(value) and text[at + end : at + end + 1] == value[end]:
        end += 1
    return value[:end]


def _up_to_its_password(url: str) -> str:
    """A URL up to the end of its password; nothing if it has none."""
    scheme, _, rest = url.partition("://")
    user, at, _ = rest.partition("/")[0].rpartition("@")
    return f"{scheme}://{user}" if at and user.partition(":")[2] else ""
