from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any, cast

import pytest
import requests

from vault_harness.cli.console import Console
from vault_harness.cli.live import VERBS, Faults, Feed
from vault_harness.cli.tasks import by_name
from vault_harness.errors import StackError


class Noted:
    """Stands for faults, and notes what was asked of them."""

    def __init__(self) -> None:
        self.put_: list[tuple[str, Mapping[str, str], str | None]] = []

    def put(self, verb: str, given: Mapping[str, str], seconds: str | None) -> str:
        self.put_.append((verb, given, seconds))
        return "broken"

    def mend(self, fault: str) -> str:
        raise StackError("it is over", looked_at=fault, remedy="do nothing")

    def heal(self) -> str:
        return "nothing was broken"


class Told:
    def events(self) -> Iterator[dict[str, Any]]:
        yield {"state": "ready"}
        yield {"state": "sealed"}


@pytest.fixture
def noted() -> Noted:
    return Noted()


@pytest.fixture
def console(noted: Noted) -> Iterator[Console]:
    with Console(cast("Feed", Told()), cast("Faults", noted)) as opened:
        yield opened


def test_its_own_page_is_shown(console: Console) -> None:
    for name in ("", "console.css", "console.js"):
        answer = requests.get(console.url + name, timeout=10)
        assert answer.status_code == 200
        assert answer.headers["Content-Security-Policy"].startswith("default-src 'none'")
        assert "http://" not in answer.text
        assert "https://" not in answer.text


@pytest.mark.parametrize(
    "headers",
    [
        {"Host": "evil.example"},
        {"Origin": "http://evil.example"},
        {"Origin": "null"},
        {"Content-Type": "text/plain"},
        {"Content-Type": "application/x-www-form-urlencoded"},
    ],
)
def test_another_site_cannot_order(headers: dict[str, str], console: Console, noted: Noted) -> None:
    """The token does not let it either."""
    given = {"Content-Type": "application/json", **headers}
    body = json.dumps({"verb": "break.cut"})
    answer = requests.post(f"{console.url}break", data=body, headers=given, timeout=10)
    assert (answer.status_code, noted.put_) == (403, [])


@pytest.mark.parametrize("place", ["", "console.js", "events", "verbs"])
def test_nothing_is_shown_without_the_token(place: str, console: Console) -> None:
    for address in (f"{console.origin}/{place}", f"{console.origin}/wrong/{place}"):
        answer = requests.get(address, timeout=10)
        assert answer.status_code == 403
        assert "ready" not in answer.text


def test_an_order_is_passed_on(console: Console, noted: Noted) -> None:
    """Without a time it is ten seconds."""
    order = {"verb": "break.latency", "options": {"milliseconds": 300}}
    assert requests.post(f"{console.url}break", json=order, timeout=10).json() == {"done": "broken"}
    assert noted.put_ == [("break.latency", {"milliseconds": "300"}, "10s")]


def test_an_error_has_cause_and_remedy(console: Console) -> None:
    answer = requests.post(f"{console.url}mend", json={"fault": "fault-1"}, timeout=10)
    told = {"error": "it is over", "looked_at": "fault-1", "remedy": "do nothing"}
    assert (answer.status_code, answer.json()) == (409, told)


@pytest.mark.parametrize("body", [b"{", b"[1]", b"7"])
def test_a_wrong_body_is_refused(body: bytes, console: Console) -> None:
    headers = {"Content-Type": "application/json"}
    answer = requests.post(f"{console.url}break", data=body, headers=headers, timeout=10)
    assert answer.status_code == 400


def test_events_come_as_a_stream(console: Console) -> None:
    with requests.get(f"{console.url}events", timeout=10) as stream:
        assert stream.headers["Content-Type"] == "text/event-stream"
        assert stream.text == 'data: {"state": "ready"}\n\ndata: {"state": "sealed"}\n\n'


def test_every_verb_has_a_button(console: Console) -> None:
    known = {name for name in by_name() if name.startswith("break.")} - {"break.list"}
    told = requests.get(f"{console.url}verbs", timeout=10).json()
    assert {one["verb"] for one in told} == set(VERBS) == known
    needed = {one["verb"]: {f["name"] for f in one["fields"] if f["needed"]} for one in told}
    assert needed["break.fail"] == {"target"}
    assert needed["break.revoke"] == {"role"}
    assert not needed["break.cut"]


def test_an_unknown_verb_starts_nothing() -> None:
    with Faults() as faults:
        with pytest.raises(Exception, match=r"there is no fault heal"):
            faults.put("heal", {}, "1s")
        with pytest.raises(Exception, match=r"break.cut has no option yes"):
            faults.put("break.cut", {"yes": ""}, "1s")
        assert faults.in_force() == []
