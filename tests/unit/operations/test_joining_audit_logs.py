from __future__ import annotations

import json
import random
import threading
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from vault_harness.errors import HarnessError
from vault_harness.operator.audit import (
    AuditEntry,
    Filter,
    follow_joined,
    joined_entries,
    last_joined,
)

BEGIN = datetime(2026, 11, 25, 12, 0, tzinfo=UTC)


def half(
    kind: str,
    at: float,
    path: str,
    *,
    id: str,  # noqa: A002 -- the word that the log has for it
    port: int = 4000,
    error: str = "",
    data: object = None,
) -> str:
    """Return one line as OpenBao 2.7 writes it, ``at`` seconds after the beginning."""
    moment = (BEGIN + timedelta(seconds=at)).isoformat().replace("+00:00", "Z")
    record: dict[str, Any] = {
        "time": moment,
        "type": kind,
        "auth": {"display_name": "root"},
        "request": {
            "id": id,
            "operation": "update",
            "path": path,
            "remote_address": "127.0.0.1",
            "remote_port": port,
            **({"data": data} if data is not None else {}),
        },
    }
    if kind == "response":
        record["response"] = {"data": {"x": "hmac-sha256:00"}}
    if error:
        record["error"] = error
    return json.dumps(record) + "\n"


def call(at: float, path: str, *, id: str, **more: Any) -> str:  # noqa: A002 -- as above
    """Return the request and the response line."""
    error = more.pop("error", "")
    asked = half("request", at, path, id=id, **more)
    return asked + half("response", at + 0.001, path, id=id, error=error, **more)


READONLY = "1 error occurred:\n\t* cannot write to readonly storage\n\n"


def paths(found: Iterator[AuditEntry] | list[AuditEntry]) -> list[str]:
    return [f"{entry.node}:{entry.path}" for entry in found]


@pytest.fixture
def logs(tmp_path: Path) -> dict[str, Path]:
    return {name: tmp_path / name for name in ("a", "b", "c")}


def both_ways(logs: dict[str, Path], wanted: Filter | None = None) -> list[str]:
    """Return all entries, and check that reading from the end gives the same."""
    forwards = paths(joined_entries(logs, wanted))
    assert paths(last_joined(logs, 10_000, wanted)) == forwards
    return forwards


def test_entries_are_in_the_order_of_time(logs: dict[str, Path]) -> None:
    """A missing log is skipped."""
    logs["a"].write_text(call(1, "one", id="1") + call(4, "four", id="4"))
    logs["b"].write_text(call(2, "two", id="2") + call(3, "three", id="3"))
    assert both_ways(logs) == ["a:one", "b:two", "b:three", "a:four"]
    assert [entry.path for entry in last_joined(logs, 2)] == ["three", "four"]
    assert "  b         ok" in str(last_joined(logs, 2)[0])


def test_one_nodes_entries_stay_in_its_order(logs: dict[str, Path]) -> None:
    """A late line may have an earlier time."""
    logs["a"].write_text(call(2, "first", id="1") + call(1, "second", id="2"))
    logs["b"].write_text(call(3, "third", id="3"))
    assert both_ways(logs) == ["a:first", "a:second", "b:third"]


@pytest.mark.parametrize(
    "error", [READONLY, "please forward to the active node", "invalid request"]
)
def test_what_was_handed_on_counts_once(logs: dict[str, Path], error: str) -> None:
    """A standby's failure and the leader's entry are one call."""
    logs["a"].write_text(call(1.002, "kv/x", id="of the leader"))
    logs["b"].write_text(call(1, "kv/x", id="of the standby", error=error))
    assert both_ways(logs) == ["a:kv/x"]
    assert both_ways(logs, Filter(status="bad")) == []


def test_one_log_alone_is_shown_as_it_is(logs: dict[str, Path]) -> None:
    """A forwarded call is shown as the failure that the node logged."""
    logs["b"].write_text(call(1, "kv/x", id="of the standby", error=READONLY))
    assert both_ways({"b": logs["b"]}) == ["b:kv/x"]


@pytest.mark.parametrize(
    "other",
    [
        {"at": 1.002, "path": "kv/y"},
        {"at": 1.002, "path": "kv/x", "port": 4001},
        {"at": 1.002, "path": "kv/x", "data": {"v": "hmac-sha256:01"}},
        {"at": 9.0, "path": "kv/x"},
        {"at": 0.9, "path": "kv/x"},
    ],
    ids=["path", "caller", "data", "much later", "before"],
)
def test_another_call_is_another_call(logs: dict[str, Path], other: dict[str, Any]) -> None:
    """A standby's own refusal stays."""
    logs["a"].write_text(call(other.pop("at"), other.pop("path"), id="other", **other))
    logs["b"].write_text(call(1, "kv/x", id="1", error="invalid request"))
    assert "b:kv/x" in both_ways(logs)
    assert len(both_ways(logs)) == 2


def test_one_entry_accounts_for_one_failure(logs: dict[str, Path]) -> None:
    logs["b"].write_text(
        call(1, "kv/x", id="1", error="invalid request") + call(1.5, "kv/x", id="2", error=READONLY)
    )
    logs["a"].write_text(call(1.502, "kv/x", id="3"))
    assert both_ways(logs) == ["b:kv/x", "a:kv/x"]
    assert [entry.request_id for entry in joined_entries(logs)] == ["1", "3"]


def test_without_a_leader_the_failure_stays(logs: dict[str, Path]) -> None:
    """Nothing is forwarded without a leader."""
    logs["a"].write_text(call(0, "before", id="1"))
    logs["b"].write_text(call(1, "kv/x", id="2", error=READONLY) + call(1.5, "after", id="3"))
    assert both_ways(logs) == ["a:before", "b:kv/x", "b:after"]


def test_a_torn_last_line_is_passed_over(logs: dict[str, Path]) -> None:
    torn = call(2, "torn", id="2")[:-20]
    logs["a"].write_text(call(1, "one", id="1") + torn)
    logs["b"].write_text(call(3, "three", id="3"))
    assert both_ways(logs) == ["a:one", "b:three"]


def test_the_last_entries_of_a_large_log(logs: dict[str, Path]) -> None:
    """Only what passes the filter is counted."""
    lines = [f"{'x' * 5000}\n{call(n, str(n), id=str(n))}" for n in range(100)]
    logs["a"].write_text(call(-1, "bad", id="b", error="permission denied") + "".join(lines))
    log = {"a": logs["a"]}
    assert [entry.path for entry in last_joined(log, 30)] == [str(n) for n in range(70, 100)]
    assert last_joined(log, 0) == []
    assert len(last_joined(log, 1000)) == 101
    assert paths(last_joined(log, 20, Filter(status="bad"))) == ["a:bad"]


def test_no_log_at_all_is_named(logs: dict[str, Path]) -> None:
    with pytest.raises(HarnessError, match="cannot be read"):
        list(joined_entries(logs))
    with pytest.raises(HarnessError, match="cannot be read"):
        last_joined(logs, 1)


def test_calls_at_three_nodes_appear_once(logs: dict[str, Path]) -> None:
    chance = random.Random(7)
    lines: dict[str, list[tuple[float, str]]] = {name: [] for name in logs}
    told = []
    for number in range(2000):
        at, path = number * 0.01, f"kv/{chance.randrange(5)}"
        port, node = 4000 + chance.randrange(3), chance.choice("abc")
        kind = chance.choice(["served", "refused", "handed on"] if node != "a" else ["served"])
        error = {"served": "", "refused": "invalid request", "handed on": READONLY}[kind]
        more = {"port": port, "data": {"n": f"hmac-sha256:{number:x}"}}
        lines[node].append((at, call(at, path, id=f"{number}", error=error, **more)))
        if kind == "handed on":
            lines["a"].append((at + 0.003, call(at + 0.003, path, id=f"{number} again", **more)))
            node = "a"
        told.append(f"{node}:{path}")
    for name, log in logs.items():
        log.write_text("".join(text for _, text in sorted(lines[name])))
    assert both_ways(logs) == told


class Following:
    """Follow logs in a thread."""

    def __init__(self, logs: dict[str, Path], **more: Any) -> None:
        self.logs = logs
        self.seen: list[str] = []
        self._looked, self._done = threading.Semaphore(0), threading.Event()
        self._thread = threading.Thread(target=self._run, kwargs=more)
        self._thread.start()
        self.settle()

    def _run(self, **more: Any) -> None:
        found = follow_joined(lambda: dict(self.logs), pause=self._idle, **more)
        self.seen.extend(paths(found))

    def _idle(self) -> bool:
        self._looked.release()
        return not self._done.wait(0.001)

    def settle(self) -> None:
        """Return once the follower has looked at least twice more."""
        for _ in range(3):
            assert self._looked.acquire(timeout=10)
        while self._looked.acquire(blocking=False):
            pass

    def end(self) -> list[str]:
        self._done.set()
        self._thread.join(timeout=10)
        assert not self._thread.is_alive()
        return self.seen


def append(path: Path, text: str) -> None:
    with path.open("a") as file:
        file.write(text)


def test_following_nodes_that_come_and_go(logs: dict[str, Path]) -> None:
    append(logs["a"], call(1, "old", id="1") + call(2, "older", id="2"))
    following = Following({"a": logs["a"], "b": logs["b"]}, last=1)
    append(logs["b"], call(3, "first of b", id="3"))
    following.settle()
    following.logs["c"] = logs["c"]
    append(logs["c"], call(4, "first of c", id="4"))
    following.settle()
    logs["a"].rename(old := logs["a"].with_suffix(".1"))
    following.settle()
    logs["a"].touch()
    append(old, call(4.5, "late", id="late"))  # until it is told to open the new log
    following.settle()
    append(old, call(4.6, "later", id="later"))
    whole = call(5, "after the rotation", id="5")
    append(logs["a"], whole[:50])
    following.settle()
    append(logs["a"], whole[50:])
    following.settle()
    append(logs["b"], call(6, "last of b", id="6"))
    following.settle()
    del following.logs["b"]
    following.settle()
    logs["a"].write_text(call(7, "truncated", id="7"))
    following.settle()
    assert following.end() == [
        "a:older",
        "b:first of b",
        "c:first of c",
        "a:late",
        "a:later",
        "a:after the rotation",
        "b:last of b",
        "a:truncated",
    ]


def test_a_forwarded_call_appears_once_when_following(logs: dict[str, Path]) -> None:
    """A standby's failure is held back until the leader's entry arrives."""
    for log in logs.values():
        log.touch()
    following = Following(logs)
    now = (datetime.now(UTC) - BEGIN).total_seconds()
    append(logs["b"], call(now, "kv/x", id="1", error=READONLY))
    following.settle()
    append(logs["a"], call(now + 0.01, "kv/x", id="2"))
    append(logs["b"], call(now + 0.02, "kv/y", id="3", error="invalid request"))
    following.settle()
    assert following.end() == ["a:kv/x", "b:kv/y"]
