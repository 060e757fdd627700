"""Tasks that show the audit log and sum it up."""

from __future__ import annotations

import contextlib
import shlex
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

from vault_harness.cli.command import Seconds, command
from vault_harness.cli.common import local_stack
from vault_harness.cli.console import say, say_on, table
from vault_harness.commands import named
from vault_harness.files import write_text
from vault_harness.interrupts import until_ctrl_c

if TYPE_CHECKING:
    from vault_harness.local.stack.local import LocalStack
    from vault_harness.operator.audit import AuditEntry, AuditReport, Filter, Proposal

_FILTERS = {
    "who": "an AppRole or a token's display name, * allowed",
    "path": "a path in Vault, * allowed, for example 'ecommerce/data/backend/*'",
    "operation": "read, list, create, update, patch, delete, ...",
    "status": "ok, denied, missing, failed, or bad for all but ok",
    "since": "nothing older than this: 90s, 15m, 2h, 7d",
    "file": "another audit log than the stack's",
    "node": "one node of a cluster, with the requests it forwarded; by default all nodes, joined",
}


@command(
    "audit.show",
    group="operator",
    default=True,
    examples=("audit --who backend --status bad", "audit --follow"),
    help={
        **_FILTERS,
        "lines": "only the last entries, counted after filtering, 20 by default; 0 for all, "
        "with --follow for new ones only",
        "follow": "go on until Ctrl-C",
    },
)
def show(
    who: str | None = None,
    path: str | None = None,
    operation: str | None = None,
    status: str | None = None,
    since: Seconds | None = None,
    file: str | None = None,
    node: str | None = None,
    lines: int = 20,
    follow: bool = False,
) -> None:
    """Show the audit log: who did what, when, and how it went.

    Values stay hashed, as Vault writes them. The logs of all nodes of a cluster are joined. Each
    entry names its node, and a request that a standby forwarded to the leader is shown once.
    """
    from vault_harness.operator.audit import follow_joined, joined_entries, last_joined

    stack = local_stack()
    wanted = _filter(who, path, operation, status, since)
    logs = _logs(stack, file, node)
    if not follow:
        wanted = replace(wanted, until=datetime.now(UTC))  # without the requests of `_hashes`
    roles = _hashes(stack)

    def present() -> Mapping[str, Path]:
        return logs if file or node else stack_logs(stack)  # nodes come and go

    found: Iterable[AuditEntry]
    if follow:
        found = follow_joined(present, wanted, last=lines, roles=roles)
    elif lines:
        found = last_joined(logs, lines, wanted, roles=roles)
    else:
        found = joined_entries(logs, wanted, roles=roles)
    with until_ctrl_c() if follow else contextlib.nullcontext():
        for entry in found:
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
    """Sum up the audit log, and propose narrower policies.

    The summary is per AppRole, over all nodes of a cluster. Each proposal is the whole text of a
    narrower policy, with a diff.
    """
    from vault_harness.operator.audit import report as sum_up

    stack = local_stack()
    logs = _logs(stack, file, node)
    with contextlib.closing(stack.operator()) as op:
        found = sum_up(op, logs.values(), wanted=_filter(None, None, None, None, since))
    _show(found)
    if write and found.proposals:
        with stack.held():
            _write(found.proposals, Path(write), stack)
    elif found.proposals:
        again = named("audit.report", *_words(since, file, node), "--write", "FOLDER")
        say(f"to apply these proposals: {again}")


def _write(proposals: Sequence[Proposal], folder: Path, stack: LocalStack) -> None:
    """Write each proposal to a file, and keep a copy of the file and policy it would replace."""
    from vault_harness.local.vault.kept import Kept

    kept, blueprint = Kept(stack.ids_directory()), stack.blueprint()
    for proposal in proposals:
        name, target = proposal.policy, folder / f"{proposal.policy}.hcl"
        if target.exists():  # it may have been changed by hand
            kept.keep("policy", name, target.read_bytes().decode())
        write_text(target, proposal.text)
        # Adopted, so that the doctor expects it and `seed --only access` keeps it.
        adopt = f" && {named('seed', '--adopt', name)}" if name in blueprint.policies else ""
        for what, file in (
            ("apply it", target),
            ("undo that", kept.keep("policy", name, proposal.present)),
        ):
            say(f"to {what}: {named('vault', '--', 'policy', 'write', name, file)}{adopt}")


def _words(since: Seconds | None, file: str | None, node: str | None) -> list[str]:
    """Return the options that repeat a summary."""
    given = {"--since": None if since is None else _typed(since), "--file": file, "--node": node}
    return [word for pair in given.items() if pair[1] is not None for word in pair if word]


def _typed(seconds: Seconds) -> str:
    """Format a time as a person types it."""
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
        say(f"failed logins with an unknown role-id: {found.unknown_logins}")
    for role in found.unused_roles:
        path, copy = f"auth/approle/role/{role}", shlex.quote(f"{role}.json")
        keep = f"{named('vault', '--', 'read', '-format=json', path)} > {copy}"
        say(f"AppRole {role}: no login in this time")
        say(f"  look at it: {named('vault', '--', 'read', path)}")
        say(f"  if nobody needs it: {keep} && {named('vault', '--', 'delete', path)}")
    for name in found.unused_policies:
        look = named("vault", "--", "policy", "read", name)
        delete = named("vault", "--", "policy", "delete", name)
        copy = shlex.quote(f"{name}.hcl")
        say(
            f"policy {name}: no AppRole has it, and no token in this log had it; a role of another "
            "auth method may have it, an entity or a group"
        )
        say(f"  look at it: {look}")
        say(f"  if nobody needs it: {look} > {copy} && {delete}")
    for name in found.idle_policies:
        say(f"policy {name}: nobody used it in this time")
    for name, why in found.unread_policies.items():
        say(f"policy {name}: {why}")
    for proposal in found.proposals:
        say(f"\npolicy {proposal.policy} is wider than what was used:")
        for reason in proposal.reasons:
            say(f"  {reason}")
        say(proposal.diff)


def stack_logs(stack: LocalStack) -> dict[str, Path]:
    """Return the stack's audit logs by node; a single server has the name ""."""
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
        stack.endpoints()  # raises if nothing runs; a running Vault gets its log with a request
    return {node: paths[node]} if node is not None else stack_logs(stack)


def _hashes(stack: LocalStack) -> Mapping[str, str]:
    """Return the hashes of role-ids, to name failed logins; none without a reachable Vault."""
    from vault_harness.errors import HarnessError
    from vault_harness.operator.audit import hashes_of_roles

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
    from vault_harness.operator.audit import STATUSES, Filter

    if status is not None and status not in {*STATUSES, "bad"}:
        raise SettingsError(
            f"there is no status {status}", remedy=f"Give one of {', '.join(STATUSES)}, bad."
        )
    moment = None
    if since is not None:
        with contextlib.suppress(OverflowError):  # before the year 1, so nothing is older
            moment = datetime.now(UTC) - timedelta(seconds=since)
    return Filter(who=who, path=path, operation=operation, status=status, since=moment)
