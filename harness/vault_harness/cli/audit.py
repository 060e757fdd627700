"""Tasks that show the audit log and sum it up."""

from __future__ import annotations

import contextlib
import shlex
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

from vault_harness.cli.command import Seconds, command, option
from vault_harness.cli.common import local_stack, wrong
from vault_harness.cli.printing import say, say_on, table
from vault_harness.errors import HarnessError, SettingsError, StackError, named
from vault_harness.files import write_text
from vault_harness.interrupts import until_ctrl_c

if TYPE_CHECKING:
    from vault_harness.local.stack.local import LocalStack
    from vault_harness.operator.audit import AuditEntry, AuditReport, Filter, Proposal


@dataclass(frozen=True)
class Chosen:
    """Which log is read, and which of its entries."""

    who: str | None = option("an AppRole or a token's display name, * allowed")
    path: str | None = option("a path in Vault, * allowed, for example 'ecommerce/data/backend/*'")
    operation: str | None = option("read, list, create, update, patch, delete, ...")
    status: str | None = option("ok, denied, missing, failed, or bad for all but ok")
    since: Seconds | None = option("nothing older than this: 90s, 15m, 2h, 7d")
    file: str | None = option("another audit log than the stack's")
    node: str | None = option(
        "one node of a cluster, with the requests it forwarded; by default all nodes, joined"
    )

    def filter(self) -> Filter:
        from vault_harness.operator.audit import STATUSES, Filter

        if self.status is not None and self.status not in {*STATUSES, "bad"}:
            raise SettingsError(
                f"there is no status {self.status}",
                remedy=f"Give one of {', '.join(STATUSES)}, bad.",
            )
        moment = None
        if self.since is not None:
            with contextlib.suppress(OverflowError):  # before the year 1
                moment = datetime.now(UTC) - timedelta(seconds=self.since)
        return Filter(
            who=self.who,
            path=self.path,
            operation=self.operation,
            status=self.status,
            since=moment,
        )

    def words(self) -> list[str]:
        since = None if self.since is None else _typed(self.since)
        given = {"--since": since, "--file": self.file, "--node": self.node}
        return [word for pair in given.items() if pair[1] is not None for word in pair if word]


@command(
    "audit.show",
    group="operator",
    default=True,
    examples=("audit --who backend --status bad", "audit --follow"),
    help={
        "lines": "only the last entries, counted after filtering, 20 by default; 0 for all, "
        "with --follow for new ones only",
        "follow": "go on until Ctrl-C",
    },
)
def show(chosen: Chosen, lines: int = 20, follow: bool = False) -> None:
    """Show the audit log: who did what, when, and how it went.

    Values stay hashed, as Vault writes them. The logs of all nodes of a cluster are joined. Each
    entry names its node, and a request that a standby forwarded to the leader is shown once.
    """
    from vault_harness.operator.audit import follow_joined, joined_entries, last_joined

    stack = local_stack()
    wanted = chosen.filter()
    logs = _logs(stack, chosen)
    if not follow:
        wanted = replace(wanted, until=datetime.now(UTC))  # without the requests of `_hashes`
    roles = _hashes(stack)

    def present() -> Mapping[str, Path]:
        return logs if chosen.file or chosen.node else stack_logs(stack)  # nodes come and go

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
    fields=("since", "file", "node"),
    help={"write": "also write each proposed policy to a file in this folder"},
)
def report(chosen: Chosen, write: str | None = None) -> None:
    """Sum up the audit log, and propose narrower policies.

    The summary is per AppRole, over all nodes of a cluster. Each proposal is the whole text of a
    narrower policy, with a diff.
    """
    from vault_harness.operator.audit import report as sum_up

    stack = local_stack()
    logs = _logs(stack, chosen)
    with contextlib.closing(stack.operator()) as op:
        found = sum_up(op, logs.values(), wanted=chosen.filter())
    _show(found)
    if write and found.proposals:
        with stack.held():
            _write(found.proposals, Path(write), stack)
    elif found.proposals:
        again = named("audit.report", *chosen.words(), "--write", "FOLDER")
        say(f"to apply these proposals: {again}")


def _write(proposals: Sequence[Proposal], folder: Path, stack: LocalStack) -> None:
    from vault_harness.local.vault.kept import Kept

    kept, blueprint = Kept(stack.ids_directory()), stack.blueprint()
    for proposal in proposals:
        name, target = proposal.policy, folder / f"{proposal.policy}.hcl"
        if target.exists():  # perhaps changed by hand
            kept.keep("policy", name, target.read_bytes().decode())
        write_text(target, proposal.text)
        # Adopted, so that the doctor expects it and `seed --only access` keeps it.
        adopt = f" && {named('seed', '--adopt', name)}" if name in blueprint.policies else ""
        for what, file in (
            ("apply it", target),
            ("undo that", kept.keep("policy", name, proposal.present)),
        ):
            say(f"to {what}: {named('vault', '--', 'policy', 'write', name, file)}{adopt}")


def _typed(seconds: Seconds) -> str:
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
    """Return the stack's audit logs by node, "" for a single server."""
    found = dict(stack.provider().audit_paths)
    if len(found) == 1:
        return {"": found.popitem()[1]}
    return found


def _logs(stack: LocalStack, chosen: Chosen) -> dict[str, Path]:
    file, node = chosen.file, chosen.node
    if file and node:
        raise wrong(
            "--file and --node name two different logs",
            "give one of them",
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
    """Return the hashes of role-ids, to name failed logins."""
    from vault_harness.operator.audit import hashes_of_roles

    try:
        with contextlib.closing(stack.operator()) as op:
            return hashes_of_roles(op)
    except HarnessError:
        return {}
