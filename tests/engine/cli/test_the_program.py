from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.running import ran
from vault_harness.settings import checkout

ROOT = checkout() or Path()
PROGRAM = [sys.executable, "-m", "vault_harness"]


@pytest.fixture(autouse=True)
def _nothing_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("HARNESS_RUNNER", raising=False)
    monkeypatch.setenv("HARNESS_DATA_DIR", str(tmp_path / "vault-data"))
    monkeypatch.setenv("HARNESS_ENGINE", "process")


def shell(line: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run a line in a shell that knows the program as $P."""
    return ran(
        ["/bin/bash", "-c", line],
        env={**os.environ, "P": f"{sys.executable} -m vault_harness", **environment},
    )


@pytest.mark.parametrize(
    ("line", "code"),
    [
        ("$P <&- >&- 2>&-", 0),
        ("$P unseal 2>&-", 5),
        ("set -o pipefail; $P | head -1", 0),
        ("set -o pipefail; $P doctor | true", 1),
        ("$P > /dev/full", 1),
        ("LC_ALL=C PYTHONUTF8=0 PYTHONCOERCECLOCALE=0 $P", 0),
        ("COLUMNS=5 $P --help migrate", 0),
        ("COLUMNS=nonsense $P", 0),
        ("$P --list-format json --list", 0),
    ],
)
def test_streams(line: str, code: int) -> None:
    ended = shell(line)
    assert (ended.returncode, "Traceback" in ended.stderr) == (code, False), ended.stderr
    assert "Exception ignored" not in ended.stderr


@pytest.mark.parametrize(
    "after",
    [0.08, *(pytest.param(more, marks=pytest.mark.slow) for more in (0.03, 0.25))],
)
def test_an_early_interrupt(after: float) -> None:
    process = subprocess.Popen(
        [str(ROOT / "dev"), "logs", "--follow"], stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    time.sleep(after)  # the moment itself is under test
    process.send_signal(signal.SIGINT)
    try:
        _, err = process.communicate(timeout=2)
    except subprocess.TimeoutExpired:
        # The first signal came while Python started, which ignores it.
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=10)
    assert b"Traceback" not in err
    assert process.returncode != 0 or err == b""


@pytest.mark.parametrize("link", ["dev", "harness"])
def test_a_link_to_dev(link: str, tmp_path: Path) -> None:
    folder = tmp_path / "my bin"
    folder.mkdir()
    (tmp_path / "second").symlink_to(ROOT / "dev")
    (folder / link).symlink_to(Path("..") / "second")
    ended = subprocess.run(
        [str(folder / link), "unseal"], cwd="/", capture_output=True, text=True, check=False
    )
    assert ended.returncode == 5
    assert f"what to do: '{folder / link}' up" in ended.stderr


@pytest.mark.parametrize(
    ("command", "runner"),
    [
        ([*PROGRAM], "python -m vault_harness"),
        ([str(Path(sys.executable).with_name("vault-harness"))], "vault-harness"),
        ([sys.executable, "-m", "invoke"], "invoke"),
        ([str(ROOT / "dev")], str(ROOT / "dev")),
    ],
    ids=["module", "script", "invoke", "dev"],
)
def test_each_way_to_run_a_task_names_itself(command: list[str], runner: str) -> None:
    """So a remedy can be pasted."""
    ended = subprocess.run(
        [*command, "unseal"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert ended.returncode == 5
    assert re.search(rf"what to do: \S*{re.escape(runner)} up\n", ended.stderr)


@pytest.mark.parametrize("words", [("destroy", "--dry", "--yes"), ("unlock",)])
def test_under_plain_invoke(words: tuple[str, ...]) -> None:
    """`invoke` refuses --dry, which it would ignore."""
    ended = ran([sys.executable, "-m", "invoke", *words], cwd=ROOT)
    assert ended.returncode != 0
    assert "required positional" not in ended.stderr
    assert "Traceback" not in ended.stderr
    assert "removed" not in ended.stdout


def test_words_without_options_under_plain_invoke() -> None:
    for words in (("migrate", ".env"), ("rotate.secret-id", "backend"), ("env", "backend")):
        ended = ran([sys.executable, "-m", "invoke", *words], cwd=ROOT)
        assert "the stack is not up" in ended.stderr


def test_debug(tmp_path: Path) -> None:
    """`--debug` before or after the task adds the traceback; the message stays last."""
    for words in (("--debug", "unseal"), ("unseal", "--debug")):
        ended = subprocess.run([*PROGRAM, *words], capture_output=True, text=True, check=False)
        assert "Traceback" in ended.stderr
        assert ended.stderr.endswith("python -m vault_harness up\n")


def test_listing_imports_nothing_slow() -> None:
    code = (
        "import sys; import vault_harness.cli; slow = {'hvac', 'requests', 'pydantic', 'docker',"
        " 'psutil', 'rich', 'pytest', 'dotenv', 'uvloop'}; print(sorted(slow & sys.modules.keys()))"
    )
    answer = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    assert answer.stdout == "[]\n"
