"""What each AppRole did, and which of its rights nobody used."""

from __future__ import annotations

import contextlib
import difflib
import json
import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from pathlib import Path
from types import MappingProxyType

from vault_harness.errors import OperatorError, without_frames
from vault_harness.local import policy
from vault_harness.local.policy import Rule
from vault_harness.local.vault import approle
from vault_harness.local.vault.admin import VaultAdmin
from vault_harness.local.vault.tokens import OPERATOR_POLICY
from vault_harness.operator.audit.joined import joined_entries
from vault_harness.operator.audit.log import AuditEntry, Filter


def is_exact(rule: Rule) -> bool:
    return not rule.path.endswith("*") and "+" not in rule.path.split("/")


def covers(rule: Rule, path: str) -> bool:
    """Return whether a rule fits a path, without regard to better rules."""
    open_end = rule.path.endswith("*")
    segments = rule.path.removesuffix("*").split("/")
    pattern = "/".join("[^/]+" if part == "+" else re.escape(part) for part in segments)
    return re.fullmatch(pattern + (".*" if open_end else ""), path, re.DOTALL) is not None


def best_rule(rules: Iterable[Rule], path: str) -> Rule | None:
    return max((rule for rule in rules if covers(rule, path)), key=_priority, default=None)


def render_rules(rules: Mapping[str, frozenset[str]]) -> str:
    return "\n".join(
        f"path {json.dumps(path)} {{\n  capabilities = [{_listed(capabilities)}]\n}}\n"
        for path, capabilities in rules.items()
    )


def _listed(capabilities: frozenset[str]) -> str:
    return ", ".join(json.dumps(name) for name in sorted(capabilities))


def _priority(rule: Rule) -> tuple[bool, int, bool, int, int, str]:
    segments = rule.path.split("/")
    wildcards = [rule.path.find("*")]
    if "+" in segments:
        wildcards.append(sum(len(part) + 1 for part in segments[: segments.index("+")]))
    first = min((at for at in wildcards if at >= 0), default=len(rule.path))
    closed = not rule.path.endswith("*")
    return (is_exact(rule), first, closed, -segments.count("+"), len(rule.path), rule.path)


# A longer list is harder to keep right than the wildcard that it replaces.
MOST_EXACT_PATHS = 20

# Operations in the log, which does not show subscriptions to events.
_CAPABILITIES = frozenset(
    {"read", "list", "scan", "create", "update", "patch", "delete", "recover"}
)
# The server made the first three. The operator's also serves rare tasks.
_SPARED = frozenset({"default", "root", "response-wrapping", OPERATOR_POLICY})


_Call = tuple[str, str, tuple[str, ...]]
"""Path, operation, and the policies of the token."""


@dataclass
class RoleUse:
    """What one AppRole did in the log.

    Attributes:
        failed_logins: Wrong secret-ids and refusals.
        requests: Without logins.
    """

    name: str
    policies: tuple[str, ...] = ()
    logins: int = 0
    failed_logins: int = 0
    requests: int = 0
    denied: Counter[str] = field(default_factory=Counter)
    missing: Counter[str] = field(default_factory=Counter)
    last_seen: datetime | None = None


@dataclass(frozen=True)
class Proposal:
    """A narrower policy.

    Attributes:
        reasons: What was allowed and not used, one line each.
    """

    policy: str
    reasons: tuple[str, ...]
    present: str
    text: str
    diff: str


@dataclass(frozen=True)
class AuditReport:
    """An audit log, compared with the roles and policies of its Vault.

    Attributes:
        since: None for an empty log.
        unknown_logins: Failed logins whose role-id belongs to no role.
        unused_policies: No AppRole has them, and no token in the log had. An entity, a group or a
            role of another auth method may still have one.
        idle_policies: Somebody had them, and they allowed nothing anybody did. Those with a rule
            whose use the log does not show are left out.
        unread_policies: The reason why one could not be judged. They get no proposal.
    """

    since: datetime | None
    until: datetime | None
    entries: int
    roles: Mapping[str, RoleUse]
    unknown_logins: int
    unused_roles: tuple[str, ...]
    unused_policies: tuple[str, ...]
    idle_policies: tuple[str, ...]
    unread_policies: Mapping[str, str]
    proposals: tuple[Proposal, ...]


def summarise(
    entries: Iterable[AuditEntry],
    *,
    roles: Mapping[str, Sequence[str]],
    policies: Mapping[str, str],
) -> AuditReport:
    use = {name: RoleUse(name, tuple(granted)) for name, granted in roles.items()}
    since: datetime | None = None
    until: datetime | None = None
    count = 0
    unknown_logins = 0
    calls: set[_Call] = set()
    answered: set[str] = set()
    seen: set[str] = set()
    for entry in entries:
        count += 1
        since = min(since or entry.time, entry.time)
        until = max(until or entry.time, entry.time)
        seen.update(entry.policies)
        if entry.status in {"ok", "missing"} and not entry.is_login and entry.policies:
            calls.add((entry.path, entry.operation, entry.policies))
            if entry.status == "ok":
                answered.add(entry.path)
        if entry.role is not None:
            _count(use.setdefault(entry.role, RoleUse(entry.role)), entry)
        elif entry.is_login and entry.status != "ok":
            unknown_logins += 1
    rules, unread = _parsed(policies)
    used = _used((call for call in calls if call[0] in answered), rules)
    missed = _used((call for call in calls if call[0] not in answered), rules)
    held = {name for granted in roles.values() for name in granted} | {
        name for _, _, held in calls for name in held
    }
    busy = {name for each in (used, missed) for name in each if each[name]}
    busy |= {name for name, each in rules.items() if any(map(_is_unseen, each))}
    proposals = [
        proposal
        for name in sorted(held & set(rules) - _SPARED)
        if name not in unread
        and (proposal := narrow(name, policies[name], used.get(name, {}), missed.get(name, {})))
    ]
    return AuditReport(
        since=since,
        until=until,
        entries=count,
        roles=dict(sorted(use.items())),
        unknown_logins=unknown_logins,
        unused_roles=tuple(sorted(name for name in roles if use[name].logins == 0)),
        unused_policies=tuple(sorted(set(policies) - held - seen - _SPARED)),
        idle_policies=tuple(sorted(held & set(policies) - busy - _SPARED)),
        unread_policies=unread,
        proposals=tuple(proposals),
    )


def narrow(
    name: str,
    text: str,
    used: Mapping[str, Mapping[str, set[str]]],
    missed: Mapping[str, Iterable[str]] = MappingProxyType({}),
) -> Proposal | None:
    """Propose a policy that allows only what was used, or None if it is as narrow already.

    Also None if only rules were used that stay in any case: then the log does not tell what the
    policy is for.

    Args:
        used: By path of a rule: the called paths, each with the used capabilities.
        missed: By path of a rule: called paths that never had content.
    """
    reasons: list[str] = []
    kept: dict[str, frozenset[str]] = {}
    judged = False
    for rule in policy.parse(text):
        if _keeps(rule):
            kept[rule.path] = rule.capabilities
            continue
        calls, missing = used.get(rule.path, {}), sorted(missed.get(rule.path, ()))
        if calls:
            kept |= _narrower(rule, calls, reasons)
            judged = True
        elif not missing:
            reasons.append(f"{rule.path}: never used")
        if rule.path not in kept:
            reasons += [f"{path}: requested, but it had no content" for path in missing]
    if not reasons or not judged:
        return None
    proposed = render_rules(kept)
    diff = difflib.unified_diff(
        text.splitlines(keepends=True),
        proposed.splitlines(keepends=True),
        f"{name} (now)",
        f"{name} (proposed)",
    )
    lines = (line.rstrip("\n") + "\n" for line in diff)
    return Proposal(name, tuple(reasons), text, proposed, "".join(lines))


def _count(role: RoleUse, entry: AuditEntry) -> None:
    role.last_seen = max(entry.time, role.last_seen) if role.last_seen else entry.time
    if entry.is_login:
        role.logins += entry.status == "ok"
        role.failed_logins += entry.status != "ok"
        return
    role.requests += 1
    if entry.status == "denied":
        role.denied[entry.path] += 1
    elif entry.status == "missing":
        role.missing[entry.path] += 1


def _parsed(policies: Mapping[str, str]) -> tuple[dict[str, list[Rule]], dict[str, str]]:
    rules: dict[str, list[Rule]] = {}
    unread: dict[str, str] = {}
    for name, text in policies.items():
        try:
            found = policy.parse(text)
        except policy.PolicyError as error:
            unread[name] = str(error)
            continue
        rules[name] = found
        settings = sorted({setting for rule in found for setting in rule.settings})
        if settings:
            unread[name] = f"narrow it by hand, it also sets {', '.join(settings)}"
    return rules, unread


def _used(
    calls: Iterable[_Call], rules: Mapping[str, list[Rule]]
) -> dict[str, dict[str, dict[str, set[str]]]]:
    """Return, by policy and by rule, the called paths with their capabilities.

    As in Vault, the best rule of all of a token's policies decides.
    """
    used: dict[str, dict[str, dict[str, set[str]]]] = defaultdict(
        lambda: defaultdict(lambda: defaultdict(set))
    )
    for path, operation, held in calls:
        for name in held:
            used[name]  # makes an entry, so that the policy counts as seen
        if operation not in _CAPABILITIES:
            continue
        every = [rule for name in held for rule in rules.get(name, [])]
        best = best_rule(every, path) or best_rule(every, path.rstrip("/"))
        if best is None:
            continue
        for name in held:
            for rule in rules.get(name, []):
                if rule.path == best.path and operation in rule.capabilities:
                    used[name][rule.path][path].add(operation)
    return used


def _keeps(rule: Rule) -> bool:
    """Return whether the log cannot judge a rule: denials, events, templates, own tokens."""
    return (
        "deny" in rule.capabilities
        or _is_unseen(rule)
        or (rule.path.startswith("auth/token/") and rule.path.endswith("-self"))
    )


def _is_unseen(rule: Rule) -> bool:
    """Return whether the log cannot show a rule's use. A template differs for each token."""
    return "subscribe" in rule.capabilities or "{{" in rule.path


def _narrower(
    rule: Rule, calls: Mapping[str, set[str]], reasons: list[str]
) -> dict[str, frozenset[str]]:
    needed = {path: frozenset(_with_pair(rule, operations)) for path, operations in calls.items()}
    together = frozenset().union(*needed.values())
    spare = ", ".join(sorted(rule.capabilities - together))
    if is_exact(rule) or len(needed) > MOST_EXACT_PATHS:
        if spare:
            reasons.append(f"{rule.path}: {spare} never used")
        return {rule.path: together}
    reasons.append(f"{rule.path}: used only for {', '.join(sorted(needed))}")
    if spare:
        reasons.append(f"{rule.path}: {spare} never used")
    return dict(sorted(needed.items()))


def _with_pair(rule: Rule, operations: set[str]) -> set[str]:
    """Add rights that belong together. The secret decides if a write is a create or an update."""
    kept = set(operations)
    if kept & {"create", "update"}:
        kept |= {"create", "update"} & rule.capabilities
    if "sudo" in rule.capabilities:
        kept.add("sudo")
    return kept


@without_frames
def report(op: VaultAdmin, logs: Iterable[Path], *, wanted: Filter | None = None) -> AuditReport:
    """Summarise the audit logs of a Vault's nodes, for the namespace of ``op`` only.

    ``op`` may list and read policies and AppRoles, and ``sys/audit-hash``.
    """
    wanted = replace(wanted or Filter(), namespace=op.namespace)
    hashes = hashes_of_roles(op)
    found = joined_entries({str(log): log for log in logs}, wanted, roles=hashes)
    return summarise(found, roles=roles_of(op), policies=policies_of(op))


def roles_of(op: VaultAdmin) -> dict[str, tuple[str, ...]]:
    names = _names(op, "auth/approle/role")
    return {
        name: tuple(op.request("GET", f"auth/approle/role/{name}")["data"]["token_policies"] or ())
        for name in names
    }


def policies_of(op: VaultAdmin) -> dict[str, str]:
    """Return each policy's text; ``root`` has none."""
    return {
        name: str(op.request("GET", f"sys/policies/acl/{name}")["data"]["policy"])
        for name in _names(op, "sys/policies/acl")
        if name != "root"
    }


@without_frames
def hashes_of_roles(op: VaultAdmin) -> dict[str, str]:
    """Return role names by the hash of their role-id in the audit log.

    Empty if no audit device is enabled or the token may not ask.
    """
    hashes = {}
    with contextlib.suppress(OperatorError):
        devices = op.request("GET", "sys/audit").get("data", {})
        for role in _names(op, "auth/approle/role"):
            role_id = approle.role_id(op, role)
            for device in devices:
                path = f"sys/audit-hash/{device.rstrip('/')}"
                hashes[str(op.request("POST", path, input=role_id)["data"]["hash"])] = role
    return hashes


def _names(op: VaultAdmin, path: str) -> list[str]:
    return [str(key) for key in op.request("LIST", path).get("data", {}).get("keys", [])]
