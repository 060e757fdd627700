"""The programs of docs/how-to/program.md keep to the line protocol."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

DOCUMENT = (Path(__file__).parents[2] / "docs" / "how-to" / "program.md").read_text("utf-8")

TOKEN = "hvs.quoted-by-a-library"
"""A library's error, as about a header with a newline, can hold a token."""

RUST = """
struct MyVault;

impl MyVault {
    fn new(_: env::Vars) -> MyVault { MyVault }

    fn read(&self, path: &str, key: &str) -> Result<String, String> {
        if key == "SLOW" { thread::sleep(std::time::Duration::from_millis(300)); }
        if key == "BROKEN" { return Err("invalid header value: TOKEN".to_string()); }
        Ok(format!("{path} {key} wälue€"))
    }

    fn close(&self) { eprintln!("closed"); }
}
"""

CARGO = """
[package]
name = "example"
version = "1.0.0"
edition = "2021"

[dependencies]
serde_json = "1"
signal-hook = "0.3"
"""

TOOL = """#!/bin/sh
[ "$2" = SLOW ] && sleep 0.3
[ "$2" = BROKEN ] && { echo 'invalid header value: "TOKEN"' >&2; exit 1; }
printf '%s %s wälue€' "$1" "$2"
"""


def example(language: str) -> str:
    (found,) = re.findall(rf"```{language}\n(.*?)```", DOCUMENT, re.DOTALL)
    return str(found)


def need(*tools: str) -> None:
    if missing := [tool for tool in tools if shutil.which(tool) is None]:
        pytest.skip(f"{', '.join(missing)} is not here")


def made(language: str, folder: Path) -> list[str]:
    """Return the example's command, around a client of a few lines."""
    if language == "rust":
        need("cargo")
        (folder / "src").mkdir()
        (folder / "Cargo.toml").write_text(CARGO)
        text = example("rust") + RUST.replace("TOKEN", TOKEN)
        (folder / "src" / "main.rs").write_text(text, encoding="utf-8")
        subprocess.run(["cargo", "build", "--quiet"], cwd=folder, check=True)
        return [str(folder / "target" / "debug" / "example")]
    need("jq")
    tool, file = folder / "my-tool", folder / "example.sh"
    tool.write_text(TOOL.replace("TOKEN", TOKEN), encoding="utf-8")
    file.write_text(example("sh").replace("MY_TOOL", str(tool)), encoding="utf-8")
    for program in (tool, file):
        program.chmod(0o700)
    return [str(file)]


@pytest.fixture(
    scope="module",
    params=["sh", pytest.param("rust", marks=pytest.mark.slow)],
)
def program(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    return made(request.param, tmp_path_factory.mktemp(request.param))


class Running:
    """A running example, in an ASCII locale."""

    def __init__(self, command: Sequence[str]) -> None:
        self.process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env={**os.environ, "LANG": "C", "LC_ALL": "C"},
        )

    def ask(self, number: int, op: str, **more: str) -> None:
        assert self.process.stdin is not None
        line = json.dumps({"id": number, "op": op, **more}) + "\n"
        self.process.stdin.write(line.encode())
        self.process.stdin.flush()

    def answer(self) -> dict[str, Any]:
        assert self.process.stdout is not None
        found: dict[str, Any] = json.loads(self.process.stdout.readline().decode())
        return found

    def ended(self) -> tuple[int, str, str]:
        """End its input; return its exit code, last output and log."""
        said, log = self.process.communicate(timeout=30)
        return self.process.returncode, said.decode(), log.decode()


@contextmanager
def running(command: Sequence[str]) -> Iterator[Running]:
    one = Running(command)
    try:
        yield one
    finally:
        one.process.kill()
        one.process.communicate()


def closes(command: Sequence[str]) -> int:
    """Return how often its client must be closed: the command-line tool keeps none open."""
    return 0 if command[0].endswith(".sh") else 1


def test_answers_and_close(program: list[str]) -> None:
    """Letters beyond ASCII arrive, errors have no client's text, and `close` ends it with 0."""
    with running(program) as one:
        one.ask(1, "hello")
        assert one.answer() | {"message": ""} == {"id": 1, "ok": False, "message": ""}
        one.ask(2, "read", path="a/b", key="K")
        assert one.answer() == {"id": 2, "ok": True, "value": "a/b K wälue€"}
        one.ask(3, "read", path="a/b", key="BROKEN")
        failed = one.answer()
        assert (failed["id"], failed["ok"]) == (3, False)
        assert TOKEN not in json.dumps(failed)
        one.ask(4, "close")
        code, _, log = one.ended()
    assert (code, log.count("closed")) == (0, closes(program))


def test_end_of_the_input(program: list[str]) -> None:
    """It answers what was asked, and ends as by `close`."""
    with running(program) as one:
        one.ask(1, "read", path="a/b", key="SLOW")
        code, said, log = one.ended()
    assert json.loads(said) == {"id": 1, "ok": True, "value": "a/b SLOW wälue€"}
    assert (code, log.count("closed")) == (0, closes(program))


def test_sigterm(program: list[str]) -> None:
    """It ends with 0, and its client is closed."""
    with running(program) as one:
        one.ask(1, "hello")
        one.answer()
        one.process.send_signal(signal.SIGTERM)
        assert one.process.wait(timeout=30) == 0
        _, _, log = one.ended()
    assert log.count("closed") == closes(program)
