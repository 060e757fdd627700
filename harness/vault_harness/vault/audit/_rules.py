"""Which rule of a policy Vault applies to a path, and writing rules down again.

``+`` is one segment, ``*`` at the end any rest; of several rules that fit, the order is that of
Vault's policy documentation, which OpenBao kept.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping

from vault_harness.policy import Rule


def is_exact(rule: Rule) -> bool:
    """Whether a rule names one path only."""
    return not rule.path.endswith("*") and "+" not in rule.path.split("/")


def covers(rule: Rule, path: str) -> bool:
    """Whether a rule fits a path, apart from other rules that fit better."""
    open_end = rule.path.endswith("*")
    segments = rule.path.removesuffix("*").split("/")
    pattern = "/".join("[^/]+" if part == "+" else re.escape(part) for part in segments)
    return re.fullmatch(pattern + (".*" if open_end else ""), path, re.DOTALL) is not None


def best_rule(rules: Iterable[Rule], path: str) -> Rule | None:
    """The rule that decides about a path, or None if none fits."""
    return max((rule for rule in rules if covers(rule, path)), key=_priority, default=None)


def render_rules(rules: Mapping[str, frozenset[str]]) -> str:
    """Rules, by path their capabilities, in HCL."""
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
