"""A task of this program: an invoke task that knows its group, its words and its examples.

The class does what all tasks share: it refuses ``--dry``, reports a missing word with an example,
reads numbers and times, turns exceptions into messages, and lets a task clean up after a signal.
"""

from __future__ import annotations

import dataclasses
import functools
import inspect
import logging
import sys
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal, get_type_hints

from invoke.context import Context
from invoke.parser.argument import Argument
from invoke.tasks import Task

from vault_harness.cli.common import wrong
from vault_harness.cli.guard import guarded
from vault_harness.cli.printing import complain, see_that_all_was_said
from vault_harness.errors import named, refuse_empty, runner
from vault_harness.interrupts import ended_by_signals
from vault_harness.waiting import telling_waits

Group = Literal["every day", "operator", "break it", "judge", "develop"]
GROUPS: tuple[Group, ...] = ("every day", "operator", "break it", "judge", "develop")
"""In the order of the overview."""

Seconds = float
"""A time: ``5``, ``5s``, ``500ms``, ``15m``, ``2h``, ``7d``."""

HELP = frozenset({"--help", "-h"})
"""Anywhere on the command line."""

_UNITS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}


def option(help: str, default: Any = None) -> Any:  # noqa: A002 -- invoke's own name
    return dataclasses.field(default=default, metadata={"help": help})


def required(help: str) -> Any:  # noqa: A002 -- invoke's own name
    return dataclasses.field(metadata={"help": help})


def repeated(help: str) -> Any:  # noqa: A002 -- invoke's own name
    return dataclasses.field(default_factory=list, metadata={"help": help})


def typed(options: Any) -> list[str]:
    """Return the words that set a class of options as it is; defaults are left out."""
    words: list[str] = []
    for field in dataclasses.fields(options):
        value, name = getattr(options, field.name), f"--{field.name.replace('_', '-')}"
        if isinstance(value, list):
            words += [word for each in value for word in (name, str(each))]
        elif value != field.default:
            words += [name] if value is True else [name, str(value)]
    return words


@dataclasses.dataclass(frozen=True)
class command:  # noqa: N801 -- a decorator
    """Make a task of a function.

    A parameter whose type is a dataclass stands for all fields of that class, made with `option`,
    `required` and `repeated`, which several tasks may share.

    Attributes:
        path: Its full name, with a dot if it belongs to a group of tasks.
        group: In the overview.
        examples: Command lines without the runner, at least one.
        takes: Options that may be given as plain words, in order; by default those without a
            default, which must be given.
        default: The part of the name before the dot runs it too.
        passes_on: All words after its name belong to another program.
        judges: Its exit codes 0, 1 and 2 are verdicts on a client.
        help: Of each option; it wins over that of a class of options.
        fields: Those that it has of a class of options, in order; all if it is empty.
    """

    path: str
    _: dataclasses.KW_ONLY
    group: Group
    examples: Sequence[str]
    takes: Sequence[str] = ()
    default: bool = False
    passes_on: bool = False
    judges: bool = False
    help: Mapping[str, str] = dataclasses.field(default_factory=dict)
    fields: Sequence[str] = ()

    def __call__(self, body: Callable[..., None]) -> Command:
        return Command(body, self)


class Command(Task[Callable[..., None]]):
    """A task of vault-harness. For the attributes see `command`.

    Attributes:
        group_name: The part of its name before the dot, or "".
        shown_as_group: People know it by that part: ``backup``.
        told: The help of each option.
    """

    def __init__(self, body: Callable[..., None], about: command) -> None:
        self.path = about.path
        self.group = about.group
        self.group_name, _, name = about.path.rpartition(".")
        self.shown_as_group = about.default and name in {"now", "follow", "list"}
        self.examples = tuple(about.examples)
        self.passes_on = about.passes_on
        self.judges = about.judges
        self.parameters: dict[str, inspect.Parameter] = {}
        self.told: dict[str, str] = {}
        self._classes: dict[str, tuple[Callable[..., object], list[str]]] = {}
        self._take_options(body, about.fields)
        self.told |= about.help
        needed = [name for name, each in self.parameters.items() if each.default is each.empty]
        self.needed = frozenset(needed)
        self.takes = tuple(about.takes or needed)
        super().__init__(
            self._around(body),
            name=name,
            default=about.default,
            positional=(),
            auto_shortflags=False,
            help=dict(self.told),
            iterable=tuple(
                name
                for name, option in self.parameters.items()
                if str(option.annotation).startswith("list[")
            ),
        )

    def _take_options(self, body: Callable[..., None], chosen: Sequence[str]) -> None:
        """Note the body's parameters, with the fields of a class of options in its place."""
        types = get_type_hints(body)
        for name, parameter in inspect.signature(body).parameters.items():
            of = types[name]
            if not (isinstance(of, type) and dataclasses.is_dataclass(of)):
                self.parameters[name] = parameter
                continue
            known = {field.name: field for field in dataclasses.fields(of)}
            names = list(chosen or known)
            for each in names:
                field = known[each]
                default = field.default
                if default is dataclasses.MISSING:
                    default = parameter.empty if field.default_factory is default else None
                self.parameters[each] = parameter.replace(
                    name=each, default=default, annotation=field.type
                )
                self.told[self.option(each)[2:]] = field.metadata["help"]
            self._classes[name] = (of, names)

    @property
    def names(self) -> tuple[str, ...]:
        """Its full name, and its group's if it is the default."""
        return (self.path, self.group_name) if self.is_default else (self.path,)

    @property
    def shortest(self) -> str:
        return self.group_name if self.shown_as_group else self.path

    @property
    def summary(self) -> str:
        return (inspect.getdoc(self) or "").partition("\n")[0]

    @property
    def description(self) -> str:
        return (inspect.getdoc(self) or "").partition("\n")[2].strip()

    def option(self, parameter: str) -> str:
        """Return an option as typed; ``for_`` is ``--for``, which Python keeps for itself."""
        return f"--{parameter.strip('_').replace('_', '-')}"

    def meaning(self, parameter: str) -> str:
        return self.told.get(parameter) or self.told[self.option(parameter)[2:]]

    def takes_value(self, word: str) -> bool:
        for name, parameter in self.parameters.items():
            if word == self.option(name):
                return not isinstance(parameter.default, bool)
        return False

    def get_arguments(self, ignore_unknown_help: bool | None = None) -> list[Argument]:
        """Return the arguments for invoke's parser.

        It insists on each positional argument, so an argument is one only if its word was typed.
        The task itself reports a missing word.
        """
        self.positional = self.takes[: plain_words(self, sys.argv[1:])]
        self.help = dict(self.told)
        arguments = list(super().get_arguments(ignore_unknown_help))
        for argument in arguments:
            if argument.kind in {int, float}:
                argument.kind = str  # read by us, with a message that names the option
        return arguments

    def _around(self, body: Callable[..., None]) -> Callable[..., None]:
        @functools.wraps(body)
        def run(context: Context, **given: Any) -> None:
            debug = bool(context.config.get("debug_traceback", False)) or logging.getLogger(
                "invoke"
            ).isEnabledFor(logging.DEBUG)
            with ended_by_signals(), guarded(debug=debug, judging=self.judges):
                if context.config.run.dry:
                    raise refused_dry(self)
                with telling_waits(complain):
                    body(**self._gathered(self._read(given)))
                see_that_all_was_said()

        # The parser's own refusal would not name the option's meaning.
        options = [
            each.replace(default=None) if each.default is each.empty else each
            for each in self.parameters.values()
        ]
        first = inspect.Parameter("context", inspect.Parameter.POSITIONAL_OR_KEYWORD)
        run.__signature__ = inspect.Signature([first, *options])  # type: ignore[attr-defined]
        del run.__wrapped__  # otherwise inspect looks there
        return run

    def _read(self, given: Mapping[str, Any]) -> dict[str, Any]:
        """Convert the options to the types that the body wants.

        A value of a judging task must not be empty, because that would judge more, or compare less.
        """
        read = {}
        for name, value in given.items():
            if isinstance(value, str) and value.startswith("--") and name in self.takes:
                raise usage_error(self, f"{self.shortest} has no option {value}")
            if value is None and name in self.needed:
                raise usage_error(
                    self, f"{self.shortest} needs {metavar(name)}: {self.meaning(name)}"
                )
            if self.group == "judge" and self.parameters[name].default != "":
                refuse_empty(self.option(name), value if isinstance(value, list) else [value])
            kind = str(self.parameters[name].annotation).removesuffix(" | None")
            read[name] = self._value(name, kind, value) if isinstance(value, str) else value
        return read

    def _gathered(self, read: dict[str, Any]) -> dict[str, Any]:
        for name, (of, fields) in self._classes.items():
            read[name] = of(**{field: read.pop(field) for field in fields if field in read})
        return read

    def _value(self, name: str, kind: str, text: str) -> object:
        match kind:
            case "int":
                if text.isascii() and text.isdigit():
                    return int(text)
                raise usage_error(self, f"{self.option(name)} {text}: give a whole number")
            case "float":
                try:
                    return float(text)
                except ValueError:
                    pass
                raise usage_error(self, f"{self.option(name)} {text}: give a number")
            case "Seconds":
                if (seconds := seconds_in(text)) is not None:
                    return seconds
                wrong = f"{self.option(name)} {text}: give a time as 5, 5s, 500ms, 15m, 2h or 7d"
                raise usage_error(self, wrong)
        return text


def plain_words(task: Command, words: Sequence[str]) -> int:
    """Count the plain words after a task's name that belong to no option, up to its limit."""
    count, inside, value_next = 0, False, False
    for word in words:
        if word == "--" or not HELP.isdisjoint({word}):
            break
        if value_next:
            value_next = False
        elif word.startswith("-"):
            value_next = inside and task.takes_value(word)
        elif inside:
            count += 1
        elif word in task.names:
            inside = True
    return min(count, len(task.takes))


def metavar(parameter: str) -> str:
    """Return a value's word in a usage line: ``FILE`` for ``passphrase_file``."""
    return parameter.rpartition("_")[2].upper()


def usage(task: Command) -> str:
    words = [metavar(name) if name in task.needed else f"[{metavar(name)}]" for name in task.takes]
    if task.passes_on:
        words.append("COMMAND ...")
    if set(task.parameters) - set(task.takes):
        words.append("[options]")
    return " ".join([runner(), task.shortest, *words])


def example(line: str) -> str:
    prefix, found, rest = line.partition("$(")
    return f"{prefix}$({runner()} {rest}" if found else f"{runner()} {line}"


def usage_error(task: Command, cause: str) -> Exception:
    return wrong(
        cause,
        f"{usage(task)}\n    for example: {example(task.examples[0])}\n"
        f"    more about it: {named('--help', task.shortest)}",
    )


def refused_dry(task: Command) -> Exception:
    """Refuse ``--dry``, which invoke would accept and ignore."""
    own = "dry_run" in task.parameters
    return usage_error(
        task,
        f"there is no --dry here, and nothing was done; {task.path} "
        + ("has --dry-run" if own else "has no dry run"),
    )


def seconds_in(text: str) -> Seconds | None:
    number = text.rstrip("abcdefghijklmnopqrstuvwxyz")
    factor = _UNITS.get(text[len(number) :] or "s")
    try:
        seconds = float(number)
    except ValueError:
        return None
    if factor is None or not 0 <= seconds < float("inf"):
        return None
    return seconds * factor
