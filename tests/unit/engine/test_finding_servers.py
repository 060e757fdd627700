"""Servers of an earlier task are found by their command lines."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import psutil
import pytest

from vault_harness.local.engine.process.finding import of_another, recorded, started_with
from vault_harness.local.engine.provider import KnownServers
from vault_harness.local.stack.choice import open_provider
from vault_harness.local.stack.record import StackRecordFile
from vault_harness.settings import Settings


@pytest.fixture
def programs() -> Iterator[ExitStack]:
    with ExitStack() as running:
        yield running


def start(programs: ExitStack, *arguments: str) -> int:
    """Start a program that does nothing, and return its pid once it shows its command line."""
    command = [sys.executable, "-c", "print(flush=True); input()", *arguments]
    program = programs.enter_context(
        subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    )
    assert program.stdout is not None
    assert program.stdout.readline()
    programs.callback(program.kill)
    return program.pid


def test_each_by_its_own_file(programs: ExitStack, tmp_path: Path) -> None:
    """A program that only opens the file is not found."""
    names = ("vault.json", "haproxy.cfg", "relay.json", "nobodys.json")
    vault, balancer, relay, nobodys = (tmp_path / name for name in names)
    started = {
        vault: {start(programs, "server", f"-config={vault}")},
        balancer: {start(programs, "-db", "-f", str(balancer))},
        relay: {start(programs, "-config", str(relay)), start(programs, "-config", str(relay))},
        nobodys: set[int](),
    }
    start(programs, str(vault), str(balancer))
    start(programs, f"-config={relay}.of-before", "-config", str(tmp_path))

    found = started_with(*started)

    assert {path: {one.pid for one in processes} for path, processes in found.items()} == started
    assert all(one.alive() for processes in found.values() for one in processes)


@pytest.mark.parametrize("linked", [False, True], ids=["copied", "by hard links"])
def test_a_copy_has_no_part_in_servers(programs: ExitStack, tmp_path: Path, linked: bool) -> None:
    there, copy = (tmp_path / name / "vault" / "vault.json" for name in ("original", "copy"))
    for file in (there, copy):
        file.parent.mkdir(parents=True)
    there.write_text("{}")
    shutil.copyfile(there, copy)
    if linked:
        copy.unlink()
        copy.hardlink_to(there)
    pid = start(programs, "server", f"-config={there}")
    born = psutil.Process(pid).create_time()
    record = KnownServers(services={"vault": {"pid": pid, "born": born}})
    (tmp_path / "link").symlink_to(tmp_path / "original")

    assert recorded("vault", record, copy) is None
    assert of_another("vault", record, copy) == there
    for own in (there, tmp_path / "link" / "vault" / "vault.json"):
        found = recorded("vault", record, own)
        assert found is not None
        assert found.pid == pid
        assert of_another("vault", record, own) is None


def test_a_stack_looks_at_all_processes_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A list per server took most of a task's time."""
    looks: list[object] = []

    def process_iter(*wanted: object) -> Iterator[psutil.Process]:
        looks.append(wanted)
        return iter(())

    monkeypatch.setattr(psutil, "process_iter", process_iter)
    for name in ("vault-2", "vault-3"):
        (tmp_path / "nodes" / name / "data").mkdir(parents=True)
    settings = Settings(engine="process", data_dir=tmp_path)
    provider: Any = open_provider(settings, StackRecordFile(tmp_path))

    for look in (provider.describe, provider.belongings, provider.stop, provider.reload_vault):
        looks.clear()
        look()
        assert len(looks) == 1, look
