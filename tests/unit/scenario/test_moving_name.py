"""A name that leads elsewhere for a single process."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from vault_harness.judge.faults import network as module
from vault_harness.judge.faults.network import HOSTS, NAME, MovingName
from vault_harness.judge.verdict import NotClaimed

ASKED = """
import socket, sys
for _ in sys.stdin:
    try:
        print(socket.gethostbyname(sys.argv[1]), flush=True)
    except socket.gaierror:
        print("nobody", flush=True)
"""


@pytest.fixture
def name(tmp_path: Path) -> MovingName:
    one = MovingName(tmp_path, "command")
    try:
        one.begin("http://127.0.0.1:8200")
    except NotClaimed as lacking:
        pytest.skip(str(lacking))
    return one


@contextmanager
def asking(name: MovingName) -> Iterator[Callable[[], str]]:
    """Start a process that resolves the name each time it is asked."""
    with subprocess.Popen(
        [*name.command, sys.executable, "-c", ASKED, NAME],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        orders, answers = process.stdin, process.stdout

        def ask() -> str:
            orders.write("\n")
            orders.flush()
            return answers.readline().strip()

        yield ask
        orders.close()


def test_a_process_whose_name_moves(name: MovingName) -> None:
    before = HOSTS.read_bytes()
    with asking(name) as ask:
        found = []
        for address in ("127.0.0.1", "127.0.0.22", "127.0.0.3"):
            name.lead_to(address)
            found.append(ask())
    assert found == ["127.0.0.1", "127.0.0.22", "127.0.0.3"]
    assert HOSTS.read_bytes() == before
    assert NAME.encode() not in before


def test_a_name_can_be_unknown_for_a_time(name: MovingName) -> None:
    with asking(name) as ask:
        name.lead_nowhere()
        assert ask() == "nobody"
        name.lead_to("127.0.0.2")
        assert ask() == "127.0.0.2"


def test_a_process_keeps_its_number_and_the_names_that_were_there(name: MovingName) -> None:
    asks = "import os, socket; print(os.getpid(), socket.gethostbyname('localhost'))"
    with subprocess.Popen(
        [*name.command, sys.executable, "-c", asks], stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        assert process.stdout.read().split() == [str(process.pid), "127.0.0.1"]


@pytest.mark.parametrize("url", ["http://127.0.0.1:8200", "https://127.0.0.1:8201"])
def test_the_url_that_a_client_is_given(
    url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(MovingName, "_resolved", lambda *_: "127.0.0.1")
    monkeypatch.setattr("shutil.which", lambda _: "/usr/bin/unshare")
    assert MovingName(tmp_path, "command").begin(url) == url.replace("127.0.0.1", NAME)


def test_a_subject_in_this_process_has_no_names_of_its_own(tmp_path: Path) -> None:
    """It is skipped, with a remedy."""
    with pytest.raises(NotClaimed, match=r"python -m vault_harness\.judge\.subjects"):
        MovingName(tmp_path, "in-process")


def test_a_machine_without_namespaces_is_no_fault_of_the_client(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without namespaces for users, the scenario is skipped."""
    monkeypatch.setattr(module, "_FURNISH", "echo 'unshare failed: not permitted' >&2; exit 1")
    with pytest.raises(NotClaimed, match="not permitted"):
        MovingName(tmp_path, "command").begin("http://127.0.0.1:8200")


def test_the_resolver_asks_only_files() -> None:
    text = "passwd: files\nhosts: mymachines resolve [!UNAVAIL=return] files dns\nservices: db\n"
    assert module._files_only(text) == "hosts: files\npasswd: files\nservices: db\n"
