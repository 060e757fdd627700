"""A server keeps the files that it has open, even if other files take their names."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from vault_harness.local.blueprint import Blueprint
from vault_harness.local.engine.process.stack import data_was_replaced
from vault_harness.operator.doctor import Patient, ServiceView, examine

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells")

SERVER = """
import sys
files = [open(name, "r+b") for name in sys.argv[1:]]
print(flush=True)
input()
"""


class Served:
    """The data folder of a node, and the pid of a program that has its files open."""

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
        return data_was_replaced(self.pid, self.data)


@pytest.fixture
def served(tmp_path: Path) -> Iterator[Served]:
    made = Served(tmp_path)
    command = [sys.executable, "-c", SERVER, *map(str, made.files)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as program:
        assert program.stdout is not None
        assert program.stdout.readline()
        made.pid = program.pid
        yield made
        program.kill()


def test_as_it_was_started(served: Served, tmp_path: Path) -> None:
    """A moved or linked folder is not taken for replaced data."""
    assert not served.replaced
    (tmp_path / "link").symlink_to(tmp_path / "vault")
    assert not data_was_replaced(served.pid, tmp_path / "link" / "data")
    (tmp_path / "vault").rename(tmp_path / "moved")
    assert not data_was_replaced(served.pid, tmp_path / "moved" / "data")


@pytest.mark.parametrize("put_away", [True, False], ids=["put away", "deleted"])
def test_a_copy_in_its_place(served: Served, tmp_path: Path, put_away: bool) -> None:
    shutil.copytree(tmp_path / "vault", tmp_path / "copy")
    if put_away:
        (tmp_path / "vault").rename(tmp_path / "old")
    else:
        shutil.rmtree(tmp_path / "vault")
    assert not served.replaced, "it is gone, and nothing took its place: others tell that"
    (tmp_path / "copy").rename(tmp_path / "vault")
    assert served.replaced


def test_one_file_alone_may_be_exchanged(served: Served) -> None:
    """The server does so during a snapshot."""
    (served.data / "new").write_bytes(b"of a snapshot")
    (served.data / "new").rename(served.data / "vault.db")
    assert not served.replaced


def test_an_ended_process_gives_no_information(served: Served, tmp_path: Path) -> None:
    """A process without an open database gives none either."""
    assert not data_was_replaced(2**22 + 1, served.data)
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "vault.db").touch()
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as program:
        assert not data_was_replaced(program.pid, tmp_path / "other")
        program.kill()


def test_the_doctor_says_so_first(tmp_path: Path) -> None:
    """The remedy saves the server's data before it stops."""
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
