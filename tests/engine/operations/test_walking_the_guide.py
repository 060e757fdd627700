from __future__ import annotations

import contextlib
import os
import re
import shlex
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from tests.running import ran
from vault_harness.waiting import wait_until

ROOT = Path(__file__).parents[3]
INVOKE = (sys.executable, "-m", "invoke", "--search-root", str(ROOT))
SECRETS = ("it's secret", "pw-of-the-file", "AGE-SECRET-KEY")


class Shell:
    """A person's directory and environment, with a stack on free ports."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.printed = ""
        kept = {k: v for k, v in os.environ.items() if not k.startswith(("VAULT_", "BAO_"))}
        self.environment = {
            **kept,
            "HARNESS_DATA_DIR": str(directory / "vault-data"),
            "HARNESS_ENGINE": "process",
            "HARNESS_VAULT_PORT": "0",
            "HARNESS_PROXY_PORT": "0",
            "HARNESS_TOXIPROXY_PORT": "0",
        }

    def invoke(self, *words: str, code: int = 0) -> str:
        """Run a task that must end with that exit code; return its output."""
        done = ran([*INVOKE, *words], cwd=self.directory, env=self.environment)
        assert done.returncode == code, f"{words}: {done.returncode}\n{done.stdout}{done.stderr}"
        if words[0] != "vault":
            self.printed += done.stdout + done.stderr
        return done.stdout + done.stderr

    def run(self, text: str, *, deadline: float) -> tuple[str, str]:
        """Run a script that must succeed in time; return its output and errors."""
        with subprocess.Popen(
            ["/bin/bash", "-exc", text],
            cwd=self.directory,
            env=self.environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        ) as script:
            try:
                out, err = script.communicate(timeout=deadline)
            except BaseException as ending:
                os.killpg(script.pid, signal.SIGKILL)  # and the command that it waits for
                out, err = script.communicate(timeout=30)
                if not isinstance(ending, subprocess.TimeoutExpired):
                    raise
                pytest.fail(f"not done after {deadline:g} s\n{out}{err}")
        assert script.returncode == 0, out + err
        return out, err

    def close(self) -> None:
        """End every stack in the directory, and any remaining server by its id."""
        try:
            for record in sorted(self.directory.rglob("stack.json")):
                self.environment["HARNESS_DATA_DIR"] = str(record.parent)
                self.invoke("destroy", "--yes")
        finally:
            left = list(running_in(self.directory))
            for process in left:
                process.kill()
            psutil.wait_procs(left, timeout=10)


def running_in(directory: Path) -> Iterator[psutil.Process]:
    """Return the processes in a folder: a server works in the folder of its log."""
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error):
            if Path(process.cwd()).is_relative_to(directory):
                yield process


@pytest.fixture
def shell(tmp_path: Path) -> Iterator[Shell]:
    opened = Shell(tmp_path)
    yield opened
    opened.close()


@pytest.mark.slow  # starts a server and looks for it
def test_servers_of_a_script_end_with_its_deadline(tmp_path: Path) -> None:
    shell = Shell(tmp_path)
    shell.invoke("up")
    with pytest.raises(pytest.fail.Exception, match="not done after"):
        shell.run(f"{shlex.join(INVOKE)} logs --follow", deadline=1.0)
    servers = tmp_path / "vault-data"
    wait_until(
        lambda: list(running_in(tmp_path)) == list(running_in(servers)),
        "the shell and its task to end",
        timeout=10,
    )
    assert len(list(running_in(servers))) >= 2
    (tmp_path / "vault-data" / "stack.json").unlink()
    shell.close()
    assert list(running_in(tmp_path)) == []


@pytest.mark.long
@pytest.mark.slow  # some thirty commands and two restores
def test_the_guide_from_top_to_bottom(shell: Shell) -> None:
    """Start, migrate, read, rotate, audit, back up, lose everything, recover, diagnose."""
    assert "invoke up" in shell.invoke("doctor", code=1)
    shell.invoke("up")
    assert "invoke seed" in shell.invoke("doctor", code=1)
    shell.invoke("seed")
    shell.invoke("doctor")

    (shell.directory / ".env").write_text(
        'SECRET_KEY="it\'s secret"\nDB_PASSWORD=pw-of-the-file\nCOMPANY=x\n'
    )
    assert "nothing was changed" in shell.invoke("migrate", "--dry-run")
    assert not (shell.directory / ".env.vault").exists()
    assert "they are not moved: COMPANY" in shell.invoke("migrate")
    assert (shell.directory / ".env.vault").exists()
    shell.invoke("migrate")

    django = "ecommerce/backend/django"
    assert "backend/" in shell.invoke("vault", "--", "kv", "list", "ecommerce/")
    assert shell.invoke("vault", "--", "kv", "get", "-field=SECRET_KEY", django) == "it's secret"
    test = "ecommerce/backend/test-secret"
    for words in (
        ("put", test, "A=two words"),
        ("patch", test, "B=2"),
        ("delete", test),
        ("undelete", "-versions=2", test),
    ):
        shell.invoke("vault", "--", "kv", *words)
    assert shell.invoke("vault", "--", "kv", "get", "-field=A", test) == "two words"
    shell.invoke("vault", "--", "kv", "destroy", "-versions=2", test)
    shell.invoke("vault", "--", "kv", "get", "ecommerce/nowhere", code=2)
    shell.invoke("vault", code=4)

    shell.invoke("rotate.secret-id", "--all")
    shell.invoke("rotate.secrets", "all", "--grace", "0")
    password = ("vault", "--", "kv", "get", "-field=DB_PASSWORD", "ecommerce/backend/database")
    assert shell.invoke(*password) != "pw-of-the-file"
    assert "another value than Vault" in shell.invoke("migrate", "--dry-run", code=6)
    assert "another value than Vault" in shell.invoke("migrate", code=6)
    shell.invoke("rotate.rollback", "database")
    assert shell.invoke(*password) == "pw-of-the-file"

    shell.invoke("root.revoke")
    shell.invoke("root.revoke")
    shell.invoke("seed")
    shell.invoke("unlock", "backend")
    assert "auth/approle/login" in shell.invoke("audit", "--lines", "0")
    assert "backend" in shell.invoke("audit.report")

    public = re.search(r"age1\w+", shell.invoke("backup.identity", "--out", "key.txt"))
    assert public is not None
    shell.invoke("backup", "--recipient", public[0])
    (backup,) = (shell.directory / "vault-backups").iterdir()
    shell.invoke("backup.keys", "--recipient", public[0])
    chosen = ("--source", str(backup), "--identity", "key.txt")
    shell.invoke("backup.verify", *chosen)
    shell.invoke("drill")
    (shell.directory / "vault-data" / "init.json").unlink()
    assert "invoke restore.keys" in shell.invoke("doctor", code=1)
    shell.invoke("restore.keys", *chosen)
    shell.invoke("destroy", "--yes")
    shell.invoke("up")
    shell.invoke("restore", *chosen)
    shell.invoke("seed")
    shell.invoke("doctor")
    shell.invoke("restore", *chosen, code=5)
    assert shell.invoke(*password) == "pw-of-the-file"
    shell.invoke("root.generate")
    shell.invoke("seal")
    assert "invoke unseal" in shell.invoke("doctor", code=1)
    shell.invoke("unseal")
    shell.invoke("doctor")
    assert [secret for secret in SECRETS if secret in shell.printed] == []


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (("migrate",), 5, "invoke up"),
        (("rotate.secret-id", "backend"), 5, "invoke up"),
        (("backup", "--recipient", "age1nonsense"), 4, "not a public key"),
        (("audit", "--status", "odd"), 4, "there is no status odd"),
        (("backup.verify",), 5, "there is no backup"),
        (("doctor",), 1, "invoke up"),
    ],
)
def test_each_task_has_its_own_exit_code(
    tmp_path: Path, words: tuple[str, ...], code: int, said: str
) -> None:
    text = Shell(tmp_path).invoke(*words, code=code)
    assert said in text
    assert "Traceback" not in text
