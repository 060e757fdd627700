from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest

from vault_harness.cli.command import Command
from vault_harness.cli.program import normalised
from vault_harness.cli.tasks import by_name

ROOT = Path(__file__).parents[3]
DOCUMENTS = (
    *(ROOT / name for name in ("README.md", "CONTRIBUTING.md")),
    *sorted((ROOT / "docs").rglob("*.md")),
)
TASKS = by_name()

_CODE = re.compile(r"^```\w*\n(?P<block>.*?)^```$|`(?P<inline>[^`\n]+)`", re.MULTILINE | re.DOTALL)
_TYPED = re.compile(r"(?:(?<![\w./-])(?:invoke|vault-harness)|\./dev) +(\S.*)")
_SUBSTITUTED = re.compile(r'"\$\(.*?\)"')
_ENDS = re.compile(r"&&|\|\||[|;>)]")


def typed(document: Path) -> list[str]:
    """Return what follows the runner, in code only: in prose `invoke` may be a word."""
    lines = []
    for found in _CODE.finditer(document.read_text(encoding="utf-8")):
        for line in (found["block"] or found["inline"]).replace(r"\|", "/").splitlines():
            lines += _TYPED.findall(line.partition(" #")[0])
    commands = [_ENDS.split(_SUBSTITUTED.sub("VALUE", line))[0].strip() for line in lines]
    return [command for command in commands if command and "TASK" not in command.split()]


def options_of(task: Command) -> set[str]:
    on = {name for name, one in task.parameters.items() if one.default is True}
    return {task.option(name) for name in task.parameters} | {
        task.option(name).replace("--", "--no-", 1) for name in on
    }


def what_is_wrong(command: str) -> str:
    """Describe a mistake, or return an empty text."""
    words = normalised(shlex.split(command), TASKS)
    name = next((word for word in words if word in TASKS), None)
    if name is None:
        return f"{command}: no task"
    mine = words[: words.index("--")] if "--" in words else words
    options = {word.partition("=")[0] for word in mine if word.startswith("--")}
    unknown = options - options_of(TASKS[name]) - {"--debug"}
    return f"{command}: {name} has no {', '.join(sorted(unknown))}" if unknown else ""


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_each_task_in_a_document_exists(document: Path) -> None:
    assert [wrong for command in typed(document) if (wrong := what_is_wrong(command))] == []


def test_commands_are_found() -> None:
    """Else the test above could not fail."""
    assert len(typed(ROOT / "README.md")) > 8
    assert sum(len(typed(page)) for page in (ROOT / "docs" / "how-to").glob("*.md")) > 100
    assert what_is_wrong("break.slow --until 3")
    assert what_is_wrong("no-such-task")
    assert not what_is_wrong("audit --follow")
