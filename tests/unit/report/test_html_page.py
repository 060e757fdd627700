"""The page of a run: one text, the same for the same journal, and deaf to what clients say."""

from __future__ import annotations

import base64
import gzip
import json
import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

from vault_harness.report.html import render, write_page


def journal(*scenarios: dict[str, Any], subject: str = "reference") -> dict[str, Any]:
    """A journal as small as they come."""
    return {
        "subject": subject,
        "product": "openbao 2.7.2",
        "engine": "process",
        "scenarios": [
            {"id": "TOK-11", "promise": "One login", "severity": "critical", "word": "pass", **one}
            for one in scenarios
        ],
    }


def details(page: str) -> dict[str, Any]:
    """What the page's script is given."""
    packed = re.search(r'<script id="data" type="text/plain">(.*?)</script>', page)
    assert packed is not None
    content: dict[str, Any] = json.loads(gzip.decompress(base64.b64decode(packed[1])))
    return content


class Links(HTMLParser):
    """Collects what a page would fetch from elsewhere."""

    def __init__(self) -> None:
        super().__init__()
        self.fetched: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.fetched += [v or "" for name, v in attrs if name in ("src", "srcset", "data")]
        self.fetched += [v or "" for name, v in attrs if name == "href" and tag == "link"]


def test_it_fetches_nothing() -> None:
    """Opened from a file, without a network, it is complete."""
    links = Links()
    page = render([journal({})])
    links.feed(page)
    assert links.fetched == []
    assert "@import" not in page
    assert "url(" not in page


def test_each_scenario_has_a_row_and_a_link() -> None:
    """Its id is the link, its verdict stands in words."""
    page = render([journal({}, {"id": "SID-02", "word": "not exercised"})])
    assert '<a href="#SID-02">SID-02</a>' in page
    assert 'class="verdict not-exercised">not exercised<' in page
    assert set(details(page)) == {"TOK-11", "SID-02"}


def test_the_same_journal_gives_the_same_page() -> None:
    """So that pages can be compared."""
    assert render([journal({})]) == render([journal({})])


def test_what_a_client_says_is_no_markup() -> None:
    """A subject's name, a promise or a message cannot become a part of the page."""
    nasty = "</script><img src=x onerror=alert(1)>"
    page = render([journal({"promise": nasty, "why": nasty, "source": nasty}, subject=nasty)])
    assert nasty not in page
    links = Links()
    links.feed(page)
    assert links.fetched == []


def test_runs_stand_side_by_side() -> None:
    """A scenario that one of them did not run says so in its column."""
    first = journal({}, subject="mine")
    second = journal({"word": "fail"}, {"id": "SEA-01"}, subject="yours")
    page = render([first, second])
    row = re.search(r'href="#SEA-01".*?</tr>', page, re.DOTALL)
    assert row is not None
    assert re.findall(r'class="verdict [^"]*">([^<]*)<', row[0]) == ["not run", "pass"]
    assert details(page)["SEA-01"][0] is None


def test_times_are_whole_milliseconds() -> None:
    """Events are lists, and a field that an older journal lacks is null."""
    operation = {"verb": "read", "path": "a", "began": 1.23456, "ended": None, "outcome": "ok"}
    found = details(render([journal({"operations": [operation]})]))
    assert found["TOK-11"][0]["operations"] == [["read", "a", 1235, None, "ok", None, None, None]]


def test_a_large_run_is_a_small_page() -> None:
    """A hundred and twenty scenarios of five hundred events each stay under two megabytes."""
    operations = [
        {"verb": "read", "path": "backend/django", "began": n / 7,
         "ended": n / 7 + 0.0013 * (n % 9), "outcome": "ok", "value": f"v{n % 5}", "message": "",
         "caller": n % 50}
        for n in range(500)
    ]  # fmt: skip
    many = [{"id": f"TOK-{n:03}", "operations": operations} for n in range(120)]
    assert len(render([journal(*many)])) < 2_000_000


def test_the_file_is_made_with_its_folder(tmp_path: Path) -> None:
    """`report/` need not be there yet."""
    target = write_page([journal({})], tmp_path / "report" / "index.html")
    assert target.read_text(encoding="utf-8").startswith("<!doctype html>")
