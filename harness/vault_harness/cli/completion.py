"""A shell script with all names, so that Tab starts no program."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import cache

from vault_harness.cli.command import Command
from vault_harness.cli.common import scenario_ids
from vault_harness.cli.judge import ADAPTERS

SHELLS = ("bash", "zsh", "fish")

BASH = """\
_vault_harness() {
    local word="${COMP_WORDS[COMP_CWORD]}" before="${COMP_WORDS[COMP_CWORD-1]}"
    local at=1 each task="" last="" words=""
    while [ "$at" -lt "$COMP_CWORD" ]; do # which task: `rotate secret-id` is rotate.secret-id
        each="${COMP_WORDS[at]}" at=$((at + 1))
        case "$last.$each" in @TASKS@) task="$last.$each" ;; esac
        case "${task:-$each}" in "$each") case "$each" in @TASKS@) task="$each" ;; esac ;; esac
        last="$each"
    done
    case "$task $before" in
@VALUES@
    *)  if [ "${word#-}" != "$word" ]; then
            case "$task" in
@OPTIONS@
            *) words="--help --list --version --debug" ;;
            esac
        elif [ -z "$task" ] || [ "$task" = "$before" ]; then
            case "$before" in
@GROUPS@
            *) [ -n "$task" ] || words="@SHOWN@" ;;
            esac
        fi ;;
    esac
    COMPREPLY=($(compgen -W "$words" -- "$word"))
}
complete -o default -F _vault_harness dev vault-harness
# In other projects `invoke` keeps what completes it there.
if grep -qs vault_harness.cli tasks.py; then complete -o default -F _vault_harness inv invoke; fi
"""

ZSH = """\
autoload -Uz compinit bashcompinit
(( $+functions[compdef] )) || compinit
bashcompinit
"""

FISH = """\
function __vault_harness_task # the task that the words before the cursor name
    set -l task
    set -l last
    for each in (commandline -opc)[2..-1]
        if contains -- "$last.$each" @TASKS@
            set task "$last.$each"
        else if test -z "$task"; and contains -- $each @TASKS@
            set task $each
        end
        set last $each
    end
    echo $task
end
function __vault_harness_at # whether that is the task
    test (__vault_harness_task) = "$argv[1]"
end
"""


def script(shell: str, tasks: Mapping[str, Command]) -> str:
    """Return the script for a shell; ``tasks`` are by each of their names."""
    if shell == "fish":
        return _fish(tasks)
    return (ZSH if shell == "zsh" else "") + _bash(tasks)


@cache  # for each option of each task
def _scenarios() -> tuple[str, ...]:
    return tuple(scenario_ids())


def _values(task: Command, name: str) -> list[str]:
    """Return an option's values; empty if any is possible, such as a file."""
    ids = _scenarios()
    groups = sorted({each.partition("-")[0] for each in ids})
    found: Mapping[str, Iterable[str]] = {
        "id": ids,
        "only": (*ids, *groups, "critical", "high", "medium", "low", "MUST", "SHOULD"),
        "engine": ("process", "docker", "external"),
        "language": ADAPTERS,
        "seal": ("shamir", "static", "transit", "awskms", "azurekeyvault"),
        "shell": SHELLS,
        "wire": ("plain", "tls", "h2"),
    }
    if name == "only" and task.group != "judge":
        return ["access"]
    return list(found.get(name, ()))


def _options(task: Command) -> dict[str, str]:
    plain = {task.option(name): name for name in task.parameters if name not in task.takes}
    turned = {
        task.option(f"no_{name}"): name
        for name, parameter in task.parameters.items()
        if parameter.default is True
    }
    return plain | turned


def _groups(tasks: Mapping[str, Command]) -> dict[str, list[str]]:
    groups: dict[str, list[str]] = {}
    for task in dict.fromkeys(tasks.values()):
        if task.group_name:
            groups.setdefault(task.group_name, []).append(task.path.rpartition(".")[2])
    return groups


def _bash(tasks: Mapping[str, Command]) -> str:
    values, options = [], []
    for name, task in tasks.items():
        typed = _options(task)
        options.append(f'{name}) words="--help {" ".join(typed)}" ;;')
        given = {f"{name} {option}": parameter for option, parameter in typed.items()}
        if task.takes:
            last = name.rpartition(".")[2]
            given |= {f"{name} {word}": task.takes[0] for word in dict.fromkeys((name, last))}
        for words, parameter in given.items():
            if known := _values(task, parameter):
                values.append(f'"{words}") words="{" ".join(known)}" ;;')
    groups = [f'{name}) words="{" ".join(each)}" ;;' for name, each in _groups(tasks).items()]
    shown = dict.fromkeys(task.shortest for task in tasks.values())
    filled = BASH.replace("@TASKS@", "|".join(tasks)).replace("@SHOWN@", " ".join(shown))
    for place, lines in (("VALUES", values), ("OPTIONS", options), ("GROUPS", groups)):
        filled = filled.replace(f"@{place}@", "\n".join(f"    {line}" for line in lines))
    return filled.rstrip("\n")


def _fish(tasks: Mapping[str, Command]) -> str:
    lines = [FISH.replace("@TASKS@", " ".join(tasks)), "complete -c dev -c ./dev -w vault-harness"]
    lines.append("grep -qs vault_harness.cli tasks.py; and complete -c invoke -w vault-harness")

    def add(when: str, words: str, told: str) -> None:
        quoted = told.replace("\\", "\\\\").replace("'", "\\'")
        lines.append(
            f"complete -c vault-harness -n '__vault_harness_at {when}' {words} -d '{quoted}'"
        )

    for task in dict.fromkeys(tasks.values()):
        add('""', f"-f -a {task.shortest}", task.summary)
    for name, task in tasks.items():
        for option, parameter in _options(task).items():
            known = _values(task, parameter)
            value = f"-x -a '{' '.join(known)}'" if known else "-r" * task.takes_value(option)
            told = task.meaning(parameter)
            add(name, f"-l {option.removeprefix('--')} {value}", told)
        if task.takes and (known := _values(task, task.takes[0])):
            add(name, f"-f -a '{' '.join(known)}'", task.takes[0])
    return "\n".join(lines)
