"""What a window shows before a reader scrolls: boxes measured in a real browser."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.engine.report.devtools import BROWSER, Browser, Page
from vault_harness.judge.report.html import write_page
from vault_harness.waiting import wait_until

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(BROWSER is None, reason="needs chromium (Debian's package) on PATH"),
]

DESKTOP, PHONE = (1280, 800), (390, 844)
WINDOWS = pytest.mark.parametrize("window", [DESKTOP, PHONE], ids=["desktop", "phone"])

LONG = "command:/srv/" + "a-long-path-without-a-blank/" * 4 + "client"


def read(began: float, outcome: str) -> dict[str, Any]:
    return {
        "verb": "read", "path": "backend/django", "began": began, "ended": began + 0.1,
        "outcome": outcome, "value": None, "message": "x" * 300, "caller": 0,
    }  # fmt: skip


def scenario(name: str, word: str, **more: Any) -> dict[str, Any]:
    finding = {"promise": f"what {name[:3]} promises", "seen": "n" * 200, "at": 2.5, "harm": False}
    end = {**finding, "promise": "its tokens are dead once it is closed", "closing": True}
    return {
        "id": name,
        "promise": f"A promise of {name} that takes more than one line of a narrow window to tell",
        "severity": "critical",
        "source": "hashicorp/vault#26172",
        "word": word,
        "seconds": 5.0,
        "again": f"vault-harness scenarios --only {name} --subject '{LONG}'",
        "evidence": ["the proxy counted it"],
        "untouched": ["it was not told"],
        "set_aside": [{"finding": finding, "why": "before any fault"}],
        "leaks": [{"promise": "no secret", "seen": "its log has <token-1>", "at": 3.0}],
        "findings": [finding, end] if word == "fail" else [],
        "faults": [{"name": "token revoked", "began": 2.0, "ended": 3.0, "detail": {}}],
        "operations": [read(1.0, "ok"), read(2.5, "denied"), read(4.5, "ok")],
        "audit": [{"at": 1.05, "operation": "read", "path": "secret/data/" + "p" * 200}],
        "log": [{"at": 2.5, "text": "l" * 400}],
        **more,
    }


def journal(*scenarios: dict[str, Any], subject: str = LONG) -> dict[str, Any]:
    return {
        "subject": subject,
        "product": "openbao 2.7.2",
        "engine": "process",
        "complete": True,
        "scenarios": list(scenarios),
    }


def failing_run() -> dict[str, Any]:
    """Return a run of a poor client: ninety scenarios that fail and leak."""
    groups = ("KV", "NET", "SEA", "SID", "TOK", "POL", "SRV", "HA", "PRC")
    names = [f"{group}-{number:02}" for group in groups for number in range(1, 12)]
    return journal(*(scenario(name, "pass" if name == "KV-02" else "fail") for name in names))


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    with Browser(tmp_path_factory.mktemp("profile")) as started:
        yield started


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_page([failing_run()], tmp_path_factory.mktemp("page") / "index.html")


def opened(browser: Browser, file: Path, window: tuple[int, int], fragment: str = "") -> Page:
    page = browser.open(f"{file.as_uri()}{fragment}", size=window)
    ready = "document.readyState === 'complete' && !document.querySelector('#detail').hidden"
    if not fragment:
        ready = "document.readyState === 'complete'"
    wait_until(lambda: page.says(ready) is True, "the page", timeout=60)
    return page


def box(page: Page, selector: str) -> dict[str, float]:
    found: dict[str, float] = page.says(
        f"document.querySelector({selector!r}).getBoundingClientRect().toJSON()"
    )
    assert found["width"] > 0, f"{selector} is not shown"
    return found


def overflow(page: Page, window: tuple[int, int]) -> int:
    """Return by how many pixels the page is wider than its window."""
    wide: int = page.says("document.documentElement.scrollWidth")  # a phone's innerWidth grows too
    return max(0, wide - window[0])


@WINDOWS
def test_a_link_shows_its_scenario(browser: Browser, file: Path, window: tuple[int, int]) -> None:
    page = opened(browser, file, window, "#TOK-11")
    title = box(page, "#detail h2")
    assert page.says("document.querySelector('#detail h2').textContent") == "TOK-11 fail"
    assert 0 <= title["top"] < 200
    assert box(page, ".timeline")["top"] < window[1] - 100


@WINDOWS
@pytest.mark.parametrize("fragment", ["", "#TOK-11", "#KV-02"])
def test_nothing_is_wider_than_the_window(
    browser: Browser, file: Path, window: tuple[int, int], fragment: str
) -> None:
    page = opened(browser, file, window, fragment)
    assert overflow(page, window) == 0
    page.says("for (const one of document.querySelectorAll('details')) one.open = true; 0")
    assert overflow(page, window) == 0
    shown = "#detail" if fragment else "#summary"
    assert box(page, shown)["right"] <= window[0]


@pytest.mark.parametrize("count", [2, 9])
@WINDOWS
def test_many_runs_fit_the_window(
    browser: Browser, tmp_path: Path, window: tuple[int, int], count: int
) -> None:
    """The columns of many runs scroll in the list, not with the page."""
    runs = [journal(scenario("TOK-11", "not exercised"), subject=f"run-{n}") for n in range(count)]
    file = write_page(runs, tmp_path / "index.html")
    assert overflow(opened(browser, file, window), window) == 0
    assert overflow(opened(browser, file, window, "#TOK-11/B"), window) == 0


def test_the_first_view_of_a_run(browser: Browser, file: Path) -> None:
    """Summary, at most three causes with their scenarios, and the list need no scrolling."""
    page = opened(browser, file, DESKTOP)
    causes = page.says(
        "[...document.querySelectorAll('.causes li a')].map((one) => "
        "[one.hash, one.getBoundingClientRect().bottom])"
    )
    assert 1 <= len(causes) <= 3
    assert all(bottom < DESKTOP[1] for _, bottom in causes)
    assert box(page, "#summary h2")["bottom"] < 150
    assert box(page, "#table tbody tr")["bottom"] < DESKTOP[1]


def test_the_first_view_on_a_phone(browser: Browser, file: Path) -> None:
    """The grade and the worst cause come first."""
    page = opened(browser, file, PHONE)
    assert box(page, "#summary h2")["bottom"] < 300
    assert box(page, ".causes li a")["bottom"] < PHONE[1]


def test_a_verdict_has_one_reason(browser: Browser, file: Path) -> None:
    """It is above the timeline; all other findings are folded below."""
    page = opened(browser, file, DESKTOP, "#TOK-11")
    assert page.says("document.querySelectorAll('#detail .reason').length") == 1
    above = page.says("""
        [...document.querySelectorAll("#detail *")]
          .filter((one) => one.compareDocumentPosition(document.querySelector(".timeline"))
            & Node.DOCUMENT_POSITION_FOLLOWING)
          .map((one) => one.tagName)
    """)
    assert not {"DETAILS", "LI"} & set(above)
    folded = page.says("""
        [...document.querySelectorAll("#detail details")]
          .map((one) => [one.firstChild.textContent, one.open])
    """)
    assert not any(is_open for _, is_open in folded)
    assert {
        "Found as the client was closed (1)",
        "Secrets that came out (1)",
        "Findings that do not count (1)",
        "Conditions that were not met (1)",
    } <= {title for title, _ in folded}
    assert "not exercised" not in page.says("document.querySelector('#detail').innerText")


def test_other_witnesses_are_shown_when_asked(browser: Browser, file: Path) -> None:
    page = opened(browser, file, DESKTOP, "#TOK-11")
    lanes = "[...document.querySelectorAll('.names text')].map((one) => one.textContent)"
    assert page.says(lanes) == ["faults", "caller 0"]
    page.says("document.querySelector('#more').focus()")
    page.press(" ")
    assert page.says(lanes) == ["faults", "caller 0", "audit"]


@WINDOWS
def test_a_cause_leads_to_its_scenario_and_back(
    browser: Browser, file: Path, window: tuple[int, int]
) -> None:
    page = opened(browser, file, window)
    page.says("document.querySelector('.causes a').focus()")
    page.press("Enter")
    shown = "document.querySelector('#detail h2')?.textContent ?? ''"
    wait_until(lambda: page.says(shown) != "", "the scenario", timeout=60)
    assert 0 <= box(page, "#detail h2")["top"] < 200
    page.press("Escape")
    wait_until(lambda: page.says("document.querySelector('#detail').hidden"), "it", timeout=60)
    assert box(page, "#summary h2")["width"] > 0
