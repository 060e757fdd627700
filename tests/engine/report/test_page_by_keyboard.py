"""The page by keyboard and by screen reader: what keys reach, and what is read aloud."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise
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

ENOUGH = 4.5
"""Contrast of text by WCAG 2, level AA."""

ENOUGH_OF_A_RING = 3.0
"""Contrast of the focus ring."""

CONTRAST = Path(__file__).with_name("contrast.js").read_text()

# Records what listens for clicks, and the look of each focused element.
WATCH = """
    window.clicked = new Set();
    window.reached = new Map();
    const listen = EventTarget.prototype.addEventListener;
    EventTarget.prototype.addEventListener = function (type, ...rest) {
      if (type === "click" && this instanceof Element) clicked.add(this);
      return listen.call(this, type, ...rest);
    };
    document.addEventListener("focusin", ({ target }) => {
      const { outlineStyle, outlineWidth, outlineColor } = getComputedStyle(target);
      reached.set(target, [outlineStyle, parseFloat(outlineWidth), outlineColor]);
    });
"""


def read(began: float, outcome: str, caller: int = 0) -> dict[str, Any]:
    return {
        "verb": "read", "path": "backend/django", "began": began, "ended": began + 0.1,
        "outcome": outcome, "value": None, "message": None, "caller": caller,
    }  # fmt: skip


def login(began: float) -> dict[str, Any]:
    return {
        "kind": "login", "method": "POST", "path": "auth/approle/login", "began": began,
        "ended": began + 0.1, "status": 200, "token": None, "secret_id": "secret-id-1", "ttl": 4.0,
        "errors": [], "by": "vault", "closed": None, "connection": 1, "retry_after": None,
    }  # fmt: skip


def scenario(name: str, word: str) -> dict[str, Any]:
    value = {"at": 2.2, "done": 2.3, "path": "backend/django", "value": "v2"}
    finding = {"promise": "one login", "seen": "two logins", "at": 2.5, "harm": True}
    return {
        "id": name,
        "promise": f"What {name} promises",
        "severity": "critical" if word == "fail" else "low",
        "source": "hashicorp/vault#26172",
        "word": word,
        "seconds": 5.0,
        "why": "",
        "again": f"vault-harness scenarios --only {name}",
        "evidence": ["the proxy counted it"],
        "findings": [finding] if word == "fail" else [],
        # Two that overlap, which gives a darker band. The first text is too long for its bar.
        "faults": [
            {"name": "latency of 500 ms on both streams", "began": 2.0, "ended": 3.0, "detail": {}},
            {"name": "cut", "began": 2.1, "ended": 4.0, "detail": {}},
        ],
        "operations": [read(1.0, "ok"), read(2.5, "unavailable"), read(4.5, "stale", caller=1)],
        "exchanges": [login(0.2), login(4.6)],
        "rotations": [value],
        "log": [{"at": 2.5, "text": "403 again"}],
    }


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    with Browser(tmp_path_factory.mktemp("profile")) as started:
        yield started


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two runs side by side: one scenario fails in both, the other passes."""
    scenarios = [scenario("KV-01", "pass"), scenario("TOK-11", "fail")]
    run = {"subject": "mine", "product": "openbao", "engine": "process", "scenarios": scenarios}
    return write_page([run, run], tmp_path_factory.mktemp("page") / "index.html")


@pytest.fixture
def page(browser: Browser, file: Path) -> Page:
    opened = browser.open(f"{file.as_uri()}#TOK-11", first=WATCH)
    wait_until(lambda: shown(opened).startswith("TOK-11"), "the scenario", timeout=60)
    return opened


def shown(page: Page) -> str:
    return str(page.says("document.querySelector('#detail:not([hidden]) h2')?.textContent ?? ''"))


def focused(page: Page, attribute: str) -> str:
    return str(page.says(f"document.activeElement.{attribute} ?? ''"))


def focus(page: Page, selector: str) -> None:
    page.says(f"document.querySelector({selector!r}).focus({{focusVisible: true}})")


def walk(page: Page) -> None:
    """Unfold everything, and press Tab through the whole page."""
    page.says("for (const one of document.querySelectorAll('details')) one.open = true; 0")
    page.says("window.first = document.querySelector('.skip'); reached.clear()")
    focus(page, ".skip")
    for _ in range(200):
        page.press("Tab")
        if page.says(
            "document.activeElement === first || document.activeElement === document.body"
        ):
            return
    pytest.fail("Tab does not come to an end")


def test_tab_reaches_all_that_can_be_clicked(page: Page) -> None:
    """Each has the focus once, or is inside one that has it."""
    walk(page)
    missed = page.says("""
        [...document.querySelectorAll("a[href], button, input, summary"), ...clicked]
          .filter((one) => one.checkVisibility())
          .filter((one) => !reached.has(one.closest("[tabindex='0']") ?? one))
          .map((one) => one.outerHTML.slice(0, 200))
    """)
    assert missed == []


def test_the_focus_is_seen_wherever_it_is(page: Page) -> None:
    """A ring of at least two pixels in a contrasting colour."""
    walk(page)
    looks = page.says("[...reached].map(([one, look]) => [one.outerHTML.slice(0, 80), ...look])")
    assert len(looks) > 20
    unseen = [look for look in looks if look[1] == "none" or look[2] < 2]
    assert unseen == []
    rings = {look[3] for look in looks}
    assert len(rings) == 1
    page.says(f"document.body.innerHTML = `<p style='color: {rings.pop()}'>ring</p>`; 0")
    assert page.says(CONTRAST)[0][0] >= ENOUGH_OF_A_RING


def test_every_control_has_a_name_for_screen_readers(page: Page) -> None:
    page.says("for (const one of document.querySelectorAll('details')) one.open = true; 0")
    controls = (
        "link",
        "button",
        "checkbox",
        "searchbox",
        "DisclosureTriangle",
        "listbox",
        "option",
    )
    heard = [one for one in page.heard() if one["role"] in controls]
    assert {one["role"] for one in heard} == set(controls)
    assert [one for one in heard if not one["name"].strip()] == []


def test_an_event_is_read_with_its_time_and_lane(page: Page) -> None:
    """Once, in words, and not from the letters of the picture."""
    heard = page.heard()
    events = [one["name"] for one in heard if one["role"] == "option"]
    assert "+2.50 s caller 0: read backend/django unavailable, took 0.10 s" in events
    begin = next(number for number, one in enumerate(heard) if one["role"] == "listbox")
    end = max(number for number, one in enumerate(heard) if one["role"] == "option")
    assert {one["role"] for one in heard[begin:end]} == {"listbox", "option"}


def test_headings_are_in_order(page: Page) -> None:
    levels = [one["level"] for one in page.heard() if one["role"] == "heading"]
    assert levels[:3] == [1, 2, 3]
    assert levels.count(1) == 1
    assert all(after <= before + 1 for before, after in pairwise(levels))


def test_a_scenario_is_opened_by_enter_and_left_by_escape(page: Page) -> None:
    focus(page, "a[href='#KV-01']")
    page.press("Enter")
    wait_until(lambda: shown(page).startswith("KV-01"), "the other scenario", timeout=30)
    current = "[...document.querySelectorAll('[aria-current]')].map((one) => one.textContent)"
    assert page.says(current) == ["KV-01"]
    page.press("Escape")
    wait_until(lambda: shown(page) == "", "the table alone", timeout=30)
    assert focused(page, "textContent") == "KV-01"


def test_the_table_is_narrowed_by_space(page: Page) -> None:
    focus(page, "input[value=pass]")
    page.press(" ")
    assert page.says("document.querySelector('#shown').textContent") == "1 of 2 scenarios"
    assert [one["live"] for one in page.heard() if one["role"] == "status"] == ["polite"]


def test_arrows_go_from_event_to_event(page: Page) -> None:
    """Right is later, up is the next lane, End the last event; focus starts at the first."""
    focus(page, "[role=listbox]")
    active = """(() => {
        const box = document.querySelector("[role=listbox]");
        const one = document.getElementById(box.getAttribute("aria-activedescendant"));
        return [one.getAttribute("aria-selected"), one.textContent.split("\\n")[0]];
    })()"""
    first = "+0.20 s  HTTP login: POST auth/approle/login with secret-id-1 (connection 1)"
    assert page.says(active) == ["true", first]
    page.press("Home", "ArrowRight", "ArrowRight")
    assert page.says(active) == ["true", "+1.00 s  caller 0: read backend/django"]
    page.press("ArrowUp")
    assert page.says(active) == ["true", "+2.20 s  values: backend/django is given the value v2"]
    page.press("ArrowUp", "ArrowUp")
    text = "+2.10 s  faults: fault: cut"
    assert page.says(active) == ["true", text]
    page.press("End", "ArrowRight")
    assert "tokens: token-2 lives" in page.says(active)[1]


def test_enter_finds_an_event_in_the_list_and_leads_back(page: Page) -> None:
    focus(page, "[role=listbox]")
    page.press("Home", "ArrowRight", "ArrowRight", "Enter")
    row = "document.querySelector('tr.chosen').textContent"
    assert page.says(row) == "+1.00 scaller 0read backend/djangook, took 0.10 s"
    assert focused(page, "closest('tr').className") == "chosen"
    assert focused(page, "checkVisibility()") == "True"
    page.press("Tab", "Enter")
    assert focused(page, "textContent") == "+2.00 s"
    assert page.says("document.querySelector('[role=option].active title').textContent").startswith(
        "+2.00 s  faults"
    )


def test_the_focus_stays_where_another_run_was_picked(page: Page) -> None:
    focus(page, ".runpick [aria-pressed=false]")
    page.press(" ")
    assert focused(page, "getAttribute('aria-pressed')") == "true"
    assert focused(page, "textContent").startswith("B mine")


def test_zoom_needs_no_wheel(page: Page) -> None:
    """The zoom button keeps the focus, so that it can be pressed again."""
    width = "document.querySelector('.scroll svg').getBoundingClientRect().width"
    before = page.says(width)
    focus(page, ".zoom button")
    page.press("Enter", "Enter")
    assert page.says(width) == pytest.approx(before * 1.6**2, rel=0.02)


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_every_text_has_enough_contrast(page: Page, scheme: str) -> None:
    page.prefers("prefers-color-scheme", scheme)
    page.says("for (const one of document.querySelectorAll('details')) one.open = true; 0")
    focus(page, "[role=listbox]")
    page.press("Home", "Enter")  # a chosen row has another background
    found = page.says(CONTRAST)
    texts = {text for _, text, _, _ in found}
    assert texts >= {"v2", "token-1", "TOK-11", "fail", "pass"}
    assert any(text.startswith("latency of") and text.endswith("…") for text in texts)
    assert [one for one in found if one[0] < ENOUGH] == []


def test_nothing_moves(page: Page) -> None:
    page.prefers("prefers-reduced-motion", "reduce")
    moving = page.says("""
        [...document.querySelectorAll("*")].filter((one) => {
          const { transitionDuration, animationName, scrollBehavior } = getComputedStyle(one);
          return `${transitionDuration} ${animationName} ${scrollBehavior}` !== "0s none auto";
        }).map((one) => one.outerHTML.slice(0, 80))
    """)
    assert moving == []


def test_a_step_from_a_link_that_was_typed(browser: Browser, file: Path) -> None:
    """From a link in any spelling k goes up from its row, not to the first row."""
    page = browser.open(f"{file.as_uri()}#kv-01", first=WATCH)
    wait_until(lambda: shown(page).startswith("KV-01"), "the scenario", timeout=60)
    page.says(
        "document.body.dispatchEvent(new KeyboardEvent('keydown', {key: 'k', bubbles: true}))"
    )
    wait_until(lambda: shown(page).startswith("TOK-11"), "the one above", timeout=60)


def test_a_link_to_a_moment_of_a_run(browser: Browser, file: Path) -> None:
    page = browser.open(f"{file.as_uri()}#TOK-11/B@2.50", first=WATCH)
    wait_until(lambda: shown(page).startswith("TOK-11"), "the scenario", timeout=60)
    row = "document.querySelector('tr.chosen')?.textContent ?? ''"
    wait_until(lambda: page.says(row).startswith("+2.50 s"), "the moment", timeout=60)
    pressed = "document.querySelector('.runpick [aria-pressed=true]').textContent"
    assert page.says(pressed).startswith("B mine")
    assert page.says("document.querySelectorAll('.cursor').length") == 1
    focus(page, ".runpick [aria-pressed=false]")
    page.press("Enter")
    assert page.says("location.hash") == "#TOK-11/A"
    focus(page, ".reason button")
    page.press("Enter")
    assert page.says("location.hash") == "#TOK-11/A@2.50"
    assert page.says(row).startswith("+2.50 s")
    # From there j goes down the list.
    page.says(
        "document.body.dispatchEvent(new KeyboardEvent('keydown', {key: 'j', bubbles: true}))"
    )
    wait_until(lambda: shown(page).startswith("KV-01"), "the next one", timeout=60)


def test_on_paper(page: Page) -> None:
    page.send("Emulation.setEmulatedMedia", media="print")
    page.says("dispatchEvent(new Event('beforeprint')); 0")
    left = "[...document.querySelectorAll('.filters, .zoom, .runpick [aria-pressed=false]')]"
    assert page.says(f"{left}.filter((one) => one.checkVisibility()).length") == 0
    style = "getComputedStyle(document.querySelector('#detail'))"
    assert page.says(f"[{style}.overflowY, {style}.maxHeight]") == ["visible", "none"]
    width = "document.querySelector('.scroll svg').getBoundingClientRect().width"
    assert page.says(width) == 560
    page.send("Emulation.setEmulatedMedia", media="screen")
    page.says("dispatchEvent(new Event('afterprint')); 0")
    assert page.says(width) > 560
