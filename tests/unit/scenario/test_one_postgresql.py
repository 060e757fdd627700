"""The PostgreSQL that scenarios share: started once, tried again, and stopped by its owner."""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any, cast

import pytest

from vault_harness.errors import EngineError
from vault_harness.judge.catalogue import CATALOGUE, load
from vault_harness.judge.plugin import suite
from vault_harness.judge.plugin.options import POSTGRESQL
from vault_harness.local.engine.process.postgresql import SharedPostgresql
from vault_harness.settings import scenarios_folder

MODULE = "vault_harness.local.engine.process.postgresql"


class Server:
    made: list[Server]
    broken = False

    def __init__(self, _programs: object, *, host: str, started: bool) -> None:
        assert host
        assert not started  # its data are made first
        self.asked: list[str] = []
        self.made.append(self)

    def start(self) -> None:
        self.asked.append("start")
        if self.broken:
            raise EngineError("initdb ended with exit code 1")

    def await_ready(self) -> None:
        self.asked.append("await_ready")

    def close(self) -> None:
        self.asked.append("close")


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> type[Server]:
    kind = type("OneServer", (Server,), {"made": []})
    monkeypatch.setattr(f"{MODULE}.Postgresql", kind)
    monkeypatch.setattr(f"{MODULE}.find_postgresql", lambda: None)
    return kind


def test_it_is_begun_once(server: type[Server]) -> None:
    shared: Any = SharedPostgresql()
    begun = shared.begin()
    assert shared.server() is shared.server() is begun
    shared.close()
    shared.close()
    assert [one.asked for one in server.made] == [["start", "start", "close"]]


def test_a_failed_start_is_tried_again(server: type[Server]) -> None:
    server.broken = True
    shared = SharedPostgresql()
    for _ in range(2):
        with pytest.raises(EngineError, match="exit code 1"):
            shared.server()
    assert [one.asked for one in server.made] == [["start", "close"]] * 2


@pytest.mark.parametrize(
    ("asked", "lacking", "begun"),
    [
        (["TOK-01", "LEASE-07"], "", True),
        (["TOK-01"], "", False),
        (["SRV-03"], "", False),  # this scenario has a PostgreSQL of its own
        (["LEASE-07"], "no initdb", False),
    ],
)
def test_a_run_begins_it_for_leases(
    asked: list[str],
    lacking: str,
    begun: bool,
    server: type[Server],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """It begins before the first fork."""
    monkeypatch.setattr(SharedPostgresql, "lacking", lambda _: lacking)
    ended: list[Callable[[], None]] = []
    config: Any = SimpleNamespace(stash={}, add_cleanup=ended.append)
    entries = load(scenarios_folder() / CATALOGUE)
    suite._begin_postgresql(config, [entries[one] for one in asked])
    assert (POSTGRESQL in config.stash) is begun
    for end in ended:
        end()
    assert [one.asked for one in server.made] == [["close"]] * begun


@pytest.mark.usefixtures("server")
def test_a_run_continues_if_the_server_cannot_start(monkeypatch: pytest.MonkeyPatch) -> None:
    def full(_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(SharedPostgresql, "lacking", lambda _: "")
    monkeypatch.setattr(SharedPostgresql, "begin", full)
    config: Any = SimpleNamespace(stash={}, add_cleanup=None)
    suite._begin_postgresql(config, load(scenarios_folder() / CATALOGUE).values())
    assert config.stash == {}


def test_a_fork_ends_nothing_of_its_parents(server: type[Server]) -> None:
    """It waits for its parent's server."""
    given = server(None, host="127.0.0.1", started=False)
    shared: Any = SharedPostgresql(server=cast("Any", given))
    assert shared.server() is given
    shared.close()
    assert given.asked == ["await_ready"]
