"""Telling a placeholder that seeding made from a value that somebody put there."""

from __future__ import annotations

import re

from harness.blueprint import Blueprint, Value

_PLACEHOLDER = re.compile(r"\{[^{}]+\}")


def seeded_by(blueprint: Blueprint, mount: str, path: str, key: str, value: str) -> bool:
    """Whether seeding with this blueprint may have written a value.

    Literal text must be the same; a generated value must have its prefix, length and alphabet; a
    template its
    fixed parts. A value that came from an environment variable counts as somebody's own.
    """
    spec = blueprint.secrets.get(mount, {}).get(path, {}).get(key)
    return spec is not None and re.fullmatch(_pattern(spec), value, re.DOTALL) is not None


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
