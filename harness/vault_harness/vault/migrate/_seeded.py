"""Telling a placeholder that seeding made from a value that somebody put there."""

from __future__ import annotations

import re
from dataclasses import replace

from vault_harness.blueprint import Blueprint, Value
from vault_harness.boundary import without_frames
from vault_harness.vault.kv import Kv
from vault_harness.vault.migrate._mapping import Place
from vault_harness.vault.migrate._plan import Placement, Plan

_PLACEHOLDER = re.compile(r"\{[^{}]+\}")


def seeded_by(blueprint: Blueprint, mount: str, path: str, key: str, value: str) -> bool:
    """Whether seeding with this blueprint may have written a value.

    Literal text must be the same; a generated value must have its prefix, length and alphabet; a
    template its fixed parts. A value that came from an environment variable counts as somebody's
    own.
    """
    spec = blueprint.secrets.get(mount, {}).get(path, {}).get(key)
    return spec is not None and re.fullmatch(_pattern(spec), value, re.DOTALL) is not None


@without_frames
def with_templates(plan: Plan, kv: Kv, blueprint: Blueprint) -> Plan:
    """The plan, and with it what seeding made of values that it changes, such as URLs.

    Only what is still as seeding left it, and what the dotenv file does not have itself.
    """
    planned = {(p.target.path, p.target.key): p for p in plan.placements}
    changing = {place for place, p in planned.items() if p.action in {"create", "change"}}
    added: list[Placement] = []
    versions = dict(plan.versions)
    for path, secret in blueprint.secrets.get(kv.mount, {}).items():
        for key, spec in secret.items():
            references = spec.references(path)
            if (path, key) in planned or not changing & set(references):
                continue
            now = kv.read(path)
            current = str(now.data.get(key, ""))
            known = {
                place: planned[place].value
                if place in planned
                else kv.read(place[0]).data.get(place[1], "")
                for place in references
            }
            made = spec.fill(path, known)
            if current != made and seeded_by(blueprint, kv.mount, path, key, current):
                why = f"made of {', '.join(name for _, name in references)}"
                added.append(Placement(key, Place(path, key), made, "change", why))
                versions.setdefault(path, now.version)
    return replace(plan, placements=(*plan.placements, *added), versions=versions)


def _pattern(spec: Value) -> str:
    if spec.value is not None:
        return re.escape(str(spec.value))
    if spec.template is not None:
        return ".*".join(re.escape(part) for part in _PLACEHOLDER.split(spec.template))
    alternatives = [] if spec.default is None else [re.escape(str(spec.default))]
    if spec.generate is not None:
        alphabet = "".join(re.escape(character) for character in spec.characters)
        alternatives.append(f"{re.escape(spec.prefix)}[{alphabet}]{{{spec.generate}}}")
    return "|".join(f"(?:{each})" for each in alternatives) or r"(?!)"
