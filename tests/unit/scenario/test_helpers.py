from __future__ import annotations

import os
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import cast

import psutil
import pytest

from tests.unit.scenario.conftest import Bench, Story, Wire
from vault_harness.judge.conditions import Condition, look
from vault_harness.judge.helpers import traces
from vault_harness.judge.helpers.calls import ask_for_a_whole, wholes_come_back
from vault_harness.judge.helpers.connections import connections_not_accepted
from vault_harness.judge.helpers.instead import OtherHost
from vault_harness.judge.helpers.leaders import served_again
from vault_harness.judge.helpers.lives import served_until_its_token_ends, sleeps
from vault_harness.judge.helpers.starts import callers_if_started
from vault_harness.judge.helpers.traces import (
    Footprint,
    Processor,
    footprint,
    held_by,
    left_behind,
    processor_at_most,
    threads_beside,
)
from vault_harness.judge.lab import Lab
from vault_harness.judge.oracles import Oracle
from vault_harness.judge.verdict import TOO_SLOW, Finding, decide
from vault_harness.recorder.fault import Fault, RequestKind, Signature
from vault_harness.recorder.history import History
from vault_harness.recorder.observations import Operation, Outcome
from vault_harness.waiting import wait_until

PATHS: dict[RequestKind, str] = {
    "read": "ecommerce/data/backend/django",
    "login": "auth/approle/login",
}

GET = b"GET /v1/ecommerce/data/backend/django HTTP/1.1\r\nHost: v\r\n\r\n"
ANSWER = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}"


def reply(wire: Wire) -> None:
    while wire.until(b"\r\n\r\n"):
        wire.send(ANSWER)


def test_a_proxy_is_back_before_any_call_if_the_address_is_taken() -> None:
    done: list[str] = []
    with socket.create_server(("127.0.0.1", 0)) as taken:
        proxy = SimpleNamespace(
            address=taken.getsockname(),
            disable=lambda: done.append("off"),
            enable=lambda: done.append("on"),
        )
        lab = cast("Lab", SimpleNamespace(history=History(), proxy=proxy))
        with connections_not_accepted(lab) as fault:
            assert (fault, done) == (None, ["off", "on"])
    assert done == ["off", "on"]
    assert lab.history.faults == []


def test_deaf_connection_stays_open_and_silent(bench: Bench) -> None:
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
    assert {one.connection for one in bench.history.swallowed} == {1}


def test_nothing_is_open_once_the_client_has_gone(bench: Bench) -> None:
    recorder = bench.serve(reply)
    wire = bench.connect()
    wire.send(GET)
    assert wire.exactly(len(ANSWER)) == ANSWER
    wire.close()
    assert bench.history.wait_for(lambda: recorder.deafen() == 0, 10.0)


def test_other_host_redirects_each_kind_to_its_own_path() -> None:
    stubs = OtherHost("http://localhost:1", History(), PATHS).redirects()
    places = {kind: stub.headers["Location"] for stub in stubs for kind in stub.kinds}
    assert {stub.status for stub in stubs} == {307}
    assert places["read"] == "http://localhost:1/v1/ecommerce/data/backend/django"
    assert places["login"] == "http://localhost:1/v1/auth/approle/login"


def test_growth_beyond_what_is_spare() -> None:
    """Growth up to the spare number is no leak."""
    before = Footprint(threads=5, files=20, connections=2)
    after = Footprint(threads=11, files=27, connections=0)
    assert before.growth(after, spare=6) == {"open files: 20 before, 27 after"}


def test_the_least_of_two_looks() -> None:
    one, other = Footprint(threads=5, files=20, connections=2), Footprint(5, 19, 3)
    assert one.least(other) == Footprint(threads=5, files=19, connections=2)


def test_an_unknown_number_is_no_growth() -> None:
    """The verdict names it."""
    before, after = Footprint(5, None, 2), Footprint(5, 99, 2)
    assert before.growth(after, spare=6) == set()
    assert after.growth(before, spare=6) == set()
    assert before.compared(after) == "threads, connections; cannot tell: open files"


def test_one_known_number_of_two_is_enough() -> None:
    """Only one of two looks knows it."""
    assert Footprint(None, 9, None).least(Footprint(4, None, None)) == Footprint(4, 9, None)


def lab_of(bench: Bench, *, pid: int | None, kind: str) -> Lab:
    """Return the part of a lab that a footprint needs."""
    subject = SimpleNamespace(pid=pid, kind=kind)
    client = SimpleNamespace(subject=subject)
    return cast("Lab", SimpleNamespace(client=client, recorder=bench.recorder, threads_before=()))


@pytest.mark.parametrize(("started", "marks"), [(True, 0), (False, 1)])
def test_a_client_that_waits_for_vault_has_no_callers(*, started: bool, marks: int) -> None:
    """A remark says so."""
    history = History()
    reading: list[dict[str, float]] = []

    @contextmanager
    def callers(**asked: float) -> Iterator[None]:
        reading.append(asked)
        yield

    lab = SimpleNamespace(
        history=history,
        started=started,
        deadline=0.05,
        asks_within=5.0,
        touched=lambda _: True,
        until=lambda condition, within: history.wait_for(condition, within),
        reading=callers,
    )
    fault = Fault("upstream refuses connections", Signature())
    with callers_if_started(cast("Lab", lab), fault, every=0.5, callers=3) as any_read:
        assert any_read == started
    assert reading == [{"every": 0.5, "callers": 3}] * started
    assert len(history.marks) == marks


@pytest.mark.parametrize(
    ("since", "outcomes", "asked", "found"),
    [
        (9.0, ["ok"], 1, 0),
        (9.0, ["denied", "stale", "ok"], 3, 0),
        (9.0, ["denied"] * 99, 6, 1),
        (1.0, ["ok"], 1, 0),
        (1.0, ["denied", "ok"], 1, 1),
        (9.0, ["unavailable", "died"], 2, 0),
    ],
    ids=["good", "good in time", "never", "late, and good", "late, and not", "dead"],
)
def test_whole_secrets_come_back(
    since: float, outcomes: list[Outcome], asked: int, found: int
) -> None:
    """They are asked for at least once, and until the bound."""
    times = iter(range(10, 99))
    given, findings = iter(outcomes), list[Finding]()

    def read_all(path: str, keys: tuple[str, ...]) -> Operation:
        assert (path, keys) == ("shared/email", ("EMAIL_HOST_PASSWORD",))
        return Operation(1, "read_all", path, began=float(next(times)), outcome=next(given))

    lab = SimpleNamespace(
        can=lambda word: word == "read_all",
        client=SimpleNamespace(read_all=read_all),
        entry=SimpleNamespace(
            path="backend/django",
            key="SECRET_KEY",
            spare_path="shared/email",
            spare_key="EMAIL_HOST_PASSWORD",
        ),
        environment=SimpleNamespace(subject=SimpleNamespace(kind="in-process")),
        watch=lambda _: None,
        note=findings.append,
    )
    wholes_come_back(cast("Lab", lab), since=since, within=5.0)
    assert next(times) == 10 + asked
    assert len(findings) == found


@pytest.mark.parametrize(
    ("held", "left"),
    [
        pytest.param(lambda _: 9, True, id="for ever"),
        pytest.param(lambda now: 9 if now % 0.45 < 0.4 else 2, True, id="but when it exchanges it"),
        pytest.param(lambda now: 9 if now < 2.7 else 2, False, id="until it has let go"),
        pytest.param(lambda _: 8, False, id="as much as is spare"),
    ],
)
def test_only_what_is_held_for_long_is_left_behind(
    held: Callable[[float], int], left: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is being replaced is not."""
    clock = [0.0]

    def let_pass(seconds: float, *, what: str) -> None:
        assert what
        clock[0] += seconds

    now = lambda: clock[0]  # noqa: E731 -- a clock
    history = SimpleNamespace(now=now, let_pass=let_pass)
    lab = SimpleNamespace(history=history, require=lambda *_: None)
    seen = lambda _: Footprint(None, None, held(clock[0]))  # noqa: E731 -- of this client
    monkeypatch.setattr(traces, "footprint", seen)
    more = left_behind(cast("Lab", lab), Footprint(None, None, 2))
    assert more == ({"connections: 2 before, 9 after"} if left else set())


def test_without_read_all_no_whole_secret_is_asked_for() -> None:
    lab = SimpleNamespace(can=lambda _: False)
    wholes_come_back(cast("Lab", lab), since=0.0, within=1.0)
    assert ask_for_a_whole(cast("Lab", lab)) is None


def test_connections_are_those_of_the_recorder(bench: Bench) -> None:
    """Not every Toxiproxy can tell."""
    bench.serve(reply)
    lab = lab_of(bench, pid=os.getpid(), kind="command")
    first, second = bench.connect(), bench.connect()
    assert bench.history.wait_for(lambda: footprint(lab).connections == 2, 10.0)
    first.close()
    assert bench.history.wait_for(lambda: footprint(lab).connections == 1, 10.0)
    second.close()


def test_for_a_client_on_a_server_only_connections_count(bench: Bench) -> None:
    bench.serve(reply)
    assert footprint(lab_of(bench, pid=None, kind="http")) == Footprint(None, None, 0)


def test_files_of_the_recorder_are_none_of_a_client_within_its_process(bench: Bench) -> None:
    """The recorder is in the same process."""
    bench.serve(reply)
    wire = bench.connect()
    wire.send(GET)
    assert wire.exactly(len(ANSWER)) == ANSWER
    seen = footprint(lab_of(bench, pid=None, kind="in-process"))
    assert seen.files == len(list(Path("/proc/self/fd").iterdir())) - 2


def test_files_that_are_not_shown_are_not_none(monkeypatch: pytest.MonkeyPatch) -> None:
    """Files of another user's process are unknown."""

    def denied(process: psutil.Process) -> int:
        raise psutil.AccessDenied(process.pid)

    monkeypatch.setattr(psutil.Process, "num_fds", denied)
    threads, files = held_by(os.getpid())
    assert threads
    assert files is None


def test_threads_of_an_earlier_subject_hide_none() -> None:
    """It ends meanwhile."""
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
    program = [sys.executable, "-c", "import sys; sys.stdin.read()"]
    with subprocess.Popen(program, stdin=subprocess.PIPE) as one:
        alive = held_by(one.pid)
    assert alive[0] == 1
    assert alive[1] is not None
    assert alive[1] >= 3
    assert held_by(one.pid) == (0, 0)


def test_served_again_with_the_first_good_answer_after_the_last_bad_one(story: Story) -> None:
    for at, status in {10.1: 500, 10.2: 200, 10.4: 500, 10.5: 200, 10.6: 200, 10.7: None}.items():
        story.sent("read", at, status)
    assert served_again(story.history, since=10.0, known=12.0) == 10.5


@pytest.mark.parametrize("status", [200, 500], ids=["all good", "all bad"])
def test_served_again_when_it_is_known(story: Story, status: int) -> None:
    """Answers cannot tell the end of this outage."""
    story.several("read", 10.1, 10.2, status=status)
    assert served_again(story.history, since=10.0, known=12.0) == 12.0


@pytest.mark.parametrize(
    ("at", "login", "found"),
    [
        pytest.param(5.0, 5.0, 0, id="in the call in which a login is refused"),
        pytest.param(5.0, 7.0, 1, id="in another call"),
        pytest.param(8.1, 9.5, 0, id="in the last fifth of its life"),
    ],
)
def test_reads_with_a_token_that_has_no_successor(
    story: Story, at: float, login: float, found: int
) -> None:
    """They fail only in the last fifth of its life, or in the call of a refused login."""
    story.sent("login", login, status=400, ended=login + 0.2)
    story.call(at, at + 0.5, outcome="denied")
    notes: list[Finding] = []
    later: list[Oracle] = []
    lab = SimpleNamespace(
        history=story.history,
        ttl=10.0,
        deadline=2.0,
        entry=SimpleNamespace(path="backend/django"),
        note=notes.append,
        judge_later=later.append,
    )
    served_until_its_token_ends(cast("Lab", lab), since=0.0, ends=10.0)
    assert len(notes) == found
    assert len(later) == 1  # the second oracle asks for good reads now and then


@pytest.mark.parametrize(
    ("stops", "lives", "met"),
    [
        pytest.param(True, False, [True, True], id="as it should"),
        pytest.param(False, False, [False, True], id="somebody wakes it"),
        pytest.param(True, True, [True, False], id="its token outlives that"),
    ],
)
def test_sleep_that_is_seen(story: Story, *, stops: bool, lives: bool, met: list[bool]) -> None:
    """A client that was woken, or whose token survived, is not judged."""
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as process:
        paused = psutil.Process(process.pid)

        @contextmanager
        def client_paused(pid: int) -> Iterator[Fault]:
            if stops:
                psutil.Process(pid).suspend()
            yield story.fault(Signature(), 0.0, 9.0)
            psutil.Process(pid).resume()

        def watch(_: float) -> None:
            wait_until(
                lambda: (paused.status() == psutil.STATUS_STOPPED) is stops,
                "a process to stand still",
                timeout=5.0,
            )

        asked: list[Callable[[History], object]] = []
        lab = SimpleNamespace(
            client=SimpleNamespace(subject=SimpleNamespace(pid=process.pid)),
            tokens=SimpleNamespace(accessor=lambda: "accessor", lives=lambda _: lives),
            watch=watch,
            process=SimpleNamespace(client_paused=client_paused),
            require=lambda _, condition: asked.append(condition),
        )
        sleeps(cast("Lab", lab), 0.0)
        process.kill()
    assert [bool(condition(story.history)) for condition in asked] == met


@pytest.mark.parametrize(
    ("used", "waited", "word", "found"),
    [
        (1.0, 0.5, "pass", 0),
        (8.0, 0.0, "fail", 1),
        (8.0, 9.0, "fail", 1),
        (1.0, 9.0, "not exercised", 0),
    ],
    ids=["calm", "it spins", "it spins beside others", "no core was free"],
)
def test_a_loop_that_waits_for_a_core_proves_nothing(
    used: float, waited: float, word: str, found: int
) -> None:
    conditions: dict[str, Condition] = {}
    lab = SimpleNamespace(require=conditions.__setitem__)
    spent = Processor(used + 3.0, waited + 2.0).since(Processor(3.0, 2.0))
    oracle = processor_at_most(cast("Lab", lab), 7.5, spent, "while Vault is sealed")
    history = History()
    findings = oracle(history)
    assert len(findings) == found
    seen = [look(name, condition, history) for name, condition in conditions.items()]
    verdict = decide(findings, seen)
    assert verdict.word == word
    assert all(reason.startswith(TOO_SLOW) for reason in verdict.untouched)
