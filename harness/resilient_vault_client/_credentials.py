"""The role-id and secret-id for a login, read again at every login."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import hashlib
import json
import logging
import os
import re
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from resilient_vault_client._config import Config
from resilient_vault_client._deadline import Deadline
from resilient_vault_client._errors import CredentialsMissing

_UUID = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}", re.IGNORECASE)

# No id is longer. A token or a JWT can be, since it carries data such as the groups of an account.
_MOST_BYTES = 4096
MOST_BYTES_OF_A_TOKEN = 65536


@dataclass(frozen=True)
class Credentials:
    role_id: str = field(repr=False)
    secret_id: str = field(repr=False)

    @property
    def fingerprint(self) -> str:
        return hashlib.sha256(f"{self.role_id}\0{self.secret_id}".encode()).hexdigest()[:16]


class CredentialSource:
    """Read the ids from an argument, a file, or an environment variable, in this order.

    A file may be replaced while the client runs, and not every tool renames a new file into place.
    Content that is empty or half an id is not used; the last good id is.
    """

    def __init__(self, config: Config, environ: Mapping[str, str]) -> None:
        self._role = _Id("VAULT_ROLE_ID", config.role_id, config.role_id_file, environ)
        self._secret = _Id("VAULT_SECRET_ID", config.secret_id, config.secret_id_file, environ)

    def load(self, secret_id: Callable[[], str] | None = None) -> Credentials:
        """Return the current ids; raise `CredentialsMissing` if there never were any."""
        role_id = self._role.load()
        return Credentials(role_id, self._secret.load() if secret_id is None else secret_id())


class _Id:
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
        """Return the content, or "" if it cannot be an id."""
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
    """Return the single word in a file, or ""."""
    try:
        with file.open("rb") as stream:
            content = stream.read(most + 1)
        text = content.decode().strip()
    except (OSError, ValueError):
        return ""
    return text if len(content) <= most and len(text.split()) == 1 else ""


def told(file: Path) -> str:
    """Return a file name for a message, unless it is an id or key given by mistake."""
    text = str(file)
    with contextlib.suppress(OSError, ValueError):  # too long for a file name
        inside = file.is_absolute() or (str(file.parent) != "." and file.parent.is_dir())
        if (inside and "-----BEGIN" not in text) or file.exists():  # its folder may be closed
            return text
    return "a word that is not shown, since it may be a secret"


def _looks_cut(text: str, last: str | None) -> bool:
    """Return whether ``text`` is the beginning of an id of the usual form.

    A few letters may be an id of another form, unless the last id had the usual form.
    """
    if _UUID.fullmatch(text):
        return False
    # Together they form a whole id only if the text is the beginning of one.
    sample = "00000000-0000-0000-0000-000000000000"
    beginning = len(text) < len(sample) and _UUID.fullmatch(text + sample[len(text) :]) is not None
    return beginning and (len(text) > len("00000000") or bool(last and _UUID.fullmatch(last)))


# Vault's default window for failures and lock: 15 minutes.
WINDOW = 900.0

# One fewer than Vault's default limit for a role.
MOST_FOR_A_ROLE = 4

# Seconds after each failure until the same ids are tried again. The second or third try finds a
# role that was created a little late.
_PAUSES = (5.0, 60.0)

# A process holds the lock for a moment; one that holds it longer stands still.
_LOCK_SECONDS = 0.5
_LOCK_EVERY = 0.01

# More than a machine's processes write to a file in a quarter of an hour.
_MOST_KEPT_BYTES = 65536

_log = logging.getLogger("resilient_vault_client")

Failure = tuple[float, str]


class FailedLogins:
    """Count failed logins; not thread-safe, since one thread logs in at a time.

    All processes that use ``directory`` count together, also one after another; None counts for
    this process alone. Each ``server`` address has its own count.
    """

    def __init__(self, directory: Path | None = None, *, server: str = "") -> None:
        self._directory = directory
        self._server = server
        self._own: dict[str, list[Failure]] = {}

    def wait(self, credentials: Credentials, deadline: Deadline) -> float:
        """Return the seconds until these ids may be tried; 0 means now."""
        now = _now()
        with self._failures(credentials.role_id, now, deadline) as failures:
            same = [at for at, fingerprint in failures if fingerprint == credentials.fingerprint]
            due = now
            if same:
                again = len(same) <= len(_PAUSES)
                due = same[-1] + _PAUSES[len(same) - 1] if again else same[0] + WINDOW
            if len(failures) >= MOST_FOR_A_ROLE:
                due = max(due, failures[0][0] + WINDOW)
            return max(0.0, due - now)

    def rejected(self, credentials: Credentials, deadline: Deadline) -> None:
        now = _now()
        with self._failures(credentials.role_id, now, deadline) as failures:
            failures.append((now, credentials.fingerprint))

    def accepted(self, credentials: Credentials, deadline: Deadline) -> None:
        if not self._own.get(credentials.role_id):
            return  # there was nothing to forget when the login began
        with self._failures(credentials.role_id, _now(), deadline) as failures:
            failures.clear()

    @contextlib.contextmanager
    def _failures(self, role_id: str, now: float, deadline: Deadline) -> Iterator[list[Failure]]:
        """Yield the failures of a role that still count; changes to the list are kept.

        If the shared count cannot be used, the last one that this process saw replaces it.
        """
        with self._shared(role_id, deadline) as shared:
            found = None if shared is None else self._read(shared)
            known = _recent(self._own.get(role_id, []) if found is None else found, now)
            before = list(known)
            yield known
            self._own[role_id] = list(known)
            if shared is not None and known != before:
                self._write(shared, json.dumps(known).encode())

    @contextlib.contextmanager
    def _shared(self, role_id: str, deadline: Deadline) -> Iterator[int | None]:
        """Yield a role's file, open and locked, or None if that fails or takes too long."""
        descriptor = self._open(role_id)
        if descriptor is None:
            yield None
            return
        try:
            locked = self._lock(descriptor, deadline.sooner(_LOCK_SECONDS))
            try:
                yield descriptor if locked else None
            finally:
                if locked:
                    self._let_go(descriptor)
        finally:
            try:
                os.close(descriptor)
            except OSError as error:  # a network file system reports a failed write here
                self._go_alone(error)

    def _open(self, role_id: str) -> int | None:
        if self._directory is None:
            return None
        name = hashlib.sha256(f"{self._server}\0{role_id}".encode()).hexdigest()[:32]
        try:
            self._directory.mkdir(mode=0o700, parents=True, exist_ok=True)
            flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW
            return os.open(self._directory / f"logins-{name}.json", flags, 0o600)
        except OSError as error:
            self._go_alone(error)
            return None

    def _lock(self, descriptor: int, deadline: Deadline) -> bool:
        """Return whether the file was locked within the deadline."""
        while True:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                if deadline.passed:
                    _log.warning("vault: another process holds the count of failed logins")
                    return False
                time.sleep(min(_LOCK_EVERY, deadline.remaining()))
            except OSError as error:
                self._go_alone(error)
                return False
            else:
                return True

    def _let_go(self, descriptor: int) -> None:
        """Unlock explicitly: a child forked meanwhile has a copy of the descriptor."""
        try:
            fcntl.flock(descriptor, fcntl.LOCK_UN)
        except OSError as error:
            self._go_alone(error)

    def _read(self, descriptor: int) -> list[Failure] | None:
        """Return the content, or None if it is unreadable or invalid."""
        try:
            return _parse(os.pread(descriptor, _MOST_KEPT_BYTES, 0))
        except OSError as error:
            self._go_alone(error)
            return None

    def _write(self, descriptor: int, content: bytes) -> None:
        try:
            # Write before cutting off the old rest: a full disk must not lose the old count.
            if os.pwrite(descriptor, content, 0) < len(content):
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            os.ftruncate(descriptor, len(content))
        except OSError as error:
            self._go_alone(error)

    def _go_alone(self, error: OSError) -> None:
        """Count for this process alone from now on.

        Not every file system has locks, and a disk may be full; neither must prevent a login.
        """
        if self._directory is not None:
            _log.warning("vault: failed logins are not counted together: %s", error.strerror)
        self._directory = None


def _now() -> float:
    """Return a time that a machine's processes share and that nobody sets."""
    return time.clock_gettime(time.CLOCK_MONOTONIC)


def _recent(failures: list[Failure], now: float) -> list[Failure]:
    # A time in the future is from before the last boot.
    return [(at, fingerprint) for at, fingerprint in failures if 0 <= now - at < WINDOW]


def _parse(content: bytes) -> list[Failure] | None:
    """Return None if the file is invalid, such as new or half-written."""
    try:
        return [(float(at), str(fingerprint)) for at, fingerprint in json.loads(content)]
    except (ValueError, TypeError):
        return None
