"""A seal migration that was killed while copies replaced data that does not open."""

from __future__ import annotations

import os
import signal
import traceback
from collections.abc import Callable
from pathlib import Path

import pytest

from vault_harness.local.engine.provider import Endpoints, NodeEndpoint
from vault_harness.local.stack.opening import Opening
from vault_harness.local.stack.record import StackRecord
from vault_harness.local.stack.seal_migration import SealMigrations

NAMES = ("vault", "vault-2", "vault-3")


def nothing(_step: str) -> None:
    """Do nothing at a checkpoint."""


class World:
    """A cluster of three whose data does not open, with copies from before."""

    def __init__(self, data_dir: Path) -> None:
        self.data_dir = data_dir
        nodes = tuple(
            NodeEndpoint(
                name=name, address=f"http://{name}", proxy="", proxy_listen="", upstream=""
            )
            for name in NAMES
        )
        StackRecord(endpoints=Endpoints(nodes=nodes, toxiproxy="")).save(data_dir)
        for name in NAMES:
            self.data(name).mkdir(parents=True)
            (self.data(name) / "raft.db").write_text(f"of before, {name}")
        self.migrations.begin("shamir", "static")
        self.migrations._make_copies()
        for name in NAMES:
            (self.data(name) / "raft.db").write_text(f"did not open, {name}")

    @property
    def migrations(self) -> SealMigrations:
        """Return new migrations, as each process does."""
        return SealMigrations(self.data_dir, Opening(self.data_dir))

    def data(self, name: str) -> Path:
        home = self.data_dir if name == "vault" else self.data_dir / "nodes"
        return home / name / "data"

    def put_back(self) -> None:
        """Act as the run that finds that the data does not open."""
        pending = self.migrations.pending()
        assert pending is not None
        self.migrations._put_back(pending, nothing)

    def go_on(self) -> bool:
        """Act as the run after a killed one; return whether the data is known to be untouched."""
        pending = self.migrations.pending()
        assert pending is not None
        return self.migrations._finish_putting_back(pending, nothing)

    def there(self) -> list[str]:
        return [(self.data(name) / "raft.db").read_text() for name in NAMES]

    def kept(self) -> list[str]:
        found = (self.data_dir / "seal-migration").glob("data-that-did-not-open*/raft.db")
        return sorted(path.read_text() for path in found)


def is_killed(at: int, work: Callable[[], None]) -> bool:
    """Run it in a process that is killed at its nth rename, and return whether it was killed."""
    child = os.fork()
    if not child:
        renamed, rename = 0, Path.rename

        def renaming(path: Path, target: Path) -> Path:
            nonlocal renamed
            renamed += 1
            if renamed == at:
                os.kill(os.getpid(), signal.SIGKILL)
            return rename(path, target)

        Path.rename = renaming  # type: ignore[method-assign, assignment] # this process ends
        try:
            work()
        except BaseException:  # noqa: BLE001 -- a fork never goes on with the tests
            traceback.print_exc()
            os._exit(1)
        os._exit(0)
    _, status = os.waitpid(child, 0)
    code = os.waitstatus_to_exitcode(status)
    assert code in {0, -signal.SIGKILL}
    return code != 0


def test_killed_at_any_moment_no_two_nodes_have_data_of_two_moments(tmp_path: Path) -> None:
    """The next run has the old data of all nodes, or of none."""
    before = [f"of before, {name}" for name in NAMES]
    closed = [f"did not open, {name}" for name in NAMES]
    came, number, killed = [], 0, True
    while killed:
        number += 1
        world = World(tmp_path / str(number))
        killed = is_killed(number, world.put_back)
        known = world.go_on()
        assert world.there() == (before if known else closed), number
        assert world.kept() == (closed if known else []), number
        assert world.go_on() == known, "twice is once"
        came.append(known)
    assert came.count(True) > 2 * len(NAMES), "each node's two renames, and none killed"
    assert False in came


@pytest.mark.parametrize("begun", [True, False])
def test_it_is_known_until_a_server_is_started(tmp_path: Path, begun: bool) -> None:
    world = World(tmp_path)
    if begun:
        world.put_back()
    pending = world.migrations.pending()
    assert pending is not None
    assert world.go_on() is begun
    world.migrations._note_start(pending)
    assert not world.go_on()
