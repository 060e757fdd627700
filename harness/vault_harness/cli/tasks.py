"""All tasks in the order of the overview, and the program that runs them."""

from __future__ import annotations

from collections.abc import Sequence

from invoke.collection import Collection

from vault_harness.cli import (
    audit,
    backup,
    breaking,
    clients,
    console,
    doctor,
    explore,
    judge,
    migrate,
    node,
    operator,
    report,
    restore,
    rotate,
    saves,
    serve,
    services,
    stack,
    steady,
    tour,
    watch,
)
from vault_harness.cli import completion as completion_module
from vault_harness.cli import develop as develop_module
from vault_harness.cli.command import Command, command
from vault_harness.cli.common import one_of
from vault_harness.cli.printing import say, streams, table
from vault_harness.cli.program import TaskProgram
from vault_harness.errors import named


@command(
    "completion",
    group="every day",
    examples=(
        'eval "$(completion bash)"',
        'eval "$(completion zsh)"',
        "completion fish | source",
    ),
    help={"shell": "bash, zsh or fish"},
)
def completion(shell: str) -> None:
    """Print the completion of tasks and options for a shell.

    It also completes scenario ids, for `vault-harness`, `./dev` and, if the shell starts in this
    project, `invoke`. Put the line for your shell into its start file, such as ~/.bashrc.
    """
    one_of(completion_module.SHELLS, shell, f"there is no completion for {shell}")
    say(completion_module.script(shell, by_name()))


@command("break.list", group="break it", default=True, examples=("break", "break.cut --for 10s"))
def breaks() -> None:
    """List what can be broken, a line each."""
    verbs = [task for task in _BREAK_IT if task.group_name == "break" and task is not breaks]
    say(table([(named(task.path), task.summary) for task in verbs], indent=""))
    say(f"with --for 10s a fault ends by itself; {named('heal')} ends all of them")


_EVERY_DAY = (
    tour.tour,
    *(stack.up, stack.seed, stack.status, watch.watch, console.console),
    *(stack.env, stack.logs, doctor.doctor, tour.docs, completion),
    *(saves.save, saves.load, stack.down, stack.destroy),
    *(services.up, services.status, services.down),
)
_OPERATOR = (
    *(operator.vault, migrate.migrate, operator.unseal, operator.migrate_seal, operator.unlock),
    *(rotate.secret_id, rotate.secrets, rotate.rollback),
    *(backup.now, backup.keys, backup.list_, backup.verify, backup.identity),
    *(restore.now, restore.keys, backup.drill),
    *(operator.revoke, operator.generate, operator.renew),
    *(node.start, node.add, node.remove),
    *(audit.show, audit.report),
    operator.images,
)
_BREAK_IT = (
    *(breaking.seal_now, stack.restart),
    *(node.kill, node.cut, node.join, node.step_down),
    breaks,
    *(breaking.latency, breaking.slow, breaking.cut, breaking.seal, breaking.revoke),
    *(breaking.fail, breaking.delay, breaking.lose_answer),
    breaking.heal,
    breaking.try_,
)
_JUDGE = (
    *(judge.new, judge.check),
    *(judge.judge, judge.scenarios, serve.serve),
    *(explore.explore, explore.replay),
    *(report.timeline, report.report, report.score, steady.steady),
    clients.clients,
)
_DEVELOP = (develop_module.test, develop_module.lint, develop_module.site, develop_module.bench)

_ALL: tuple[Command, ...] = (*_EVERY_DAY, *_OPERATOR, *_BREAK_IT, *_JUDGE, *_DEVELOP)


def _here() -> tuple[Command, ...]:
    """Return what can run here; an installed package has no tasks to develop it."""
    return _ALL if develop_module.in_a_clone() else tuple(t for t in _ALL if t.group != "develop")


def collection() -> Collection:
    root = Collection()
    groups: dict[str, Collection] = {}
    for task in _here():
        group, _, _ = task.path.rpartition(".")
        if not group:
            root.add_task(task)
            continue
        if group not in groups:
            groups[group] = Collection(group)
        groups[group].add_task(task, default=task.is_default)
    for each in groups.values():
        root.add_collection(each)
    return root


def by_name() -> dict[str, Command]:
    return {name: task for task in _here() for name in task.names}


def names() -> tuple[str, ...]:
    """Return all full names, in the order of the overview."""
    return tuple(task.path for task in _ALL)


def run(words: Sequence[str]) -> None:
    """End with `SystemExit` if the task failed or has an exit code of its own."""
    elsewhere = frozenset(names()).difference(by_name())
    with streams():
        TaskProgram(collection(), by_name(), elsewhere=elsewhere).main(words)
