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
    docs,
    doctor,
    explore,
    judge,
    migrate,
    node,
    restore,
    rotate,
    saves,
    serve,
    services,
    stack,
    steady,
    subject,
    tls,
    tour,
    trying,
    watch,
)
from vault_harness.cli import completion as completion_module
from vault_harness.cli import develop as develop_module
from vault_harness.cli import root as root_module
from vault_harness.cli import vault as vault_module
from vault_harness.cli.command import Command, command
from vault_harness.cli.printing import say, streams, table
from vault_harness.cli.program import TaskProgram
from vault_harness.errors import named


@command(
    "completion",
    group="every day",
    takes=("shell",),
    needs=("shell",),
    examples=(
        'eval "$(completion bash)"',
        'eval "$(completion zsh)"',
        "completion fish | source",
    ),
    help={"shell": "bash, zsh or fish"},
)
def completion(shell: str | None = None) -> None:
    """Print the completion of tasks and options for a shell.

    It also completes scenario ids, for `vault-harness`, `./dev` and, if the shell starts in this
    project, `invoke`. Put the line for your shell into its start file, such as ~/.bashrc.
    """
    from vault_harness.errors import SettingsError

    if shell not in completion_module.SHELLS:
        raise SettingsError(
            f"there is no completion for {shell}",
            looked_at="the command line",
            remedy="name bash, zsh or fish",
        )
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
    *(stack.env, stack.logs, doctor.doctor, docs.docs, completion),
    *(saves.save, saves.load, stack.down, stack.destroy),
    *(services.up, services.status, services.down),
)
_OPERATOR = (
    *(vault_module.vault, migrate.migrate, stack.unseal, stack.migrate_seal, doctor.unlock),
    *(rotate.secret_id, rotate.secrets, rotate.rollback),
    *(backup.now, backup.keys, backup.list_, backup.verify, backup.identity),
    *(restore.now, restore.keys, backup.drill),
    *(root_module.revoke, root_module.generate),
    tls.renew,
    *(node.start, node.add, node.remove),
    *(audit.show, audit.report),
    stack.images,
)
_BREAK_IT = (
    *(stack.seal, stack.restart),
    *(node.kill, node.cut, node.join, node.step_down),
    breaks,
    *(breaking.latency, breaking.slow, breaking.cut, breaking.seal, breaking.revoke),
    *(breaking.fail, breaking.delay, breaking.lose_answer),
    breaking.heal,
    trying.try_,
)
_JUDGE = (
    *(subject.new, subject.check),
    *(judge.judge, judge.scenarios, serve.serve),
    *(explore.explore, explore.replay),
    *(judge.timeline, judge.report, judge.score, steady.steady),
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
