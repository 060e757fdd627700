"""The links between nodes of a cluster: what a closed link holds is not lost."""

from __future__ import annotations

import os
import socket
import sys
import threading
from collections.abc import Coroutine, Iterator
from pathlib import Path

import pytest

from vault_harness.local.engine.process.links import Links, files_are_seen
from vault_harness.waiting import wait_until

pytestmark = pytest.mark.skipif(
    sys.platform != "linux", reason="whose a connection is, only Linux says to everybody"
)


@pytest.fixture
def links() -> Iterator[Links]:
    """Links between two nodes, where this process is the first node."""
    with Links({"one": os.getpid(), "two": None}.get).running() as links:
        yield links


@pytest.fixture
def two() -> Iterator[socket.socket]:
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(10)
        yield server


@pytest.fixture
def address(links: Links, two: socket.socket) -> tuple[str, int]:
    links.lead("one", "127.0.0.1:1")
    listen = f"127.0.0.1:{two.getsockname()[1]}"
    host, _, port = links.lead("two", listen).rpartition(":")
    assert links.lead("two", listen) == f"{host}:{port}", "it is known by one address for good"
    return host, int(port)


def test_a_connection_goes_through(address: tuple[str, int], two: socket.socket) -> None:
    with socket.create_connection(address, timeout=10) as here, two.accept()[0] as there:
        here.sendall(b"vote")
        assert there.recv(10) == b"vote"
        there.sendall(b"yes")
        assert here.recv(10) == b"yes"
        here.shutdown(socket.SHUT_WR)
        assert there.recv(10) == b""


def test_an_answer_comes_after_the_end_of_what_was_asked(
    address: tuple[str, int], two: socket.socket
) -> None:
    answer = os.urandom(1 << 20)

    def write() -> None:
        there.sendall(answer)
        there.close()

    with socket.create_connection(address, timeout=10) as here, two.accept()[0] as there:
        here.sendall(b"vote")
        here.shutdown(socket.SHUT_WR)
        assert [there.recv(10), there.recv(10)] == [b"vote", b""]
        writing = threading.Thread(target=write)
        writing.start()
        with here.makefile("rb") as reading:
            assert reading.read() == answer
        writing.join()


@pytest.mark.parametrize("open_way", ["none", "hears", "is_heard"])
def test_bytes_of_a_closed_direction_wait(
    links: Links, address: tuple[str, int], two: socket.socket, open_way: str
) -> None:
    with socket.create_connection(address, timeout=10) as here, two.accept()[0] as there:
        links.shut("one", hears=open_way == "hears", is_heard=open_way == "is_heard")
        here.sendall(b"vote")
        there.sendall(b"yes")
        shut = {("one", "two")} if open_way != "is_heard" else set()
        shut |= {("two", "one")} if open_way != "hears" else set()
        wait_until(lambda: links.held.keys() == shut, "what is shut to be held", timeout=10)
        for end, way, word in ((there, ("one", "two"), b"vote"), (here, ("two", "one"), b"yes")):
            end.settimeout(0.1 if way in shut else 10)
            if way in shut:
                with pytest.raises(TimeoutError):
                    end.recv(10)
                end.settimeout(10)
            else:
                assert end.recv(10) == word
        links.open("one")
        if ("one", "two") in shut:
            assert there.recv(10) == b"vote"
        if ("two", "one") in shut:
            assert here.recv(10) == b"yes"


def test_a_new_connection_takes_both_directions(
    links: Links, address: tuple[str, int], two: socket.socket
) -> None:
    """A node that hears nothing cannot connect until it hears again."""
    links.shut("one", is_heard=True)
    with socket.create_connection(address, timeout=10) as here:
        here.sendall(b"vote")
        wait_until(lambda: bool(links.held), "it to be held", timeout=10)
        two.settimeout(0.1)
        with pytest.raises(TimeoutError):
            two.accept()
        two.settimeout(10)
        links.open("one")
        with two.accept()[0] as there:
            assert there.recv(10) == b"vote"


def test_an_end_that_takes_too_long_leaves_no_loop(monkeypatch: pytest.MonkeyPatch) -> None:
    links = Links(lambda _: None)

    def late(what: Coroutine[object, object, None]) -> None:
        what.close()
        raise TimeoutError

    monkeypatch.setattr(links, "_run", late)
    relaying = links._thread
    with pytest.raises(TimeoutError), links.running():
        assert relaying.is_alive()
    assert not relaying.is_alive()


def test_a_restarted_node_is_no_longer_cut_off(
    links: Links, address: tuple[str, int], two: socket.socket
) -> None:
    links.shut("one")
    links.shut("two")
    links.lead("two", f"127.0.0.1:{two.getsockname()[1]}")
    assert set(links.cut) == {"one"}
    with socket.create_connection(address, timeout=10) as here:
        here.sendall(b"vote")
        wait_until(lambda: bool(links.held), "it to be held", timeout=10)
        links.open("one")
        with two.accept()[0] as there:
            assert there.recv(10) == b"vote"


def test_a_connection_to_a_node_without_a_listener_ends(links: Links) -> None:
    """A node has an address before it runs."""
    links.lead("one")
    host, _, port = links.lead("two").rpartition(":")
    with socket.create_connection((host, int(port)), timeout=10) as here:
        assert here.recv(10) == b""


def test_a_stranger_is_led_nowhere(two: socket.socket) -> None:
    nobody = Links(lambda _: None)
    listen = f"127.0.0.1:{two.getsockname()[1]}"
    with nobody.running():
        host, _, port = nobody.lead("two", listen).rpartition(":")
        with socket.create_connection((host, int(port)), timeout=10) as here:
            assert here.recv(10) == b""


def test_dials_of_a_cut_are_let_go_when_they_hang_up(
    links: Links, address: tuple[str, int], two: socket.socket
) -> None:
    """Nodes dial all the time, so a held dial that hangs up frees its file."""
    links.shut("two")
    before = files()
    for _ in range(20):
        with socket.create_connection(address, timeout=10) as here:
            here.sendall(b"vote")
    wait_until(lambda: files() <= before, "the relay to let go of the dials", timeout=10)

    with socket.create_connection(address, timeout=10) as here:
        here.sendall(b"vote")
        links.open("two")
        with two.accept()[0] as there:
            assert there.recv(10) == b"vote", "who is still there is heard, from its first word on"
            there.sendall(b"yes")
            assert here.recv(10) == b"yes"


def files() -> int:
    """Return the open files of this process, which are also the relay's."""
    return len(list(Path("/proc/self/fd").iterdir()))


def test_hidden_files_of_a_process_are_no_error(monkeypatch: pytest.MonkeyPatch) -> None:
    """The kernel hides the files of a program with capabilities."""
    assert files_are_seen(os.getpid())

    def hidden(_path: Path) -> Iterator[Path]:
        raise PermissionError

    monkeypatch.setattr(Path, "iterdir", hidden)
    assert not files_are_seen(os.getpid())
