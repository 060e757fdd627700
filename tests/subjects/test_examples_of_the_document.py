"""The shortest programs, in docs/subjects.md, keep to what that document asks of a program."""

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

DOCUMENT = (Path(__file__).parents[2] / "docs" / "subjects.md").read_text(encoding="utf-8")

TOKEN = "hvs.quoted-by-a-library"
"""What the error of a library has in it, as that of a header with a newline does."""

NODE = """
class MyVault {
  async read(path, key) {
    if (key === "SLOW") await new Promise((done) => setTimeout(done, 300));
    if (key === "BROKEN") throw new TypeError('invalid header value: "TOKEN"');
    return `${path} ${key} wälue€`;
  }
  async close() { console.error("closed"); }
}
"""

GO = """
package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"sync"
	"syscall"
	"time"
)

type Vault struct{}

func NewVault(func(string) string) *Vault { return &Vault{} }

func (v *Vault) Read(path, key string) (string, error) {
	if key == "SLOW" {
		time.Sleep(300 * time.Millisecond)
	}
	if key == "BROKEN" {
		return "", errors.New(`invalid header value: "TOKEN"`)
	}
	return path + " " + key + " wälue€", nil
}

func (v *Vault) Close() { fmt.Fprintln(os.Stderr, "closed") }
"""

JAVA = """
import static java.nio.charset.StandardCharsets.UTF_8;
import java.io.*;
import java.util.*;
import java.util.concurrent.*;
import java.util.regex.*;

public class Example {
    public static void main(String[] arguments) throws Exception {
EXAMPLE
    }
}

class MyVault {
    MyVault(Map<String, String> environ) {}

    String read(String path, String key) throws Exception {
        if (key.equals("SLOW")) Thread.sleep(300);
        if (key.equals("BROKEN")) throw new IllegalArgumentException("invalid header value: TOKEN");
        return path + " " + key + " wälue€";
    }

    void close() {
        System.err.println("closed");
    }
}

/** As much of Jackson as the example needs. */
class JsonNode {
    private final String value;
    private final Map<String, String> members;

    JsonNode(String value, Map<String, String> members) {
        this.value = value;
        this.members = members;
    }

    JsonNode get(String name) { return new JsonNode(members.get(name), Map.of()); }
    String asText() { return value; }
    int asInt() { return Integer.parseInt(value); }
}

class ObjectNode {
    private final StringJoiner members = new StringJoiner(",", "{", "}");

    ObjectNode put(String name, int value) { return raw(name, "" + value); }
    ObjectNode put(String name, boolean value) { return raw(name, "" + value); }
    ObjectNode put(String name, String value) { return raw(name, '"' + value + '"'); }
    private ObjectNode raw(String name, String value) {
        members.add('"' + name + "\\":" + value);
        return this;
    }
    @Override public String toString() { return members.toString(); }
}

class ObjectMapper {
    private static final Pattern MEMBER = Pattern.compile("\\"(\\\\w+)\\": *\\"?([^\\",}]*)");

    ObjectNode createObjectNode() { return new ObjectNode(); }
    JsonNode readTree(String line) {
        var members = new HashMap<String, String>();
        for (var m = MEMBER.matcher(line); m.find(); ) {
            members.put(m.group(1), m.group(2));
        }
        return new JsonNode(null, members);
    }
}
"""

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
    """The program in that language, as it stands."""
    (found,) = re.findall(rf"```{language}\n(.*?)```", DOCUMENT, re.DOTALL)
    return str(found)


def need(*tools: str) -> None:
    """Leave a test for which a program is missing."""
    if missing := [tool for tool in tools if shutil.which(tool) is None]:
        pytest.skip(f"{', '.join(missing)} is not here")


def made(language: str, folder: Path) -> list[str]:
    """The example around a client of a few lines, ready to be run."""
    if language == "js":
        need("node")
        file = folder / "example.mjs"
        file.write_text(NODE.replace("TOKEN", TOKEN) + example("js"), encoding="utf-8")
        return ["node", str(file)]
    if language == "go":
        need("go")
        (folder / "go.mod").write_text("module example\n\ngo 1.24\n")
        (folder / "main.go").write_text(GO.replace("TOKEN", TOKEN) + example("go"), "utf-8")
        subprocess.run(["go", "build", "-o", "example", "."], cwd=folder, check=True)
        return [str(folder / "example")]
    if language == "java":
        need("java", "javac")
        text = JAVA.replace("TOKEN", TOKEN).replace("EXAMPLE", example("java"))
        (folder / "Example.java").write_text(text, encoding="utf-8")
        compiler = ["javac", "--release", "17", "-encoding", "UTF-8", "Example.java"]
        subprocess.run(compiler, cwd=folder, check=True)
        return ["java", "-XX:TieredStopAtLevel=1", "-cp", str(folder), "Example"]
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
    params=[
        "js",
        "sh",
        *(pytest.param(one, marks=pytest.mark.slow) for one in ("go", "java", "rust")),
    ],
)
def program(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """Each of them."""
    return made(request.param, tmp_path_factory.mktemp(request.param))


class Running:
    """One that runs, in a locale that knows no letter beyond ASCII."""

    def __init__(self, command: Sequence[str]) -> None:
        self.process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env={**os.environ, "LANG": "C", "LC_ALL": "C"},
        )

    def ask(self, number: int, op: str, **more: str) -> None:
        """Send a request."""
        assert self.process.stdin is not None
        line = json.dumps({"id": number, "op": op, **more}) + "\n"
        self.process.stdin.write(line.encode())
        self.process.stdin.flush()

    def answer(self) -> dict[str, Any]:
        """The next answer."""
        assert self.process.stdout is not None
        found: dict[str, Any] = json.loads(self.process.stdout.readline().decode())
        return found

    def ended(self) -> tuple[int, str, str]:
        """How it ended, after the end of its input: its code, what it still said, its log."""
        said, log = self.process.communicate(timeout=30)
        return self.process.returncode, said.decode(), log.decode()


@contextmanager
def running(command: Sequence[str]) -> Iterator[Running]:
    """Start one; it does not outlive the block."""
    one = Running(command)
    try:
        yield one
    finally:
        one.process.kill()
        one.process.communicate()


def closes(command: Sequence[str]) -> int:
    """How often its client has to be closed: the command-line tool keeps none open."""
    return 0 if command[0].endswith(".sh") else 1


def test_answers_and_close(program: list[str]) -> None:
    """Letters beyond ASCII come through, no error's text does, and it ends with 0 on `close`."""
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
    """What was asked before is answered, and then it ends as by `close`."""
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
