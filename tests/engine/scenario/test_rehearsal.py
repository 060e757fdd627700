"""``subject check``: what it says of good subjects and of wrong ones, on a real Vault."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.engine.scenario.conftest import ROOT
from vault_harness.subjects import CAPABILITIES

pytestmark = pytest.mark.slow  # each starts the program, and most of them a real Vault

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
    """Exit code and output of ``subject check``."""
    done = subprocess.run(
        [sys.executable, "-m", "vault_harness", "subject", "check", subject],
        cwd=ROOT,
        env={**os.environ, "HARNESS_ENGINE": "process", "PYTHONPATH": f"{ROOT}:{ROOT / 'harness'}"},
        capture_output=True,
        text=True,
        timeout=180,
        check=False,
    )
    return done.returncode, done.stdout + done.stderr


def program(folder: Path, hello: str, rest: str) -> str:
    """A subject in a few lines of shell."""
    file = folder / "subject.sh"
    file.write_text(SHELL % (hello, rest))
    file.chmod(0o755)
    return f"command:{file}"


@pytest.mark.parametrize(
    ("subject", "claimed"),
    [
        ("reference", ()),
        (
            f"command:{sys.executable} -m vault_harness.subjects reference",
            ("write", "update", "fork", "a herd of 3", "health", "read_all"),
        ),
        ("python:tests.subjects.lazy_client:LazyClient", ()),
    ],
    ids=["reference", "command", "python"],
)
def test_good_subject(subject: str, claimed: tuple[str, ...]) -> None:
    """Each operation that is claimed is asked and told, and nothing is wrong.

    A child and a herd of a program too; who has one process for all is not asked for them.
    """
    code, said = check(subject)
    assert code == 0, said
    for step in claimed:
        assert f"  {step} " in said
    for step in ("start and hello", "first read", "8 of 8 right", "tokens left"):
        assert step in said
    assert f"it keeps to its contract: {subject}" in said


def test_what_it_printed_where_it_should_not(tmp_path: Path) -> None:
    """A banner on standard output is quoted, with where it belongs."""
    code, said = check(program(tmp_path, "echo welcome to my client", SAYS_X))
    assert code == 1
    assert "welcome to my client" in said
    assert "print logs to stderr only" in said


COLOURED = r"""printf '{"id":%s,"ok":false,"message":"\\u001b[31mno\\u0007"}\n' "$id"; """
SHOUTS = r"""printf '\033[2Jcleared\n' >&2; """


def test_what_a_client_says_is_no_order_to_the_terminal(tmp_path: Path) -> None:
    """Neither its message nor its log colours it, clears it, or rings a bell."""
    code, said = check(program(tmp_path, HELLO, SHOUTS + COLOURED))
    assert code == 1
    assert r"\x1b[31mno\x07" in said
    assert r"\x1b[2Jcleared" in said
    assert not {"\x1b", "\x07"} & set(said)


def test_deadline_that_nobody_waits_for(tmp_path: Path) -> None:
    """No scenario would be exercised, which is told before any is run."""
    code, said = check(program(tmp_path, WAITS, SAYS_X))
    assert code == 1
    assert "its calls may take 61 s; configure it with at most 60 s" in said


def test_wrong_values_and_reads_without_a_vault(tmp_path: Path) -> None:
    """It answers every read, whatever it is asked, and never logged in."""
    code, said = check(program(tmp_path, HELLO, SAYS_X))
    assert code == 1
    assert "no login of it was seen" in said
    assert "read gave ok unknown, not v1" in said
    assert "it gave a value for a secret that is not there" in said
    lacking = sorted(CAPABILITIES - {"read", "redirects"})
    assert f"it does not claim {', '.join(lacking)}: scenarios about that are skipped" in said


def test_claims_that_are_not_kept(tmp_path: Path) -> None:
    """It says ok to whatever it is asked, and nothing of it is so."""
    claims = '["read","write","update","fork","herd"]'
    hello = HELLO.replace('["read"]', claims)
    code, said = check(program(tmp_path, hello, SAYS_X))
    assert code == 1
    assert "its write ended ok, and of what it should have stored entry is not so in Vault" in said
    assert "it claims fork, and makes no child" in said


def test_what_is_slow(tmp_path: Path) -> None:
    """A start that takes its time is told with how long it took."""
    code, said = check(program(tmp_path, f"sleep 6; {HELLO}", SAYS_X))
    assert code == 1
    assert "slow   start and hello took 6." in said


def test_wrong_words() -> None:
    """No subject is no verdict on one."""
    assert check("nobody")[0] == 4


def test_good_agent() -> None:
    """A program that renders files lacks much, and nothing of that is wrong."""
    code, text = check("agent:tests/subjects/agent/bao-agent.toml")
    assert code == 0, text
    assert "it serves only the secrets that it is configured with" in text
    assert "its token lives on after its end, as its configuration says" in text


def test_agent_of_other_secrets(tmp_path: Path) -> None:
    """It is said which secret nearly every scenario reads, and what it did otherwise."""
    config = tmp_path / "agent.toml"
    config.write_text(
        'command = ["sleep", "60"]\n[[rendered]]\npath = "shop/own"\nfile = "own.json"\n'
    )
    code, text = check(f"agent:{config}")
    assert code == 1, text
    assert "the agent does not render backend/django, which nearly every scenario reads" in text
    assert "Traceback" not in text
