from __future__ import annotations

import sys
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from vault_harness.errors import SettingsError
from vault_harness.judge.subjects import SubjectSpec, parse_subject


def test_the_reference_client_has_a_name_of_its_own() -> None:
    spec = parse_subject("reference")
    assert (spec.kind, spec.module) == ("in-process", "vault_harness.judge.subjects.reference")


def test_python_names_a_module_and_a_factory() -> None:
    """``python:package.module:factory`` is parsed without an import."""
    spec = parse_subject("python:no.such.package:Client.make")
    assert (spec.module, spec.factory) == ("no.such.package", "Client.make")


def test_a_command_is_split_as_a_shell_would() -> None:
    """Its program is looked up."""
    spec = parse_subject(f"command:{sys.executable} -c 'a b'")
    assert spec.command == (str(Path(sys.executable).absolute()), "-c", "a b")


def test_a_command_is_found_from_the_working_directory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    program = tmp_path / "my-client"
    program.write_text("#!/bin/sh\n")
    program.chmod(0o700)
    monkeypatch.chdir(tmp_path)
    assert parse_subject("command:./my-client").command == (str(program),)


@pytest.mark.parametrize(
    ("text", "url"),
    [
        ("http://127.0.0.1:9000", "http://127.0.0.1:9000"),
        ("https://client.test/vault/", "https://client.test/vault"),
    ],
)
def test_a_url_is_a_base(text: str, url: str) -> None:
    """It may end with a slash."""
    assert parse_subject(text) == SubjectSpec(text, "http", url=url)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "referense",
        "python:",
        "python:module",
        "python:module:",
        "python:a b:c",
        "python:class:factory",
        "command:",
        "command:'unclosed",
        "command:/no/such/program",
        "command:no-such-program-anywhere",
        "agent:",
        "agent:no-such-file.toml",
        "agent:" + 300 * "a",
        "http://",
        "http://user:hunter2@host",
        "http://host:port",
        "http://host/?q",
        "ftp://host",
    ],
)
def test_nonsense_says_what_to_write(text: str) -> None:
    """No password is in the error."""
    with pytest.raises(SettingsError) as caught:
        parse_subject(text)
    assert caught.value.looked_at
    assert caught.value.remedy
    assert "hunter2" not in str(caught.value)


@pytest.mark.parametrize(
    ("text", "cause", "remedy"),
    [
        ("command:./client.jar", "may not be executed", "chmod +x ./client.jar"),
        ("command:./client.jar", "may not be executed", "command:java -jar FILE"),
        ("command:client.jar", "is not there", "write command:./client.jar"),
        ("command:~/client", "is not there", "no shell sees it"),
        ("command:$HOME/client", "is not there", "no shell sees it"),
        ("command:./client", "is not there", "name a program on PATH"),
    ],
)
def test_why_a_program_cannot_be_started(
    text: str, cause: str, remedy: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "client.jar").write_text("")
    with pytest.raises(SettingsError, match=cause) as caught:
        parse_subject(text)
    assert remedy in caught.value.remedy


# On a busy machine an example may take any time.
@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.text())
def test_any_text_is_a_subject_or_a_settings_error(text: str) -> None:
    for prefix in ("", "python:", "command:", "agent:", "http://"):
        try:
            spec = parse_subject(prefix + text)
        except SettingsError:
            continue
        assert spec.kind in {"in-process", "command", "agent", "http"}
