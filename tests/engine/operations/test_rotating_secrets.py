from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.engine.operations.rotations import rotation
from vault_harness.errors import OperatorError, SettingsError, StackError
from vault_harness.local.blueprint import Blueprint
from vault_harness.local.engine.shape import Engine, NodeSpec
from vault_harness.local.stack.launching import launch
from vault_harness.local.vault.kv import Kv
from vault_harness.operator.rotate import (
    NothingToRollBack,
    each_of,
    find_rollback,
    find_targets,
    known_targets,
    roll_back,
    rotate_secret,
)

ADMIN = "admin-of-the-test"
DATABASE, REDIS = known_targets()["database"], known_targets()["redis"]


def test_a_new_version_with_a_new_value(kv: Kv, tmp_path: Path) -> None:
    kv.write("gateway/api", {"JWT_SECRET": "old", "OTHER": "mine"}, cas=0)
    blueprint = Blueprint.default().model_copy(
        update={"secrets": {kv.mount: Blueprint.default().secrets["ecommerce"]}}
    )
    result = rotate_secret(kv, known_targets()["jwt"], tmp_path, blueprint=blueprint)
    now = kv.read("gateway/api")
    assert result.versions == {"gateway/api": now.version} == {"gateway/api": 2}
    assert len(str(now.data["JWT_SECRET"])) == 64
    assert now.data["OTHER"] == "mine"
    assert kv.read("gateway/api", version=1).data["JWT_SECRET"] == "old"


def test_roll_back_returns_to_the_value_before(kv: Kv, tmp_path: Path) -> None:
    kv.write("backend/database", {"DB_PASSWORD": "one"}, cas=0)
    rotate_secret(kv, DATABASE, tmp_path)
    now = kv.read("backend/database")
    kv.write("backend/database", {**now.data, "DB_HOST": "new"}, cas=now.version)
    roll_back(kv, DATABASE, tmp_path)
    assert kv.read("backend/database").data == {"DB_PASSWORD": "one", "DB_HOST": "new"}
    with pytest.raises(StackError, match="no rotation of database"):
        roll_back(kv, DATABASE, tmp_path)


def test_a_value_written_after_the_rotation_stays(kv: Kv, tmp_path: Path) -> None:
    kv.write("backend/database", {"DB_PASSWORD": "one"}, cas=0)
    rotate_secret(kv, DATABASE, tmp_path)
    kv.write("backend/database", {"DB_PASSWORD": "a person's"}, cas=2)
    for turn in (roll_back, find_rollback):
        with pytest.raises(NothingToRollBack, match="changed it since, and it stays"):
            turn(kv, DATABASE, tmp_path)
    assert kv.read("backend/database").data == {"DB_PASSWORD": "a person's"}


def test_a_record_of_another_vault_is_not_acted_on(kv: Kv, engine: Engine, tmp_path: Path) -> None:
    """If the Vault was made again with the same names, nothing is rolled back."""
    blueprint = Blueprint.default()
    with launch(engine, blueprint, NodeSpec(directory=tmp_path / "first")) as first:
        rotate_secret(Kv(first.operator), DATABASE, tmp_path)
    with launch(engine, blueprint, NodeSpec(directory=tmp_path / "second")) as second:
        again = Kv(second.operator)
        now = again.read("backend/database")
        again.write("backend/database", {**now.data, "DB_PASSWORD": "another"}, cas=1)
        with pytest.raises(NothingToRollBack, match="in this Vault"):
            roll_back(again, DATABASE, tmp_path)
        assert again.read("backend/database").data["DB_PASSWORD"] == "another"


def test_version_numbers_that_come_again_are_not_the_earlier_ones(kv: Kv, tmp_path: Path) -> None:
    """If the secret was made again, version 1 is another value and is not used."""
    kv.write("backend/database", {"DB_PASSWORD": "one"}, cas=0)
    rotate_secret(kv, DATABASE, tmp_path)
    new = kv.read("backend/database").data
    kv.op.request("DELETE", f"{kv.mount}/metadata/backend/database")
    kv.write("backend/database", {"DB_PASSWORD": "not the one before"}, cas=0)
    kv.write("backend/database", new, cas=1)
    with pytest.raises(OperatorError, match="has no DB_PASSWORD any more"):
        roll_back(kv, DATABASE, tmp_path)
    assert kv.read("backend/database").data == new


def test_of_several_one_refuses_and_the_others_are_done(kv: Kv, tmp_path: Path) -> None:
    for target in find_targets("all"):
        kv.write(target.path, {target.key: "old"}, cas=0)
    for name in ("redis", "jwt"):
        rotate_secret(kv, known_targets()[name], tmp_path)
    done = dict(each_of(find_targets("all"), lambda target: roll_back(kv, target, tmp_path)))
    assert isinstance(done[DATABASE], NothingToRollBack)
    assert {kv.read(target.path).data[target.key] for target in done} == {"old"}


def test_killed_after_any_step_a_rollback_ends_at_the_value_before(
    kv: Kv, tmp_path: Path, killable: Callable[..., Any]
) -> None:
    arguments = {**rotation(kv, "jwt", tmp_path), "back": True}
    kv.write("gateway/api", {"JWT_SECRET": "before"}, cas=0)
    step, killed = 1, True
    while killed:
        rotate_secret(kv, known_targets()["jwt"], tmp_path)
        killed = killable("secret", step, **arguments).killed
        ended = killable("secret", **arguments)
        assert ended.error is None or "no rotation of jwt" in ended.error
        assert kv.read("gateway/api").data == {"JWT_SECRET": "before"}
        step += 1
    assert step > 2


def test_a_missing_secret_is_not_rotated(kv: Kv, tmp_path: Path) -> None:
    with pytest.raises(OperatorError, match="no DB_PASSWORD to rotate"):
        rotate_secret(kv, DATABASE, tmp_path)
    assert list(kv.paths()) == []


def test_names_of_the_command_line() -> None:
    assert [target.name for target in find_targets("all")] == ["database", "redis", "jwt"]
    assert find_targets("backend/database:DB_PASSWORD") == [DATABASE]
    assert find_targets("a/b:C")[0].server is None
    with pytest.raises(SettingsError, match="databse"):
        find_targets("databse")


def test_killed_after_any_step_the_next_rotation_goes_on(
    kv: Kv, tmp_path: Path, killable: Callable[..., Any]
) -> None:
    step, killed = 1, True
    arguments = rotation(kv, "redis", tmp_path)
    kv.write("backend/redis", {"REDIS_PASSWORD": "start"}, cas=0)
    kv.write("backend/celery", {"BROKER": "redis://:start@h/1"}, cas=0)
    while killed:
        before = kv.read("backend/redis").data["REDIS_PASSWORD"]
        killed = killable("secret", step, **arguments).killed
        assert killable("secret", **arguments).error is None
        after = kv.read("backend/redis").data["REDIS_PASSWORD"]
        assert after != before
        assert kv.read("backend/celery").data["BROKER"] == f"redis://:{after}@h/1"
        step += 1
    assert step > 3
