"""``invoke audit`` and ``invoke audit.report``."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

from invoke.context import Context
from invoke.tasks import task

from vault_harness.console import guarded, say, table
from vault_harness.operations._common import local_stack

if TYPE_CHECKING:
    from vault_harness.stack import LocalStack
    from vault_harness.vault.audit import AuditReport, Filter

_FILTERS = {
    "who": "an AppRole or a token's display name, * allowed",
    "path": "a path in Vault, * allowed, for example 'ecommerce/data/backend/*'",
    "operation": "read, list, create, update, patch, delete, ...",
    "status": "ok, denied, missing, failed, or bad for all but ok",
    "since": "nothing older than this: 90s, 15m, 2h, 7d",
    "file": "an audit log elsewhere than the stack's",
}


@task(
    name="follow",
    default=True,
    help={
        **_FILTERS,
        "lines": "how many entries that are there already, counted after filtering, default 20; "
        "0 with --no-follow for all",
        "follow": "go on until Ctrl-C; --no-follow ends at once",
    },
)
@guarded
def audit(
    context: Context,  # noqa: ARG001 -- invoke passes it to every task
    who: str | None = None,
    path: str | None = None,
    operation: str | None = None,
    status: str | None = None,
    since: str | None = None,
    file: str | None = None,
    lines: int = 20,
    follow: bool = True,
) -> None:
    """Follow the audit log: who did what, when, and how it went. Values stay hashed.

    Example: invoke audit --who backend --status bad
             invoke audit --no-follow --since 15m --lines 0
    """
    from vault_harness.vault.audit import entries, follow_entries, last_entries, read_lines

    stack = local_stack()
    log = _log(stack, file)
    wanted = _filter(who, path, operation, status, since)
    roles = _hashes(stack)
    if not follow:
        found = (
            last_entries(log, lines, wanted, roles=roles)
            if lines
            else entries(read_lines(log), wanted, roles=roles)
        )
        for entry in found:
            say(str(entry))
        return
    with contextlib.suppress(KeyboardInterrupt):  # the way to end it
        for entry in follow_entries(log, wanted, last=lines, roles=roles):
            say(str(entry))


@task(
    name="report",
    help={
        "since": _FILTERS["since"],
        "file": _FILTERS["file"],
        "write": "also write each proposed policy to a file in this folder",
    },
)
@guarded
def audit_report(
    context: Context,  # noqa: ARG001 -- as above
    since: str | None = None,
    file: str | None = None,
    write: str | None = None,
) -> None:
    """Sum the audit log up per AppRole, and propose narrower policies as exact changes.

    Example: invoke audit.report --since 7d --write proposals/
    """
    from vault_harness.vault.audit import report

    stack = local_stack()
    log = _log(stack, file)
    with contextlib.closing(stack.operator()) as op:
        found = report(op, [log], wanted=_filter(None, None, None, None, since))
    _show(found)
    for proposal in found.proposals:
        target = Path(write or ".") / f"{proposal.policy}.hcl"
        if write:
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_text(proposal.text)
            say(f"to apply it: invoke vault -- policy write {proposal.policy} {target}")
        else:
            say(f"to apply the proposal for {proposal.policy}: invoke audit.report --write FOLDER")
    if found.proposals:
        say("and change it in the blueprint too: invoke doctor compares policies with it, and")
        say("invoke seed --only access brings the blueprint's back")


def _show(found: AuditReport) -> None:
    if found.since is None or found.until is None:
        say("the audit log has no entries in that time")
        return
    when = f"{found.since.astimezone():%Y-%m-%d %H:%M} to {found.until.astimezone():%Y-%m-%d %H:%M}"
    say(f"{found.entries} calls, {when}")
    rows: list[tuple[str, ...]] = []
    rows.append(("role", "logins", "failed", "calls", "denied", "missing", "last seen"))
    for use in found.roles.values():
        last = f"{use.last_seen.astimezone():%Y-%m-%d %H:%M}" if use.last_seen else "never"
        counts = (use.logins, use.failed_logins, use.requests)
        bad = (sum(use.denied.values()), sum(use.missing.values()))
        rows.append((use.name, *map(str, counts), *map(str, bad), last))
    say(table(rows))
    for use in found.roles.values():
        for path, count in use.denied.most_common():
            say(f"{use.name}: denied {count} times: {path}")
    if found.unknown_logins:
        say(f"failed logins with a role-id of nobody here: {found.unknown_logins}")
    for role in found.unused_roles:
        say(f"AppRole {role} never logged in: invoke vault -- delete auth/approle/role/{role}")
    for name in found.unused_policies:
        say(f"policy {name} belongs to nobody: invoke vault -- policy delete {name}")
    for name in found.idle_policies:
        say(f"policy {name}: nothing that it allows was done in this time")
    for name, why in found.unread_policies.items():
        say(f"policy {name}: {why}")
    for proposal in found.proposals:
        say(f"\npolicy {proposal.policy} is wider than what was used:")
        for reason in proposal.reasons:
            say(f"  {reason}")
        say(proposal.diff)


def _log(stack: LocalStack, file: str | None) -> Path:
    from vault_harness.errors import StackError

    if file:
        return Path(file)
    found = stack.provider().audit_path
    if found is None:
        raise StackError(
            "the audit log of this engine cannot be read as a file",
            looked_at=f"the {stack.provider().name} engine",
            remedy="Fetch it, and give it with --file.",
        )
    return found


def _hashes(stack: LocalStack) -> Mapping[str, str]:
    """Names for failed logins; without a Vault that can be asked they have none."""
    from vault_harness.errors import HarnessError
    from vault_harness.vault.audit import hashes_of_roles

    try:
        with contextlib.closing(stack.operator()) as op:
            return hashes_of_roles(op)
    except HarnessError:
        return {}


def _filter(
    who: str | None,
    path: str | None,
    operation: str | None,
    status: str | None,
    since: str | None,
) -> Filter:
    from vault_harness.errors import SettingsError
    from vault_harness.vault.audit import STATUSES, Filter

    if status is not None and status not in {*STATUSES, "bad"}:
        raise SettingsError(
            f"there is no status {status}", remedy=f"Give one of {', '.join(STATUSES)}, bad."
        )
    moment = datetime.now(UTC) - _duration(since) if since else None
    return Filter(who=who, path=path, operation=operation, status=status, since=moment)


def _duration(text: str) -> timedelta:
    from vault_harness.errors import SettingsError

    unit = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days"}.get(text[-1:])
    if unit is None or not text[:-1].isdigit():
        raise SettingsError(f"{text} is no time span", remedy="Write 90s, 15m, 2h or 7d.")
    return timedelta(**{unit: int(text[:-1])})
