"""All tasks in the order in which they are shown, and the program that runs them."""

from __future__ import annotations

from collections.abc import Sequence

from invoke.collection import Collection

from vault_harness.cli import (
    _audit,
    _backup,
    _break,
    _clients,
    _develop,
    _docs,
    _doctor,
    _drill,
    _judge,
    _migrate,
    _node,
    _restore,
    _root,
    _rotate,
    _serve,
    _services,
    _stack,
    _steady,
    _subject,
    _tls,
    _vault,
    _watch,
)
from vault_harness.cli._command import Command
from vault_harness.cli._console import streams
from vault_harness.cli._program import TaskProgram

_EVERY_DAY = (
    *(_stack.up, _stack.seed, _stack.status, _watch.watch),
    *(_stack.env, _stack.logs, _doctor.doctor, _docs.docs),
    *(_stack.down, _stack.destroy),
    *(_services.up, _services.status, _services.down),
)
_OPERATOR = (
    *(_vault.vault, _migrate.migrate, _stack.unseal, _stack.migrate_seal, _doctor.unlock),
    *(_rotate.secret_id, _rotate.secrets, _rotate.rollback),
    *(_backup.now, _backup.keys, _backup.list_, _backup.verify, _backup.identity),
    *(_restore.now, _restore.keys, _drill.drill),
    *(_root.revoke, _root.generate),
    _tls.renew,
    *(_node.start, _node.add, _node.remove),
    *(_audit.follow, _audit.report),
    _stack.images,
)
_BREAK_IT = (
    *(_stack.seal, _stack.restart),
    *(_node.kill, _node.cut, _node.join, _node.step_down),
    *(_break.latency, _break.slow, _break.cut, _break.seal, _break.revoke),
    *(_break.fail, _break.delay, _break.lose_answer),
    _break.heal,
)
_JUDGE = (
    *(_judge.judge, _judge.scenarios, _subject.check, _serve.serve),
    *(_judge.timeline, _judge.report, _judge.score, _steady.steady),
    _clients.clients,
)
_DEVELOP = (_develop.test, _develop.lint, _develop.bench)

_ALL: tuple[Command, ...] = (*_EVERY_DAY, *_OPERATOR, *_BREAK_IT, *_JUDGE, *_DEVELOP)


def _here() -> tuple[Command, ...]:
    """Those that can be run here: in an installed package there is nothing to be developed."""
    return _ALL if _develop.in_a_clone() else tuple(t for t in _ALL if t.group != "develop")


def collection() -> Collection:
    """The tasks that can be run here, as invoke has them."""
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
    """The tasks that can be run here, by each of the names that they may be called by."""
    return {name: task for task in _here() for name in task.names}


def names() -> tuple[str, ...]:
    """The full names of all tasks, in the order in which they are shown."""
    return tuple(task.path for task in _ALL)


def run(words: Sequence[str]) -> None:
    """Run the task that a command line names.

    Args:
        words: The command line without the program.

    Raises:
        SystemExit: The task failed, or said something else than its result.
    """
    elsewhere = frozenset(names()).difference(by_name())
    with streams():
        TaskProgram(collection(), by_name(), elsewhere=elsewhere).main(words)
