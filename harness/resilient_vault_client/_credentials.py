"""The role-id and secret-id to log in with, read anew at every login."""

from __future__ import annotations

import contextlib
import hashlib
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from resilient_vault_client._config import Config
from resilient_vault_client._errors import CredentialsMissing

_UUID = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}", re.IGNORECASE)

# Longer is not an id, whatever it is; nor a token or a JWT, which hold all that they say of their
# owner, such as the groups of an account.
_MOST_BYTES = 4096
MOST_BYTES_OF_A_TOKEN = 65536


@dataclass(frozen=True)
class Credentials:
    """A role-id with a secret-id."""

    role_id: str = field(repr=False)
    secret_id: str = field(repr=False)

    @property
    def fingerprint(self) -> str:
        """Tells one pair from another without telling what it is."""
        return hashlib.sha256(f"{self.role_id}\0{self.secret_id}".encode()).hexdigest()[:16]


class CredentialSource:
    """Where the ids come from: an argument, a file, or an environment variable, in this order.

    A file is replaced while the client runs, and not everybody replaces it by renaming: for a
    moment it is empty, or holds the first half. Such a content is not used; the last good one is
    kept.

    Args:
        config: Ids given as arguments, and the files.
        environ: Asked at every login for ``VAULT_ROLE_ID`` and ``VAULT_SECRET_ID``.
    """

    def __init__(self, config: Config, environ: Mapping[str, str]) -> None:
        self._role = _Id("VAULT_ROLE_ID", config.role_id, config.role_id_file, environ)
        self._secret = _Id("VAULT_SECRET_ID", config.secret_id, config.secret_id_file, environ)

    def load(self, secret_id: Callable[[], str] | None = None) -> Credentials:
        """The ids as they are now.

        Args:
            secret_id: Gives the secret-id if it comes from elsewhere.

        Raises:
            CredentialsMissing: There is none, and there was none before.
        """
        role_id = self._role.load()
        return Credentials(role_id, self._secret.load() if secret_id is None else secret_id())


class _Id:
    """One of the two ids."""

    def __init__(
        self, name: str, given: str | None, file: Path | None, environ: Mapping[str, str]
    ) -> None:
        self._name = name
        self._given = given
        self._file = file
        self._environ = environ
        self._last: str | None = None

    def load(self) -> str:
        if self._given:
            return self._given
        found = self._environ.get(self._name, "").strip() if self._file is None else self._read()
        if found:
            self._last = found
        if self._last is None:
            raise CredentialsMissing(self._complaint())
        return self._last

    def _read(self) -> str:
        """The file's content, or nothing if it cannot be an id."""
        assert self._file is not None
        text = read_word(self._file)
        return "" if _looks_cut(text, self._last) else text

    def _complaint(self) -> str:
        if self._file is None:
            return f"there is nothing to log in with: set {self._name} or {self._name}_FILE"
        return (
            f"there is nothing to log in with: {self._name}_FILE is {told(self._file)}, which is "
            "missing, unreadable, empty, or not fully written yet"
        )


def read_word(file: Path, *, most: int = _MOST_BYTES) -> str:
    """The one word that a file holds, without space around it; nothing if that is not so."""
    try:
        with file.open("rb") as stream:
            content = stream.read(most + 1)
        text = content.decode().strip()
    except (OSError, ValueError):
        return ""
    return text if len(content) <= most and len(text.split()) == 1 else ""


def told(file: Path) -> str:
    """A file in a message. Whoever gave an id or a key instead of its file finds it in no log."""
    text = str(file)
    with contextlib.suppress(OSError, ValueError):  # a name that is too long to be one
        inside = file.is_absolute() or (str(file.parent) != "." and file.parent.is_dir())
        if (inside and "-----BEGIN" not in text) or file.exists():  # its folder may be closed
            return text
    return "a word that is not repeated here, since it may be no path"


def _looks_cut(text: str, last: str | None) -> bool:
    """Whether ``text`` is the beginning of an id of the usual form.

    A few letters may be an id of somebody's own making, unless the last one was of the usual form.
    """
    if _UUID.fullmatch(text):
        return False
    # Completing it with a sample gives a whole id only if it is the beginning of one.
    sample = "00000000-0000-0000-0000-000000000000"
    beginning = len(text) < len(sample) and _UUID.fullmatch(text + sample[len(text) :]) is not None
    return beginning and (len(text) > len("00000000") or bool(last and _UUID.fullmatch(last)))
