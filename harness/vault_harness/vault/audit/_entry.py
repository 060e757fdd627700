"""A line of the audit log: one JSON object, a request and a response for each call.

Values stay hashed: nothing here asks Vault to compare them, except for role-ids, which name the
role of a failed login (`vault_harness.vault.audit.hashes_of_roles`).
"""

from __future__ import annotations

import fnmatch
import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal, get_args

from vault_harness.namespaces import below

Status = Literal["ok", "denied", "missing", "failed"]
STATUSES: tuple[Status, ...] = get_args(Status)


@dataclass(frozen=True)
class AuditEntry:
    """One answered call.

    Attributes:
        time: When Vault answered, with its time zone.
        who: The AppRole, else the token's display name, else ``-`` for nobody known.
        role: The AppRole's name, or None.
        operation: ``read``, ``list``, ``create``, ``update``, ``patch``, ``delete``, ``revoke``,
            ...
        path: Without the namespace, e.g. ``ecommerce/data/backend/django``.
        status: ``ok``, ``denied`` by a policy or for a dead token, ``missing`` (404), or
            ``failed``.
        error: Vault's own words on one line, empty if it went well.
        remote: The caller's address.
        policies: What the token may do, by name.
        request_id: Vault's id of the request.
        namespace: Where it was; empty for the root namespace.
        node: Whose log it is of; empty where there is one log only.
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

    @property
    def is_login(self) -> bool:
        """Whether this was an attempt to log in."""
        return self.path.startswith("auth/") and self.path.endswith("/login")

    def __str__(self) -> str:
        moment = self.time.astimezone().strftime("%Y-%m-%d %H:%M:%S")
        why = f"  {self.error}" if self.error and self.status != "denied" else ""
        path = below(self.namespace, self.path)
        what = f"{self.operation:<7}  {path}  {self.remote}"
        node = f"{self.node:<8}  " if self.node else ""
        return f"{moment}  {node}{self.status:<7}  {self.who:<16}  {what}{why}"


@dataclass(frozen=True, kw_only=True)
class Filter:
    """Which entries are wanted; what is None or empty wants all.

    Attributes:
        who: Role or display name, with shell wildcards.
        path: Path with shell wildcards, e.g. ``ecommerce/data/backend/*``.
        operation: One operation.
        status: One status, or ``bad`` for everything but ``ok``.
        since: Nothing older than this moment.
        namespace: That one alone, without what is below it; the empty one is the root namespace.
    """

    who: str | None = None
    path: str | None = None
    operation: str | None = None
    status: str | None = None
    since: datetime | None = None
    namespace: str | None = None

    def wants(self, entry: AuditEntry) -> bool:
        """Whether an entry passes."""
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
            and (self.namespace is None or entry.namespace == self.namespace)
        )


def parse_line(line: str, *, roles: Mapping[str, str] | None = None) -> AuditEntry | None:
    """An entry from a line, or None for a request's half, a cut line, or no audit line.

    Args:
        line: One line of the log.
        roles: Role names by the hash of their role-id, to name the role of a failed login.
    """
    record = parse_record(line)
    return None if record is None else entry_of(record, roles=roles)


def parse_record(line: str) -> dict[str, Any] | None:
    """What a line says, of either half of a call; None for a cut line, or no audit line."""
    try:
        record = json.loads(line)
    except ValueError:
        return None
    return record if isinstance(record, dict) else None


def moment_of(record: Mapping[str, Any]) -> datetime:
    """When a line was written.

    Raises:
        ValueError: It does not say so.
    """
    try:
        return datetime.fromisoformat(_microseconds(record["time"]))
    except (KeyError, TypeError, AttributeError) as error:
        raise ValueError("a line without a time") from error


def entry_of(
    record: Mapping[str, Any], *, roles: Mapping[str, str] | None = None, node: str = ""
) -> AuditEntry | None:
    """An entry from what a line says, or None for a request's half.

    Args:
        record: From `parse_record`.
        roles: As for `parse_line`.
        node: Whose log it is of.
    """
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
    login = path.startswith("auth/") and path.endswith("/login")
    if login:
        # The token that a caller sends along with a login says nothing about who logs in.
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
        return "ok"  # what was given is in the wrapping token, and nothing of it is in the log
    if error or "error" in data or (login and not response.get("auth")):
        return "failed"
    if request.get("operation") in {"read", "list"} and request.get("mount_type") == "kv":
        gone = "data" in data and data["data"] is None
        return "missing" if not data or gone else "ok"
    return "ok"


def _microseconds(moment: str) -> str:
    """Vault writes nanoseconds and leaves trailing zeros out; Python reads at most microseconds."""
    head, dot, rest = moment.partition(".")
    if not dot:
        return moment.replace("Z", "+00:00")
    digits = rest.rstrip("Z").split("+")[0].split("-")[0]
    zone = rest[len(digits) :].replace("Z", "+00:00")
    return f"{head}.{digits[:6].ljust(6, '0')}{zone}"


def entries(
    lines: Iterable[str], wanted: Filter | None = None, *, roles: Mapping[str, str] | None = None
) -> Iterator[AuditEntry]:
    """Entries from lines that pass the filter, in the log's order."""
    for line in lines:
        entry = parse_line(line, roles=roles)
        if entry is not None and (wanted is None or wanted.wants(entry)):
            yield entry
