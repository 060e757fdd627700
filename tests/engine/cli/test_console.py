from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
import requests

from tests.engine.report.devtools import BROWSER, Browser, Page
from vault_harness.local.vault.keyring import Keyring
from vault_harness.waiting import wait_until

pytestmark = [
    pytest.mark.slow,
    pytest.mark.xdist_group("breaking by hand"),  # they share a stack
]

Checkout = Any  # of conftest.py
ENOUGH = 60.0
"""Seconds; on a busy machine a task starts slowly."""


class Opened:
    def __init__(self, checkout: Checkout) -> None:
        self.task = subprocess.Popen(
            [sys.executable, "-m", "vault_harness", "console"],
            env={**checkout.environment, "PYTHONUNBUFFERED": "1", "HARNESS_INTERRUPTS": "held"},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        assert self.task.stdout is not None
        word, self.url = self.task.stdout.readline().split()
        assert word == "open"

    def order(self, place: str, **body: Any) -> str:
        answer = requests.post(self.url + place, json=body, timeout=ENOUGH)
        assert answer.status_code == 200, answer.text
        return str(answer.json()["done"])

    def await_event(self, what: Any, waits_for: str) -> dict[str, Any]:
        """Return the first event for which a condition is true, with all requests so far."""
        found: list[dict[str, Any]] = []
        with requests.get(self.url + "events", stream=True, timeout=ENOUGH) as stream:
            lines = (line for line in stream.iter_lines() if line.startswith(b"data: "))

            def seen() -> bool:
                found.append(json.loads(next(lines).partition(b": ")[2]))
                return bool(what(found[-1]))

            wait_until(seen, timeout=ENOUGH, what=waits_for)
        return {**found[-1], "requests": [one for event in found for one in event["requests"]]}

    def end(self, number: int) -> None:
        tasks = psutil.Process(self.task.pid).children(recursive=True)
        self.task.send_signal(number)
        self.task.wait(ENOUGH)
        assert psutil.wait_procs(tasks, ENOUGH)[1] == []


@pytest.fixture
def opened(checkout: Checkout) -> Iterator[Opened]:
    console = Opened(checkout)
    yield console
    if console.task.poll() is None:
        console.end(signal.SIGINT)
    assert console.task.stdout is not None
    console.task.stdout.close()
    checkout.run("heal")


def health(checkout: Checkout) -> int:
    return requests.get(f"{checkout.proxy()}/v1/sys/health", timeout=10).status_code


def test_requests_and_tokens_are_shown_without_a_secret(checkout: Checkout, opened: Opened) -> None:
    token = checkout.login()
    event = opened.await_event(
        lambda event: any(one["who"] == "backend" for one in event["tokens"]), "the new token"
    )
    login = next(one for one in event["requests"] if one["path"] == "auth/approle/login")
    assert (login["who"], login["status"]) == ("backend", "ok")
    assert token not in json.dumps(event)
    assert {"name": "vault", "state": "unsealed"} in event["servers"]


def test_a_fault_is_put_and_mended(checkout: Checkout, opened: Opened) -> None:
    assert "sealed" in opened.order("break", verb="break.seal", **{"for": "10m"})
    assert health(checkout) == 503
    event = opened.await_event(lambda event: event["sealed"], "the seal")
    assert [one["text"] for one in event["faults"]] == ["Vault is sealed and answers 503"]
    assert "undone" in opened.order("mend", fault=event["faults"][0]["id"])
    assert health(checkout) == 200
    opened.await_event(lambda event: not event["broken"] and not event["faults"], "the mending")


def test_mend_all_undoes_what_others_broke(checkout: Checkout, opened: Opened) -> None:
    checkout.run("break.latency", "300")
    opened.order("break", verb="break.fail", options={"target": "any"}, **{"for": "10m"})
    done = opened.order("mend")
    assert "undone: any answered 503" in done
    assert "toxic" in done
    assert checkout.run("heal") == "nothing was broken\n"


def test_a_wrong_option_says_why(opened: Opened) -> None:
    order = {"verb": "break.fail", "options": {"target": "coffee"}}
    answer = requests.post(f"{opened.url}break", json=order, timeout=ENOUGH)
    assert answer.status_code == 409
    assert "coffee" in answer.json()["error"]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_its_end_undoes_its_faults(checkout: Checkout, opened: Opened, number: int) -> None:
    """Even SIGKILL leaves no task and no fault; other tests end it with Ctrl-C."""
    opened.order("break", verb="break.seal", **{"for": "10m"})
    assert health(checkout) == 503
    opened.end(number)
    assert health(checkout) == 200
    assert checkout.run("heal") == "nothing was broken\n"


def test_a_killed_fault_is_shown_and_healed(checkout: Checkout, opened: Opened) -> None:
    """If its task is killed too, status shows the fault and heal undoes it."""
    opened.order("break", verb="break.cut", **{"for": "10m"})
    tasks = psutil.Process(opened.task.pid).children(recursive=True)
    for task in tasks:
        task.kill()
    opened.end(signal.SIGKILL)
    assert "disabled" in checkout.run("status", code=None)
    assert "enabled" in checkout.run("heal")


def test_lines_in_a_pipe(checkout: Checkout) -> None:
    """Look-ups by the operator do not push a login out of the first lines."""
    checkout.login()
    token = Keyring.load(checkout.data_dir / "init.json").root_token
    proxy = checkout.proxy()
    for _ in range(60):
        requests.get(
            f"{proxy}/v1/auth/token/lookup-self",
            headers={"X-Vault-Token": token},
            timeout=ENOUGH,
        ).raise_for_status()
    watching = subprocess.Popen(
        [sys.executable, "-m", "vault_harness", "watch", "--lines"],
        env={**checkout.environment, "HARNESS_INTERRUPTS": "held"},
        stdout=subprocess.PIPE,
        text=True,
    )
    assert watching.stdout is not None
    deadline = threading.Timer(ENOUGH, watching.kill)  # ends the lines
    deadline.start()
    assert any("auth/approle/login" in line for line in watching.stdout)
    checkout.run("break.latency", "200")
    assert any(line.startswith("broken: the toxic") for line in watching.stdout)
    checkout.run("heal")
    assert any(line.startswith("mended: the toxic") for line in watching.stdout)
    deadline.cancel()
    watching.send_signal(signal.SIGINT)
    watching.communicate(timeout=ENOUGH)
    assert watching.returncode == 0


def test_keys_in_a_terminal(checkout: Checkout) -> None:
    """In a terminal a key breaks for 10 seconds, h mends all, and q ends it."""
    ours, theirs = os.openpty()
    environment = {**checkout.environment, "TERM": "xterm", "COLUMNS": "150", "LINES": "60"}
    watching = subprocess.Popen(
        [sys.executable, "-m", "vault_harness", "watch"],
        env=environment, stdin=theirs, stdout=theirs, start_new_session=True,
    )  # fmt: skip
    os.close(theirs)
    shown = ""

    def drawn(text: str) -> bool:
        nonlocal shown
        shown += os.read(ours, 1 << 16).decode(errors="replace")
        return text in shown

    wait_until(lambda: drawn("1 latency"), timeout=ENOUGH, what="the legend of the keys")
    os.write(ours, b"1")
    wait_until(lambda: drawn("broken from here"), timeout=ENOUGH, what="the fault in the table")
    os.write(ours, b"h")
    wait_until(lambda: drawn("undone: answers"), timeout=ENOUGH, what="the mending in the table")
    os.write(ours, b"q")
    assert watching.wait(ENOUGH) == 0
    os.close(ours)
    assert checkout.run("heal") == "nothing was broken\n"


@pytest.fixture
def page(opened: Opened, tmp_path: Path) -> Iterator[Page]:
    with Browser(tmp_path / "profile") as browser:
        shown = browser.open(opened.url)
        wait_until(
            lambda: shown.says("document.querySelector('#state')?.textContent") == "ready",
            timeout=ENOUGH,
            what="the page to show the stack",
        )
        yield shown


@pytest.mark.skipif(BROWSER is None, reason="needs chromium (Debian's package) on PATH")
def test_by_keyboard_in_a_browser(checkout: Checkout, page: Page) -> None:
    page.says("document.querySelector('[aria-label=\"Break: seal\"]').focus()")
    page.press("Enter")
    wait_until(
        lambda: "sealed" in page.says("document.querySelector('#faults').innerText"),
        timeout=ENOUGH,
        what="the fault on the page",
    )
    assert health(checkout) == 503
    page.says("document.querySelector('#faults button').focus()")
    page.press("Enter")
    wait_until(
        lambda: page.says("document.querySelector('#faults').innerText") == "Nothing is broken.",
        timeout=ENOUGH,
        what="the mending on the page",
    )
    checkout.login()
    wait_until(
        lambda: "auth/approle/login" in page.says("document.querySelector('tbody').innerText"),
        timeout=ENOUGH,
        what="the login on the page",
    )
    heard = page.heard()
    assert {"role": "status"}.items() <= next(o for o in heard if o["role"] == "status").items()
    assert all(one["name"] for one in heard if one["role"] in {"button", "textbox", "combobox"})


@pytest.mark.skipif(BROWSER is None, reason="needs chromium (Debian's package) on PATH")
def test_on_a_phone(opened: Opened, tmp_path: Path) -> None:
    with Browser(tmp_path / "profile") as browser:
        page = browser.open(opened.url, size=(390, 844))
        wait_until(
            lambda: page.says("document.querySelectorAll('.verb').length") >= 8,
            timeout=ENOUGH,
            what="the list of faults",
        )
        assert page.says("document.documentElement.scrollWidth") == 390
