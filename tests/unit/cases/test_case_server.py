from __future__ import annotations

import json
import socket
import threading
from collections.abc import Iterator
from typing import Any, cast
from urllib.parse import urlsplit

import pytest
import requests

from vault_harness.judge.cases import CaseServer
from vault_harness.judge.cases.case import Case
from vault_harness.judge.catalogue import Entry
from vault_harness.judge.run import Result
from vault_harness.judge.verdict import Word

ENTRY = Entry(id="TOK-11", promise="One login", severity="high", source="docs")
OTHER = Entry(id="SEA-01", promise="No storm", severity="high", source="docs")


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[CaseServer]:
    """Start a server that cannot run a scenario."""

    def fails(*_: object, **__: object) -> Result:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("vault_harness.judge.cases.server.judge_scenario", fails)
    scenarios: Any = {entry.id: (entry, fails) for entry in (ENTRY, OTHER)}
    with CaseServer(cast("Any", None), scenarios, at_once=1) as made:
        yield made


def raw(server: CaseServer, head: str, body: str = "") -> tuple[int, dict[str, Any], bytes]:
    """Send a request that no library would send. Return the answer and what follows it."""
    port = int(server.url.split(":")[2].partition("/")[0])
    secret = server.url.rpartition("/")[2]
    with socket.create_connection(("127.0.0.1", port), timeout=20) as connection:
        lines = f"POST /{secret}/cases/x/answers HTTP/1.1\r\nHost: x\r\n{head}\r\n\r\n{body}"
        connection.sendall(lines.encode())
        connection.shutdown(socket.SHUT_WR)
        told = b"".join(iter(lambda: connection.recv(65536), b""))
    first, _, rest = told.partition(b"\r\n\r\n")
    length = next(int(x.split()[1]) for x in first.split(b"\r\n") if x.startswith(b"Content-Len"))
    return int(first.split()[1]), json.loads(rest[:length]), rest[length:]


@pytest.mark.parametrize(
    ("head", "body", "status", "said"),
    [
        ("Transfer-Encoding: chunked", "2\r\n{}\r\n0\r\n\r\n", 411, "not in chunks"),
        ("Content-Length: 99999999999", "", 413, "a body may have"),
        ("Content-Length: -1", "GET / HTTP/1.1", 400, "not a number of bytes"),
        ("Content-Length: many", "", 400, "not a number of bytes"),
    ],
)
def test_bodies_that_are_not_read(
    server: CaseServer, head: str, body: str, status: int, said: str
) -> None:
    """A refused body is not taken for the next request."""
    got, told, after = raw(server, head, body)
    assert (got, said in told["error"], after) == (status, True, b"")


@pytest.mark.parametrize("body", ["[" * 100_000, "{", "5", "\ufeff"])
def test_bodies_that_are_no_object(server: CaseServer, body: str) -> None:
    answer = requests.post(f"{server.url}/cases/x/answers", data=body.encode(), timeout=20)
    assert (answer.status_code, "not the JSON object" in answer.json()["error"]) == (400, True)


def test_a_case_that_the_harness_cannot_run(server: CaseServer) -> None:
    """It has a verdict at once and blocks no other case."""
    for _ in range(2):
        begun = requests.post(f"{server.url}/cases/TOK-11", timeout=20)
        assert (begun.status_code, begun.json()["over"]) == (201, True)
        url = f"{server.url}/cases/{begun.json()['id']}"
        verdict = requests.get(f"{url}/verdict", timeout=20)
        assert (verdict.status_code, verdict.json()["word"]) == (200, "error")
        assert "No space left" in verdict.json()["why"]
        # A runner lets a SHOULD fail, as the suite does, so it has to know the obligation.
        assert [verdict.json()[name] for name in ("severity", "obligation")] == ["high", "MUST"]
        assert requests.get(f"{url}/next", timeout=20).status_code == 410


def test_the_ids_of_running_cases_are_named(
    server: CaseServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A new runner can end the case of a dead one."""

    def waits(*_: object, **more: Any) -> Result:
        with server._lock:  # until the server lists the case
            case = next(iter(server._cases.values()))
        case.configure({})
        try:
            case.ask({"op": "read"})
        except Exception as error:
            raise OSError("ended") from error
        raise AssertionError(more)

    monkeypatch.setattr("vault_harness.judge.cases.server.judge_scenario", waits)
    case_id = requests.post(f"{server.url}/cases/TOK-11", timeout=20).json()["id"]
    same = requests.post(f"{server.url}/cases/TOK-11", timeout=20)
    more = requests.post(f"{server.url}/cases/SEA-01", timeout=20)
    assert [(one.status_code, one.json()["cases"]) for one in (same, more)] == [
        (409, [case_id]),
        (429, [case_id]),
    ]
    assert requests.delete(f"{server.url}/cases/{case_id}", timeout=20).status_code == 204


def test_an_operation_survives_a_runner_that_hangs_up(
    server: CaseServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    waiting, asked = threading.Event(), threading.Event()
    answers: list[Any] = []
    its_own = Case.next

    def noted(case: Case, *more: Any) -> Any:
        waiting.set()
        return its_own(case, *more)

    def asks(*_: object, **__: object) -> Result:
        with server._lock:  # until the server lists the case
            case = next(iter(server._cases.values()))
        case.configure({})
        assert asked.wait(20)
        answers.append(case.ask({"op": "read"}))
        raise OSError("ended")

    monkeypatch.setattr(Case, "next", noted)
    monkeypatch.setattr("vault_harness.judge.cases.server.judge_scenario", asks)
    case_id = requests.post(f"{server.url}/cases/TOK-11", timeout=20).json()["id"]
    place = urlsplit(f"{server.url}/cases/{case_id}")
    with socket.create_connection(("127.0.0.1", place.port or 0), timeout=20) as connection:
        connection.sendall(f"GET {place.path}/next HTTP/1.1\r\nHost: x\r\n\r\n".encode())
        assert waiting.wait(20)
    asked.set()
    operation = requests.get(f"{place.geturl()}/next", timeout=10)
    assert (operation.status_code, operation.json()["op"]) == (200, "read")
    said = {"id": operation.json()["id"], "ok": True, "value": "v"}
    assert requests.post(f"{place.geturl()}/answers", json=said, timeout=20).status_code == 204
    assert requests.get(f"{place.geturl()}/verdict", timeout=20).json()["word"] == "error"
    assert answers == [{"ok": True, "value": "v"}]


def test_a_case_that_broke_is_over() -> None:
    def breaks() -> Result:
        raise RuntimeError("no disk")

    case = Case("one", "TOK-11", breaks)
    assert case.await_result(20.0) is None
    assert (case.over, case.broke) == (True, "RuntimeError: no disk")


@pytest.mark.parametrize("word", ["pass", "not exercised", "skipped"])
def test_a_secret_that_came_out_is_no_pass(
    server: CaseServer, word: Word, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A runner looks at a single verdict."""
    leak = {"promise": "no secret", "seen": "its log has token-1", "at": 1.5, "harm": True}
    record: dict[str, Any] = {
        "id": "TOK-11",
        "promise": "One login",
        "source": "docs",
        "word": word,
        "findings": [],
        "untouched": [],
        "set_aside": [],
        "evidence": [],
        "times": {"ttl": 20.0, "max_ttl": 60.0, "deadline": 2.0},
        "leaks": [leak],
    }
    result = Result(ENTRY, word, "", 1.0, None, record)
    monkeypatch.setattr("vault_harness.judge.cases.server.judge_scenario", lambda *_, **__: result)
    case_id = requests.post(f"{server.url}/cases/TOK-11", timeout=20).json()["id"]
    verdict = requests.get(f"{server.url}/cases/{case_id}/verdict", timeout=20).json()
    assert (verdict["word"], verdict["findings"]) == ("fail", [leak])
    assert verdict["why"] == "a secret came out: its log has token-1"
    assert "TOK-11  fail: One login" in verdict["text"]
