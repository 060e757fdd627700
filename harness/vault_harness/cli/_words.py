"""What a person types, in the form that invoke's parser takes.

``rotate secret-id backend`` becomes ``rotate.secret-id backend``, ``unlock --help`` becomes
``--help unlock``, ``vault kv list ecommerce/`` becomes ``vault -- kv list ecommerce/``.
"""

from __future__ import annotations

import difflib
from collections.abc import Mapping, Sequence
from pathlib import PurePath

from vault_harness.cli._command import HELP, Command, plain_words

GLOBAL = frozenset({"--debug", "--dry", "-R", "--version"})
"""Options of the program itself that may stand anywhere."""

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
    "clean": "down",  # no error proposes what deletes data
    "reset": "heal",
    "check": "doctor",
    "log": "logs",
}
"""Words of the integration guide and of similar tools, and the task that does it here."""


def normalised(words: Sequence[str], tasks: Mapping[str, Command]) -> list[str]:
    """A command line in invoke's form.

    Args:
        words: As typed, without the program.
        tasks: All tasks by each of their names.
    """
    if "--complete" in words:
        return list(words)
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
        return option in {"--list", "-l", "--list-format", "--print-completion-script"}
    return task.takes_value(option)


def _joined(words: list[str], tasks: Mapping[str, Command]) -> list[str]:
    """``rotate secret-id`` is ``rotate.secret-id``."""
    if len(words) < 2:
        return words
    first, second, *rest = words
    return [f"{first}.{second}", *rest] if f"{first}.{second}" in tasks else words


def members(word: str, tasks: Mapping[str, Command]) -> list[Command]:
    """The tasks of a group: those whose names begin with the word and a dot."""
    return [task for name, task in tasks.items() if name.startswith(f"{word}.")]


def near(word: str, tasks: Mapping[str, Command]) -> list[str]:
    """Tasks that a wrong word may have meant, the likeliest first."""
    asked = PurePath(word).name.removesuffix(".sh").lower()
    inner = [task for task in dict.fromkeys(tasks.values()) if not task.shown_as_group]
    same = [task.path for task in inner if task.path.endswith(f".{asked}")]
    if asked in GUIDE or same:  # both: whoever types `check` may want the doctor, or subject.check
        return [GUIDE[asked], *same] if asked in GUIDE else same
    known = {**{task.path.rpartition(".")[2]: task for task in inner}, **tasks}
    close = difflib.get_close_matches(asked, known, n=3, cutoff=0.6)
    return list(dict.fromkeys(known[name].shortest for name in close))
