"""Everything that a dotenv writer writes is read byte for byte."""

import json
import logging
import re
import shlex
from pathlib import Path

import dotenv
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from vault_harness.errors import SettingsError
from vault_harness.operator.migrate import assignment, parse, read

NAMES = st.from_regex(r"[A-Za-z_][A-Za-z0-9_]{0,15}", fullmatch=True).filter(
    lambda name: name != "export"
)
VALUES = st.text(st.characters(exclude_categories=["Cs"]), max_size=60)
NASTY = st.text(
    st.sampled_from(list("'\"\\\n\r\t #=$`{}!ab\u00a0\u2028\x85\x0b\x1c\ufeffé😀")), max_size=20
)
ANY = VALUES | NASTY


def double_quoted(name: str, value: str) -> str:
    """Quote as JavaScript and Ruby writers do: escapes for backslash, quote and line breaks."""
    escaped = (
        value.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n").replace("\r", "\\r")
    )
    return f'{name}="{escaped}"\n'


def single_quoted(name: str, value: str) -> str:
    """Quote as python-dotenv's set_key does."""
    escaped = value.replace("\\", "\\\\").replace("'", "\\'")
    return f"{name}='{escaped}'\n"


def exported(name: str, value: str) -> str:
    """Quote as a person does: double quotes, real line breaks, and a comment after it."""
    escaped = value.replace("\\", "\\\\").replace('"', '\\"')
    return f'export {name}="{escaped}"   # a comment with "quotes"\n'


@settings(suppress_health_check=[HealthCheck.too_slow])
@given(
    st.dictionaries(NAMES, ANY, max_size=6),
    st.sampled_from([double_quoted, single_quoted, exported]),
    st.booleans(),
)
def test_quoted_values_come_back(values: dict[str, str], write: object, marked: bool) -> None:
    text = "# made by a writer\n\n" + "".join(write(name, value) for name, value in values.items())  # type: ignore[operator]  # sampled functions lose their type
    found = parse(text if not marked else text.removeprefix("# made by a writer\n"))
    assert {name: variable.value for name, variable in found.variables.items()} == values


@given(NAMES, VALUES.filter(lambda v: not re.search(r"[\r\n'\"]", v)))
@example("A", "\u00a0x\u2028")
@example("A", "x\x85")
@example("A", "a#b")
@example("A", "")
def test_unquoted_values_come_back(name: str, value: str) -> None:
    """They have no blanks at their ends and no comment."""
    value = re.sub(r"(^|[ \t])#", "", value).strip(" \t#")
    found = parse(f"{name}={value}\nOTHER_NAME_OF_THE_FILE=1\n")
    assert found.variables[name].value == value


@given(NAMES, VALUES.map(lambda v: v.replace("\x00", "")))
@example("A", "it's")
@example("A", "'")
@example("A", "a'b\"c\\d\r\ne")
def test_values_of_a_shell_come_back(name: str, value: str) -> None:
    """`shlex.quote` writes them."""
    if "\\" in value or re.search(r"[\r\n][ \t]*(export[ \t]+)?[A-Za-z_]\w*=", value):
        # Two backslashes in single quotes are one to python-dotenv and two to a shell. The file is
        # ambiguous.
        return
    quoted = shlex.quote(value)
    assert parse(f"{name}={quoted}\nTHE_NEXT_ONE_IN_IT=1\n").variables[name].value == value


@given(NAMES, ANY)
def test_every_reader_agrees_on_a_written_line(name: str, value: str) -> None:
    """`assignment` refuses any other."""
    try:
        line = assignment(name, value)
    except SettingsError:
        assert set(value) & set("'\"\\\r\n")
        return
    assert parse(line).variables[name].value == value
    if value == value.strip():
        assert shlex.split(line)[0] == f"{name}={value}"


@given(st.text(max_size=200) | NASTY)
def test_no_text_breaks_the_reader(text: str) -> None:
    """An error has the line number and no quote from the file."""
    try:
        parse(text)
    except SettingsError as refusal:
        error = refusal
    else:
        return
    assert re.match(r"\.env cannot be read completely: (line \d+: [^;]+(; )?)+\Z", error.cause)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=50)
@given(
    values=st.dictionaries(NAMES, ANY.filter(lambda v: "\r" not in v), min_size=1, max_size=4)
    | st.dictionaries(NAMES, ANY, min_size=1, max_size=1)
)
def test_files_of_python_dotenv_come_back(values: dict[str, str], tmp_path: Path) -> None:
    """`set_key` writes them.

    It changes carriage returns of an earlier value when it adds the next one, so files with
    several values have none.
    """
    path = tmp_path / ".env"
    path.write_text("")
    for name, value in values.items():
        dotenv.set_key(path, name, value)
    assert {name: variable.value for name, variable in read(path).variables.items()} == values


@given(
    st.dictionaries(
        NAMES, st.recursive(st.text(max_size=8) | st.integers(), st.lists), min_size=1, max_size=3
    )
)
def test_json_in_single_quotes_comes_back(values: dict[str, object]) -> None:
    """The most common difficult value."""
    text = "".join(single_quoted(name, json.dumps(value)) for name, value in values.items())
    assert {name: json.loads(v.value) for name, v in parse(text).variables.items()} == values


@pytest.fixture(autouse=True)
def _quiet(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.ERROR, logger="dotenv")
