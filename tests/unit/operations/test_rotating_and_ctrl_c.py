"""Ctrl-C while a password is exchanged locks nobody out, and says so where something is left."""

from __future__ import annotations

import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.unit.operations.kv_in_memory import KvInMemory
from tests.unit.operations.test_rotating_where_a_server_is_lost import DATABASE, World
from vault_harness.cli._guard import guarded
from vault_harness.commands import named
from vault_harness.errors import OperatorError
from vault_harness.interrupts import Ended, EndedHalfWay
from vault_harness.vault.migrate import (
    ClientSettings,
    VariableMap,
    load_map,
    make_plan,
    migrate,
    read,
    undo,
)
from vault_harness.vault.rotate import _secret_id, roll_back, rotate_secret, rotate_secret_id

BEFORE_THE_SERVER = ("recorded", "the server is ready", f"wrote {DATABASE.path}")


def at(step: str, interrupt: BaseException) -> Callable[[str], None]:
    """A checkpoint at which somebody ends the task, once."""
    left = [step]

    def look(now: str) -> None:
        if now in left:
            left.clear()
            raise interrupt

    return look


@pytest.fixture
def world(tmp_path: Path) -> World:
    """Nothing was rotated yet."""
    return World(tmp_path)


@pytest.mark.parametrize("step", BEFORE_THE_SERVER)
def test_before_the_server_was_asked(world: World, step: str) -> None:
    """Vault has the old value again, as the server has; nothing is left to be finished."""
    with pytest.raises(KeyboardInterrupt) as caught:
        world.rotate(checkpoint=at(step, KeyboardInterrupt()))
    assert not isinstance(caught.value, EndedHalfWay)
    assert (world.in_vault, world.server.password) == ("start", "start")
    assert not list((world.directory / "rotations").iterdir())


@pytest.mark.parametrize("turn", [rotate_secret, roll_back], ids=["rotated", "rolled back"])
def test_once_the_server_was_asked(world: World, turn: Any) -> None:
    """It may have the new password: Vault keeps that, and what finishes it is named."""
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


def test_where_vault_cannot_be_told(world: World) -> None:
    """It has the new value, and the server the old one: that is said, and the next run mends it."""

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
    """Vault was sealed in the midst, say: unsealing it is not all that is to be done."""

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
    """The old value is back."""
    refused = OperatorError("not that", remedy="do this")
    with pytest.raises(OperatorError) as caught:
        world.rotate(checkpoint=at(f"wrote {DATABASE.path}", refused))
    assert caught.value.remedy == "do this"


def test_the_time_for_the_old_one_is_named_too(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A run without it would end the old password at once, under whoever has it still."""
    monkeypatch.setattr(world.server, "keeps_old", True)

    def interrupted(_seconds: float) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(time, "sleep", interrupted)
    with pytest.raises(EndedHalfWay) as caught:
        world.rotate(grace=90.0)
    assert f"{named('rotate.secrets', 'database', '--grace', '90')} asks" in caught.value.left


def test_a_secret_id_is_gone_on_with_as_it_was_begun(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With its options, and not without a word of them."""

    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(_secret_id, "_rotate", interrupted)
    nobody: Any = None
    with pytest.raises(KeyboardInterrupt) as early:
        rotate_secret_id(nobody, "backend", tmp_path)
    assert not isinstance(early.value, EndedHalfWay)
    (tmp_path / "rotations").mkdir()
    (tmp_path / "rotations" / "secret-id-backend.json").write_text("{}")
    with pytest.raises(EndedHalfWay) as caught:
        rotate_secret_id(nobody, "Backend", tmp_path, grace=600.0, end_others=True)
    again = named("rotate.secret-id", "backend", "--grace", "600", "--end-others")
    assert f"{again} goes on" in caught.value.left


def test_an_error_leaves_no_secret_id_untold(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The new one is in the file, and the one that somebody else has is good still."""

    def sealed(*_: object) -> None:
        raise OperatorError("it is sealed", remedy="unseal it")

    monkeypatch.setattr(_secret_id, "_rotate", sealed)
    (tmp_path / "rotations").mkdir()
    (tmp_path / "rotations" / "secret-id-backend.json").write_text("{}")
    nobody: Any = None
    with pytest.raises(OperatorError, match="it is sealed") as caught:
        rotate_secret_id(nobody, "backend", tmp_path, end_others=True)
    assert caught.value.remedy.startswith("unseal it\n    backend may have a new secret-id")
    assert f"{named('rotate.secret-id', 'backend', '--end-others')} goes on" in caught.value.remedy


def test_a_migration(tmp_path: Path) -> None:
    """Some of its secrets are in Vault; both ways on are named, and nothing that is in the file."""
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
    assert caught.value.left.endswith(f"{named('migrate', str(file), '--undo')} goes on")
    undo(kv, file, data_dir=tmp_path / "data")
    assert {kv.read(path).state for path in ("a", "b")} == {"deleted"}


def test_a_person_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    """In place of the words that nothing is half-written; the code is the signal's."""
    for number, code in ((signal.SIGINT, 130), (signal.SIGTERM, 143)):
        with pytest.raises(SystemExit) as caught, guarded():
            raise EndedHalfWay(number, "something is half-way")
        assert caught.value.code == code
        said = capsys.readouterr().err
        assert said.endswith("; something is half-way\n")
        assert "nothing is half-written" not in said
