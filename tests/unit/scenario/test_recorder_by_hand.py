"""The recorder as a program of its own: its orders, its log and its end."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import requests

from tests.unit.scenario.conftest import Server
from tests.unit.scenario.test_recorder_notes import answer, replying
from vault_harness.judge.faults import Order
from vault_harness.local.engine.ports import PortLease, answers
from vault_harness.waiting import wait_until

FAIL = Order(act="fail", targets=("read",), first=1, status=500).to_json()


class Program:
    def __init__(self, directory: Path) -> None:
        self.server = Server(replying(answer({})))
        listen, api = PortLease(), PortLease()
        self.url, self.api = f"http://{listen.listen}/v1", f"http://{api.listen}"
        told = {"listen": listen.listen, "api": api.listen, "upstream": self.server.address}
        configuration = directory / "recorder.json"
        configuration.write_text(json.dumps({**told, "tls": None}))
        self.log = directory / "recorder.log"
        with self.log.open("wb") as output:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "vault_harness.judge.by_hand", "-config", configuration],
                stderr=output,
            )
        wait_until(lambda: answers(f"{self.api}/"), "the recorder to answer", timeout=30)
        listen.release()
        api.release()

    def order(self, body: object, **how: Any) -> int:
        given = how or {"json": body}
        return requests.post(f"{self.api}/faults", timeout=5, **given).status_code

    def end(self) -> None:
        self.process.kill()
        self.process.wait(10)
        self.server.close()


@pytest.fixture
def program(tmp_path: Path) -> Iterator[Program]:
    started = Program(tmp_path)
    yield started
    started.end()


def test_it_disturbs_what_was_ordered(program: Program) -> None:
    """The log names the first read without its path."""
    assert program.order(FAIL) == 201
    read = f"{program.url}/ecommerce/data/backend/s.token-in-a-path"
    assert [requests.get(read, timeout=5).status_code for _ in range(2)] == [500, 200]
    told = requests.get(f"{program.api}/", timeout=5).json()
    assert [(one["seen"], one["acted"], one["over"]) for one in told["faults"]] == [(2, 1, True)]
    assert told["defects"] == []
    log = program.log.read_text()
    assert "read number 1" in log
    assert "token-in-a-path" not in log


def test_an_order_is_taken_back(program: Program) -> None:
    """A second DELETE changes nothing."""
    other = Order(act="fail", targets=("write",), status=500).to_json()
    assert [program.order(FAIL), program.order(other)] == [201, 201]
    for _ in range(2):
        gone = requests.delete(f"{program.api}/faults", json=FAIL, timeout=5)
        assert gone.status_code == 200
        assert [one["order"]["targets"] for one in gone.json()["faults"]] == [["write"]]
    read = f"{program.url}/ecommerce/data/backend/django"
    assert requests.get(read, timeout=5).status_code == 200


def test_what_is_no_order(program: Program) -> None:
    """No fault is in force."""
    assert program.order([]) == 422
    assert program.order({**FAIL, "first": 0}) == 422
    assert program.order({"act": "explode"}) == 422
    assert program.order(None, data=b"{") == 404, "a page in a browser may say no more than this"
    assert program.order({**FAIL, "path": "x" * 70_000}) == 413
    assert requests.get(f"{program.api}/else", timeout=5).status_code == 404
    assert requests.get(f"{program.api}/", timeout=5).json()["faults"] == []


def test_sigterm_ends_the_program(program: Program) -> None:
    """SIGHUP does not."""
    program.process.send_signal(signal.SIGHUP)
    assert requests.get(f"{program.api}/", timeout=5).status_code == 200
    program.process.send_signal(signal.SIGTERM)
    assert program.process.wait(10) == 0
