"""A scenario's secrets by their labels: tokens, secret-ids, values."""

from __future__ import annotations

import json
import threading
from base64 import b64encode
from collections import defaultdict
from collections.abc import Iterable
from functools import cached_property
from typing import Any
from urllib.parse import quote

from vault_harness.files import encodable

SHORTEST = 8
"""Any text may contain a shorter password by chance."""

LONG = 24
"""Halves and lines this long are searched for too, since a truncated answer may show only those."""

_IN_GO = {ord(letter): f"\\u{ord(letter):04x}" for letter in "&<>\u2028\u2029"}
"""Go's ``encoding/json`` escapes these although JSON does not require it."""

_ESCAPED = frozenset("\"'\\&<>")
"""Some formats escape these."""

_IN_URL = str.maketrans("+/", "-_")
"""Base64 in URLs and file names."""

_ARMOUR = "-----"
"""Begins the first and last line of every PEM file."""


class Redaction:
    """A search for a set of secrets, prepared once for many texts."""

    def __init__(self, labels: Iterable[tuple[str, str]]) -> None:
        # Longest first, so that a secret within another does not break it.
        known = sorted(labels, key=lambda item: -len(item[0]))
        spelled = [(*one, label) for value, label in known for one in _with_halves(value)]
        spelled += [(text, (), label) for value, label in known for text in _encoded(value)]
        spelled.sort(key=lambda item: -len(item[0]))
        self._wholes = [(text, label) for text, _, label in spelled if len(text) >= SHORTEST]
        self._halves = [(half, text, label) for text, both, label in spelled for half in both]
        self._lines = [
            (text, label)
            for value, label in known
            for line in _lines(value)
            for text, _ in _with_halves(line)
        ]
        self._lines.sort(key=lambda item: -len(item[0]))

    @cached_property
    def _sought(self) -> dict[str, str]:
        sought = [one[0] for one in (*self._wholes, *self._halves, *self._lines)]
        return {text: _in_json(text)[0] for text in sought}

    def narrowed(self, document: str) -> Redaction | None:
        """Return a smaller redaction for one JSON document; None if nothing needs redacting.

        The document needs ``ensure_ascii=False``, so that each letter has one form.
        """
        there = {text for text, escaped in self._sought.items() if escaped in document}
        if not there and encodable(document) == document:
            return None
        few = Redaction(())
        few._wholes = [one for one in self._wholes if one[0] in there]
        few._halves = [one for one in self._halves if one[0] in there]
        few._lines = [one for one in self._lines if one[0] in there]
        return few

    def of(self, text: str) -> str:
        """Replace each secret, or a half or line of it, by its label.

        The result can always be encoded.
        """
        text = encodable(text)
        for whole, label in self._wholes:
            if whole in text:
                text = text.replace(whole, f"<{label}>")
        for half, whole, label in self._halves:
            while part := _part_in(half, whole, text):
                text = text.replace(part, f"<half of {label}>")
        for line, label in self._lines:
            if line in text:
                text = text.replace(line, f"<a line of {label}>")
        return text

    def of_data(self, data: Any) -> Any:
        done: dict[str, str] = {}  # many strings repeat

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
        """Return the labels of secrets in a text: ``v1``, ``half of v1``, ``a line of v1``."""
        whole = {value: label for value, label in self._wholes if value in text}
        for value in whole:
            text = text.replace(value, "")
        halves = {f"half of {label}" for half, _, label in self._halves if half in text}
        lines = {f"a line of {label}" for line, label in self._lines if line in text}
        return sorted({*whole.values(), *halves, *lines})


def _in_json(value: str) -> tuple[str, str]:
    plain, escaped = json.dumps(value, ensure_ascii=False), json.dumps(value)
    return plain[1:-1], escaped[1:-1]


def _spellings(value: str) -> set[str]:
    if value.isascii() and value.isprintable() and not _ESCAPED & set(value):
        return {value}
    plain, escaped = _in_json(value)
    return {value, plain, escaped, plain.translate(_IN_GO), repr(value)[1:-1]}


def _encoded(value: str) -> set[str]:
    """Return a value as in a URL and in Base64; halves depend on the text around them."""
    if len(value) < SHORTEST:
        return set()
    base = b64encode(value.encode("utf-8", "replace")).decode("ascii").rstrip("=")
    in_url = [quote(value, safe=safe, errors="replace") for safe in ("", "/")]
    return {base, base.translate(_IN_URL), *in_url, in_url[0].replace("%20", "+")} - {value}


def _with_halves(value: str) -> set[tuple[str, tuple[str, ...]]]:
    """Return the forms of a value with their halves, also with slashes escaped as in PHP.

    Slashes come last, since `_halves` needs a URL's ``://``.
    """
    found = {(text, _halves(text)) for text in _spellings(value)}
    in_php = {(_in_php(text), tuple(map(_in_php, both))) for text, both in found}
    return found | in_php


def _in_php(text: str) -> str:
    return text.replace("/", r"\/")


def _lines(value: str) -> set[str]:
    """Return the long lines of a value of several lines, without PEM armour."""
    lines = {line.strip() for line in value.splitlines()}
    return {line for line in lines - {value} if len(line) >= LONG and not line.startswith(_ARMOUR)}


def _halves(value: str) -> tuple[str, ...]:
    """Return the halves of a long value that must not be shown.

    A URL's first half may be shown, except up to the end of its password.
    """
    if len(value) < LONG:
        return ()
    half = (len(value) + 1) // 2
    if "://" in value[:half]:
        return (begun,) if (begun := _up_to_its_password(value)) else ()
    return value[:half], value[-half:]


def _part_in(half: str, value: str, text: str) -> str:
    """Return the longest part of `value` around its `half` that is in `text`, or ``""``."""
    if (at := text.find(half)) < 0:
        return ""
    begin = 0 if value.startswith(half) else len(value) - len(half)
    end, after = begin + len(half), at + len(half)
    while end < len(value) and text[after : after + 1] == value[end]:
        end, after = end + 1, after + 1
    while begin and at and text[at - 1] == value[begin - 1]:
        begin, at = begin - 1, at - 1
    return value[begin:end]


def _up_to_its_password(url: str) -> str:
    scheme, _, rest = url.partition("://")
    user, at, _ = rest.partition("/")[0].rpartition("@")
    return f"{scheme}://{user}" if at and user.partition(":")[2] else ""


class Secrets:
    """All secrets of one scenario, by their labels only (``token-2``); thread-safe."""

    def __init__(self) -> None:
        self._labels: dict[str, str] = {}
        self._values: dict[tuple[str, str, str], str] = {}  # by path, key and value
        self._keys: dict[tuple[str, str], str] = {}  # by path and value
        self._counts: defaultdict[str, int] = defaultdict(int)
        self._lock = threading.Lock()
        self._redaction: Redaction | None = None

    def __repr__(self) -> str:
        return f"<Secrets: {len(self._labels)} known>"

    def add(self, kind: str, value: str, label: str | None = None) -> str:
        """Add a secret and return its label; a known one keeps its label."""
        with self._lock:
            if value not in self._labels:
                if label is None:
                    self._counts[kind] += 1
                    label = f"{kind}-{self._counts[kind]}"
                self._labels[value] = label
                self._redaction = None
            return self._labels[value]

    def add_value(self, path: str, key: str, value: str, label: str, *, secret: bool = True) -> str:
        """Add the value of a secret's key, and return its label.

        A value at two paths or under two keys has two labels. `secret` is False for a port or a
        user name, which may leak.
        """
        with self._lock:
            known = self._values.setdefault((path, key, value), label)
            self._keys.setdefault((path, value), key)
            if secret and value and value not in self._labels:  # an empty value is not secret
                self._labels[value] = known
                self._redaction = None
            return known

    def value_label(self, path: str, key: str, value: str) -> str | None:
        """Return the label of a value that was read under a key; None if it was never written.

        Another key's value gets a label that matches no version.
        """
        with self._lock:
            if (own := self._values.get((path, key, value))) is not None:
                return own
            if (other := self._keys.get((path, value))) is not None:
                return f"{self._values[path, other, value]} of {other}"
            return self._labels.get(value)

    def label(self, value: str) -> str | None:
        return self._labels.get(value)

    def value(self, label: str) -> str | None:
        """Return the secret of a label; it must not get into a report."""
        with self._lock:
            return next((value for value, name in self._labels.items() if name == label), None)

    def redaction(self) -> Redaction:
        with self._lock:
            if self._redaction is None:
                self._redaction = Redaction(self._labels.items())
            return self._redaction

    def redact(self, text: str) -> str:
        return self.redaction().of(text)

    def found_in(self, text: str) -> list[str]:
        return self.redaction().found_in(text)


class Forgetful(Secrets):
    """Keeps no secret, for a recorder without a report."""

    def add(self, kind: str, value: str, label: str | None = None) -> str:  # noqa: ARG002 - not kept
        return label or kind
