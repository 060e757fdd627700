"""The recorded transcript of the real server, replayed against both."""

from __future__ import annotations

import contextlib
import http.client
import json
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from filelock import FileLock

if TYPE_CHECKING:
    from tests.contract.toxiproxy.conftest import Kind, ServerProcess, Start

STEPS: list[dict[str, Any]] = json.loads(Path(__file__).with_name("golden.json").read_text())[
    "steps"
]

# The transcript has fixed ports, so two replays at once would disturb each other.
pytestmark = pytest.mark.xdist_group("golden-ports")
LOCK = Path(tempfile.gettempdir()) / "toxiproxy-golden-ports.lock"


@pytest.fixture(scope="module")
def replayed(kind: Kind, start_server: Start) -> list[list[str]]:
    """The differences for each step of the transcript."""
    with FileLock(LOCK, timeout=120):
        server = start_server(kind)
        try:
            return [_difference(server, step) for step in STEPS]
        finally:
            server.process.terminate()
            server.process.wait(15)


@pytest.mark.parametrize("number", range(len(STEPS)))
def test_every_answer_is_as_recorded(replayed: list[list[str]], number: int) -> None:
    request = STEPS[number]["request"]
    assert replayed[number] == [], f"{request['method']} {request['path']} {request['body']}"


def _difference(server: ServerProcess, step: dict[str, Any]) -> list[str]:
    request, wanted = step["request"], step["response"]
    connection = http.client.HTTPConnection(*server.host_port, timeout=15)
    with contextlib.closing(connection):
        body = None if request["body"] is None else request["body"].encode()
        headers = {"User-Agent": "golden", **request["headers"]}
        connection.request(request["method"], request["path"], body, headers)
        response = connection.getresponse()
        text = response.read().decode()
        # A server that was built from source reports ``git`` instead of its version.
        text = text.replace('{"version": "git"}', '{"version": "2.12.0"}')
    found = []
    if response.status != wanted["status"]:
        found.append(f"status {response.status}, recorded {wanted['status']}")
    for name in {"content-type", "location"} & wanted["headers"].keys():
        seen, recorded = response.headers.get(name), wanted["headers"][name]
        found += [f"{name} {seen!r}, recorded {recorded!r}"] * (seen != recorded)
    if ("X-Toxiproxy-Request-Id" in response.headers) != wanted["has_request_id"]:
        found.append("the request id header")
    if _body(step["compare"], text) != _body(step["compare"], wanted["body"]):
        found.append(f"body {text!r}, recorded {wanted['body']!r}")
    return found


def _body(compare: str, text: str) -> object:
    if compare == "exact":
        return text
    value = json.loads(text)
    if compare == "error":
        # The text after the first colon comes from Go's own libraries.
        return value.get("status"), value.get("error", "").split(": ")[0]
    return _without_logger(value)


def _without_logger(value: object) -> object:
    if isinstance(value, dict):
        return {key: _without_logger(item) for key, item in value.items() if key != "Logger"}
    if isinstance(value, list):
        return [_without_logger(item) for item in value]
    return value
