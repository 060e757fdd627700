"""What each AppRole did, and what it may do without ever doing it."""

from __future__ import annotations

import difflib
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime

from vault_harness import policy
from vault_harness.policy import Rule
from vault_harness.vault.audit._entry import AuditEntry
from vault_harness.vault.audit._rules import best_rule, is_exact, render_rules
from vault_harness.vault.root import OPERATOR_POLICY

# Above this many paths a list of exact ones is harder to keep right than the wildcard that it
# replaces.
MOST_EXACT_PATHS = 20

# The log has each as the operation of a request; a subscription to events it does not have.
_CAPABILITIES = frozenset(
    {"read", "list", "scan", "create", "update", "patch", "delete", "recover"}
)
# Nobody wrote the first three; the operator's is for the rare days too.
_SPARED = frozenset({"default", "root", "response-wrapping", OPERATOR_POLICY})


@dataclass
class RoleUse:
    """What one AppRole did in the log.

    Attributes:
        name: The role.
        policies: What its tokens get, by name.
        logins: Successful ones.
        failed_logins: Wrong secret-ids and refusals.
        requests: Calls other than logins.
        denied: Refused paths with how often.
        missing: Paths that held nothing, with how often.
        last_seen: Its latest entry.
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
        policy: Its name.
        reasons: What was allowed and not used, one line each.
        text: The whole new policy, to be written instead of the old one.
        diff: Old against new, unified.
    """

    policy: str
    reasons: tuple[str, ...]
    text: str
    diff: str


@dataclass(frozen=True)
class AuditReport:
    """A summary of an audit log against the roles and policies of the Vault that wrote it.

    Attributes:
        since: First entry, or None for an empty log.
        until: Last entry.
        entries: How many were read.
        roles: By name.
        unknown_logins: Failed logins whose role-id belongs to no role.
        unused_roles: AppRoles that nobody logged in with.
        unused_policies: Policies that no AppRole has and no token in the log had. A role of another
            auth method may have one, or an entity or a group, whose tokens did nothing in this
            time.
        idle_policies: Policies that somebody had, and that allowed nothing that anybody did; none
            with a rule whose use the log does not show.
        unread_policies: Policies that could not be read, with the reason: nothing is proposed for
            them.
        proposals: Narrower policies.
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
    """Sum up a log.

    Args:
        entries: In any order.
        roles: AppRoles of this Vault, each with the policies of its tokens.
        policies: Policies of this Vault, each with its text.
    """
    use = {name: RoleUse(name, tuple(granted)) for name, granted in roles.items()}
    since: datetime | None = None
    until: datetime | None = None
    count = 0
    unknown_logins = 0
    calls: Counter[tuple[str, str, tuple[str, ...]]] = Counter()
    seen: set[str] = set()
    for entry in entries:
        count += 1
        since = min(since or entry.time, entry.time)
        until = max(until or entry.time, entry.time)
        seen.update(entry.policies)
        if entry.status in {"ok", "missing"} and not entry.is_login and entry.policies:
            calls[entry.path, entry.operation, entry.policies] += 1
        if entry.role is not None:
            _count(use.setdefault(entry.role, RoleUse(entry.role)), entry)
        elif entry.is_login and entry.status != "ok":
            unknown_logins += 1
    rules, unread = _parsed(policies)
    used = _used(calls, rules)
    held = {name for granted in roles.values() for name in granted} | {
        name for _, _, held in calls for name in held
    }
    busy = {name for name in used if used[name]}
    busy |= {name for name, each in rules.items() if any(map(_is_unseen, each))}
    proposals = [
        proposal
        for name in sorted(held & set(rules) - _SPARED)
        if name not in unread
        and (proposal := narrow(name, policies[name], used.get(name, {}))) is not None
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


def narrow(name: str, text: str, used: Mapping[str, Mapping[str, set[str]]]) -> Proposal | None:
    """A policy that allows what was used and no more, or None if it is as narrow already.

    None too where nothing was used but what is kept in any case: a time in which nobody needed a
    policy does not tell what it is for.

    Args:
        name: The policy.
        text: As it is now.
        used: By path of a rule: the paths that were called under it, each with the capabilities
            used.
    """
    reasons: list[str] = []
    kept: dict[str, frozenset[str]] = {}
    judged = False
    for rule in policy.parse(text):
        calls = used.get(rule.path, {})
        if _keeps(rule):
            kept[rule.path] = rule.capabilities
        elif not calls:
            reasons.append(f"{rule.path}: never used")
        else:
            kept |= _narrower(rule, calls, reasons)
            judged = True
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
    return Proposal(name, tuple(reasons), proposed, "".join(lines))


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
    calls: Iterable[tuple[str, str, tuple[str, ...]]], rules: Mapping[str, list[Rule]]
) -> dict[str, dict[str, dict[str, set[str]]]]:
    """By policy, by rule: paths called, each with its capabilities.

    As in Vault, the best rule over all of a token's policies decides.
    """
    used: dict[str, dict[str, dict[str, set[str]]]] = defaultdict(
        lambda: defaultdict(lambda: defaultdict(set))
    )
    for path, operation, held in calls:
        for name in held:
            used[name]  # a policy that was held counts as seen, used or not
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
    """Rules that the log cannot judge: refusals, events, templates, a token's care for itself."""
    return (
        "deny" in rule.capabilities
        or _is_unseen(rule)
        or (rule.path.startswith("auth/token/") and rule.path.endswith("-self"))
    )


def _is_unseen(rule: Rule) -> bool:
    """Whether nothing in the log tells that it was used: a template's paths are of each token."""
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
    """Whether a write is ``create`` or ``update`` depends on the secret: both stay together."""
    kept = set(operations)
    if kept & {"create", "update"}:
        kept |= {"create", "update"} & rule.capabilities
    if "sudo" in rule.capabilities:
        kept.add("sudo")
    return kept
