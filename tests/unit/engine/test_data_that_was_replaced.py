"""A server goes on with the files that it has open, whatever takes their names meanwhile."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from vault_harness.blueprint import Blueprint
from vault_harness.engine.process._replaced import data_was_replaced
from vault_harness.vault.doctor import Patient, ServiceView, examine

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells")

SERVER = """
import sys
files = [open(name, "r+b") for name in sys.argv[1:]]
print(flush=True)
input()
"""


class Served:
    """The data of a node, and a program that has it open.

    Attributes:
        data: Its folder.
        pid: Of the program.
    """

    def __init__(self, directory: Path) -> None:
        self.data = directory / "vault" / "data"
        (self.data / "raft").mkdir(parents=True)
        for file in self.files:
            file.write_bytes(b"of before")
        self.pid = 0

    @property
    def files(self) -> list[Path]:
        """The two databases of raft storage."""
        return [self.data / "vault.db", self.data / "raft" / "raft.db"]

    @property
    def replaced(self) -> bool:
        """What is said of it."""
        return data_was_replaced(self.pid, self.data)


@pytest.fixture
def served(tmp_path: Path) -> Iterator[Served]:
    """It runs."""
    made = Served(tmp_path)
    command = [sys.executable, "-c", SERVER, *map(str, made.files)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as program:
        assert program.stdout is not None
        assert program.stdout.readline()
        made.pid = program.pid
        yield made
        program.kill()


def test_as_it_was_started(served: Served, tmp_path: Path) -> None:
    """Also where its folder has another name by now, or is looked at by a link."""
    assert not served.replaced
    (tmp_path / "link").symlink_to(tmp_path / "vault")
    assert not data_was_replaced(served.pid, tmp_path / "link" / "data")
    (tmp_path / "vault").rename(tmp_path / "moved")
    assert not data_was_replaced(served.pid, tmp_path / "moved" / "data")


@pytest.mark.parametrize("put_away", [True, False], ids=["put away", "deleted"])
def test_a_copy_in_its_place(served: Served, tmp_path: Path, put_away: bool) -> None:
    """As a person restores a folder who forgot that something runs on it."""
    shutil.copytree(tmp_path / "vault", tmp_path / "copy")
    if put_away:
        (tmp_path / "vault").rename(tmp_path / "old")
    else:
        shutil.rmtree(tmp_path / "vault")
    assert not served.replaced, "it is gone, and nothing took its place: others tell that"
    (tmp_path / "copy").rename(tmp_path / "vault")
    assert served.replaced


def test_one_file_alone_may_be_exchanged(served: Served) -> None:
    """Its server does so itself, as it takes a snapshot."""
    (served.data / "new").write_bytes(b"of a snapshot")
    (served.data / "new").rename(served.data / "vault.db")
    assert not served.replaced


def test_what_nobody_can_tell(served: Served, tmp_path: Path) -> None:
    """A process that has ended, and one that has no database open."""
    assert not data_was_replaced(2**22 + 1, served.data)
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "vault.db").touch()
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as program:
        assert not data_was_replaced(program.pid, tmp_path / "other")
        program.kill()


def test_the_doctor_says_so_first(tmp_path: Path) -> None:
    """And ends nothing: what it proposes keeps what the server has."""
    tmp_path.chmod(0o700)
    patient = Patient(
        data_dir=tmp_path,
        blueprint=Blueprint.default(),
        addresses=("http://127.0.0.1:1",),
        services=(ServiceView("vault", running=True), ServiceView("toxiproxy", running=True)),
        data_replaced=("vault",),
    )
    first = next(finding for finding in examine(patient) if finding.bad)
    assert first.kind == "data-replaced"
    assert first.remedy.index("backup") < first.remedy.index("down")
