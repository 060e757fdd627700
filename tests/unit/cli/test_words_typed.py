from __future__ import annotations

import os
import pwd
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any, NoReturn

import pytest

from vault_harness.cli.command import seconds_in
from vault_harness.cli.program import GUIDE, normalised
from vault_harness.cli.running import run_pytest
from vault_harness.cli.tasks import by_name
from vault_harness.errors import named

Program = Callable[..., Any]  # of conftest.py


@pytest.mark.parametrize(
    ("typed", "meant"),
    [
        ("rotate secret-id backend", "rotate.secret-id backend"),
        ("rotate database", "rotate database"),
        ("backup list", "backup.list"),
        ("services up", "services.up"),
        ("audit report --since 7d", "audit.report --since 7d"),
        ("break seal", "break.seal"),
        ("break --list", "--list break"),
        ("seal status", "seal status"),
        ("vault kv list ecommerce/", "vault -- kv list ecommerce/"),
        ("vault kv get -field=x --help", "vault -- kv get -field=x --help"),
        ("vault -- kv list", "vault -- kv list"),
        ("vault --debug kv list", "--debug vault -- kv list"),
        ("vault --help", "--help vault"),
        ("up seed", "up seed"),
        ("env backend --help", "--help env"),
        ("help rotate secret-id", "--help rotate.secret-id"),
        ("rotate secret-id --help", "--help rotate.secret-id"),
        ("seed --blueprint --debug", "seed --blueprint --debug"),
        ("up --debug", "--debug up"),
        ("test --args --dry", "test --args --dry"),
        ("unlock seal", "unlock seal"),
    ],
)
def test_forms(typed: str, meant: str) -> None:
    assert normalised(typed.split(), by_name()) == meant.split()


def test_a_word_of_another_tool_leads_to_a_task() -> None:
    tasks = set(by_name())
    assert not tasks & set(GUIDE)
    assert set(GUIDE.values()) <= tasks


@pytest.mark.parametrize(
    ("typed", "said"),
    [
        ("migrate .env", "the stack is not up"),
        ("rotate database", "the stack is not up"),
        ("rotate secret-id backend", "the stack is not up"),
        ("rotate.secret-id --all", "the stack is not up"),
        ("unlock backend", "the stack is not up"),
        ("vault kv list ecommerce/", "the stack is not up"),
        ("vault", "./dev vault -- kv list ecommerce/"),
        ("root", "./dev root.generate"),
        ("services", "./dev services.up"),
        ("break latncy", "did you mean ./dev break.latency?"),
        ("break.ct", "did you mean ./dev break.cut"),
        ("break zzzz", "./dev break lists the verbs"),
        ("break.cut --for soon", "--for soon: give a time"),
        ("break.revoke backend --for 5s", "break.revoke has no option --for"),
        ("brake", "did you mean ./dev break?"),
        ("unsael", "did you mean ./dev unseal"),
        ("migrate-secrets.sh .env", "did you mean ./dev migrate"),
        ("scripts/init-vault.sh", "did you mean ./dev up"),
        ("secret-id backend", "did you mean ./dev rotate.secret-id"),
        ("kv list ecommerce/", "did you mean ./dev vault"),
        ("clean", "did you mean ./dev down?"),
        ("check", "did you mean ./dev doctor, or ./dev subject.check?"),
        ("start", "did you mean ./dev up, or ./dev node.start?"),
        ("zzzz", "./dev --list"),
        ("--help zzzz", "there is no task zzzz"),
        ("--list zzzz", "there is no group of tasks zzzz"),
        ("unlock backend api", "api is one word more than unlock takes"),
        ("status now", "now is one word more than status takes"),
        ("env --service", "--service needs a value"),
        ("--unknown up", "there is no option --unknown"),
        ("logs --tail many", "--tail many: give a whole number"),
        ("rotate database --grace 5x", "--grace 5x: give a time as 5, 5s"),
        ("audit --since yesterday", "--since yesterday: give a time"),
        ("seed --only roles-and-more", "--only roles-and-more"),
        ("env nobody", "there is no service nobody"),
        ("logs redis", "there is no log of redis"),
        ("bench nothing", "there is no bench nothing"),
        ("destroy", "nobody is there to answer"),
        ("seed --blueprint /nowhere.toml", "/nowhere.toml: cannot be read"),
    ],
)
def test_an_error_gives_a_remedy(typed: str, said: str, program: Program) -> None:
    ended = program(*typed.split())
    assert ended.code in {4, 5}
    assert (ended.out, ended.became) == ("", ())
    assert said in ended.err
    assert "what to do: " in ended.err
    assert "No idea" not in ended.err


def test_break_alone_lists_its_verbs(program: Program) -> None:
    ended = program("break")
    assert (ended.code, ended.err) == (0, "")
    verbs = [name for name in by_name() if name.startswith("break.") and name != "break.list"]
    for verb in verbs:
        assert re.search(rf"^\./dev {re.escape(verb)} +[A-Z].*\.$", ended.out, re.MULTILINE)
    assert ended.out.count("\n") == len(verbs) + 1


@pytest.mark.parametrize("typed", ["judge command:./it", "scenarios command:./it --only TOK-11"])
def test_a_client_without_its_option(typed: str, program: Program) -> None:
    ended = program(*typed.split())
    assert ended.code == 4
    assert "command:./it names a client: put --subject before it" in ended.err


def test_an_option_of_the_other_task(program: Program) -> None:
    ended = program("judge", "--subject", "reference", "--only", "TOK-11")
    assert (ended.code, ended.became) == (4, ())
    assert "judge has no option --only, so that its runs are comparable; " in ended.err
    assert "; ./dev scenarios --only has it\n" in ended.err


@pytest.mark.parametrize(
    "typed",
    [
        *("judge --subject reference --known", "judge --subject reference --shard"),
        *("judge --subject reference --report", "judge --subject reference --declare"),
        *("scenarios --only", "scenarios --only TOK-11 --only", "scenarios --wire"),
        *("score --against", "score --to", "score --badge", "score"),
        *("report --join", "report --to", "report", "report --also"),
        *("steady 2 --only", "clients hvac --only", "clients hvac --report"),
    ],
)
def test_a_value_that_is_empty(typed: str, program: Program, tmp_path: Path) -> None:
    """It is often an unset variable."""
    ended = program(*typed.split(), "")
    assert (ended.code, ended.out, ended.became) == (4, "", ())
    assert " is empty, and names nothing\n" in ended.err
    assert "is it a variable that is not set?" in ended.err
    assert list(tmp_path.iterdir()) == []


def test_further_arguments_may_be_none(program: Program) -> None:
    """`--args "$MORE"` may be empty."""
    assert program("scenarios", "--args", "").became


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("5", 5), ("5s", 5), ("0.5", 0.5), ("250ms", 0.25), ("15m", 900), ("2h", 7200), ("1d", 86400)],
)
def test_times(text: str, seconds: float) -> None:
    assert seconds_in(text) == seconds


@pytest.mark.parametrize("text", ["", "s", "5x", "-1", "inf", "nan", "5 minutes", "ms"])
def test_no_times(text: str) -> None:
    assert seconds_in(text) is None


def test_a_wrong_setting_is_named(program: Program, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HARNESS_VAULT_PORT", "eighty")
    ended = program("status")
    assert ended.code == 4
    assert "HARNESS_VAULT_PORT" in ended.err


@pytest.mark.parametrize("home", ["~of-nobody-here", "~"])
def test_a_home_that_there_is_not(
    home: str, program: Program, monkeypatch: pytest.MonkeyPatch
) -> None:
    """There is none under systemd, or for a user without a name."""

    def nobody(number: int) -> NoReturn:
        raise KeyError(f"getpwuid(): uid not found: {number}")

    monkeypatch.delenv("HOME", raising=False)
    monkeypatch.setattr(pwd, "getpwuid", nobody)
    monkeypatch.setenv("HARNESS_DATA_DIR", f"{home}/vault-data")
    ended = program("status")
    assert ended.code == 4
    assert "HARNESS_DATA_DIR: there is no home directory for its ~" in ended.err


def test_scenarios_are_deaf_to_others_settings(
    program: Program, monkeypatch: pytest.MonkeyPatch
) -> None:
    """PYTEST_ADDOPTS for other tests would break a run of the suite."""
    monkeypatch.setenv("PYTEST_ADDOPTS", "--cov=mine -x --vault-only TOK-11 -n 4 --vault-seed=7")
    monkeypatch.setenv("PYTEST_DISABLE_PLUGIN_AUTOLOAD", "1")
    monkeypatch.setenv("PYTEST_TIMEOUT", "10")
    program("judge", "--subject", "reference")
    assert os.environ["PYTEST_ADDOPTS"] == "--vault-only TOK-11 --vault-seed=7"
    assert "PYTEST_TIMEOUT" not in os.environ
    monkeypatch.setenv("PYTEST_ADDOPTS", "--cov=mine")
    program("judge", "--subject", "reference")
    assert "PYTEST_ADDOPTS" not in os.environ


def test_commands_are_typed_as_this_one(
    program: Program, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Commands in pytest's output name the program that was run."""
    monkeypatch.delenv("HARNESS_RUNNER", raising=False)
    here = tmp_path / "my venv" / "vault-harness"
    monkeypatch.setenv("PATH", "/nowhere")
    monkeypatch.setattr("vault_harness.errors.sys.argv", [str(here)])

    def execv(*_: object) -> None:
        raise KeyboardInterrupt  # stands for the end of this process

    monkeypatch.setattr(os, "execv", execv)
    with pytest.raises(KeyboardInterrupt):
        run_pytest("scenarios")
    monkeypatch.setattr("vault_harness.errors.sys.argv", ["pytest"])
    assert named("scenarios") == f"'{here}' scenarios"


def test_scenarios_are_pytest_with_options(program: Program) -> None:
    ended = program(
        *("scenarios", "--subject", "python:a.b:c", "--only", "TOK", "--only", "SEA-01"),
        *("--seed", "7", "--workers", "3", "--declare", "max_stale=30", "--args", "-x -k 'a b'"),
    )
    words = " ".join(ended.became)
    assert ended.became[1] == "-P"
    assert ended.became[2].endswith("/cli/start.py")
    assert "--vault-workers 3 " in words
    assert words.endswith("-x -k a b")
    assert ended.became[-1] == "a b"


def test_an_engine_is_asked_for(program: Program) -> None:
    program("scenarios", "--engine", "docker")
    assert os.environ["HARNESS_ENGINE"] == "docker"
    ended = program("scenarios", "--engine", "podman")
    assert (ended.code, "there is no engine podman" in ended.err) == (4, True)


def test_how_many_scenarios_a_client_is_judged_by_at_once(program: Program) -> None:
    """A busy runner may need fewer than the measured number."""
    words = program("judge", "--subject", "reference", "--workers", "3").became
    assert words[words.index("--vault-workers") + 1] == "3"
    assert "--vault-workers" not in program("judge", "--subject", "reference").became
    for words in (("judge", "--subject", "reference"), ("clients", "hvac")):
        ended = program(*words, "--workers", "0")
        assert (ended.code, "HARNESS_WORKERS" in ended.err) == (4, True)


def test_the_harness_own_tests_hear_them(program: Program, monkeypatch: pytest.MonkeyPatch) -> None:
    """They are pytest's variables."""
    monkeypatch.setenv("PYTEST_ADDOPTS", "-x --cov=mine")
    monkeypatch.setenv("PYTEST_PLUGINS", "mine")
    ended = program("test")
    assert (os.environ["PYTEST_ADDOPTS"], os.environ["PYTEST_PLUGINS"]) == ("-x --cov=mine", "mine")
    assert ended.err == ""


def test_ignored_variables_are_named(program: Program, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTEST_ADDOPTS", "-x --vault-only TOK-11 --cov=mine")
    monkeypatch.setenv("PYTEST_PLUGINS", "mine")
    told = program("judge", "--subject", "reference").err.splitlines()
    head = "ignored, since they are meant for other tests: "
    assert told == [f"{head}-x --cov=mine of PYTEST_ADDOPTS, PYTEST_PLUGINS"]
    assert program("judge", "--subject", "reference").err == ""
