from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from tests.engine.report.devtools import BROWSER, Browser
from tests.running import ran
from vault_harness.judge.report.html import write_page
from vault_harness.waiting import wait_until

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(BROWSER is None, reason="needs chromium (Debian's package) on PATH"),
]

SCENARIO: dict[str, Any] = {
    "id": "TOK-11",
    "promise": "A revoked token costs one login",
    "severity": "critical",
    "source": "hashicorp/vault#26172",
    "word": "fail",
    "seconds": 9.0,
    "findings": [{"promise": "one login", "seen": "<b>two</b> logins", "at": 1.5, "harm": False}],
    "faults": [{"name": "token revoked", "began": 1.0, "ended": 3.0, "detail": {}}],
    "operations": [
        {"verb": "read", "path": "backend/django", "began": 1.2, "ended": 1.4, "outcome": "denied",
         "value": None, "message": "403", "caller": 0},
    ],
    "exchanges": [
        {"kind": "login", "method": "POST", "path": "auth/approle/login", "began": 0.1,
         "ended": 0.2, "status": 200, "token": None, "secret_id": "secret-id-1", "ttl": 20.0,
         "errors": [], "by": "vault", "closed": None, "connection": 1, "retry_after": None},
    ],
}  # fmt: skip


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Path:
    journal = {
        "subject": "mine",
        "product": "openbao",
        "engine": "process",
        "scenarios": [SCENARIO],
    }
    return write_page([journal], tmp_path_factory.mktemp("page") / "index.html")


def dom(page: Path, fragment: str, profile: Path) -> str:
    assert BROWSER is not None
    done = ran(
        [
            *(BROWSER, "--headless", "--no-sandbox", "--disable-gpu", "--dump-dom"),
            *(f"--user-data-dir={profile}", "--virtual-time-budget=5000"),
            f"{page.as_uri()}{fragment}",
        ],
        check=True,
    )
    return done.stdout


def test_a_deep_link_opens_its_scenario(page: Path, tmp_path: Path) -> None:
    shown = dom(page, "#TOK-11", tmp_path)
    detail = shown[shown.index('id="detail"') :]
    assert "A revoked token costs one login" in detail
    assert "&lt;b&gt;two&lt;/b&gt; logins" in detail
    assert re.search(r'<rect class="fault"', detail)
    assert "POST auth/approle/login with secret-id-1 (connection 1)" in detail
    assert "token-1 lives, by what Vault said" in detail


def test_without_a_link_the_table_is_all(page: Path, tmp_path: Path) -> None:
    shown = dom(page, "", tmp_path)
    assert re.search(r'id="detail" hidden', shown)
    assert '<a href="#TOK-11">TOK-11</a>' in shown


def test_a_token_bears_its_own_name(tmp_path: Path) -> None:
    login = SCENARIO["exchanges"][0]
    first = {**login, "began": 0.1, "ended": 0.9, "token": "token-2"}
    second = {**login, "began": 0.2, "ended": 0.4, "token": "token-1"}
    renewal = {**login, "kind": "renew", "began": 2.0, "ended": 2.1, "token": "token-1"}
    renewal |= {"waited": 1.25}  # judged by when it came
    scenario = {**SCENARIO, "exchanges": [first, second, renewal]}
    journal = {"subject": "mine", "engine": "process", "scenarios": [scenario]}
    shown = dom(write_page([journal], tmp_path / "index.html"), "#TOK-11", tmp_path / "profile")
    rows = re.findall(r">\+([\d.]+ s)</button></td><td>tokens</td><td>(.*?)</td><td>(.*?)<", shown)
    assert rows == [
        ("0.40 s", "token-1 lives, by what Vault said", "21.70 s, renewed 1\u00d7"),
        ("0.90 s", "token-2 lives, by what Vault said", "20.00 s, renewed 0\u00d7"),
    ]
    assert shown.count("1.25 s after it came") == 2  # in the picture and in the list


def test_names_of_values_are_in_the_picture(tmp_path: Path) -> None:
    value = {"done": None, "path": "backend/django"}
    rotations = [{**value, "at": 1.0, "value": "v1"}, {**value, "at": 3.0, "value": "closing"}]
    journal = {
        "subject": "mine",
        "engine": "process",
        "scenarios": [{**SCENARIO, "rotations": rotations}],
    }
    shown = dom(write_page([journal], tmp_path / "index.html"), "#TOK-11", tmp_path / "profile")
    found = re.findall(r'<text class="beside"[^>]*text-anchor="(\w+)"[^>]*>([^<]*)<', shown)
    assert found == [("start", "v1"), ("end", "closing")]


def test_what_a_request_carried_is_shown(tmp_path: Path) -> None:
    login = SCENARIO["exchanges"][0]
    asked = {**login, "kind": "credential", "method": "GET", "path": "database/creds/app"}
    asked |= {"began": 1.1, "ended": 4.1, "secret_id": None, "token": "token-1", "ttl": 8.0}
    asked |= {"credential": "credential-1", "namespace": "team", "renewable": False}
    asked |= {"interference": "answer to credential 3 s late #1", "retry_after": 0.0}
    scenario = {
        **SCENARIO,
        "exchanges": [login, asked],
        "uses": [{"began": 4.2, "ended": 4.3, "credential": "credential-1", "accepted": False}],
        "handshakes": [{"at": 0.05, "connection": 1, "protocol": None, "refused": "unknown CA"}],
        "touches": [{"toxic": "drip", "opened": 0.1, "closed": None}],
        "stalls": [{"at": 2.0, "length": 0.4}],
        "set_aside": [{"finding": SCENARIO["findings"][0], "why": "it stood still"}],
        "word": "flaky",
        "rate": "1 of 2",
        "runs": [{"word": "fail", "why": "two logins", "seconds": 9.0}],
    }
    journal = {"subject": "mine", "engine": "process", "scenarios": [scenario]}
    shown = dom(write_page([journal], tmp_path / "index.html"), "#TOK-11", tmp_path / "profile")
    cells = re.findall(r"</button></td><td>(.*?)</td><td>(.*?)</td><td>(.*?)</td>", shown)
    what = "GET database/creds/app in namespace team with token-1 about credential-1 (connection 1)"
    end = "answered 200, took 3.00 s, TTL 8 s, not renewable, Retry-After 0 s, "
    fault = "under the fault “answer to credential 3 s late”"
    assert ("HTTP other", what, f"{end}{fault}") in cells
    assert ("database", "login at the database with credential-1", "refused") in cells
    assert ("proxy", "TLS handshake of connection 1", "refused: unknown CA") in cells
    assert ("proxy", "toxic drip acts on a connection", "open to the end") in cells
    assert ("machine", "the machine stood still", "for 0.40 s") in cells
    detail = re.sub(r"<[^>]+>", "", shown[shown.index('id="detail"') :])
    assert "TOK-11 flaky (1 of 2 runs pass)" in detail
    assert "It does not count: it stood still." in detail
    assert "fail, 9.0 s: two logins" in detail


def test_the_key_explains_only_colours_in_use(tmp_path: Path) -> None:
    scenario = {**SCENARIO, "started": 1795871638.5309}
    journal = {"subject": "mine", "engine": "process", "scenarios": [scenario]}
    shown = dom(write_page([journal], tmp_path / "index.html"), "#TOK-11", tmp_path / "profile")
    told = re.findall(r'<span class="key"><svg[^>]*><rect class="(\w+)".*?</svg>([^<]*)<', shown)
    assert [name for name, _ in told] == ["bad", "login", "token"]
    assert "right for a deleted secret" in dict(told)["bad"]
    assert "+0.00 s is 2026-11-28 13:13:58.531 UTC, by the clock of the machine" in shown


def test_a_link_finds_the_moment_that_it_was_made_of(tmp_path: Path) -> None:
    """A link with hundredths finds the event that began a little earlier or later."""
    read = SCENARIO["operations"][0]
    reads = [{**read, "path": f"at/{at}", "began": at} for at in (1.2349, 1.2468, 1.3)]
    scenario = {**SCENARIO, "operations": reads, "findings": [], "faults": []}
    journal = {"subject": "mine", "engine": "process", "scenarios": [scenario]}
    page = write_page([journal], tmp_path / "index.html")
    for at, path in (("1.25", "at/1.2468"), ("1.23", "at/1.2349")):
        shown = dom(page, f"#TOK-11@{at}", tmp_path / at)
        (row,) = re.findall(r'<tr[^>]* class="chosen">(.*?)</tr>', shown)
        assert f">+{at} s</button>" in row
        assert f"<td>read {path}</td>" in row


def test_a_malformed_history_is_explained_under_its_own_id(tmp_path: Path) -> None:
    """A malformed history comes from merging by hand."""
    odd = {**SCENARIO, "id": "TOK-12", "exchanges": [], "stalls": [{"at": 1.0, "length": "long"}]}
    journal = {"subject": "mine", "engine": "process", "scenarios": [SCENARIO, odd]}
    page = write_page([journal], tmp_path / "index.html")
    with Browser(tmp_path / "profile") as browser:
        opened = browser.open(f"{page.as_uri()}#TOK-11")
        title = "document.querySelector('#detail:not([hidden]) h2')?.textContent ?? ''"
        wait_until(lambda: opened.says(title).startswith("TOK-11"), "the first", timeout=60)
        opened.says("location.hash = 'TOK-12'; 0")
        wait_until(lambda: opened.says(title).startswith("TOK-12"), "the other", timeout=60)
        said = opened.says("document.querySelector('#detail').textContent")
        assert "The history of TOK-12 is not as a run leaves it" in said
        assert "two" not in said


def test_names_of_values_do_not_cover_each_other(tmp_path: Path) -> None:
    """Of two values at almost one time the second is only in the list."""
    value = {"done": None, "path": "backend/django"}
    times = {"v1": 1.0, "v2": 1.02, "v3": 2.5}
    rotations = [{**value, "at": at, "value": name} for name, at in times.items()]
    scenario = {**SCENARIO, "rotations": rotations}
    journal = {"subject": "mine", "engine": "process", "scenarios": [scenario]}
    shown = dom(write_page([journal], tmp_path / "index.html"), "#TOK-11", tmp_path / "profile")
    assert re.findall(r'<text class="beside"[^>]*>([^<]*)<', shown) == ["v1", "v3"]
    assert "backend/django is given the value v2" in shown


def test_times_are_shown_in_order(tmp_path: Path) -> None:
    scenario = {
        **SCENARIO,
        "times": {"ttl": 20.0, "max_ttl": 600.0, "deadline": 2.0},
        "stalls": [{"at": 0.5, "length": 0.03}],
    }
    journal = {"subject": "mine", "engine": "process", "scenarios": [scenario]}
    shown = dom(write_page([journal], tmp_path / "index.html"), "#TOK-11", tmp_path / "profile")
    told = re.findall(r"<li>([^<]*: \d+ s)</li>", shown)
    assert told == ["Life of a token (T): 20 s", "Longest life: 600 s", "Deadline of a call: 2 s"]
    assert "<td>the machine stood still</td>" not in shown
