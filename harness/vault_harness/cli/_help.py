"""The overview of all tasks, and the help of one."""

from __future__ import annotations

import textwrap
from collections.abc import Iterable

from vault_harness.cli._command import GROUPS, Command, example, metavar, usage
from vault_harness.commands import named, runner

WIDTH = 96
"""Longest line of a help text, on terminals that are wide enough."""


def overview(tasks: Iterable[Command], *, within: str = "") -> str:
    """All tasks in their groups, a line each.

    Args:
        tasks: In the order in which they are shown.
        within: Only those whose names begin with this word and a dot, or are this word.
    """
    shown = [task for task in tasks if not within or task.path.partition(".")[0] == within]
    width = max((len(task.shortest) for task in shown), default=0)
    lines = [
        f"Usage: {runner()} TASK [words and options]",
        f"       {named('--help', 'TASK')}   one of them explained, with examples",
    ]
    for group in GROUPS:
        members = [task for task in shown if task.group == group]
        if members:
            lines += ["", group]
            lines += [f"  {task.shortest:<{width}}  {task.summary}" for task in members]
    return "\n".join(lines)


def explained(task: Command, *, columns: int) -> str:
    """The help of one task.

    Args:
        task: Which.
        columns: Width of the terminal; very narrow ones are not minded.
    """
    width = min(max(columns, 40), WIDTH)
    lines = [f"Usage: {usage(task)}", "", *_paragraphs(task.summary, width)]
    if task.description:
        lines += ["", *_paragraphs(task.description, width)]
    rows = [(_spelled(task, name), _meaning(task, name)) for name in _in_order(task)]
    if rows:
        lines += ["", "Options:"]
        longest = max(len(spelled) for spelled, _ in rows)
        for spelled, meaning in rows:
            lines += _row(spelled, meaning, longest, width)
    lines += ["", "Examples:", *(f"  {example(line)}" for line in task.examples)]
    return "\n".join(lines)


def _in_order(task: Command) -> list[str]:
    """Plain words first, then options as the task has them."""
    return [*task.takes, *(name for name in task.parameters if name not in task.takes)]


def _spelled(task: Command, name: str) -> str:
    if name in task.takes:
        return metavar(name)
    parameter = task.parameters[name]
    if isinstance(parameter.default, bool):
        return f"--[no-]{name.replace('_', '-')}" if parameter.default else task.option(name)
    kind = str(parameter.annotation).removesuffix(" | None")
    value = {"int": "N", "float": "FACTOR", "Seconds": "TIME"}.get(kind, metavar(name))
    return f"{task.option(name)} {value}"


def _meaning(task: Command, name: str) -> str:
    text = task.told.get(name) or task.told[name.replace("_", "-")]
    return f"{text} (or {task.option(name)} {metavar(name)})" if name in task.takes else text


def _row(spelled: str, meaning: str, longest: int, width: int) -> list[str]:
    """An option beside its meaning, or above it where there is no room."""
    indent = longest + 4
    if width - indent < 30:
        return [
            f"  {spelled}",
            *textwrap.wrap(meaning, width - 6, initial_indent=" " * 6, subsequent_indent=" " * 6),
        ]
    wrapped = textwrap.wrap(meaning, width - indent) or [""]
    first = f"  {spelled:<{longest}}  {wrapped[0]}".rstrip()
    return [first, *(" " * indent + line for line in wrapped[1:])]


def _paragraphs(text: str, width: int) -> list[str]:
    """Text wrapped anew, paragraph by paragraph; indented lines stay as they are."""
    lines: list[str] = []
    for paragraph in text.split("\n\n"):
        if lines:
            lines.append("")
        if paragraph.startswith("  "):
            lines += paragraph.splitlines()
        else:
            lines += textwrap.wrap(paragraph, width, break_on_hyphens=False)
    return lines
