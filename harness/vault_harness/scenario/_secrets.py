"""What must not leak, by label: tokens, secret-ids, secret values."""

from __future__ import annotations

import threading
from collections import defaultdict

SHORTEST = 8
"""Shorter values are not looked for: a four-letter password is in every English text."""

LONG = 24
"""Of a value so long its first half is looked for too: an answer that was cut off, or the excerpt
that a parser shows of what it could not read, holds no more of it.
"""


class Secrets:
    """Knows every secret of one scenario, and speaks of them by label only (``token-2``).

    It lives in memory, for as long as the scenario runs. Safe to use from several threads.
    """

    def __init__(self) -> None:
        self._labels: dict[str, str] = {}
        self._values: dict[tuple[str, str], str] = {}
        self._counts: defaultdict[str, int] = defaultdict(int)
        self._lock = threading.Lock()

    def __repr__(self) -> str:
        return f"<Secrets: {len(self._labels)} known>"

    def add(self, kind: str, value: str, label: str | None = None) -> str:
        """Learn a secret; returns its label. One that is known keeps its label."""
        with self._lock:
            if value not in self._labels:
                if label is None:
                    self._counts[kind] += 1
                    label = f"{kind}-{self._counts[kind]}"
                self._labels[value] = label
            return self._labels[value]

    def add_value(self, path: str, value: str, label: str, *, secret: bool = True) -> str:
        """Learn what is stored at a path; returns its label.

        Args:
            path: Where.
            value: One of the values there.
            label: Its name; the same value at two paths has two.
            secret: Whether it must not leak: a port or a user's name need not be hidden.
        """
        with self._lock:
            return_label = self._values.setdefault((path, value), label)
            if secret:
                self._labels.setdefault(value, return_label)
            return return_label

    def value_label(self, path: str, value: str) -> str | None:
        """The label of a value that was read at a path, or None if nobody ever wrote it."""
        with self._lock:
            return self._values.get((path, value)) or self._labels.get(value)

    def label(self, value: str) -> str | None:
        """The label of a known secret, or None."""
        return self._labels.get(value)

    def value(self, label: str) -> str | None:
        """The secret behind a label, or None. For asking Vault about a token, not for a report."""
        with self._lock:
            return next((value for value, name in self._labels.items() if name == label), None)

    def redact(self, text: str) -> str:
        """`text` with every known secret, and the first half of one, replaced by its label."""
        with self._lock:
            known = sorted(self._labels.items(), key=lambda item: -len(item[0]))
        for value, label in known:
            if len(value) >= SHORTEST and value in text:
                text = text.replace(value, f"<{label}>")
        for value, label in known:
            while begun := _begun_in(value, text):
                text = text.replace(begun, f"<half of {label}>")
        return text

    def found_in(self, text: str) -> list[str]:
        """Labels of the secrets that stand in `text`, whole or (``half of v1``) for a half."""
        with self._lock:
            known = list(self._labels.items())
        whole = {value: label for value, label in known if len(value) >= SHORTEST and value in text}
        for value in whole:
            text = text.replace(value, "")
        halves = [f"half of {label}" for value, label in known if _begun_in(value, text)]
        return sorted([*whole.values(), *halves])


def _begun_in(value: str, text: str) -> str:
    """The beginning of `value` that stands in `text`, if it is half of it or more; else nothing.

    A URL's first half is its scheme and its host, which may be shown, or a password, which may not:
    of one that has a password all up to its end is looked for.
    """
    half = value[: (len(value) + 1) // 2]
    if "://" in half:
        half = _up_to_its_password(value)
    if len(value) < LONG or not half or (at := text.find(half)) < 0:
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
