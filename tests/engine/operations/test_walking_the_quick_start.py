from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.engine.operations.test_walking_the_guide import ROOT, Shell

PAGE = (ROOT / "docs" / "guide.md").read_text(encoding="utf-8")
STEPS = re.findall(r"^```sh\n(.*?)^```\n+```text\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)
MARK = "-- next step --"


def block(language: str) -> str:
    (found,) = re.findall(rf"^```{language}\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)
    return str(found)


def walk(shell: Shell, commands: list[str], *, deadline: float) -> list[str]:
    """Run commands in one shell; return each output, with the variables that it set."""
    script = "".join(f"{one}\nenv | grep VAULT\necho '{MARK}'\n" for one in commands)
    out, _ = shell.run(script, deadline=deadline)
    return out.split(MARK)[:-1]


def not_printed(promised: str, printed: str) -> list[str]:
    """Return lines of the page that a command did not print. Ports and ``...`` match anything."""
    return [
        line
        for line in promised.splitlines()
        if not re.search(
            "^" + re.sub(r":\d{4}\b", r":\\d+", re.escape(line)).replace(r"\.\.\.", ".*") + "$",
            re.sub(r" +$", "", printed, flags=re.MULTILINE),
            re.MULTILINE,
        )
    ]


@contextmanager
def opened(directory: Path) -> Iterator[Shell]:
    """A folder with ``./dev``, ``.venv``, and the two files that the page asks for."""
    shell = Shell(directory)
    for name in ("dev", ".venv"):
        (directory / name).symlink_to(ROOT / name)
    (directory / ".env").write_text(block("dotenv"))
    (directory / "settings.py").write_text(block("python"))
    try:
        yield shell
    finally:
        shell.close()


def test_each_step_is_one_command() -> None:
    assert [len(commands.splitlines()) for commands, _ in STEPS] == [1] * 5
    numbered = re.findall(r"^\*\*(\d)\. ", PAGE, re.MULTILINE)
    assert numbered == list("12345")


@pytest.mark.slow  # five processes and a server
def test_five_commands_lead_to_a_service_that_reads_its_secret(tmp_path: Path) -> None:
    with opened(tmp_path) as shell:
        printed = walk(shell, [commands for commands, _ in STEPS], deadline=300)
    promised = [text for _, text in STEPS]
    missing = [not_printed(*pair) for pair in zip(promised, printed, strict=True)]
    assert missing == [[]] * 5
