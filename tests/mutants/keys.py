"""Clients that know a secret by its path, and take one of its keys for another, or for still there.

Each is listed in the module of the group whose scenario it meets.
"""

from __future__ import annotations

import locale
import threading
from collections.abc import Mapping
from concurrent.futures import Future

from resilient_vault_client import Secret
from tests.mutants.clients import Tweaked
from tests.subjects.lazy_client import LazyClient
from tests.subjects.lazy_wire import UnavailableError


class HasOnePlaceForEachPath(Tweaked):
    """Its cache has one place for each path: the key that is asked for first is given for all."""

    def __init__(self, environ: Mapping[str, str]) -> None:
        super().__init__(environ)
        self._first: dict[str, str] = {}

    def read_cached(self, path: str, key: str) -> Secret:
        found = super().read_cached(path, key)
        first = self._first.setdefault(path, key)
        return found if first == key else super().read_cached(path, first)


class JoinsReadsByTheirPath(LazyClient):
    """Asks once for all that ask at once, and gives the one key's value to those of another too."""

    def __init__(self, environ: Mapping[str, str]) -> None:
        super().__init__(environ)
        self._under_way: dict[str, Future[str]] = {}
        self._joining = threading.Lock()

    def read(self, path: str, key: str) -> str:
        with self._joining:
            there = self._under_way.get(path)
            mine = self._under_way[path] = there or Future()
        if there is not None:
            try:
                return there.result(timeout=0.97 * self._deadline)
            except TimeoutError:
                raise UnavailableError("another caller still waits for it") from None
        try:
            mine.set_result(super().read(path, key))
        except BaseException as error:
            mine.set_exception(error)
            raise
        finally:
            with self._joining:
                del self._under_way[path]
        return mine.result()


class KeepsKeysThatWereRemoved(LazyClient):
    """Puts each answer over what it has of that secret: a key that was taken out lives on."""

    def __init__(self, environ: Mapping[str, str]) -> None:
        super().__init__(environ)
        self._known: dict[str, dict[str, str]] = {}

    def read_all(self, path: str) -> dict[str, str]:
        found = {**self._known.get(path, {}), **super().read_all(path)}
        self._known[path] = found
        return dict(found)


class ReadsLatin1(LazyClient):
    """Takes the bytes of an answer for ISO 8859-1, as many HTTP libraries do by default."""

    def read_all(self, path: str) -> dict[str, str]:
        def read(text: str) -> str:
            return text.encode().decode("latin-1")

        return {read(key): read(value) for key, value in super().read_all(path).items()}


class ReadsByItsLocale(LazyClient):
    """Takes an answer for text of the locale's, which is UTF-8 on a desk, and C in a container."""

    def read_all(self, path: str) -> dict[str, str]:
        def read(text: str) -> str:
            return text.encode().decode(locale.getencoding(), "replace")

        return {read(key): read(value) for key, value in super().read_all(path).items()}


class QuotesItsPathsAsAForm(LazyClient):
    """Writes a plus for each blank of a path, as is right behind a question mark alone."""

    def read_all(self, path: str) -> dict[str, str]:
        return super().read_all(path.replace(" ", "+"))


class ReadsAsciiAlone(LazyClient):
    """Has no letters beyond ASCII: an answer with one of them is none of Vault's."""

    def read_all(self, path: str) -> dict[str, str]:
        found = super().read_all(path)
        if not all(value.isascii() for value in found.values()):
            raise UnavailableError("the answer is none of Vault's")
        return found
