"""Parse the audit log: one JSON object a line, a request and a response for each call.

Values stay hashed, except role-ids, to name the role of a failed login.
"""

from __future__ import annotations

import fnmatch
import json
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal, get_args

from vault_harness.namespaces import below

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


def parse_line(line: str, *, roles: Mapping[str, str] | None = None) -> AuditEntry | None:
    """Parse a line; None for a request, a cut line, or another text.

    ``roles`` are names by the hash of their role-id.
    """
    record = parse_record(line)
    return None if record is None else entry_of(record, roles=roles)


def parse_record(line: str) -> dict[str, Any] | None:
    """Parse a request or response; None for a cut line or another text."""
    try:
        record = json.loads(line)
    except ValueError:
        return None
    return record if isinstance(record, dict) else None


def moment_of(record: Mapping[str, Any]) -> datetime:
    try:
        return datetime.fromisoformat(_microseconds(record["time"]))
    except (KeyError, TypeError, AttributeError) as error:
        raise ValueError("a line without a time") from error


def entry_of(
    record: Mapping[str, Any], *, roles: Mapping[str, str] | None = None, node: str = ""
) -> AuditEntry | None:
    try:
        if record.get("type") != "response":
            return None
        request = record["request"]
        moment = moment_of(record)
        response = record.get("response") or {}
        auth = record.get("auth") or {}
        path = request["path"]
    except (ValueError, KeyError, TypeError, AttributeError):
        return None
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
        time=moment,
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


def _microseconds(moment: str) -> str:
    """Cut a time to microseconds. Vault writes nanoseconds without trailing zeros."""
    head, dot, rest = moment.partition(".")
    if not dot:
        return moment.replace("Z", "+00:00")
    digits = rest.rstrip("Z").split("+")[0].split("-")[0]
    zone = rest[len(digits) :].replace("Z", "+00:00")
    return f"{head}.{digits[:6].ljust(6, '0')}{zone}"


def entries(
    lines: Iterable[str], wanted: Filter | None = None, *, roles: Mapping[str, str] | None = None
) -> Iterator[AuditEntry]:
    for line in lines:
        entry = parse_line(line, roles=roles)
        if entry is not None and (wanted is None or wanted.wants(entry)):
            yield entry
