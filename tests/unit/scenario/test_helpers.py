"""What scenarios need beyond the lab: connections that go deaf, another host, a footprint."""

from __future__ import annotations

import socket
import subprocess
import sys
import threading

import pytest

from tests.unit.scenario.conftest import Bench, Story, Wire
from vault_harness.faults import RequestKind
from vault_harness.scenario.helpers import (
    Footprint,
    OtherHost,
    held_by,
    served_again,
    threads_beside,
)
from vault_harness.scenario.history import History

PATHS: dict[RequestKind, str] = {
    "read": "ecommerce/data/backend/django",
    "login": "auth/approle/login",
}

GET = b"GET /v1/ecommerce/data/backend/django HTTP/1.1\r\nHost: v\r\n\r\n"
ANSWER = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}"


def reply(wire: Wire) -> None:
    """A server that answers every request head."""
    while wire.until(b"\r\n\r\n"):
        wire.send(ANSWER)


def test_deaf_connection_stays_open_and_silent(bench: Bench) -> None:
    """What was open never answers again and does not end; what is opened later works."""
    recorder = bench.serve(reply)
    old = bench.connect()
    old.send(GET)
    assert old.exactly(len(ANSWER)) == ANSWER
    assert recorder.deafen() == 1
    old.send(GET)
    new = bench.connect()
    new.send(GET)
    assert new.exactly(len(ANSWER)) == ANSWER
    old.sock.settimeout(0.2)
    with pytest.raises(socket.timeout):
        old.sock.recv(1)
    assert len(bench.history.exchanges) == 2


def test_nothing_is_open_once_the_client_has_gone(bench: Bench) -> None:
    """Connections that have ended are not counted."""
    recorder = bench.serve(reply)
    wire = bench.connect()
    wire.send(GET)
    assert wire.exactly(len(ANSWER)) == ANSWER
    wire.close()
    assert bench.history.wait_for(lambda: recorder.deafen() == 0, 10.0)


def test_other_host_redirects_each_kind_to_its_own_path() -> None:
    """A login goes to the login, a read to the secret."""
    stubs = OtherHost("http://localhost:1", History(), PATHS).redirects()
    places = {kind: stub.headers["Location"] for stub in stubs for kind in stub.kinds}
    assert {stub.status for stub in stubs} == {307}
    assert places["read"] == "http://localhost:1/v1/ecommerce/data/backend/django"
    assert places["login"] == "http://localhost:1/v1/auth/approle/login"


def test_credentials_at_another_host_are_harm(story: Story) -> None:
    """A token and a secret-id are findings, a request with neither is none."""
    other = OtherHost("http://localhost:1", story.history, PATHS)
    story.sent("read", 1.0)
    assert other.findings() == []
    story.sent("read", 2.0).token = "token-2"
    story.sent("login", 3.0).secret_id = "secret-id-1"
    seen = [(finding.at, finding.harm) for finding in other.findings()]
    assert seen == [(2.0, True), (3.0, True)]


def test_growth_beyond_what_is_spare() -> None:
    """Six more are no leak, seven are."""
    before = Footprint(threads=5, files=20, connections=2)
    after = Footprint(threads=11, files=27, connections=0)
    assert before.growth(after, spare=6) == {"open files: 20 before, 27 after"}


def test_the_least_of_two_looks() -> None:
    """What was on its way out at one of them is in neither number."""
    one, other = Footprint(threads=5, files=20, connections=2), Footprint(5, 19, 3)
    assert one.least(other) == Footprint(threads=5, files=19, connections=2)


def test_threads_of_an_earlier_subject_hide_none() -> None:
    """One that ends meanwhile makes no room for one that is left behind."""
    over = [threading.Event(), threading.Event()]
    earlier, later = (threading.Thread(target=event.wait) for event in over)
    earlier.start()
    before = frozenset(threading.enumerate())
    later.start()
    over[0].set()
    earlier.join()
    seen = threads_beside(before)
    over[1].set()
    later.join()
    assert seen == 1


def test_a_process_that_has_died_holds_nothing() -> None:
    """A client that dies is failed for that; what it holds is nothing, and no error."""
    program = [sys.executable, "-c", "import sys; sys.stdin.read()"]
    with subprocess.Popen(program, stdin=subprocess.PIPE) as one:
        alive = held_by(one.pid)
    assert alive[0] == 1
    assert alive[1] >= 3
    assert held_by(one.pid) == (0, 0)


def test_served_again_with_the_first_good_answer_after_the_last_bad_one(story: Story) -> None:
    """One that was good between two bad ones is not it, and neither is one on its way."""
    for at, status in {10.1: 500, 10.2: 200, 10.4: 500, 10.5: 200, 10.6: 200, 10.7: None}.items():
        story.sent("read", at, status)
    assert served_again(story.history, since=10.0, known=12.0) == 10.5


@pytest.mark.parametrize("status", [200, 500], ids=["all good", "all bad"])
def test_served_again_when_it_is_known(story: Story, status: int) -> None:
    """Where no answer tells the outage from what came after it."""
    story.several("read", 10.1, 10.2, status=status)
    assert served_again(story.history, since=10.0, known=12.0) == 12.0
