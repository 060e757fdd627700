"""What rotations tell a person: what is done, what is only finished, and what would not be done."""

from __future__ import annotations

import contextlib
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from invoke.context import Context

from tests.unit.operations.kv_in_memory import KvInMemory
from vault_harness.blueprint import Blueprint
from vault_harness.cli import _rotate
from vault_harness.errors import OperatorError
from vault_harness.vault.rotate import (
    SecretIdPlan,
    SecretIdRotation,
    find_targets,
    rotate_secret,
)

TARGETS = {target.name: target for target in find_targets("all")}


class Killed(BaseException):
    """Stands for the end of a run that comes to do nothing more."""


class Stack:
    """One with every secret that can be rotated by name, and its tasks."""

    def __init__(self, directory: Path, capsys: pytest.CaptureFixture[str]) -> None:
        self.kv = KvInMemory({each.path: {each.key: "before"} for each in TARGETS.values()})
        self.directory = directory
        self.capsys = capsys

    def rotate(self, name: str, *, until: str = "") -> None:
        """Make one anew; ended after a step."""

        def look(step: str) -> None:
            if step == until:
                raise Killed

        with contextlib.suppress(Killed):
            rotate_secret(self.kv, TARGETS[name], self.directory, checkpoint=look)

    def run(self, task: Any, name: str, *, dry_run: bool = False, code: int = 0) -> str:
        """What a task prints, which changes nothing if it is to show only."""
        before = {path: self.kv.read(path) for path in self.kv.paths()}
        ended: object = 0
        try:
            task(Context(), name=name, dry_run=dry_run)
        except SystemExit as end:
            ended = end.code
        assert ended == code
        assert not dry_run or before == {path: self.kv.read(path) for path in self.kv.paths()}
        return self.capsys.readouterr().out


@pytest.fixture
def stack(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Stack:
    """Nothing was rotated there."""
    made = Stack(tmp_path, capsys)
    here: Any = SimpleNamespace(
        data_dir=tmp_path,
        ids_directory=lambda: tmp_path,
        blueprint=Blueprint.default,
        held=contextlib.nullcontext,
        operator=lambda: SimpleNamespace(close=lambda: None),
    )
    monkeypatch.setattr(_rotate, "local_stack", lambda: here)
    monkeypatch.setattr("vault_harness.vault.kv.Kv", lambda *_: made.kv)
    monkeypatch.setenv("HARNESS_RUNNER", "./dev")
    for name in ("HARNESS_POSTGRESQL_URL", "HARNESS_REDIS_URL"):
        monkeypatch.delenv(name, raising=False)
    return made


def test_who_only_finished_an_earlier_run_made_nothing_anew(stack: Stack) -> None:
    """A person who wants a password that nobody has seen must know, before it is done too."""
    stack.rotate("jwt", until=f"wrote {TARGETS['jwt'].path}")
    told = stack.run(_rotate.secrets, "jwt", dry_run=True)
    assert "would finish what an earlier run had begun" in told
    told = stack.run(_rotate.secrets, "jwt")
    assert "no new value; for one run it again: ./dev rotate.secrets jwt" in told
    assert "begun" not in stack.run(_rotate.secrets, "jwt")


def test_who_has_the_old_password_still_is_told(stack: Stack) -> None:
    """Two accounts with one password: the other one stays, and its place is named."""
    told = stack.run(_rotate.secrets, "database")
    redis = TARGETS["redis"]
    assert f"ecommerce/{redis.path} {redis.key} has the old password still" in told
    assert "before" not in told
    assert "still" not in stack.run(_rotate.secrets, "database"), "it is another one by now"


def test_what_could_not_be_taken_back_hides_no_other(stack: Stack) -> None:
    """As when it is done: each is told, and what refused is the end."""
    stack.rotate("redis")
    stack.rotate("jwt")
    told = stack.run(_rotate.rollback, "all", dry_run=True, code=5)
    assert "database: would not be done: no rotation of database" in told
    assert "redis: would return" in told
    assert "jwt: would return" in told


def test_what_an_ended_run_began_could_be_taken_back(stack: Stack) -> None:
    """It would be finished first; nobody else changed it."""
    stack.rotate("jwt", until=f"wrote {TARGETS['jwt'].path}")
    told = stack.run(_rotate.rollback, "jwt", dry_run=True)
    assert "to the value of version 1" in told


def test_a_key_that_is_not_there_would_not_be_made(stack: Stack) -> None:
    """A typing error is found before anything is done."""
    told = stack.run(_rotate.secrets, f"{TARGETS['jwt'].path}:JTW", dry_run=True, code=6)
    assert "would not be done" in told
    assert "has no JTW to rotate" in told


def test_a_role_that_refuses_keeps_no_other(
    stack: Stack, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Of all roles one may be locked: it is told and is the end, and the others have new ids."""
    roles = [*Blueprint.default().approles]
    turned: list[str] = []

    def rotate(_op: object, role: str, directory: Path, **_: object) -> SecretIdRotation:
        turned.append(role)
        if role == roles[0]:
            raise OperatorError(f"cannot log in as {role}: it is locked")
        return SecretIdRotation(role, directory / role, "accessor", ())

    monkeypatch.setattr("vault_harness.vault.rotate.rotate_secret_id", rotate)
    monkeypatch.setattr("vault_harness.stack.hand_out_ids", lambda *_, **__: [])
    with pytest.raises(SystemExit) as caught:
        _rotate.secret_id(Context(), all=True)
    assert caught.value.code == OperatorError.exit_code
    assert turned == roles
    told = stack.capsys.readouterr()
    assert f"{roles[0]}: not done: cannot log in as {roles[0]}" in told.out
    assert f"{roles[1]}: {tmp_path / roles[1]} has a new secret-id" in told.out
    assert f"cannot log in as {roles[0]}" in told.err


def test_what_an_ended_run_left_is_foretold(
    stack: Stack, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Whoever asks what would be done is told of each secret-id that ends, and of none made."""
    plan = SecretIdPlan("backend", tmp_path / "file", "the old one", (), ("nobody's",), True)
    monkeypatch.setattr("vault_harness.vault.rotate.plan_secret_id", lambda *_: plan)

    _rotate.secret_id(Context(), role="backend", dry_run=True)

    told = stack.capsys.readouterr().out
    assert "would finish what an earlier run had begun" in told
    assert "would write" not in told
    assert "then destroy the one with accessor the old one" in told
    assert "would end what an ended run made and nobody got: nobody's" in told


def test_who_only_finished_an_earlier_run_made_no_other_secret_id(
    stack: Stack, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """The one of that run may be what has to be replaced by now."""
    done = SecretIdRotation("backend", tmp_path / "file", "accessor", ("the old one",), True)
    monkeypatch.setattr("vault_harness.vault.rotate.rotate_secret_id", lambda *_, **__: done)

    _rotate.secret_id(Context(), role="backend")

    told = stack.capsys.readouterr().out
    assert "made no other one; for one run it again: ./dev rotate.secret-id backend" in told
    assert "has a new secret-id" not in told
    assert "destroyed the secret-id with accessor the old one" in told
