"""Invoke's program, with our tasks, help and messages."""

from __future__ import annotations

import difflib
import re
import shutil
import sys
import textwrap
from collections.abc import Container, Iterable, Mapping, Sequence
from importlib import metadata
from pathlib import PurePath

from invoke.collection import Collection
from invoke.config import Config
from invoke.exceptions import Exit, ParseError
from invoke.parser.argument import Argument
from invoke.program import Program

from vault_harness.cli.command import (
    GROUPS,
    HELP,
    Command,
    example,
    metavar,
    plain_words,
    refused_dry,
    usage,
    usage_error,
)
from vault_harness.cli.common import wrong
from vault_harness.cli.develop import needs_a_clone
from vault_harness.cli.guard import guarded
from vault_harness.cli.printing import say, see_that_all_was_said, table
from vault_harness.errors import PROGRAM, named, runner

GLOBAL = frozenset({"--debug", "--dry", "-R", "--version"})
"""They may stand anywhere."""

GUIDE = {
    "init": "up",
    "init-vault": "up",
    "start": "up",
    "stop": "down",
    "migrate-secrets": "migrate",
    "unseal-vault": "unseal",
    "rotate-secrets": "rotate.secrets",
    "health": "status",
    "seal-status": "status",
    "ps": "status",
    "kv": "vault",
    "bao": "vault",
    "clean": "down",  # no error proposes a command that deletes data
    "reset": "heal",
    "check": "doctor",
    "log": "logs",
}
"""Words of the integration guide and of similar tools."""


def normalised(words: Sequence[str], tasks: Mapping[str, Command]) -> list[str]:
    """Return a command line in invoke's form.

    ``tasks`` are all tasks by each of their names.
    """
    front: list[str] = []
    out: list[str] = []
    task: Command | None = None
    rest = list(words)
    while rest:
        word = rest.pop(0)
        if word in HELP or (word == "help" and task is None and not out):
            return ["--help", *([task.path] if task else _joined(rest, tasks)[:1])]
        if word in GLOBAL:
            front.append(word)
        elif word == "--":
            out += [word, *rest]
            break
        elif task is not None and task.passes_on:
            out += ["--", word, *rest]
            break
        elif word in {"--list", "-l"} and out and not rest and members(out[-1], tasks):
            return [word, out[-1]]
        elif word.startswith("-"):
            out.append(word)
            if rest and _has_value(word, task):
                out.append(rest.pop(0))
        else:
            word, *rest = _joined([word, *rest], tasks)
            if task is None or plain_words(task, out) == len(task.takes):
                task = tasks.get(word, task)
            out.append(word)
    return front + out


def _has_value(option: str, task: Command | None) -> bool:
    if task is None:
        return option in {"--list", "-l", "--list-format"}
    return task.takes_value(option)


def _joined(words: list[str], tasks: Mapping[str, Command]) -> list[str]:
    """Join ``rotate secret-id`` to ``rotate.secret-id``."""
    if len(words) < 2:
        return words
    first, second, *rest = words
    return [f"{first}.{second}", *rest] if f"{first}.{second}" in tasks else words


def members(word: str, tasks: Mapping[str, Command]) -> list[Command]:
    return [task for name, task in tasks.items() if name.startswith(f"{word}.")]


def near(word: str, tasks: Mapping[str, Command]) -> list[str]:
    """Return what a wrong word may mean, the likeliest first."""
    asked = PurePath(word).name.removesuffix(".sh").lower()
    inner = [task for task in dict.fromkeys(tasks.values()) if not task.shown_as_group]
    same = [task.path for task in inner if task.path.endswith(f".{asked}")]
    if asked in GUIDE or same:  # `check` may mean the doctor or subject.check
        return [GUIDE[asked], *same] if asked in GUIDE else same
    known = {
        **{task.path.rpartition(".")[2]: task.shortest for task in inner},
        **{task.group_name: task.group_name for task in inner if task.group_name},
        **{name: task.shortest for name, task in tasks.items()},
    }
    close = difflib.get_close_matches(asked, known, n=3, cutoff=0.7)
    return list(dict.fromkeys(known[name] for name in close))


WIDTH = 96
"""Columns of a help text on wide terminals."""


def overview(tasks: Iterable[Command], *, within: str = "") -> str:
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
    """Return plain words first."""
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
    text = task.meaning(name)
    return f"{text} (or {task.option(name)} {metavar(name)})" if name in task.takes else text


def _row(spelled: str, meaning: str, longest: int, width: int) -> list[str]:
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
    """Wrap text; indented paragraphs stay as they are."""
    lines: list[str] = []
    for paragraph in text.split("\n\n"):
        if lines:
            lines.append("")
        if paragraph.startswith("  "):
            lines += paragraph.splitlines()
        else:
            lines += textwrap.wrap(paragraph, width, break_on_hyphens=False)
    return lines


_SUBJECT = re.compile(r"(?:command|python|agent):|https?://|reference$")
"""Names a client under test."""


class _OwnConfig(Config):
    """Invoke's settings, without those made for other tasks."""

    prefix = "vault-harness-tasks"

    def load_system(self, merge: bool = True) -> None:
        """Load nothing, as in `load_user`."""

    def load_user(self, merge: bool = True) -> None:
        """Load nothing: a container that runs as a number may have root's closed HOME."""


class TaskProgram(Program):
    """Runs the tasks of a collection.

    ``tasks`` has each name. ``elsewhere`` needs a clone.
    """

    def __init__(
        self,
        namespace: Collection,
        tasks: Mapping[str, Command],
        *,
        elsewhere: Container[str] = (),
    ) -> None:
        super().__init__(
            namespace=namespace,
            name=PROGRAM,
            binary=PROGRAM,
            binary_names=[PROGRAM],
            config_class=_OwnConfig,
        )
        self._tasks = tasks
        self._elsewhere = elsewhere

    def main(self, words: Sequence[str]) -> None:
        """End with `SystemExit` unless a task succeeded."""
        sys.argv[1:] = normalised(words, self._tasks)
        judging = any(word in self._tasks and self._tasks[word].judges for word in sys.argv[1:])
        with guarded(debug="--debug" in sys.argv, judging=judging):
            try:
                self._dispatch()
            except Exit as ended:
                if ended.message:  # only for a group that --list does not find
                    cause = f"there is no group of tasks {self.args.list.value}"
                    raise wrong(cause, f"{named('--list')} shows all tasks") from None
                see_that_all_was_said()
                raise SystemExit(ended.code) from None
            except ParseError as error:
                raise self._explain(error) from None

    def _dispatch(self) -> None:
        """Take invoke's steps in its order, without its way to end."""
        self.create_config()
        self.parse_core(sys.argv)
        self.parse_collection()
        self.parse_tasks()
        self.parse_cleanup()
        self.update_config()
        self.execute()

    # Called by the parent

    def core_args(self) -> list[Argument]:
        return [
            Argument(names=("help",), optional=True, help="explain one task"),
            Argument(names=("list",), optional=True, help="all tasks, or those of one group"),
            Argument(names=("list-format",), default="flat", help="json, for programs"),
            Argument(names=("list-depth",), kind=int, default=0, help=""),
            Argument(names=("debug",), kind=bool, default=False, help="show tracebacks"),
            Argument(names=("dry", "R"), kind=bool, default=False, help="refused"),
            Argument(names=("version",), kind=bool, default=False, help="show the version"),
            Argument(names=("complete",), kind=bool, default=False, help=""),
        ]

    def parse_core(self, argv: list[str] | None) -> None:
        self.normalize_argv(argv)
        self.parse_core_args()
        if self.args.version.value:
            say(f"{PROGRAM} {metadata.version(PROGRAM)}")
            raise Exit

    def update_config(self, merge: bool = True) -> None:
        """Pass ``--debug`` on, and refuse ``--dry`` before a task begins."""
        if self.args.dry.value:
            raise refused_dry(self._tasks[str(self.tasks[0].name)])
        self.config.load_overrides({"debug_traceback": bool(self.args.debug.value)}, merge=merge)

    def print_help(self) -> None:
        say(overview(dict.fromkeys(self._tasks.values())))

    def print_task_help(self, name: str) -> None:
        say(explained(self._tasks[name], columns=shutil.get_terminal_size().columns))

    def list_tasks(self) -> None:
        if self.list_format == "json":
            self.list_json()
            return
        say(overview(dict.fromkeys(self._tasks.values()), within=self.list_root or ""))

    # Errors

    def _explain(self, error: ParseError) -> Exception:
        text = str(error)
        task = self._tasks.get(str(error.context.name)) if error.context else None
        if unknown := re.match(r"No idea what ['\"](.*)['\"] is!$", text, re.DOTALL):
            return self._unknown(unknown[1], task)
        if lacking := re.search(r"<Argument: (\S+?)[ >].*needed value", text):
            cause = f"--{lacking[1]} needs a value"
            return usage_error(task, cause) if task else wrong(cause, named("--help", "TASK"))
        return usage_error(task, text) if task else wrong(text, named("--list"))

    def _unknown(self, word: str, task: Command | None) -> Exception:
        if word.startswith("-"):
            if task is None:
                return wrong(
                    f"there is no option {word}",
                    f"options stand after their task; {named('--list')} shows all tasks",
                )
            cause = f"{task.shortest} has no option {word}"
            part = self._tasks.get("scenarios")
            if task.path == "judge" and part and word in map(part.option, part.parameters):
                cause += f", so that its runs are comparable; {named('scenarios', word)} has it"
            return usage_error(task, cause)
        if word in self._elsewhere:
            return needs_a_clone(word)
        if task is not None and "subject" in task.parameters and _SUBJECT.match(word):
            return usage_error(task, f"{word} names a client: put --subject before it")
        if group := members(word, self._tasks):
            lines = table([(named(one.path), one.summary) for one in group], indent="    ")
            return wrong(f"{word} is a group of tasks, and one must be named", f"one of\n{lines}")
        found = [named(path) for path in near(word, self._tasks)]
        if task is not None and task.path == "break.list" and not found:
            return wrong(f"there is no {task.shortest}.{word}", f"{named('break')} lists the verbs")
        if task is not None and (task.takes or not found):
            return usage_error(task, f"{word} is one word more than {task.shortest} takes")
        if found:
            return wrong(f"there is no task {word}", f"did you mean {', or '.join(found)}?")
        return wrong(f"there is no task {word}", f"{named('--list')} shows all of them")
