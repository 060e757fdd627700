from __future__ import annotations

import contextlib
import json
import threading
import time
from typing import Any

import pytest

from tests.unit.scenario.conftest import Bench, Talk, Wire
from tests.unit.scenario.test_recorder_notes import (
    AUTH,
    LOGIN,
    READ,
    answer,
    ask,
    replying,
    request,
)
from vault_harness.errors import SettingsError
from vault_harness.judge.conditions import evidence_of
from vault_harness.judge.faults import HttpFaults
from vault_harness.recorder.fault import Affected, Choice

RENEW = request("POST", "auth/token/renew-self", b"{}")
WRITE = request("POST", "ecommerce/data/backend/ledger", b"{}")


def faults(bench: Bench, *replies: bytes) -> HttpFaults:
    return HttpFaults(bench.serve(replying(*replies)), bench.history)


def again_and_again(reply: bytes) -> Talk:
    def talk(wire: Wire) -> None:
        while wire.until(b"\r\n\r\n"):
            wire.send(reply)

    return talk


@pytest.mark.parametrize(
    ("choice", "taken"),
    [
        (Choice(), [1, 2, 3, 4, 5, 6]),
        (Choice(first=2), [1, 2]),
        (Choice(nth=3), [3]),
        (Choice(every=2), [2, 4, 6]),
    ],
)
def test_whose_turn_it_is(choice: Choice, taken: list[int]) -> None:
    """Requests are counted from 1."""
    assert [number for number in range(1, 7) if choice.turn(number)] == taken


def test_first_logins_fail(bench: Bench) -> None:
    """The third reaches Vault, and reads are left alone."""
    http = faults(bench, answer({}), answer({"auth": AUTH}))
    wire = bench.connect()
    with http.fail("login", first=2, status=503) as fault:
        assert [ask(wire, one)[0] for one in (LOGIN, READ, LOGIN, LOGIN)] == [503, 200, 503, 200]
    assert fault.touched == 2
    assert [(e.kind, e.by) for e in bench.ended(4)] == [
        ("login", "stub"),
        ("read", "vault"),
        ("login", "stub"),
        ("login", "vault"),
    ]


def test_failure_reads_as_from_vault(bench: Bench) -> None:
    """It has a JSON body with errors."""
    http = faults(bench)
    wire = bench.connect()
    with http.fail("any", status=500):
        _, headers, body = ask(wire, READ)
    assert headers["content-type"] == "application/json"
    assert body == b'{"errors": ["answered 500 on purpose"]}'


def test_path_of_the_choice(bench: Bench) -> None:
    http = faults(bench, answer({}))
    wire = bench.connect()
    other = request("GET", "ecommerce/data/shared/email")
    with http.fail("read", path="*/shared/*"):
        assert ask(wire, READ)[0] == 200
        assert ask(wire, other)[0] == 503


def test_health_alone(bench: Bench) -> None:
    http = faults(bench, answer({}))
    wire = bench.connect()
    with http.fail("health", status=473) as fault:
        assert ask(wire, request("GET", "sys/health"))[0] == 473
        assert ask(wire, request("GET", "sys/seal-status"))[0] == 200
    assert fault.touched == 1


def test_second_renewal_is_late(bench: Bench) -> None:
    """Vault has done it at once."""
    http = faults(bench, answer({"auth": AUTH}), answer({"auth": AUTH}))
    wire = bench.connect()
    with http.delay("renew", nth=2, by=0.3) as fault:
        assert ask(wire, RENEW)[0] == 200
        assert fault.touched == 0  # how fast that was depends on the machine
        began = time.monotonic()
        assert ask(wire, RENEW)[0] == 200
        late = time.monotonic() - began
    assert fault.touched == 1
    one, two = bench.ended(2)
    assert [one.interference is None, two.interference is None] == [True, False]
    assert late >= 0.3
    assert (two.ended or 0) - two.began >= 0.3


def test_client_that_does_not_wait(bench: Bench) -> None:
    """The answer is noted as not delivered."""
    http = faults(bench, answer({"auth": AUTH}))
    wire = bench.connect()
    with http.delay("login", by=30.0) as fault:
        wire.send(LOGIN)
        assert bench.history.wait_for(lambda: fault.touched == 1, 10.0)
        wire.close()
        (exchange,) = bench.ended(1)
    assert exchange.closed == "client"


def test_request_behind_a_late_answer_is_not_lost(bench: Bench) -> None:
    http = faults(bench, answer({"auth": AUTH}), answer({"data": 1}))
    wire = bench.connect()
    with http.delay("login", by=0.2):
        sent = threading.Thread(target=wire.send, args=(LOGIN + READ,))
        sent.start()
        assert wire.until(b"}").startswith(b"HTTP/1.1 200")
        sent.join()
    assert [e.kind for e in bench.ended(2)] == ["login", "read"]


def test_lost_answer_to_a_write(bench: Bench) -> None:
    """Vault has done the write; the connection ends without a byte."""
    recorder = bench.serve(again_and_again(answer({})))
    http = HttpFaults(recorder, bench.history)
    with http.lose_answer("write", first=1) as fault:
        wire = bench.connect()
        wire.send(WRITE)
        with contextlib.suppress(ConnectionResetError):  # also a valid end
            assert wire.rest() == b""
        assert ask(bench.connect(), WRITE)[0] == 200
    lost, answered = bench.ended(2)
    assert (lost.status, lost.closed, lost.by) == (200, "server", "vault")
    assert (answered.status, answered.closed) == (200, None)
    assert fault.touched == 1


def test_answer_that_is_lost_late(bench: Bench) -> None:
    """The request hangs before its connection ends without a byte."""
    http = faults(bench, answer({"auth": AUTH}))
    wire = bench.connect()
    with http.lose_answer("renew", by=0.3) as fault:
        wire.send(RENEW)
        with contextlib.suppress(ConnectionResetError):
            assert wire.rest() == b""
    (lost,) = bench.ended(1)
    assert (lost.status, lost.closed) == (200, "server")
    assert (lost.ended or 0) - lost.began >= 0.3
    assert fault.name == "answer to renew lost after 0.3 s"


def test_answer_to_a_write_of_a_gateway(bench: Bench) -> None:
    """Vault has done the write, the client gets a 504, and the connection stays usable."""
    http = HttpFaults(bench.serve(again_and_again(answer({}))), bench.history)
    wire = bench.connect()
    with http.lose_answer("write", first=1, status=504) as fault:
        assert [ask(wire, WRITE)[0] for _ in range(2)] == [504, 200]
    lost, answered = bench.ended(2)
    assert (lost.status, lost.closed, lost.by) == (504, None, "vault")
    assert (answered.status, answered.connection) == (200, lost.connection)
    assert fault.touched == 1


def test_answer_that_says_goodbye(bench: Bench) -> None:
    """The answer is whole, its connection is then deaf, and a new one works."""
    http = HttpFaults(bench.serve(again_and_again(answer({"data": 1}))), bench.history)
    wire = bench.connect()
    with http.say_goodbye("read", first=1) as fault:
        wire.send(READ)
        head = wire.until(b"}").partition(b"\r\n\r\n")[0]
        assert head.split(b"\r\n")[:2] == [b"HTTP/1.1 200 OK", b"Connection: close"]
        wire.send(READ)
        assert bench.history.wait_for(lambda: bool(bench.history.swallowed), 10.0)
        assert ask(bench.connect(), READ)[0] == 200
    said, answered = bench.ended(2)
    assert (said.status, said.closed, said.connection) == (200, None, 1)
    assert (answered.connection, fault.touched) == (2, 1)


def test_goodbye_is_heard_out(bench: Bench) -> None:
    """A client that closes after the goodbye waits for nothing."""
    http = HttpFaults(bench.serve(again_and_again(answer({"data": 1}))), bench.history)
    wire = bench.connect()
    with http.say_goodbye("read", by=0.2) as fault:
        wire.send(READ)
        wire.until(b"}")
        wire.close()
        assert bench.history.wait_for(lambda: bench.recorder.open_connections() == 0, 2.0)
    (said,) = bench.ended(1)
    assert (said.ended or 0.0) - said.began >= 0.2
    assert fault.name == "answer to read says goodbye"
    assert bench.history.swallowed == []


def test_token_of_a_lost_login_is_known(bench: Bench) -> None:
    """It lives in Vault."""
    http = faults(bench, answer({"auth": AUTH}))
    wire = bench.connect()
    with http.lose_answer("login"):
        wire.send(LOGIN)
        with contextlib.suppress(ConnectionResetError):
            wire.rest()
    (exchange,) = bench.ended(1)
    assert exchange.accessor == AUTH["accessor"]
    assert bench.secrets.label(str(AUTH["client_token"])) == exchange.token


def until_the_end(reply: bytes) -> Talk:
    """Return a server whose answers end with the connection."""

    def talk(wire: Wire) -> None:
        head = wire.until(b"\r\n\r\n")
        length = head.lower().partition(b"content-length: ")[2].partition(b"\r\n")[0]
        wire.exactly(int(length or 0))
        wire.send(reply)

    return talk


ENDLESS = b"HTTP/1.1 200 OK\r\n\r\n" + json.dumps({"auth": AUTH}).encode()


def test_late_answer_that_ends_with_the_connection(bench: Bench) -> None:
    http = HttpFaults(bench.serve(until_the_end(ENDLESS)), bench.history)
    wire = bench.connect()
    with http.delay("login", by=0.2):
        wire.send(LOGIN)
        assert wire.rest() == ENDLESS
    (exchange,) = bench.ended(1)
    assert (exchange.status, exchange.closed, exchange.accessor) == (200, None, AUTH["accessor"])
    assert (exchange.ended or 0) - exchange.began >= 0.2


def test_lost_answer_that_ends_with_the_connection(bench: Bench) -> None:
    http = HttpFaults(bench.serve(until_the_end(ENDLESS)), bench.history)
    wire = bench.connect()
    with http.lose_answer("login"):
        wire.send(LOGIN)
        with contextlib.suppress(ConnectionResetError):  # also a valid end
            assert wire.rest() == b""
    with http.lose_answer("login", status=504):
        assert ask(bench.connect(), LOGIN)[0] == 504
    lost, replaced = bench.ended(2)
    assert (lost.status, lost.closed) == (200, "server")
    assert (replaced.status, replaced.closed, replaced.by) == (504, None, "vault")


def test_exchanged_answer_that_ends_with_the_connection(bench: Bench) -> None:
    recorder = bench.serve(until_the_end(ENDLESS))
    recorder.rewrite_login = lambda _: {"auth": {**AUTH, "accessor": "acc-2"}}
    assert b"acc-2" in ask(bench.connect(), LOGIN)[2]
    assert bench.ended(1)[0].accessor == "acc-2"


@pytest.mark.parametrize("status", [204, 304])
def test_failure_without_a_body(bench: Bench, status: int) -> None:
    """204 and 304 have no body."""
    http = faults(bench, answer({}))
    wire = bench.connect()
    with http.fail("read", first=1, status=status):
        wire.send(READ)
        assert wire.until(b"\r\n\r\n").startswith(b"HTTP/1.1 %d " % status)
        assert ask(wire, READ)[0] == 200


def test_page_in_place_of_an_answer_to_head(bench: Bench) -> None:
    http = HttpFaults(bench.serve(again_and_again(answer({}))), bench.history)
    wire = bench.connect()
    with http.lose_answer("write", first=1, status=504), http.lose_answer("read", status=502):
        wire.send(b"HEAD /v1/ecommerce/data/x HTTP/1.1\r\nHost: v\r\n\r\n")
        assert wire.until(b"\r\n\r\n").startswith(b"HTTP/1.1 502 ")
        assert ask(wire, WRITE)[0] == 504


EXPECTING = request("POST", "ecommerce/data/x", b"{}", "Expect: 100-continue")


def test_to_go_on_is_said_at_once(bench: Bench) -> None:
    head, _, body = EXPECTING.partition(b"\r\n\r\n")

    def talk(wire: Wire) -> None:
        wire.until(b"\r\n\r\n")
        wire.send(b"HTTP/1.1 100 Cont")
        wire.send(b"inue\r\n\r\n")
        wire.exactly(len(body))
        wire.send(answer({}))

    http = HttpFaults(bench.serve(talk), bench.history)
    wire = bench.connect()
    with http.delay("write", by=0.2):
        wire.send(head + b"\r\n\r\n")
        assert wire.until(b"\r\n\r\n") == b"HTTP/1.1 100 Continue\r\n\r\n"
        assert ask(wire, body)[0] == 200
    assert bench.ended(1)[0].status == 200


def test_to_go_on_is_said_in_the_place_of_vault(bench: Bench) -> None:
    """Vault is not asked."""
    head, _, body = EXPECTING.partition(b"\r\n\r\n")
    http = faults(bench)
    wire = bench.connect()
    with http.fail("write", status=503):
        wire.send(head + b"\r\n\r\n")
        assert wire.until(b"\r\n\r\n") == b"HTTP/1.1 100 Continue\r\n\r\n"
        assert ask(wire, body)[0] == 503


def test_two_at_once_both_count(bench: Bench) -> None:
    http = faults(bench, answer({"auth": AUTH}))
    wire = bench.connect()
    with http.fail("renew", nth=2, status=500) as second, http.fail("any", first=1) as first:
        assert [ask(wire, RENEW)[0] for _ in range(2)] == [503, 500]
    assert (first.touched, second.touched) == (1, 1)


def test_evidence_names_the_request(bench: Bench) -> None:
    http = faults(bench, answer({"auth": AUTH}))
    wire = bench.connect()
    with http.fail("login", status=500) as met, http.delay("read", by=1.0) as unmet:
        ask(wire, LOGIN)
    bench.ended(1)
    text = evidence_of(bench.history, met, {})
    assert text is not None
    assert text.startswith("login answered 500: login answered 500 in Vault's place at +")
    assert evidence_of(bench.history, unmet, {}) is None


def test_undone_afterwards(bench: Bench) -> None:
    http = faults(bench, answer({}))
    wire = bench.connect()
    with contextlib.suppress(KeyError), http.fail("any") as fault:
        raise KeyError
    assert ask(wire, READ)[0] == 200
    assert fault.ended is not None


@pytest.mark.parametrize(
    ("targets", "counts"),
    [
        ((), {}),
        (("logins",), {}),
        (("login",), {"first": 0}),
        (("login",), {"first": 1, "nth": 2}),
        (("health", "read"), {}),
    ],
)
def test_senseless_choices(
    bench: Bench, targets: tuple[Affected, ...], counts: dict[str, Any]
) -> None:
    """They are refused before anything is broken."""
    http = faults(bench)
    with (
        pytest.raises(SettingsError, match="makes no sense") as caught,
        http.fail(*targets, **counts),
    ):
        pass
    assert caught.value.remedy.startswith("give ")
    assert bench.history.faults == []


@pytest.mark.parametrize("by", [0.0, -1.0, float("inf")])
def test_senseless_delays(bench: Bench, by: float) -> None:
    with pytest.raises(SettingsError, match="seconds above 0"), faults(bench).delay("any", by=by):
        pass
