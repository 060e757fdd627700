"""What the recorder learns from requests, and how it answers in Vault's place."""

from __future__ import annotations

import json
import sys
import threading
import time
from email.utils import formatdate

import pytest

from tests.unit.scenario.conftest import TIMEOUT, Bench, Talk, Wire
from vault_harness.recorder.fault import Stub
from vault_harness.recorder.http1 import Message
from vault_harness.recorder.observations import Exchange

TOKEN = "s.abcdefghijklmnop"
SECRET_ID = "3f1c2a9e-0000-4000-8000-secretsecret"


def request(method: str, path: str, body: bytes = b"", *headers: str) -> bytes:
    lines = [f"{method} /v1/{path} HTTP/1.1", "Host: v", *headers, f"Content-Length: {len(body)}"]
    return "\r\n".join([*lines, "", ""]).encode() + body


def answer(body: object, status: str = "200 OK", *headers: str) -> bytes:
    raw = json.dumps(body).encode()
    lines = [f"HTTP/1.1 {status}", *headers, f"Content-Length: {len(raw)}", "", ""]
    return "\r\n".join(lines).encode() + raw


LOGIN = request(
    "POST",
    "auth/approle/login",
    json.dumps({"role_id": "backend", "secret_id": SECRET_ID}).encode(),
)
READ = request("GET", "ecommerce/data/backend/django", b"", f"X-Vault-Token: {TOKEN}")
AUTH = {"client_token": TOKEN, "accessor": "acc-1", "lease_duration": 20, "renewable": True}


def replying(*replies: bytes) -> Talk:
    """Return a server that gives these answers in turn."""
    left = list(replies)

    def talk(wire: Wire) -> None:
        while head := wire.until(b"\r\n\r\n"):
            length = head.lower().partition(b"content-length: ")[2].partition(b"\r\n")[0]
            wire.exactly(int(length or 0))
            wire.send(left.pop(0))

    return talk


def ask(wire: Wire, sent: bytes) -> tuple[int, dict[str, str], bytes]:
    """Send a request, and return status, headers and body of its answer."""
    wire.send(sent)
    head = wire.until(b"\r\n\r\n").decode()
    lines = head.strip().splitlines()
    headers = {
        name.lower(): value for name, _, value in (line.partition(": ") for line in lines[1:])
    }
    body = wire.exactly(int(headers.get("content-length", 0)))
    return int(lines[0].split()[1]), headers, body


def test_login_teaches_token_accessor_and_ttl(bench: Bench) -> None:
    """Later requests have the same token's label."""
    recorder = bench.serve(replying(answer({"auth": AUTH}), answer({"data": {}})))
    wire = bench.connect()
    ask(wire, LOGIN)
    ask(wire, READ)
    login, read = bench.ended(2)
    assert (login.kind, login.secret_id, login.token) == ("login", "secret-id-1", "token-1")
    assert (login.accessor, login.ttl, login.renewable, login.status) == ("acc-1", 20.0, True, 200)
    assert (read.kind, read.token) == ("read", "token-1")
    assert recorder.accessor("token-1") == "acc-1"
    assert recorder.accessor("token-2") is None
    assert recorder.accessor(None) is None


def test_token_of_a_login_is_the_new_one(bench: Bench) -> None:
    """The login carries an old token."""
    bench.serve(replying(answer({"auth": AUTH})))
    old = request("POST", "auth/approle/login", b'{"secret_id": "x"}', "X-Vault-Token: s.oldoldold")
    ask(bench.connect(), old)
    login = bench.ended(1)[0]
    assert bench.secrets.value(login.token or "") == TOKEN


def test_a_refused_login_keeps_status_and_errors(bench: Bench) -> None:
    """Errors have no secret-id in them."""
    said = {"errors": [f'invalid secret_id "{SECRET_ID}"']}
    bench.serve(replying(answer(said, "400 Bad Request")))
    ask(bench.connect(), LOGIN)
    login = bench.ended(1)[0]
    assert (login.status, login.good) == (400, False)
    assert login.errors == ('invalid secret_id "<secret-id-1>"',)


def test_a_renewals_ttl_is_noted(bench: Bench) -> None:
    """A shorter TTL is the only sign of max TTL."""
    bench.serve(replying(answer({"auth": {**AUTH, "lease_duration": 3}})))
    renew = request("PUT", "auth/token/renew-self", b"{}", f"X-Vault-Token: {TOKEN}")
    ask(bench.connect(), renew)
    exchange = bench.ended(1)[0]
    assert (exchange.kind, exchange.ttl, exchange.token) == ("renew", 3.0, "token-1")


def test_batch_token_has_no_accessor(bench: Bench) -> None:
    recorder = bench.serve(replying(answer({"auth": {**AUTH, "accessor": "", "renewable": False}})))
    ask(bench.connect(), LOGIN)
    login = bench.ended(1)[0]
    assert (login.accessor, login.renewable) == (None, False)
    assert recorder.accessor(login.token) is None


@pytest.mark.parametrize(
    "header",
    [f"X-Vault-Token: {TOKEN}", f"Authorization: Bearer {TOKEN}", f"x-vault-token:{TOKEN}"],
)
def test_token_in_either_header(bench: Bench, header: str) -> None:
    bench.serve(replying(answer({})))
    ask(bench.connect(), request("GET", "ecommerce/data/x", b"", header))
    assert bench.secrets.value(bench.ended(1)[0].token or "") == TOKEN


@pytest.mark.parametrize("header", [None, "Authorization: Basic dXNlcjpwYXNz"])
def test_no_token(bench: Bench, header: str | None) -> None:
    """It is another kind of credential."""
    bench.serve(replying(answer({})))
    ask(bench.connect(), request("GET", "ecommerce/data/x", b"", *([header] if header else [])))
    assert bench.ended(1)[0].token is None


def test_retry_after_in_both_forms(bench: Bench) -> None:
    """It may be seconds or a date."""
    later = formatdate(time.time() + 30, usegmt=True)
    headers = ["Retry-After: 7", f"Retry-After: {later}", "Retry-After: soon"]
    bench.serve(replying(*(answer({}, "429 Too Many Requests", header) for header in headers)))
    wire = bench.connect()
    for _ in headers:
        ask(wire, READ)
    seconds, date, nonsense = (e.retry_after for e in bench.ended(3))
    assert seconds == 7.0
    assert date is not None
    assert 20 < date <= 30
    assert nonsense is None


def test_no_secret_in_any_repr(bench: Bench) -> None:
    recorder = bench.serve(replying(answer({"auth": AUTH}), answer({})))
    wire = bench.connect()
    ask(wire, LOGIN)
    ask(wire, READ)
    bench.ended(2)
    shown = repr([bench.history, recorder, bench.secrets, bench.history.exchanges])
    assert TOKEN not in shown
    assert SECRET_ID not in shown


# In Vault's place


def test_stub_answers_and_is_counted(bench: Bench) -> None:
    recorder = bench.serve(replying(answer({"data": 1})))
    wire = bench.connect()
    page = Stub(status=502, body=b"<html>", headers={"Content-Type": "text/html"})
    with recorder.stub(page) as given:
        status, headers, body = ask(wire, READ)
    assert (status, headers["content-type"], body) == (502, "text/html", b"<html>")
    assert given.taken == 1
    assert ask(wire, READ)[0] == 200
    stubbed, real = bench.ended(2)
    assert (stubbed.by, stubbed.status, real.by, real.status) == ("stub", 502, "vault", 200)


def test_stub_of_some_kinds(bench: Bench) -> None:
    recorder = bench.serve(replying(answer({"auth": AUTH})))
    wire = bench.connect()
    with recorder.stub(Stub(status=412, kinds=frozenset({"read"}))) as given:
        assert ask(wire, READ)[0] == 412
        assert ask(wire, LOGIN)[0] == 200
        assert ask(wire, READ)[0] == 412
    assert given.taken == 2


def test_stub_so_many_times(bench: Bench) -> None:
    recorder = bench.serve(replying(answer({}), answer({})))
    wire = bench.connect()
    with recorder.stub(Stub(status=503, times=2)) as given:
        assert [ask(wire, READ)[0] for _ in range(4)] == [503, 503, 200, 200]
    assert given.taken == 2


def test_last_stub_wins(bench: Bench) -> None:
    """The innermost stub wins."""
    recorder = bench.serve(replying())
    wire = bench.connect()
    with recorder.stub(Stub(status=500)):
        with recorder.stub(Stub(status=504)):
            assert ask(wire, READ)[0] == 504
        assert ask(wire, READ)[0] == 500


def test_stub_to_head_has_no_body(bench: Bench) -> None:
    recorder = bench.serve(replying())
    wire = bench.connect()
    with recorder.stub(Stub(status=503, body=b"sealed")):
        wire.send(b"HEAD /v1/sys/health HTTP/1.1\r\nHost: v\r\n\r\n")
        assert wire.until(b"\r\n\r\n").endswith(b"Content-Length: 6\r\n\r\n")
        assert ask(wire, READ)[2] == b"sealed"


@pytest.mark.parametrize(
    "sent",
    [
        request("GET", "ecommerce/data/x", b"", "Connection: close"),
        b"GET /v1/ecommerce/data/x HTTP/1.0\r\n\r\n",
    ],
)
def test_stub_ends_the_connection_when_asked(bench: Bench, sent: bytes) -> None:
    """The client asks for it."""
    recorder = bench.serve(replying())
    wire = bench.connect()
    with recorder.stub(Stub(status=500, body=b"no")):
        wire.send(sent)
        assert wire.rest().endswith(b"no")


def test_rewritten_login(bench: Bench) -> None:
    """The history has it too."""
    recorder = bench.serve(replying(answer({"auth": AUTH, "x": 1})))
    recorder.rewrite_login = lambda body: {
        **body,
        "auth": {
            **AUTH,
            "client_token": "s.another-token",
            "accessor": "acc-2",
            "renewable": False,
        },
    }
    body = json.loads(ask(bench.connect(), LOGIN)[2])
    assert (body["auth"]["client_token"], body["x"]) == ("s.another-token", 1)
    login = bench.ended(1)[0]
    assert (login.accessor, login.renewable) == ("acc-2", False)
    assert recorder.accessor(login.token) == "acc-2"
    assert bench.secrets.value(login.token or "") == "s.another-token"


def test_only_accepted_logins_are_rewritten(bench: Bench) -> None:
    refused = answer({"errors": ["invalid role or secret ID"]}, "400 Bad Request")
    recorder = bench.serve(replying(refused, answer({"data": 1})))
    recorder.rewrite_login = lambda _: {"rewritten": True}
    wire = bench.connect()
    assert b"invalid role" in ask(wire, LOGIN)[2]
    assert b"data" in ask(wire, READ)[2]


def test_failed_rewriting_is_a_defect_of_the_harness(bench: Bench) -> None:
    """The client gets no answer."""

    def fails(_: dict[str, object]) -> dict[str, object]:
        raise LookupError(TOKEN)

    recorder = bench.serve(replying(answer({"auth": AUTH})))
    recorder.rewrite_login = fails
    wire = bench.connect()
    wire.send(LOGIN)
    assert wire.rest() == b""
    assert bench.ended(1)[0].status is None
    assert recorder.defects == ["a login's answer could not be exchanged: LookupError"]


def test_answer_is_known_before_the_client_has_it(bench: Bench) -> None:
    bench.serve(replying(*[answer({"auth": AUTH})] * 50))
    wire = bench.connect()
    for number in range(50):
        ask(wire, LOGIN)
        assert len(bench.history.logins()) == number + 1


def test_a_defect_of_the_recorder_is_noted(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """The request has no status."""
    recorder = bench.serve(replying(answer({})))

    def fails(*_: object) -> None:
        raise ValueError("not a number")

    monkeypatch.setattr(recorder, "note_response", fails)
    wire = bench.connect()
    wire.send(LOGIN)
    assert wire.rest() == b""
    assert bench.ended(1)[0].status is None
    assert recorder.defects == ["ValueError: not a number"]


def test_peer_that_does_not_speak_http_is_no_defect(bench: Bench) -> None:
    recorder = bench.serve(replying(b"SSH-2.0-OpenSSH_9.2\r\n\r\n"))
    wire = bench.connect()
    wire.send(LOGIN)
    assert wire.rest() == b""
    assert bench.ended(1)[0].status is None
    assert recorder.defects == []


def test_credential_and_its_renewals_are_known_by_one_label(bench: Bench) -> None:
    made = {
        "lease_id": "database/creds/app/1",
        "lease_duration": 8,
        "data": {"username": "v-app-1", "password": "a-secret-password"},
    }
    again = {"lease_id": "database/creds/app/1", "lease_duration": 5}
    gone = {"errors": ["lease not found"]}
    bench.serve(replying(answer(made), answer(again), answer(gone, "400 Bad Request")))
    wire = bench.connect()
    header = f"X-Vault-Token: {TOKEN}"
    renew = json.dumps({"lease_id": "database/creds/app/1", "increment": 8}).encode()
    ask(wire, request("GET", "database/creds/app", b"", header))
    ask(wire, request("PUT", "sys/leases/renew", renew, header))
    ask(wire, request("PUT", "sys/leases/renew/database/creds/app/1", b"{}", header))
    first, second, third = bench.ended(3)
    assert (first.kind, first.credential, first.ttl) == ("credential", "credential-1", 8.0)
    assert (second.kind, second.credential, second.ttl) == ("lease", "credential-1", 5.0)
    assert (third.credential, third.errors) == ("credential-1", ("lease not found",))
    assert bench.secrets.label("a-secret-password") == "credential-1"


def test_no_lease_is_kept_once_nothing_is_noted(bench: Bench) -> None:
    """A recorder may run for days."""
    made = {"lease_id": "database/creds/app/1", "data": {"password": "a-secret-password"}}
    recorder = bench.serve(replying(answer(made)))
    bench.history.freeze()
    ask(bench.connect(), request("GET", "database/creds/app"))
    assert "database/creds/app/1" not in str(vars(recorder))


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells when data came")
def test_a_request_came_before_there_was_time_for_it(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The request counts from the time when it came."""
    recorder = bench.serve(replying(answer({}), answer({})))
    busy, let_go = threading.Event(), threading.Event()
    note = recorder.note_request

    def slow(connection: int, message: Message) -> Exchange:
        busy.set()
        assert let_go.wait(TIMEOUT)
        return note(connection, message)

    monkeypatch.setattr(recorder, "note_request", slow)
    first, second = bench.connect(), bench.connect()
    first.send(LOGIN)
    assert busy.wait(TIMEOUT)
    second.send(LOGIN)
    bench.history.wait_for(lambda: False, 0.2, what="time to pass")
    freed = bench.history.now()
    let_go.set()
    exchanges = bench.ended(2)
    assert [one.began >= freed for one in exchanges] == [True, True]
    assert exchanges[1].came < freed
