"""The audit log: followed, and summed up."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

from vault_harness.cli._command import Seconds, command
from vault_harness.cli._common import local_stack
from vault_harness.cli._console import say, say_on, table
from vault_harness.commands import named
from vault_harness.interrupts import until_ctrl_c

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
    "node": "one node of a cluster, with what it handed on to the leader; by default all, joined",
}


@command(
    "audit.follow",
    group="operator",
    default=True,
    examples=("audit --who backend --status bad", "audit --no-follow --since 15m --lines 0"),
    help={
        **_FILTERS,
        "lines": "how many entries that are there already, counted after filtering, default 20; "
        "0 with --no-follow for all",
        "follow": "go on until Ctrl-C; --no-follow ends at once",
    },
)
def follow(
    who: str | None = None,
    path: str | None = None,
    operation: str | None = None,
    status: str | None = None,
    since: Seconds | None = None,
    file: str | None = None,
    node: str | None = None,
    lines: int = 20,
    follow: bool = True,
) -> None:
    """Follow the audit log: who did what, when, and how it went.

    Values stay hashed, as Vault writes them. Of a cluster, the logs of all nodes are one: each
    entry says whose it is, and what a standby handed on to the leader is there once.
    """
    from vault_harness.vault.audit import follow_joined, joined_entries, last_joined

    stack = local_stack()
    wanted = _filter(who, path, operation, status, since)
    logs = _logs(stack, file, node)
    roles = _hashes(stack)
    if not follow:
        found = (
            last_joined(logs, lines, wanted, roles=roles)
            if lines
            else joined_entries(logs, wanted, roles=roles)
        )
        for entry in found:
            say_on(str(entry))
        return

    def present() -> Mapping[str, Path]:
        return logs if file or node else stack_logs(stack)  # nodes come and go

    with until_ctrl_c():
        for entry in follow_joined(present, wanted, last=lines, roles=roles):
            say_on(str(entry))


@command(
    "audit.report",
    group="operator",
    examples=("audit.report --since 7d --write proposals/",),
    help={
        "since": _FILTERS["since"],
        "file": _FILTERS["file"],
        "node": _FILTERS["node"],
        "write": "also write each proposed policy to a file in this folder",
    },
)
def report(
    since: Seconds | None = None,
    file: str | None = None,
    node: str | None = None,
    write: str | None = None,
) -> None:
    """Sum the audit log up, and propose narrower policies.

    Per AppRole, over all nodes of a cluster. The proposals are exact changes: the whole narrower
    text of a policy, with a diff.
    """
    from vault_harness.vault.audit import report as sum_up

    stack = local_stack()
    logs = _logs(stack, file, node)
    with contextlib.closing(stack.operator()) as op:
        found = sum_up(op, logs.values(), wanted=_filter(None, None, None, None, since))
    _show(found)
    for proposal in found.proposals:
        target = Path(write or ".") / f"{proposal.policy}.hcl"
        if write:
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_text(proposal.text, encoding="utf-8")
            apply = named("vault", "--", "policy", "write", proposal.policy, target)
            say(f"to apply it: {apply}")
        else:
            again = named("audit.report", *_words(since, file, node), "--write", "FOLDER")
            say(f"to apply the proposal for {proposal.policy}: {again}")
    if found.proposals:
        doctor, access = named("doctor"), named("seed", "--only", "access")
        say(f"and change it in the blueprint too: {doctor} compares policies with it, and")
        say(f"{access} brings the blueprint's back")


def _words(since: Seconds | None, file: str | None, node: str | None) -> list[str]:
    """What makes a summary the same one again."""
    given = {"--since": None if since is None else _typed(since), "--file": file, "--node": node}
    return [word for pair in given.items() if pair[1] is not None for word in pair if word]


def _typed(seconds: Seconds) -> str:
    """A time as a person types it."""
    for unit, factor in {"d": 86400, "h": 3600, "m": 60}.items():
        if seconds and seconds % factor == 0:
            return f"{seconds / factor:.0f}{unit}"
    return f"{seconds:.3f}".rstrip("0").rstrip(".") + "s"


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
        look = named("vault", "--", "read", f"auth/approle/role/{role}")
        delete = named("vault", "--", "delete", f"auth/approle/role/{role}")
        say(f"AppRole {role}: no login in this time")
        say(f"  look at it: {look}; if nobody needs it: {delete}")
    for name in found.unused_policies:
        look = named("vault", "--", "policy", "read", name)
        delete = named("vault", "--", "policy", "delete", name)
        say(
            f"policy {name}: no AppRole has it, and no token in this log had it; a role of another "
            "auth method may have it, an entity or a group"
        )
        say(f"  look at it: {look}; if nobody needs it: {delete}")
    for name in found.idle_policies:
        say(f"policy {name}: nothing that it allows was done in this time")
    for name, why in found.unread_policies.items():
        say(f"policy {name}: {why}")
    for proposal in found.proposals:
        say(f"\npolicy {proposal.policy} is wider than what was used:")
        for reason in proposal.reasons:
            say(f"  {reason}")
        say(proposal.diff)


def stack_logs(stack: LocalStack) -> dict[str, Path]:
    """The stack's audit logs, by node; that of a single server has no name."""
    found = dict(stack.provider().audit_paths)
    if len(found) == 1:
        return {"": found.popitem()[1]}
    return found


def _logs(stack: LocalStack, file: str | None, node: str | None) -> dict[str, Path]:
    from vault_harness.errors import SettingsError, StackError

    if file and node:
        raise SettingsError(
            "--file and --node name two different logs",
            looked_at="the command line",
            remedy="give one of them",
        )
    if file:
        if not Path(file).exists():
            raise StackError(
                "there is no such audit log",
                looked_at=file,
                remedy="name the right file, or leave --file out for the stack's own log",
            )
        return {"": Path(file)}
    paths = dict(stack.provider().audit_paths)
    if node is not None and node not in paths:
        raise SettingsError(
            f"there is no node {node}",
            looked_at=f"the nodes of {stack.data_dir}",
            remedy=f"name one of {', '.join(paths)}, or leave --node out for all of them",
        )
    if not paths:
        raise StackError(
            "the audit log of this engine cannot be read as a file",
            looked_at=f"the {stack.provider().name} engine",
            remedy="Fetch it, and give it with --file.",
        )
    if not any(path.exists() for path in paths.values()):
        stack.endpoints()  # says that nothing runs; where Vault runs the log comes with a request
    return {node: paths[node]} if node is not None else stack_logs(stack)


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
    since: Seconds | None,
) -> Filter:
    from vault_harness.errors import SettingsError
    from vault_harness.vault.audit import STATUSES, Filter

    if status is not None and status not in {*STATUSES, "bad"}:
        raise SettingsError(
            f"there is no status {status}", remedy=f"Give one of {', '.join(STATUSES)}, bad."
        )
    moment = None
    if since is not None:
        with contextlib.suppress(OverflowError):  # before the year 1: nothing is older than that
            moment = datetime.now(UTC) - timedelta(seconds=since)
    return Filter(who=who, path=path, operation=operation, status=status, since=moment)
