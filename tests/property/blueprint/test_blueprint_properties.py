"""Every valid blueprint file is read as written and applied once."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from vault_harness.errors import BlueprintError
from vault_harness.local.blueprint import Blueprint, Value
from vault_harness.local.engine.choice import open_engine
from vault_harness.local.engine.shape import NodeSpec
from vault_harness.local.policy import CAPABILITIES, PolicyError, parse
from vault_harness.local.stack.launching import Stack, launch
from vault_harness.local.vault.apply import apply
from vault_harness.settings import Settings
from vault_harness.toml_lines import line_of

NAMES = st.from_regex(r"[a-z0-9][a-z0-9_.-]{0,11}", fullmatch=True)
SEGMENTS = st.from_regex(r"[A-Za-z0-9_~-]{1,8}", fullmatch=True)
PATHS = st.lists(SEGMENTS, min_size=1, max_size=3).map("/".join)
CHARACTERS = st.characters(codec="utf-8", exclude_categories=["Cs", "Cc"])
KEYS = st.text(CHARACTERS, min_size=1, max_size=12)
TEXTS = st.text(st.characters(codec="utf-8", exclude_categories=["Cs"]), max_size=30)
LITERALS = st.one_of(TEXTS, st.integers(-(2**53), 2**53), st.booleans())
GENERATED = st.fixed_dictionaries(
    {"generate": st.integers(1, 64)},
    optional={
        "alphabet": st.sampled_from(["hex", "digits", "letters", "url-safe", "ab", "äöü"]),
        "prefix": st.text("abc_-", max_size=5),
    },
)
VALUES: st.SearchStrategy[Any] = st.one_of(LITERALS, GENERATED)
SECRETS = st.dictionaries(PATHS, st.dictionaries(KEYS, VALUES, min_size=1, max_size=4), max_size=5)


def toml(value: object) -> str:
    """Format a value as TOML: JSON's strings are TOML's, except for one control character."""
    if isinstance(value, dict):
        pairs = (f"{toml(key)} = {toml(inner)}" for key, inner in value.items())
        return "{ " + ", ".join(pairs) + " }"
    if isinstance(value, str):
        return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
    return json.dumps(value)


def lines_of(
    mount: str, secrets: dict[str, dict[str, Any]]
) -> tuple[str, dict[tuple[str, ...], int]]:
    """Return the text of a blueprint with those secrets, and the line of each key."""
    lines = ['name = "x"', f"[mounts.{toml(mount)}]", 'type = "kv"']
    numbers: dict[tuple[str, ...], int] = {}
    for path, values in secrets.items():
        lines.append(f"[secrets.{toml(mount)}.{toml(path)}]")
        for key, value in values.items():
            lines.append(f"{toml(key)} = {toml(value)}")
            numbers["secrets", mount, path, key] = len(lines)
    return "\n".join(lines) + "\n", numbers


@given(mount=PATHS, secrets=SECRETS)
def test_read_as_written(mount: str, secrets: dict[str, dict[str, Any]]) -> None:
    text, numbers = lines_of(mount, secrets)
    blueprint = Blueprint.parse(text, source=Path("x.toml"))

    read = {path: values for _, path, values in blueprint.paths()}
    assert read.keys() == secrets.keys()
    for path, values in secrets.items():
        for key, value in values.items():
            assert read[path][key] == Value.model_validate(value)
    for place, number in numbers.items():
        assert line_of(text, place) == number


@given(value=GENERATED)
def test_generated_values_fit(value: dict[str, Any]) -> None:
    """They have the given length, alphabet and prefix."""
    parsed = Value.model_validate(value)
    made = parsed.new()
    random_part = made.removeprefix(parsed.prefix)

    assert made.startswith(parsed.prefix)
    assert len(random_part) == value["generate"]
    assert set(random_part) <= set(parsed.characters)


@given(text=st.text(max_size=200))
def test_any_text_is_read_or_refused(text: str) -> None:
    """An error starts with the file."""
    cause = ""
    try:
        Blueprint.parse(text, source=Path("x.toml"))
    except BlueprintError as error:
        cause = error.cause

    assert not cause or cause.startswith("x.toml:")


@given(
    rules=st.lists(
        st.tuples(
            st.text(st.sampled_from("abc/*+-_{}"), min_size=1, max_size=20),
            st.sets(st.sampled_from(sorted(CAPABILITIES))),
        ),
        max_size=6,
    )
)
def test_policies_are_read_as_written(rules: list[tuple[str, set[str]]]) -> None:
    """HCL and JSON are read alike."""
    hcl = "\n".join(
        f"path {json.dumps(path)} {{ capabilities = {json.dumps(sorted(granted))} }}"
        for path, granted in rules
    )
    paths = {path: {"capabilities": sorted(granted)} for path, granted in rules}

    assert [(rule.path, set(rule.capabilities)) for rule in parse(hcl)] == rules
    assert [rule.line for rule in parse(hcl)] == list(range(1, len(rules) + 1))
    as_json = {rule.path: set(rule.capabilities) for rule in parse(json.dumps({"path": paths}))}
    assert as_json == dict(rules)


@given(text=st.text(st.sampled_from('path"a/*{}[]=,#\n capabilities"read"'), max_size=60))
def test_any_policy_text_is_read_or_refused(text: str) -> None:
    """The error names a line of the text."""
    line = 1
    try:
        parse(text)
    except PolicyError as error:
        line = error.line

    assert 1 <= line <= text.count("\n") + 1


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    directory = tmp_path_factory.mktemp("idempotence")
    with open_engine(Settings(engine="process"), directory=directory) as engine:
        yield launch(engine, Blueprint.default(), NodeSpec(directory=directory / "vault"))


@settings(
    max_examples=settings().max_examples // 5,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(secrets=SECRETS, number=st.integers(0, 10**9))
def test_applied_once(stack: Stack, secrets: dict[str, dict[str, Any]], number: int) -> None:
    """A second time changes nothing."""
    mount = f"m{number}"
    blueprint = Blueprint.parse(lines_of(mount, secrets)[0], source=Path("x.toml"))
    apply(stack.operator, blueprint, environ={})

    def content() -> dict[str, Any]:
        read = stack.operator.client.secrets.kv.v2.read_secret_version
        return {
            path: read(path, mount_point=mount, raise_on_deleted_version=True)["data"]["data"]
            for path in secrets
        }

    first = content()
    second = apply(stack.operator, blueprint, environ={})

    assert {change.action for change in second} == {"unchanged"}
    assert content() == first
    for path, values in secrets.items():
        for key, value in values.items():
            if not isinstance(value, dict):
                assert first[path][key] == value
    stack.operator.request("DELETE", f"sys/mounts/{mount}")
