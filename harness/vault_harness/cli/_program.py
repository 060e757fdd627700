"""The program ``vault-harness``: invoke's own, with our tasks, our help and our messages."""

from __future__ import annotations

import re
import shutil
import sys
from collections.abc import Container, Mapping, Sequence
from importlib import metadata

from invoke.collection import Collection
from invoke.config import Config
from invoke.exceptions import Exit, ParseError
from invoke.parser.argument import Argument
from invoke.program import Program

from vault_harness.cli._command import Command, refused_dry, usage_error
from vault_harness.cli._console import say, see_that_all_was_said, table
from vault_harness.cli._develop import needs_a_clone
from vault_harness.cli._guard import guarded
from vault_harness.cli._help import explained, overview
from vault_harness.cli._words import members, near, normalised
from vault_harness.commands import PROGRAM, named

_SUBJECT = re.compile(r"(?:command|python|agent):|https?://|reference$")
"""How a client under test is named."""


class _OwnConfig(Config):
    """No settings of invoke's: a file or a variable made for other tasks must not change ours."""

    prefix = "vault-harness-tasks"

    def load_system(self, merge: bool = True) -> None:
        """Nothing, and so nothing that may be closed to whoever runs this: see `load_user`."""

    def load_user(self, merge: bool = True) -> None:
        """Nothing: in a container that runs as a number, HOME may be root's, and closed."""


class TaskProgram(Program):
    """Runs the tasks of a collection.

    Args:
        namespace: The tasks.
        tasks: The same by each of their names.
        elsewhere: Names of tasks that can be run in a clone of the project alone, and this is none.
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
        """Do what a command line says.

        Raises:
            SystemExit: Always but for a task that ended well.
        """
        sys.argv[1:] = normalised(words, self._tasks)
        judging = any(word in self._tasks and self._tasks[word].judges for word in sys.argv[1:])
        with guarded(debug="--debug" in sys.argv, judging=judging):
            try:
                self._dispatch()
            except Exit as ended:
                if ended.message:  # only of a group that --list does not find
                    cause = f"there is no group of tasks {self.args.list.value}"
                    raise _wrong(cause, f"{named('--list')} shows all tasks") from None
                see_that_all_was_said()
                raise SystemExit(ended.code) from None
            except ParseError as error:
                raise self._explain(error) from None

    def _dispatch(self) -> None:
        """Invoke's own order of things, without its way to end."""
        self.create_config()
        self.parse_core(sys.argv)
        self.parse_collection()
        self.parse_tasks()
        self.parse_cleanup()
        self.update_config()
        self.execute()

    # What the parent class calls

    def core_args(self) -> list[Argument]:
        """The program's own options."""
        return [
            Argument(names=("help",), optional=True, help="explain one task"),
            Argument(names=("list",), optional=True, help="all tasks, or those of one group"),
            Argument(names=("list-format",), default="flat", help="json, for programs"),
            Argument(names=("list-depth",), kind=int, default=0, help=""),
            Argument(names=("debug",), kind=bool, default=False, help="show tracebacks"),
            Argument(names=("dry", "R"), kind=bool, default=False, help="refused"),
            Argument(names=("version",), kind=bool, default=False, help="show the version"),
            Argument(names=("complete",), kind=bool, default=False, help=""),
            Argument(names=("print-completion-script",), default="", help="bash, zsh or fish"),
        ]

    def parse_core(self, argv: list[str] | None) -> None:
        """Read the program's own options."""
        self.normalize_argv(argv)
        self.parse_core_args()
        if self.args.version.value:
            say(f"{PROGRAM} {metadata.version(PROGRAM)}")
            raise Exit
        if shell := self.args["print-completion-script"].value:
            if shell not in {"bash", "zsh", "fish"}:
                raise _wrong(f"there is no completion for {shell}", "name bash, zsh or fish")
            from invoke.completion.complete import print_completion_script

            print_completion_script(shell=shell, names=self.binary_names)
            raise Exit

    def update_config(self, merge: bool = True) -> None:
        """Hand ``--debug`` to the tasks, and refuse ``--dry`` before any of them begins."""
        if self.args.dry.value:
            raise refused_dry(self._tasks[str(self.tasks[0].name)])
        self.config.load_overrides({"debug_traceback": bool(self.args.debug.value)}, merge=merge)

    def print_help(self) -> None:
        """The overview; what there is without any word."""
        say(overview(dict.fromkeys(self._tasks.values())))

    def print_task_help(self, name: str) -> None:
        """One task explained."""
        say(explained(self._tasks[name], columns=shutil.get_terminal_size().columns))

    def list_tasks(self) -> None:
        """``--list``: the overview, a group of it, or all as JSON."""
        if self.list_format == "json":
            self.list_json()
            return
        say(overview(dict.fromkeys(self._tasks.values()), within=self.list_root or ""))

    # What went wrong

    def _explain(self, error: ParseError) -> Exception:
        """Invoke's complaint in words that help."""
        text = str(error)
        task = self._tasks.get(str(error.context.name)) if error.context else None
        if unknown := re.match(r"No idea what ['\"](.*)['\"] is!$", text, re.DOTALL):
            return self._unknown(unknown[1], task)
        if lacking := re.search(r"<Argument: (\S+?)[ >].*needed value", text):
            cause = f"--{lacking[1]} needs a value"
            return usage_error(task, cause) if task else _wrong(cause, named("--help", "TASK"))
        return usage_error(task, text) if task else _wrong(text, named("--list"))

    def _unknown(self, word: str, task: Command | None) -> Exception:
        if word.startswith("-"):
            if task is None:
                return _wrong(
                    f"there is no option {word}",
                    f"options stand after their task; {named('--list')} shows all tasks",
                )
            cause = f"{task.path} has no option {word}"
            part = self._tasks.get("scenarios")
            if task.path == "judge" and part and word in map(part.option, part.parameters):
                cause += f", so that two runs of it compare; {named('scenarios', word)} has"
            return usage_error(task, cause)
        if word in self._elsewhere:
            return needs_a_clone(word)
        if task is not None and "subject" in task.parameters and _SUBJECT.match(word):
            return usage_error(task, f"{word} names a client, and --subject stands before that")
        if group := members(word, self._tasks):
            lines = table([(named(one.path), one.summary) for one in group], indent="    ")
            return _wrong(f"{word} is a group of tasks, and one must be named", f"one of\n{lines}")
        found = [named(path) for path in near(word, self._tasks)]
        if task is not None and (task.takes or not found):
            return usage_error(task, f"{word} is one word more than {task.shortest} takes")
        if found:
            return _wrong(f"there is no task {word}", f"did you mean {', or '.join(found)}?")
        return _wrong(f"there is no task {word}", f"{named('--list')} shows all of them")


def _wrong(cause: str, remedy: str) -> Exception:
    from vault_harness.errors import SettingsError

    return SettingsError(cause, looked_at="the command line", remedy=remedy)
