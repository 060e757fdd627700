from __future__ import annotations

import shlex
import sys
import textwrap
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from vault_harness.judge.subjects import Subject, open_subject, parse_subject

Open = Callable[..., Subject]

PROGRAM = """
import json, os, sys, threading, time
answering = threading.Lock()
def say(**answer):
    with answering:
        sys.stdout.write(json.dumps(answer) + "\\n")
        sys.stdout.flush()
def raw(text):
    with answering:
        sys.stdout.write(text)
        sys.stdout.flush()
def requests():
    for line in sys.stdin:
        yield json.loads(line)
def greet(request, **more):
    if request["op"] == "hello":
        say(id=request["id"], ok=True, **more)
        return True
    return False
"""


@pytest.fixture
def subject(tmp_path: Path) -> Iterator[Open]:
    """Return a function that opens a subject, and end all subjects after the test."""
    opened: list[Subject] = []

    def open_it(text: str, environ: Mapping[str, str] | None = None, **more: Any) -> Subject:
        log = tmp_path / f"subject-{len(opened)}.log"
        more.setdefault("timeout", 20.0)
        one = open_subject(parse_subject(text), environ or {}, log=log, **more)
        opened.append(one)
        return one

    yield open_it
    for one in opened:
        one.kill()


@pytest.fixture
def program(tmp_path: Path) -> Callable[[str], str]:
    """Return a function that writes a Python program and returns its ``command:`` text."""

    def write(body: str) -> str:
        file = tmp_path / f"client_{len(list(tmp_path.glob('client_*')))}.py"
        file.write_text(PROGRAM + textwrap.dedent(body), encoding="utf-8")
        return "command:" + shlex.join([sys.executable, "-I", "-S", str(file)])

    return write


@pytest.fixture
def python_client(monkeypatch: pytest.MonkeyPatch) -> Callable[[object], str]:
    """Return a function that puts a factory into a module and returns its ``python:`` text."""

    def make(factory: object) -> str:
        module = ModuleType("client_of_this_test")
        module.factory = factory  # type: ignore[attr-defined]  # a module made for one test
        monkeypatch.setitem(sys.modules, module.__name__, module)
        return f"python:{module.__name__}:factory"

    return make
