"""Clients that are right with letters and digits, and lose what else is in a value.

Each is listed in the module of the group whose scenario it meets.
"""

from __future__ import annotations

import re

from tests.subjects.lazy_client import LazyClient


class LeavesLettersEscaped(LazyClient):
    """Reads JSON by itself, and knows a line's end and a quote, but no letter by its number."""

    def read_all(self, path: str) -> dict[str, str]:
        def read(text: str) -> str:
            return re.sub(r"[<>&]", lambda letter: f"\\u{ord(letter[0]):04x}", text)

        return {key: read(value) for key, value in super().read_all(path).items()}


class HasLettersOf16Bits(LazyClient):
    """Has no room for a letter beyond 16 bits, and puts a question mark in its place."""

    def read_all(self, path: str) -> dict[str, str]:
        def read(text: str) -> str:
            return re.sub(r"[\U00010000-\U0010ffff]", "?", text)

        return {key: read(value) for key, value in super().read_all(path).items()}
