"""``subject check`` on good and on wrong subjects, with a real Vault."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

from tests.engine.scenario.conftest import ROOT
from tests.running import ran
from vault_harness.judge.subjects import CAPABILITIES

pytestmark = pytest.mark.slow  # each starts the program, and most a real Vault

SHELL = """\
#!/bin/sh
while read -r line; do
  id=${line#*:}; id=${id%%%%,*}
  case $line in
    *hello*) %s ;;
    *close*) exit 0 ;;
    *) %s ;;
  esac
done
"""
HELLO = """printf '{"id":%s,"ok":true,"capabilities":["read"]}\\n' "$id" """
WAITS = """printf '{"id":%s,"ok":true,"declares":{"deadline":61}}\\n' "$id" """
SAYS_X = """printf '{"id":%s,"ok":true,"value":"x"}\\n' "$id" """


def check(subject: str) -> tuple[int, str]:
    return run("subject", "check", subject)


def run(*words: str) -> tuple[int, str]:
    done = ran(
        [sys.executable, "-m", "vault_harness", *words],
        cwd=ROOT,
        env={**os.environ, "HARNESS_ENGINE": "process", "PYTHONPATH": f"{ROOT}:{ROOT / 'harness'}"},
    )
    return done.returncode, done.stdout + done.stderr


def program(folder: Path, hello: str, rest: str) -> str:
    file = folder / "subject.sh"
    file.write_text(SHELL % (hello, rest))
    file.chmod(0o755)
    return f"command:{file}"


@pytest.mark.parametrize(
    ("subject", "claimed"),
    [
        ("reference", ()),
        (
            f"command:{sys.executable} -m vault_harness.judge.subjects reference",
            ("write", "update", "fork", "a herd of 3", "health", "read_all"),
        ),
    ],
    ids=["reference", "command"],
)
def test_good_subject(subject: str, claimed: tuple[str, ...]) -> None:
    """Each claimed operation is asked and reported, and nothing is wrong.

    A subject with one process for all is not asked for a child and a herd.
    """
    code, said = check(subject)
    assert code == 0, said
    for step in claimed:
        assert f"  {step} " in said
    for step in ("start and hello", "first read", "8 of 8 right", "tokens left"):
        assert step in said
    assert f"it keeps to its contract: {subject}" in said


def test_a_banner_on_standard_output_is_quoted(tmp_path: Path) -> None:
    code, said = check(program(tmp_path, "echo welcome to my client", SAYS_X))
    assert code == 1
    assert "welcome to my client" in said
    assert "print logs to stderr only" in said


COLOURED = r"""printf '{"id":%s,"ok":false,"message":"\\u001b[31mno\\u0007"}\n' "$id"; """
SHOUTS = r"""printf '\033[2Jcleared\n' >&2; """


def test_control_characters_do_not_reach_the_terminal(tmp_path: Path) -> None:
    code, said = check(program(tmp_path, HELLO, SHOUTS + COLOURED))
    assert code == 1
    assert r"\x1b[31mno\x07" in said
    assert r"\x1b[2Jcleared" in said
    assert not {"\x1b", "\x07"} & set(said)


def test_a_deadline_too_long_is_reported_before_a_run(tmp_path: Path) -> None:
    code, said = check(program(tmp_path, WAITS, SAYS_X))
    assert code == 1
    assert "its calls may take 61 s; configure it with at most 60 s" in said


def test_wrong_values_and_reads_without_a_vault(tmp_path: Path) -> None:
    code, said = check(program(tmp_path, HELLO, SAYS_X))
    assert code == 1
    assert "none of its logins was seen" in said
    assert "read gave ok unknown, not v1" in said
    assert "it gave a value for a secret that is not there" in said
    lacking = sorted(CAPABILITIES - {"read"})
    assert f"it does not claim {', '.join(lacking)}: scenarios about that are skipped" in said


def test_claims_that_are_not_kept(tmp_path: Path) -> None:
    claims = '["read","write","update","fork","herd"]'
    hello = HELLO.replace('["read"]', claims)
    code, said = check(program(tmp_path, hello, SAYS_X))
    assert code == 1
    assert "its write ended ok, and of what it should have stored entry is not so in Vault" in said
    assert "it claims fork, and makes no child" in said


def test_good_agent() -> None:
    """A program that renders files passes, although it lacks much."""
    code, text = check("agent:tests/subjects/agent/bao-agent.toml")
    assert code == 0, text
    assert "it serves only the secrets that it is configured with" in text
    assert "its token lives on after its end, as it says" in text


def test_agent_of_other_secrets(tmp_path: Path) -> None:
    """The output names the secret that nearly every scenario reads, and what the agent did."""
    config = tmp_path / "agent.toml"
    config.write_text(
        'command = ["sleep", "60"]\n[[rendered]]\npath = "shop/own"\nfile = "own.json"\n'
    )
    code, text = check(f"agent:{config}")
    assert code == 1, text
    assert "the agent does not render backend/django, which nearly every scenario reads" in text
    assert "Traceback" not in text


def test_judge_stops_at_a_broken_contract(tmp_path: Path) -> None:
    wrong = program(tmp_path, HELLO, SAYS_X)
    code, said = run("judge", "--subject", wrong, "--report", str(tmp_path / "report"))
    assert code == 4
    assert "the client breaks its contract: " in said
    assert "what to do: " in said
    assert not (tmp_path / "report").exists()
    words = ("--anyway", "--last-failed", "--shard", "0/0")  # refused by the run itself
    code, said = run("judge", "--subject", wrong, "--report", str(tmp_path / "report"), *words)
    assert (code, "breaks its contract" in said) == (4, False)
    assert "0/0" in said
