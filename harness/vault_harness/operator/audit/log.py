"""Read an audit log: one JSON object a line, a request and a response for each call.

Values stay hashed, except role-ids, to name the role of a failed login.
"""

from __future__ import annotations

import fnmatch
import os
import re
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, BinaryIO, Literal, get_args

from vault_harness.errors import HarnessError, named
from vault_harness.namespaces import below

_BLOCK = 64 * 1024
_LOOK = 4 * 1024 * 1024

Status = Literal["ok", "denied", "missing", "failed"]
_LOGIN = re.compile(r"auth/.+/login(/[^/]+)?$")
"""AppRole logs in at ``login``, userpass and LDAP at ``login/NAME``."""
STATUSES: tuple[Status, ...] = get_args(Status)


@dataclass(frozen=True)
class AuditEntry:
    """One answered call.

    Attributes:
        time: When Vault answered, with its time zone.
        who: The AppRole, else the token's display name, else ``-``.
        path: Without the namespace: ``ecommerce/data/backend/django``.
        status: ``denied`` by a policy or for an invalid token, ``missing`` for 404.
        error: Vault's text on one line.
        node: Empty if there is only one log.
        took: Seconds to the answer; known only where the log is followed.
    """

    time: datetime
    who: str
    role: str | None
    operation: str
    path: str
    status: Status
    error: str = ""
    remote: str = ""
    policies: tuple[str, ...] = ()
    request_id: str = ""
    namespace: str = ""
    node: str = ""
    took: float | None = None

    @property
    def is_login(self) -> bool:
        return bool(_LOGIN.match(self.path))

    def __str__(self) -> str:
        moment = self.time.astimezone().strftime("%Y-%m-%d %H:%M:%S")
        why = f"  {self.error}" if self.error and self.status != "denied" else ""
        path = below(self.namespace, self.path)
        what = f"{self.operation:<7}  {path}  {self.remote}"
        node = f"{self.node:<8}  " if self.node else ""
        return f"{moment}  {node}{self.status:<7}  {self.who:<16}  {what}{why}"


@dataclass(frozen=True, kw_only=True)
class Filter:
    """Which entries pass. A field that is None or empty passes all.

    Attributes:
        who: Role or display name, with shell wildcards.
        status: ``bad`` means any except ``ok``.
        namespace: Only this one, without those below it. "" is the root namespace.
    """

    who: str | None = None
    path: str | None = None
    operation: str | None = None
    status: str | None = None
    since: datetime | None = None
    until: datetime | None = None
    namespace: str | None = None

    def wants(self, entry: AuditEntry) -> bool:
        return (
            (self.who is None or fnmatch.fnmatchcase(entry.who, self.who))
            and (self.path is None or fnmatch.fnmatchcase(entry.path, self.path))
            and (self.operation is None or entry.operation == self.operation)
            and (
                self.status is None
                or entry.status == self.status
                or (self.status == "bad" and entry.status != "ok")
            )
            and (self.since is None or entry.time >= self.since)
            and (self.until is None or entry.time <= self.until)
            and (self.namespace is None or entry.namespace == self.namespace)
        )


def entry_of(
    record: Mapping[str, Any], at: datetime, *, roles: Mapping[str, str] | None, node: str
) -> AuditEntry | None:
    """Return the entry of a parsed line, None for a request. Malformed lines raise.

    ``roles`` are names by the hash of their role-id.
    """
    if record["type"] != "response":
        return None
    request = record["request"]
    response = record.get("response") or {}
    auth = record.get("auth") or {}
    path = request["path"]
    login = bool(_LOGIN.match(path))
    if login:
        # A token that came with a login does not tell who logs in.
        auth = response.get("auth") or {}
    error = " ".join(
        str(record.get("error") or "").replace("1 error occurred:", "").replace("* ", "").split()
    )
    status = _status(error, request, response, login=login)
    role = (auth.get("metadata") or {}).get("role_name")
    if role is None and login and roles:
        role = roles.get((request.get("data") or {}).get("role_id", ""))
    return AuditEntry(
        time=at,
        who=role or auth.get("display_name") or "-",
        role=role,
        operation=request.get("operation", ""),
        path=path,
        status=status,
        error=error or ("invalid role or secret ID" if login and status == "failed" else ""),
        remote=request.get("remote_address", ""),
        policies=tuple(auth.get("policies") or ()),
        request_id=request.get("id", ""),
        namespace=str((request.get("namespace") or {}).get("path") or "").strip("/"),
        node=node,
    )


def _status(
    error: str, request: Mapping[str, Any], response: Mapping[str, Any], *, login: bool
) -> Status:
    if "permission denied" in error:
        return "denied"
    data = response.get("data") or {}
    if response.get("wrap_info") and not error:
        return "ok"  # the answer is in the wrapping token, not in the log
    if error or "error" in data or (login and not response.get("auth")):
        return "failed"
    if request.get("operation") in {"read", "list"} and request.get("mount_type") == "kv":
        gone = "data" in data and data["data"] is None
        return "missing" if not data or gone else "ok"
    return "ok"


def read_lines(path: Path) -> Iterator[str]:
    try:
        with path.open(encoding="utf-8", errors="replace") as file:
            yield from file
    except OSError as error:
        raise unreadable(path, error) from error


def wait_a_moment() -> bool:
    """Return True: nothing ends the following."""
    time.sleep(0.2)
    return True


class Tail:
    """Reads what is written to a log, across rotations. The caller closes it.

    After a rename, the writer still writes to the old file until it opens the new one, and some
    create the new one first. So the old file stays open until the new one has content. With `more`
    the last look left something.
    """

    def __init__(self, path: Path) -> None:
        self.more = False
        self._path = path
        self._file: BinaryIO | None = None
        self._position = 0
        self._pending = b""
        self._open()

    def close(self) -> None:
        if self._file is not None:
            self._file.close()

    def skip(self) -> int:
        if self._file is not None:
            self._position = end_of_lines(self._file)
        return self._position

    def lines(self) -> list[str]:
        """Return the new whole lines, some MiB at most."""
        try:
            # The old file is complete before the new one has any content.
            followed = self._is_followed()
            data = self._read()
            if followed and not data:
                self._open()
                data = self._read()
        except OSError as error:
            raise unreadable(self._path, error) from error
        self.more = bool(data)
        *whole, self._pending = (self._pending + data).split(b"\n")
        return [line.decode(errors="replace") for line in whole]

    def _is_followed(self) -> bool:
        """Return whether another file has the name now, and has content."""
        try:
            found = self._path.stat()
        except (FileNotFoundError, NotADirectoryError):
            return False  # no new file yet, or the node left
        return found.st_size > 0 and not (
            self._file is not None and os.path.samestat(found, os.fstat(self._file.fileno()))
        )

    def _open(self) -> None:
        try:
            found = self._path.open("rb")
        except (FileNotFoundError, NotADirectoryError):
            return
        except OSError as error:
            raise unreadable(self._path, error) from error
        self.close()
        self._file, self._position, self._pending = found, 0, b""

    def _read(self) -> bytes:
        if self._file is None:
            return b""
        if os.fstat(self._file.fileno()).st_size < self._position:  # truncated
            self._position, self._pending = 0, b""
        self._file.seek(self._position)
        data = self._file.read(_LOOK)
        self._position += len(data)
        return data


def end_of_lines(file: BinaryIO) -> int:
    """Return where the last whole line ends. The text after it is still being written."""
    end = file.seek(0, os.SEEK_END)
    while end > 0:
        start = max(0, end - _BLOCK)
        file.seek(start)
        at = file.read(end - start).rfind(b"\n")
        if at >= 0:
            return start + at + 1
        end = start
    return 0


def backwards(file: BinaryIO, end: int) -> Iterator[str]:
    """Yield the lines before a position, last one first."""
    rest = b""
    while end > 0:
        start = max(0, end - _BLOCK)
        file.seek(start)
        rest = file.read(end - start) + rest
        end = start
        first, *lines = rest.split(b"\n")
        for line in reversed(lines):
            yield line.decode(errors="replace")
        rest = first
    yield rest.decode(errors="replace")


def unreadable(path: Path, error: OSError) -> HarnessError:
    return HarnessError(
        f"the audit log cannot be read: {error.strerror}",
        looked_at=str(path),
        remedy=f"Run `{named('up')}` first; for a Vault elsewhere give its log with --file.",
    )
