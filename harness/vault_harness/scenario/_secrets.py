"""What must not leak, by label: tokens, secret-ids, secret values."""

from __future__ import annotations

import threading
from collections import defaultdict

from vault_harness.scenario._redaction import Redaction


class Secrets:
    """Knows every secret of one scenario, and speaks of them by label only (``token-2``).

    It lives in memory, for as long as the scenario runs. Safe to use from several threads.
    """

    def __init__(self) -> None:
        self._labels: dict[str, str] = {}
        self._values: dict[tuple[str, str, str], str] = {}  # by path, key and value
        self._keys: dict[tuple[str, str], str] = {}  # whose value it is, by path and value
        self._counts: defaultdict[str, int] = defaultdict(int)
        self._lock = threading.Lock()
        self._redaction: Redaction | None = None

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
                self._redaction = None
            return self._labels[value]

    def add_value(self, path: str, key: str, value: str, label: str, *, secret: bool = True) -> str:
        """Learn what is stored under a key of a secret; returns its label.

        Args:
            path: Where the secret is.
            key: Which of its keys.
            value: The value of that key.
            label: Its name; the same value at two paths, or under two keys, has two.
            secret: Whether it must not leak: a port or a user's name need not be hidden.
        """
        with self._lock:
            known = self._values.setdefault((path, key, value), label)
            self._keys.setdefault((path, value), key)
            if secret and value and value not in self._labels:  # nothing is no secret
                self._labels[value] = known
                self._redaction = None
            return known

    def value_label(self, path: str, key: str, value: str) -> str | None:
        """The label of a value that was read under a key, or None if nobody ever wrote it.

        The value of another key of that secret has a label of its own, which is no version's.
        """
        with self._lock:
            if (own := self._values.get((path, key, value))) is not None:
                return own
            if (other := self._keys.get((path, value))) is not None:
                return f"{self._values[path, other, value]} of {other}"
            return self._labels.get(value)

    def label(self, value: str) -> str | None:
        """The label of a known secret, or None."""
        return self._labels.get(value)

    def value(self, label: str) -> str | None:
        """The secret behind a label, or None. For asking Vault about a token, not for a report."""
        with self._lock:
            return next((value for value, name in self._labels.items() if name == label), None)

    def redaction(self) -> Redaction:
        """What looks for all that are known by now in many texts."""
        with self._lock:
            if self._redaction is None:
                self._redaction = Redaction(self._labels.items())
            return self._redaction

    def redact(self, text: str) -> str:
        """`text` with every known secret, and the first half of one, replaced by its label."""
        return self.redaction().of(text)

    def found_in(self, text: str) -> list[str]:
        """Labels of the secrets that stand in `text`, whole or (``half of v1``) for a half."""
        return self.redaction().found_in(text)
