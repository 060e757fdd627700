from __future__ import annotations

import contextlib
import json
import threading
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from vault_harness.errors import SubjectError
from vault_harness.judge.subjects import Credential, OperationFailed, Reading, SubjectHung, protocol
from vault_harness.judge.subjects import command as conversation_module
from vault_harness.judge.subjects import protocol as wire

# On a busy machine an example may take any time.
RELAXED = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=8,
)


def cut(data: bytes, places: list[int]) -> list[bytes]:
    edges = sorted({place % (len(data) + 1) for place in places} | {0, len(data)})
    return [data[start:end] for start, end in pairwise(edges)]


@RELAXED
@given(st.dictionaries(st.text(), JSON))
def test_a_message_is_one_line_that_reads_back(message: dict[str, Any]) -> None:
    """It is ASCII."""
    line = wire.encode(message)
    assert line.count(b"\n") == 1
    assert line.isascii()
    assert wire.decode(line) == message


@RELAXED
@given(st.lists(st.binary().filter(lambda part: b"\n" not in part)), st.lists(st.integers(0)))
def test_lines_do_not_depend_on_how_the_bytes_arrive(parts: list[bytes], places: list[int]) -> None:
    """Blank lines are dropped."""
    data = b"\n".join(parts)
    lines = conversation_module.Lines()
    seen = [line for chunk in cut(data, places) for line in lines.feed(chunk)]
    assert seen == [part for part in parts[:-1] if part.strip()]
    assert lines.rest == (parts[-1] if parts else b"")


@RELAXED
@given(st.integers(1, 50), st.integers(0, 60), st.booleans())
def test_a_line_without_an_end_is_not_kept_for_ever(limit: int, length: int, ends: bool) -> None:
    """Above the limit it is a breach."""
    lines = conversation_module.Lines(limit)
    data = b"x" * length + b"\n" * ends
    if length > limit:
        with pytest.raises(SubjectError):
            list(lines.feed(data))
    else:
        assert list(lines.feed(data)) == [b"x" * length] * (ends and length > 0)


@RELAXED
@given(st.binary())
def test_garbage_is_a_breach_and_nothing_else(line: bytes) -> None:
    with contextlib.suppress(SubjectError):
        assert isinstance(wire.decode(line), dict)


@pytest.mark.parametrize(
    "line",
    [b"[" * 100_000, b"\xff\xfe{}", b"{} {}", b'{"id":1', b"1" * 5000, b'{"a":\x00}'],
    ids=["deep", "utf-16", "two objects", "half", "huge number", "control character"],
)
def test_tricky_garbage_is_a_breach(line: bytes) -> None:
    """It upsets JSON parsers."""
    with pytest.raises(SubjectError):
        wire.decode(line)


@pytest.mark.parametrize(
    ("line", "said"),
    [
        (b"listening on 9000", "print logs to stderr only"),
        ('{"id": 1, "ok": true, "value": "wälue"}'.encode("latin-1"), "in UTF-8, whatever"),
        ('{"id": 1, "ok": true}'.encode("utf-16-le"), "not in UTF-16"),
        ('{"id": 1, "ok": true}'.encode("utf-8-sig"), "without a byte order mark"),
    ],
    ids=["banner", "latin", "utf-16", "mark"],
)
def test_another_encoding_is_named(line: bytes, said: str) -> None:
    with pytest.raises(SubjectError, match="not JSON") as caught:
        wire.decode(line)
    assert said in caught.value.remedy


@RELAXED
@given(st.dictionaries(st.sampled_from(["ok", "value", "stale", "error", "message"]), JSON))
def test_any_answer_is_a_reading_a_failure_or_a_breach(answer: dict[str, Any]) -> None:
    for understand in (wire.reading, wire.credential, wire.flag, protocol.hello, wire.check):
        with contextlib.suppress(SubjectError, OperationFailed):
            understand(answer)
            assert answer["ok"] is True or understand is protocol.hello


def test_a_stale_reading_says_so() -> None:
    assert wire.reading({"ok": True, "value": "v", "stale": True}) == Reading("v", stale=True)
    assert wire.reading({"ok": True, "value": "v"}) == Reading("v", stale=False)


def test_an_unknown_outcome_is_kept_in_the_text() -> None:
    with pytest.raises(OperationFailed, match="ETIMEDOUT: no answer") as caught:
        wire.check({"ok": False, "error": "ETIMEDOUT", "message": "no answer"})
    assert caught.value.outcome is None


@pytest.mark.parametrize("value", [None, 1, True, {"SECRET_KEY": "v"}, ["v"]])
def test_a_value_that_is_no_string_is_a_breach(value: object) -> None:
    with pytest.raises(SubjectError, match="not a string"):
        wire.reading({"ok": True, "value": value})


@pytest.mark.parametrize("value", [None, "v", ["v"], {"K": 1}, {"K": None}])
def test_what_is_no_whole_secret_is_a_breach(value: object) -> None:
    """It has keys and strings only, and its `repr` hides them."""
    with pytest.raises(SubjectError, match="no object of strings"):
        wire.whole({"ok": True, "value": value})
    assert "hunter22" not in repr(wire.whole({"ok": True, "value": {"K": "hunter22"}}))


def test_a_whole_secret_may_be_old() -> None:
    assert wire.whole({"ok": True, "value": {"K": "v"}, "stale": True}).stale
    with pytest.raises(SubjectError, match="not true or false"):
        wire.whole({"ok": True, "value": {"K": "v"}, "stale": "yes"})


def test_what_a_child_read() -> None:
    said = [{"ok": True, "value": "v"}, {"ok": False, "error": "denied", "message": "no"}]
    good, bad = wire.forked({"ok": True, "value": said})
    assert good == Reading("v")
    assert str(bad) == "denied: no"


@pytest.mark.parametrize("value", [None, "v", {"ok": True}, ["v"], [{"ok": True}], [{}]])
def test_what_no_child_reads_is_a_breach(value: object) -> None:
    with pytest.raises(SubjectError):
        wire.forked({"ok": True, "value": value})


def test_a_credential_is_a_username_and_a_password() -> None:
    """Its `repr` hides the password."""
    value = {"username": "v-app-1", "password": "hunter22", "lease_duration": 8}
    found = wire.credential({"ok": True, "value": value})
    assert found == Credential("v-app-1", "hunter22")
    assert "hunter22" not in repr(found)


def test_a_credential_may_be_marked_as_old() -> None:
    value = {"username": "app", "password": "hunter22"}
    assert wire.credential({"ok": True, "value": value, "stale": True}).stale


@pytest.mark.parametrize("value", [None, "v-app-1", {"username": "v-app-1"}, {"username": 1}])
def test_half_a_credential_is_a_breach(value: object) -> None:
    with pytest.raises(SubjectError, match="a username and a password"):
        wire.credential({"ok": True, "value": value})


def test_a_breach_does_not_show_the_secret() -> None:
    """It is shown up to where a secret may begin."""
    with pytest.raises(SubjectError) as caught:
        wire.decode('{"id": 7, "ok": true, "value": "hunter2"')
    assert '"id": 7' in str(caught.value)
    assert "hunter2" not in str(caught.value)
    with pytest.raises(SubjectError) as caught:
        wire.reading({"id": 7, "ok": True, "value": ["hunter2"]})
    assert "hunter2" not in str(caught.value)


def test_hello_says_what_a_client_can_do() -> None:
    said = protocol.hello({"ok": True, "capabilities": ["health"], "declares": {"max_stale": 30}})
    assert said == protocol.Hello(frozenset({"read", "health"}), {"max_stale": 30.0})


def test_hello_says_how_a_client_gets_its_token() -> None:
    """Each way is a capability, except AppRole."""
    said = protocol.hello({"ok": True, "auth": ["approle", "jwt", "token-file"]})
    assert said.capabilities == {"read", "jwt", "token-file"}


def test_hello_says_what_a_client_leaves_behind() -> None:
    said = protocol.hello({"ok": True, "leaves": ["token"]})
    assert (said.leaves, said.ignored) == (frozenset({"token"}), ())


def test_null_is_left_out_of_hello() -> None:
    nothing = dict.fromkeys(("capabilities", "declares", "auth", "leaves"))
    said = protocol.hello({"ok": True, **nothing})
    assert said == protocol.hello({"ok": True})


def test_a_client_that_does_not_know_hello_can_read() -> None:
    assert protocol.hello({"ok": False, "message": "unknown op"}) == protocol.READS_ONLY


@pytest.mark.parametrize(
    "answer",
    [
        {"capabilities": ["fly"]},
        {"capabilities": "read"},
        {"capabilities": [["read"]]},
        {"auth": ["password"]},
        {"auth": "jwt"},
        {"auth": [["jwt"]]},
        {"declares": {"max_age": 1}},
        {"declares": {"max_stale": "1"}},
        {"declares": {"max_stale": -1}},
        {"declares": {"max_stale": float("nan")}},
        {"declares": {"max_stale": float("inf")}},
        {"declares": {"max_stale": True}},
        {"declares": [1]},
        {"leaves": ["dust"]},
        {"leaves": {"token": True}},
        {"leaves": [["token"]]},
    ],
    ids=str,
)
def test_an_unknown_claim_is_a_breach(answer: dict[str, Any]) -> None:
    """No scenario is skipped for a typing error."""
    with pytest.raises(SubjectError):
        protocol.hello({"ok": True, **answer})


class Peer:
    """A client that answers when told to."""

    def __init__(self) -> None:
        self.requests: list[dict[str, Any]] = []
        self.arrived = threading.Semaphore(0)
        self.exchange = conversation_module.Conversation(self._receive)

    def _receive(self, line: bytes) -> None:
        self.requests.append(json.loads(line))
        self.arrived.release()

    def await_requests(self, count: int) -> None:
        for _ in range(count):
            assert self.arrived.acquire(timeout=20)


@settings(RELAXED, max_examples=30)
@given(st.data())
def test_answers_find_their_request_in_any_order(data: st.DataObject) -> None:
    count = data.draw(st.integers(1, 12))
    order = data.draw(st.permutations(range(count)))
    sizes = data.draw(st.lists(st.sampled_from([0, 1, 70_000]), min_size=count, max_size=count))
    places = data.draw(st.lists(st.integers(0), max_size=20))
    peer = Peer()
    with ThreadPoolExecutor(count) as pool:
        asked = [
            pool.submit(peer.exchange.ask, "read", {"path": str(number)}, timeout=20)
            for number in range(count)
        ]
        peer.await_requests(count)
        stream = b"".join(
            wire.encode(
                {"id": peer.requests[i]["id"], "ok": True, "value": "x" * sizes[i], "for": i}
            )
            for i in order
        )
        for chunk in cut(stream, places):
            peer.exchange.feed(chunk)
        for number, future in enumerate(asked):
            mine = next(i for i, r in enumerate(peer.requests) if r["path"] == str(number))
            answer = future.result(20)
            assert (answer["for"], len(answer["value"])) == (mine, sizes[mine])


@pytest.mark.parametrize(
    ("line", "cause"),
    [
        ('{"id": 2, "ok": true}', "never asked"),
        ('{"id": 0, "ok": true}', "never asked"),
        ('{"id": "1", "ok": true}', "not a number"),
        ('{"id": true, "ok": true}', "not a number"),
        ('{"ok": true}', "no id"),
        ("listening on port 9000", "not JSON"),
        ("[]", "not an object"),
    ],
)
def test_a_breach_ends_all_that_is_in_flight_and_all_later(line: str, cause: str) -> None:
    """After a wrong line, each request gets the breach."""
    peer = Peer()
    with ThreadPoolExecutor(1) as pool:
        asked = pool.submit(peer.exchange.ask, "read", {}, timeout=20)
        peer.await_requests(1)
        peer.exchange.feed(line.encode() + b"\n")
        with pytest.raises(SubjectError, match=cause):
            asked.result(20)
    with pytest.raises(SubjectError, match=cause):
        peer.exchange.ask("read", {}, timeout=20)


def test_an_answer_without_a_newline() -> None:
    peer = Peer()
    peer.exchange.feed(b'{"id": 1, "ok": true, "value": "hidden"}')
    with pytest.raises(SubjectHung) as caught:
        peer.exchange.ask("hello", {}, timeout=0.01)
    assert 'no end of that line: \'{"id": 1, "ok": true' in caught.value.looked_at
    assert "hidden" not in str(caught.value)
    assert "end each answer with a newline, and flush it" in caught.value.remedy


def test_a_second_answer_is_a_breach() -> None:
    peer = Peer()
    with ThreadPoolExecutor(1) as pool:
        asked = pool.submit(peer.exchange.ask, "read", {}, timeout=20)
        peer.await_requests(1)
        peer.exchange.feed(b'{"id": 1, "ok": true}\n{"id": 1, "ok": true}\n')
        assert asked.result(20)["ok"] is True
    with pytest.raises(SubjectError, match="answered already"):
        peer.exchange.ask("read", {}, timeout=20)


def test_a_late_answer_is_dropped() -> None:
    """The next request works."""
    peer = Peer()
    with pytest.raises(SubjectHung, match=r"within 0\.01 s"):
        peer.exchange.ask("read", {}, timeout=0.01)
    peer.exchange.feed(b'{"id": 1, "ok": true}\n')
    with ThreadPoolExecutor(1) as pool:
        asked = pool.submit(peer.exchange.ask, "read", {}, timeout=20)
        peer.await_requests(2)
        peer.exchange.feed(b'{"id": 2, "ok": true}\n')
        assert asked.result(20)["id"] == 2
    assert peer.exchange.broken is None


@settings(RELAXED, max_examples=200)
@given(st.lists(st.binary(max_size=30) | st.sampled_from([b"\n", b"{}\n", b'{"id":1}\n'])))
def test_no_stream_whatever_hurts_the_listener(chunks: list[bytes]) -> None:
    """The reader never raises."""
    peer = Peer()
    for chunk in chunks:
        peer.exchange.feed(chunk)
    if peer.exchange.broken is None:
        assert b"\n" not in b"".join(chunks).strip()
    else:
        assert peer.exchange.broken.remedy


def test_version_that_no_file_can_hold() -> None:
    """Half of a character is escaped."""
    said = protocol.hello({"ok": True, "version": "1.4 \ud83d"})
    assert said.version == "1.4 \\ud83d"


@pytest.mark.parametrize(
    ("answer", "where"),
    [
        ({"capabilities": ["read", "namespace"]}, "claim namespace by 'auth'"),
        ({"capabilities": ["approle"]}, "claim approle by 'auth'"),
        ({"auth": ["cached", "jwt"]}, "claim cached by 'capabilities'"),
    ],
    ids=str,
)
def test_claim_in_the_wrong_list(answer: dict[str, Any], where: str) -> None:
    """The error names the right one."""
    with pytest.raises(SubjectError) as caught:
        protocol.hello({"ok": True, **answer})
    assert where in caught.value.remedy


def test_unknown_members_of_hello_are_reported() -> None:
    said = protocol.hello({"id": 1, "ok": True, "declare": {"deadline": 2}, "capability": ["read"]})
    assert said.ignored == ("'capability'", "'declare'")
    assert protocol.hello({"id": 1, "ok": True, "auth": ["jwt"], "version": "1"}).ignored == ()
