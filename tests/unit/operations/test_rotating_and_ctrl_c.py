"""Ctrl-C during a rotation locks nobody out, and the error says what is left."""

from __future__ import annotations

import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.unit.operations.kv_in_memory import KvInMemory
from tests.unit.operations.test_rotating_where_a_server_is_lost import DATABASE, World
from vault_harness.cli.guard import guarded
from vault_harness.errors import OperatorError, named
from vault_harness.interrupts import Ended, EndedHalfWay
from vault_harness.operator.migrate import (
    ClientSettings,
    VariableMap,
    load_map,
    make_plan,
    migrate,
    read,
    undo,
)
from vault_harness.operator.rotate import roll_back, rotate_secret, rotate_secret_id, secret_id

BEFORE_THE_SERVER = ("recorded", "the server is ready", f"wrote {DATABASE.path}")


def at(step: str, interrupt: BaseException) -> Callable[[str], None]:
    """Return a checkpoint that ends the task once, at this step."""
    left = [step]

    def look(now: str) -> None:
        if now in left:
            left.clear()
            raise interrupt

    return look


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path)


@pytest.mark.parametrize("step", BEFORE_THE_SERVER)
def test_before_the_server_was_asked(world: World, step: str) -> None:
    """Vault gets the old value back."""
    with pytest.raises(KeyboardInterrupt) as caught:
        world.rotate(checkpoint=at(step, KeyboardInterrupt()))
    assert not isinstance(caught.value, EndedHalfWay)
    assert (world.in_vault, world.server.password) == ("start", "start")
    assert not list((world.directory / "rotations").iterdir())


@pytest.mark.parametrize("turn", [rotate_secret, roll_back], ids=["rotated", "rolled back"])
def test_once_the_server_was_asked(world: World, turn: Any) -> None:
    """The server may have the new password, so Vault keeps it."""
    world.rotate()
    task = "rotate.secrets" if turn is rotate_secret else "rotate.rollback"
    interrupt = Ended(signal.SIGTERM)
    with pytest.raises(EndedHalfWay, match="SIGTERM") as caught:
        world.rotate(turn, checkpoint=at("the server has it", interrupt))
    assert caught.value.number == signal.SIGTERM
    assert named(task, "database") in caught.value.left
    assert world.agree
    assert world.in_vault not in caught.value.left
    world.rotate(turn)
    assert world.agree


def test_the_error_says_that_vault_could_not_be_corrected(world: World) -> None:
    """The next run repairs it."""

    def end(step: str) -> None:
        if step == f"wrote {DATABASE.path}":
            world.kv.refuse = {DATABASE.path}
            raise KeyboardInterrupt

    with pytest.raises(EndedHalfWay) as caught:
        world.rotate(checkpoint=end)
    assert not world.agree
    assert named("rotate.secrets", "database") in caught.value.left
    world.kv.refuse = set()
    assert world.rotate().resumed
    assert world.agree


def test_an_error_says_what_it_leaves_too(world: World) -> None:
    def seal(step: str) -> None:
        if step == f"wrote {DATABASE.path}":
            world.kv.refuse = {DATABASE.path}
            raise OperatorError("it is sealed", remedy="unseal it")

    with pytest.raises(OperatorError, match="it is sealed") as caught:
        world.rotate(checkpoint=seal)
    assert caught.value.remedy.startswith("unseal it\n    database is half-way")
    assert named("rotate.secrets", "database") in caught.value.remedy
    assert world.in_vault not in caught.value.remedy


def test_an_error_that_leaves_nothing_says_no_more(world: World) -> None:
    refused = OperatorError("not that", remedy="do this")
    with pytest.raises(OperatorError) as caught:
        world.rotate(checkpoint=at(f"wrote {DATABASE.path}", refused))
    assert caught.value.remedy == "do this"


def test_the_time_for_the_old_one_is_named_too(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without --grace the old password would end at once."""
    monkeypatch.setattr(world.server, "keeps_old", True)

    def interrupted(_seconds: float) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(time, "sleep", interrupted)
    with pytest.raises(EndedHalfWay) as caught:
        world.rotate(grace=90.0)
    assert f"{named('rotate.secrets', 'database', '--grace', '90')} finds out" in caught.value.left


def test_a_secret_id_is_gone_on_with_as_it_was_begun(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(secret_id, "_rotate", interrupted)
    nobody: Any = None
    with pytest.raises(KeyboardInterrupt) as early:
        rotate_secret_id(nobody, "backend", tmp_path)
    assert not isinstance(early.value, EndedHalfWay)
    (tmp_path / "rotations").mkdir()
    (tmp_path / "rotations" / "secret-id-backend.json").write_text("{}")
    with pytest.raises(EndedHalfWay) as caught:
        rotate_secret_id(nobody, "Backend", tmp_path, grace=600.0, end_others=True)
    again = named("rotate.secret-id", "backend", "--grace", "600", "--end-others")
    assert f"{again} continues" in caught.value.left


def test_an_error_says_where_a_new_secret_id_may_be(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The file may have a new secret-id."""

    def sealed(*_: object) -> None:
        raise OperatorError("it is sealed", remedy="unseal it")

    monkeypatch.setattr(secret_id, "_rotate", sealed)
    (tmp_path / "rotations").mkdir()
    (tmp_path / "rotations" / "secret-id-backend.json").write_text("{}")
    nobody: Any = None
    with pytest.raises(OperatorError, match="it is sealed") as caught:
        rotate_secret_id(nobody, "backend", tmp_path, end_others=True)
    assert caught.value.remedy.startswith("unseal it\n    backend may have a new secret-id")
    again = named("rotate.secret-id", "backend", "--end-others")
    assert f"{again} continues" in caught.value.remedy


def test_a_migration(tmp_path: Path) -> None:
    """The error names both ways to continue, and no value of the file."""
    kv, file = KvInMemory(), tmp_path / ".env"
    file.write_text("ONE=first\nTWO=second\n")
    (tmp_path / "map.toml").write_text('[variables]\nONE = "a:ONE"\nTWO = "b:TWO"\n')
    variables = load_map(tmp_path / "map.toml", default=VariableMap.guide())
    settings = ClientSettings("http://127.0.0.1:1", "r", tmp_path / "r", tmp_path / "s", "m")

    def go(step: str = "") -> None:
        plan = make_plan(kv, read(file), variables)
        checkpoint = at(step, KeyboardInterrupt())
        migrate(kv, plan, file, settings, data_dir=tmp_path / "data", checkpoint=checkpoint)

    with pytest.raises(KeyboardInterrupt) as early:
        go("backed up")
    assert not isinstance(early.value, EndedHalfWay), "nothing is in Vault"
    with pytest.raises(EndedHalfWay) as caught:
        go("wrote a")
    assert named("migrate", str(file)) in caught.value.left
    assert named("migrate", str(file), "--undo") in caught.value.left
    assert "first" not in caught.value.left
    go()
    with pytest.raises(EndedHalfWay, match="SIGINT") as caught:
        undo(kv, file, data_dir=tmp_path / "data", checkpoint=at("took back a", Ended(2)))
    assert caught.value.left.endswith(f"{named('migrate', str(file), '--undo')} continues")
    undo(kv, file, data_dir=tmp_path / "data")
    assert {kv.read(path).state for path in ("a", "b")} == {"deleted"}


def test_the_message_says_that_something_is_unfinished(capsys: pytest.CaptureFixture[str]) -> None:
    """The exit code is the signal's."""
    for number, code in ((signal.SIGINT, 130), (signal.SIGTERM, 143)):
        with pytest.raises(SystemExit) as caught, guarded():
            raise EndedHalfWay(number, "something is half-way")
        assert caught.value.code == code
        said = capsys.readouterr().err
        assert said.endswith("; something is half-way\n")
        assert "nothing is half-written" not in said
