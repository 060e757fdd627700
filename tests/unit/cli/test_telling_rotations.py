from __future__ import annotations

import contextlib
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from invoke.context import Context

from tests.unit.operations.kv_in_memory import KvInMemory
from vault_harness.cli import rotate as rotate_module
from vault_harness.errors import OperatorError
from vault_harness.local.blueprint import Blueprint
from vault_harness.operator.rotate import (
    SecretIdPlan,
    SecretIdRotation,
    find_targets,
    rotate_secret,
)
from vault_harness.operator.rotate.rotation import How

TARGETS = {target.name: target for target in find_targets("all")}


class Killed(BaseException):
    """Stands for a run that is killed."""


class Stack:
    """A stack with every secret that can be rotated by name."""

    def __init__(self, directory: Path, capsys: pytest.CaptureFixture[str]) -> None:
        self.kv = KvInMemory({each.path: {each.key: "before"} for each in TARGETS.values()})
        self.directory = directory
        self.capsys = capsys
        self.told_as_errors = ""

    def rotate(self, name: str, *, until: str = "") -> None:
        """Rotate a secret, killed after the step `until`."""

        def look(step: str) -> None:
            if step == until:
                raise Killed

        with contextlib.suppress(Killed):
            rotate_secret(self.kv, TARGETS[name], self.directory, How(checkpoint=look))

    def run(self, task: Any, name: str, *, dry_run: bool = False, code: int = 0) -> str:
        """Return what a task prints. A dry run must change nothing."""
        before = {path: self.kv.read(path) for path in self.kv.paths()}
        ended: object = 0
        try:
            task(Context(), name=name, dry_run=dry_run)
        except SystemExit as end:
            ended = end.code
        printed = self.capsys.readouterr()
        self.told_as_errors = printed.err
        assert ended == code, printed.err
        assert not dry_run or before == {path: self.kv.read(path) for path in self.kv.paths()}
        return printed.out


@pytest.fixture
def stack(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Stack:
    made = Stack(tmp_path, capsys)
    here: Any = SimpleNamespace(
        data_dir=tmp_path,
        ids_directory=lambda: tmp_path,
        blueprint=Blueprint.default,
        held=contextlib.nullcontext,
        operator=lambda: SimpleNamespace(close=lambda: None),
    )
    monkeypatch.setattr(rotate_module, "local_stack", lambda: here)
    monkeypatch.setattr("vault_harness.local.vault.kv.Kv", lambda *_: made.kv)
    monkeypatch.setenv("HARNESS_RUNNER", "./dev")
    for name in ("HARNESS_POSTGRESQL_URL", "HARNESS_REDIS_URL"):
        monkeypatch.delenv(name, raising=False)
    return made


def test_a_run_that_only_finishes_an_earlier_one_says_so(stack: Stack) -> None:
    stack.rotate("jwt", until=f"wrote {TARGETS['jwt'].path}")
    told = stack.run(rotate_module.secrets, "jwt", dry_run=True)
    assert "would finish what an earlier run had begun" in told
    told = stack.run(rotate_module.secrets, "jwt")
    assert "no new value; for one run it again: ./dev rotate.secrets jwt" in told
    assert "begun" not in stack.run(rotate_module.secrets, "jwt")


def test_accounts_that_still_have_the_old_password_are_named(stack: Stack) -> None:
    """Another account may have the same password."""
    told = stack.run(rotate_module.secrets, "database")
    redis = TARGETS["redis"]
    assert f"ecommerce/{redis.path} {redis.key} still has the old password" in told
    assert "before" not in told
    assert "still has" not in stack.run(rotate_module.secrets, "database"), (
        "it is another one by now"
    )


@pytest.mark.parametrize("password", ["p@ss/w:rd?x%20y", "plain-password"])
def test_a_text_that_cannot_be_followed_is_an_error(stack: Stack, password: str) -> None:
    """It breaks a login."""
    redis = TARGETS["redis"]
    stack.kv.write(redis.path, {redis.key: password}, cas=1)
    texts = {"DSN": f"redis:6379,password={password}", "BROKEN": f"redis://redis/0?p={password}"}
    stack.kv.write("shared/own", {**texts, "OTHER": "redis://:of-another@redis/0"}, cas=0)
    for dry_run, has in ((True, "would still have"), (False, "still has")):
        stack.run(rotate_module.secrets, "redis", dry_run=dry_run, code=6)
        told = stack.told_as_errors
        assert f"ecommerce/shared/own DSN {has} the old password" in told
        assert "ecommerce/shared/own BROKEN" in told
        assert "vault -- kv patch ecommerce/shared/own DSN=-" in told
        assert "OTHER" not in told
        assert password not in told


def test_a_url_that_an_earlier_release_broke_is_followed(stack: Stack) -> None:
    """It holds an unescaped password."""
    redis, password = TARGETS["redis"], "p@ss/w:rd?x%20y"
    url = f"redis://:{password}@redis:6379/0"
    stack.kv.write(redis.path, {redis.key: password, "REDIS_URL": url}, cas=1)
    stack.run(rotate_module.secrets, "redis")
    now = stack.kv.read(redis.path).data
    assert now["REDIS_URL"] == f"redis://:{now[redis.key]}@redis:6379/0"


def test_a_dry_run_lists_each_secret_before_a_refusal(stack: Stack) -> None:
    stack.rotate("redis")
    stack.rotate("jwt")
    told = stack.run(rotate_module.rollback, "all", dry_run=True, code=5)
    assert "database: would not be done: there is no rotation of database" in told
    assert "redis: would return" in told
    assert "jwt: would return" in told


def test_a_dry_run_counts_an_unfinished_rotation(stack: Stack) -> None:
    """It would be finished first."""
    stack.rotate("jwt", until=f"wrote {TARGETS['jwt'].path}")
    told = stack.run(rotate_module.rollback, "jwt", dry_run=True)
    assert "to the value of version 1" in told


def test_a_key_that_is_not_there_would_not_be_made(stack: Stack) -> None:
    told = stack.run(rotate_module.secrets, f"{TARGETS['jwt'].path}:JTW", dry_run=True, code=6)
    assert "would not be done" in told
    assert "has no JTW to rotate" in told


def test_a_role_that_refuses_keeps_no_other(
    stack: Stack, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    roles = [*Blueprint.default().approles]
    turned: list[str] = []

    def rotate(_op: object, role: str, directory: Path, **_: object) -> SecretIdRotation:
        turned.append(role)
        if role == roles[0]:
            raise OperatorError(f"cannot log in as {role}: it is locked")
        return SecretIdRotation(role, directory / role, "accessor", ())

    monkeypatch.setattr("vault_harness.operator.rotate.rotate_secret_id", rotate)
    monkeypatch.setattr("vault_harness.local.stack.data_dir.hand_out_ids", lambda *_, **__: [])
    with pytest.raises(SystemExit) as caught:
        rotate_module.secret_id(Context(), all=True)
    assert caught.value.code == OperatorError.exit_code
    assert turned == roles
    told = stack.capsys.readouterr()
    assert f"{roles[0]}: not done: cannot log in as {roles[0]}" in told.out
    assert f"{roles[1]}: {tmp_path / roles[1]} has a new secret-id" in told.out
    assert f"cannot log in as {roles[0]}" in told.err


def test_a_dry_run_names_secret_ids_to_be_destroyed(
    stack: Stack, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    plan = SecretIdPlan("backend", tmp_path / "file", "the old one", (), ("nobody's",), True)
    monkeypatch.setattr("vault_harness.operator.rotate.plan_secret_id", lambda *_: plan)

    rotate_module.secret_id(Context(), role="backend", dry_run=True)

    told = stack.capsys.readouterr().out
    assert "would finish what an earlier run had begun" in told
    assert "would write" not in told
    assert "then destroy the one with accessor the old one" in told
    assert "would destroy what an interrupted run made: nobody's" in told


def test_finishing_an_earlier_run_makes_no_new_secret_id(
    stack: Stack, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """The secret-id of the earlier run may be the one to replace."""
    done = SecretIdRotation("backend", tmp_path / "file", "accessor", ("the old one",), True)
    monkeypatch.setattr("vault_harness.operator.rotate.rotate_secret_id", lambda *_, **__: done)

    rotate_module.secret_id(Context(), role="backend")

    told = stack.capsys.readouterr().out
    assert "made no other one; for one run it again: ./dev rotate.secret-id backend" in told
    assert "has a new secret-id" not in told
    assert "destroyed the secret-id with accessor the old one" in told
