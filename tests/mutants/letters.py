"""Clients that are right with letters and digits, and lose what else is in a value, or in a path.

Each is listed in the module of the group whose scenario it meets.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from urllib.parse import unquote

from resilient_vault_client import Secret
from tests.mutants.clients import Tweaked
from tests.subjects.lazy_client import LazyClient
from tests.subjects.lazy_wire import ClientError

# In a value


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


# In a path


class EncodesBlanksAlone(LazyClient):
    """Puts paths into addresses as they are: what is behind a `?` is not asked for."""

    def read_all(self, path: str) -> dict[str, str]:
        return super().read_all(unquote(re.split("[?#]", path)[0]))


class TakesItsPathsForEncoded(LazyClient):
    """Has its library join addresses, which takes a `%3F` for what somebody has encoded."""

    def read_all(self, path: str) -> dict[str, str]:
        return super().read_all(unquote(path))


class TakesAPlusForABlank(LazyClient):
    """Decodes its paths as those of a form."""

    def read_all(self, path: str) -> dict[str, str]:
        return super().read_all(path.replace("+", " "))


class HasAsciiInItsPaths(LazyClient):
    """Writes a question mark for each letter of a path beyond ASCII, as it encodes it."""

    def read_all(self, path: str) -> dict[str, str]:
        return super().read_all(path.encode("ascii", "replace").decode())


class KeepsPathsWithoutCase(Tweaked):
    """Its cache knows paths in small letters, as its settings do."""

    def __init__(self, environ: Mapping[str, str]) -> None:
        super().__init__(environ)
        self._first: dict[str, str] = {}

    def read_cached(self, path: str, key: str) -> Secret:
        return super().read_cached(self._first.setdefault(path.lower(), path), key)


class RefusesOddPaths(LazyClient):
    """Has no paths that mean something in an address."""

    def read_all(self, path: str) -> dict[str, str]:
        if re.search("[?#%]", path):
            raise ClientError(f"{path} is no path of a secret")
        return super().read_all(path)
