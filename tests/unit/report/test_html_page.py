"""The page of a run."""

from __future__ import annotations

import base64
import gzip
import json
import random
import re
from collections.abc import Callable
from html.parser import HTMLParser
from typing import Any

import pytest

from tests.unit.scenario.conftest import Story
from vault_harness.errors import SettingsError
from vault_harness.judge.report.html import data, render
from vault_harness.judge.report.html.page import WORDS
from vault_harness.judge.verdict import Finding, SetAside, Verdict
from vault_harness.recorder.fault import Signature
from vault_harness.recorder.observations import AuditRecord, Stall, Touch


def journal(*scenarios: dict[str, Any], subject: str = "reference") -> dict[str, Any]:
    return {
        "subject": subject,
        "product": "openbao 2.7.2",
        "engine": "process",
        "complete": True,
        "scenarios": [
            {
                "id": "TOK-11",
                "promise": "One login",
                "severity": "critical",
                "word": "pass",
                "seconds": 1.0,
                **one,
            }
            for one in scenarios
        ],
    }


def details(page: str) -> dict[str, Any]:
    packed = re.search(r'<script id="data" type="text/plain">(.*?)</script>', page)
    assert packed is not None
    content: dict[str, Any] = json.loads(gzip.decompress(base64.b64decode(packed[1])))
    return content


def heads(page: str) -> dict[str, Any]:
    """Return the names of runs and scenarios that the script gets."""
    found = re.search(r'<script type="application/json" id="heads">(.*?)</script>', page)
    assert found is not None
    content: dict[str, Any] = json.loads(found[1])
    return content


class Links(HTMLParser):
    """Collect what a page would fetch from elsewhere."""

    def __init__(self) -> None:
        super().__init__()
        self.fetched: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.fetched += [v or "" for name, v in attrs if name in ("src", "srcset", "data")]
        self.fetched += [v or "" for name, v in attrs if name == "href" and tag == "link"]


def test_it_fetches_nothing() -> None:
    links = Links()
    page = render([journal({})])
    links.feed(page)
    assert links.fetched == []
    assert "@import" not in page
    assert "url(" not in page


def test_each_scenario_has_a_row_and_a_link() -> None:
    """The link has the scenario's id."""
    page = render([journal({}, {"id": "SID-02", "word": "not exercised"})])
    assert '<a href="#SID-02">SID-02</a>' in page
    assert 'class="verdict not-exercised"><span>not exercised<' in page
    assert set(details(page)) == {"TOK-11", "SID-02"}


def test_what_did_not_pass_comes_first() -> None:
    """Known failures come after new ones."""
    known = {"known": {"kind": "failing", "reason": "x"}}
    page = render(
        [
            journal(
                {"id": "KV-01"},
                {"id": "KV-02", "word": "skipped"},
                {"id": "KV-03", "word": "fail", **known},
                {"id": "SEA-01", "word": "not exercised"},
                {"id": "TOK-11", "word": "fail"},
            )
        ]
    )
    listed = re.findall(r'scope="row"><a href="#([^"]*)"', page)
    assert listed == ["TOK-11", "KV-03", "SEA-01", "KV-01", "KV-02"]


def test_what_a_client_says_is_no_markup() -> None:
    nasty = "</script><img src=x onerror=alert(1)>"
    page = render([journal({"promise": nasty, "why": nasty, "source": nasty}, subject=nasty)])
    assert nasty not in page
    links = Links()
    links.feed(page)
    assert links.fetched == []


def test_what_a_client_says_changes_nothing_else() -> None:
    """Colours and characters that turn the text do not get into the page."""
    odd = "\x1b[31m \u202ered\u2066"
    broken = {"promise": odd, "seen": odd, "at": 1.0, "harm": True}
    fields = {
        **dict.fromkeys(("promise", "why", "source", "again", "no_closing"), odd),
        "findings": [broken],
        "leaks": [broken],
        "set_aside": [{"finding": broken, "why": odd}],
        "untouched": [odd],
        "evidence": [odd],
        "known": {"kind": "failing", "reason": odd},
        "marks": [{"at": 1.0, "text": odd}],
        "operations": [{"verb": "read", "path": odd, "began": 1.0, "ended": 2.0, "message": odd}],
        "exchanges": [{"kind": "read", "path": odd, "began": 1.0, "ended": 2.0, "errors": [odd]}],
        "log": [{"at": 1.0, "text": odd}],
        "trace": f"Traceback\n  {odd}\n",
    }
    client = {"subject": odd, "version": odd, "declares": {}, "capabilities": ["read"]}
    page = render([{**journal({**fields, "word": "error"}, subject=odd), "client": client}])
    shown = [json.dumps(part, ensure_ascii=False) for part in (details(page), heads(page))]
    assert not set("".join([page, *shown])) & set("\x1b\u202e\u2066")
    assert details(page)["TOK-11"][0]["trace"].count("\n") == 2


def test_runs_stand_side_by_side() -> None:
    """A scenario that only one run has is marked in the other run's column."""
    first = journal({}, subject="mine")
    second = journal({"word": "fail"}, {"id": "SEA-01"}, subject="yours")
    page = render([first, second])
    row = re.search(r'href="#SEA-01".*?</tr>', page, re.DOTALL)
    assert row is not None
    assert re.findall(r'class="verdict [^"]*"><span>([^<]*)<', row[0]) == ["not run", "pass"]
    assert details(page)["SEA-01"][0] is None


def test_a_run_that_did_not_end_says_so() -> None:
    page = render([journal({}) | {"complete": False, "summary": "mine: incomplete: SEA-01"}])
    assert "did not come to its end, and is no pass" in page
    assert "mine: incomplete: SEA-01" in page
    assert "is no pass" not in render([journal({}) | {"complete": True}])


def test_the_grade_comes_first() -> None:
    more = {"complete": True, "suite_version": "0.1.0", "wires": ["TLS"], "shard": "2/4"}
    page = render([journal({"word": "fail"}) | more])
    head, about = page.split("About this run", 1)
    assert "<h2>Grade C: 1 critical cause</h2>" in head
    assert "process engine, TLS, suite 0.1.0, part 2/4" in about
    assert "(explains 1, clearest TOK-11)" in about


def test_a_run_without_a_grade_says_how_many_passed() -> None:
    """The reason stands among the details."""
    page = render([journal({"word": "fail"}) | {"left_out": {"SEA-01": "critical"}}])
    head, about = page.split("About this run", 1)
    assert re.search("<h2>0 of 1 scenarios? pass; 1 fail", head)
    assert "no grade" in about


def late(**more: Any) -> dict[str, Any]:
    return {
        "promise": "a good read within 3 s after the fault",
        "seen": "after 4 s",
        "at": 1.0,
        **more,
    }


def test_a_cause_is_shown_once() -> None:
    """It has a remedy and a link to its clearest scenario."""
    many = [{"id": f"NET-0{n}", "word": "fail", "findings": [late(), late()]} for n in range(7)]
    page = render([journal(*many)])
    head = page.partition('id="scenarios"')[0]
    assert "Critical: it does not recover after a fault</strong> (explains 7 scenarios)" in head
    assert "After a 403, look the token up" in head
    assert re.findall(r'<a href="#(NET-..)">', head) == ["NET-00"]
    assert "1 cause explains 7 of 7 failures" in head


def test_a_failure_has_one_reason() -> None:
    """The first own finding is the reason; the rest is folded."""
    many = [{"id": f"NET-0{n}", "word": "fail", "findings": [late()]} for n in range(5)]
    many[0]["findings"] = [late(), late(seen="twice"), late(closing=True, seen="alive")]
    many[0] |= {"untouched": ["it was not told"], "evidence": ["the proxy counted it"]}
    found = details(render([journal(*many)]))["NET-00"][0]
    assert (found["reason"]["seen"], found["reason"]["at"]) == ("after 4 s", 1000)
    assert found["reason"]["note"] == "5 scenarios of this run found it."
    assert [(title, [one["seen"] for one in told]) for title, told in found["folds"]] == [
        ("Also found", ["twice"]),
        ("Found as the client was closed", ["alive"]),
        ("Conditions that were not met", ["it was not told"]),
        ("Conditions that were met", ["the proxy counted it"]),
    ]


def test_harm_is_the_reason_wherever_it_was_found() -> None:
    findings = [late(), late(seen="v1 of another", harm=True, closing=True)]
    found = details(render([journal({"word": "fail", "findings": findings})]))["TOK-11"][0]
    assert (found["reason"]["seen"], found["reason"]["harm"]) == ("v1 of another", True)


def test_a_failure_at_the_clients_end_is_named_as_such() -> None:
    """The scenario's own promise was kept."""
    closing = {"word": "fail", "findings": [late(closing=True)]}
    found = details(render([journal(closing)]))["TOK-11"][0]
    assert found["reason"]["note"].startswith("The promise of this scenario was kept. This was")


def test_what_proves_nothing_says_why() -> None:
    """The condition that was not met is the reason."""
    odd = {"word": "not exercised", "why": "x", "untouched": ["no login", "no read"]}
    found = details(render([journal(odd)]))["TOK-11"][0]
    assert found["reason"]["seen"] == "no login"
    assert found["reason"]["note"] == "So this scenario proves nothing about the client."
    assert found["folds"] == [["Conditions that were not met", [{"seen": "no read"}]]]


@pytest.mark.parametrize(
    ("entry", "reason"),
    [
        ({"word": "pass", "why": ""}, None),
        ({"word": "skipped", "why": "it does not claim: lease"}, "it does not claim: lease"),
        ({"word": "error", "why": ""}, "The harness broke down."),
        ({"word": "fail", "why": "a secret came out in KV-01"}, "a secret came out in KV-01"),
    ],
)
def test_a_verdict_without_findings_has_its_reason(
    entry: dict[str, Any], reason: str | None
) -> None:
    """The run gave the reason; a pass needs none."""
    found = details(render([journal(entry)]))["TOK-11"][0]["reason"]
    assert (found and found["seen"]) == reason


@pytest.mark.parametrize(
    ("more", "shown"),
    [
        ({}, "fail</span>"),
        ({"forgiven": True}, "fail <small>(SHOULD)</small></span>"),
        ({"known": {"kind": "failing", "reason": "x"}}, "fail <small>(known)</small></span>"),
        ({"known": {"kind": "failing", "reason": "x"}, "word": "flaky"}, "flaky</span>"),
        (
            {"known": {"kind": "failing", "reason": "x"}, "word": "pass"},
            "pass <small>(fixed)</small></span>",
        ),
        ({"known": {"kind": "flaky", "reason": "x"}, "word": "pass"}, "pass</span>"),
        (
            {
                "known": {"kind": "failing", "reason": "x"},
                "findings": [{"promise": "no wrong value", "seen": "v1", "harm": True}],
            },
            "fail</span>",
        ),
    ],
)
def test_what_counts_otherwise_is_marked(more: dict[str, Any], shown: str) -> None:
    assert f">{shown}" in render([journal({"word": "fail", **more})])


def test_a_part_of_a_run_does_not_call_a_leak_fixed() -> None:
    """Other scenarios may leak."""
    leaks = {"about_leaks": True, "known": {"kind": "failing", "reason": "x"}}
    assert "(fixed)</small>" in render([journal(leaks)])
    for part in ({"left_out": {"SEA-01": "high"}}, {"complete": False}):
        assert "(fixed)</small>" not in render([journal(leaks) | part])


def test_two_runs_of_one_subject_have_letters() -> None:
    assert heads(render([journal({}), journal({})]))["runs"] == ["A reference", "B reference"]
    assert heads(render([journal({})]))["runs"] == ["reference"]


def test_the_log_of_what_did_not_pass() -> None:
    """It is on the scenario's clock; that of a pass is left out."""
    log = {"log": [{"at": 1.5, "text": "renewed"}, {"at": None, "text": "no clock"}]}
    failed = details(render([journal({"word": "fail", **log})]))["TOK-11"][0]
    assert failed["log"] == "+1.50 s  renewed\nno clock"
    assert details(render([journal(log)]))["TOK-11"][0]["log"] == ""


def test_the_log_of_a_flood() -> None:
    """Only the beginning and the end are shown."""
    lines = [{"at": n / 100, "text": f"line {n}"} for n in range(50_000)]
    page = render([journal({"word": "fail", "log": lines})])
    told = details(page)["TOK-11"][0]["log"].splitlines()
    assert (told[0], told[-1]) == ("+0.00 s  line 0", "+499.99 s  line 49999")
    assert "... 49600 more lines, all of them in the journal ..." in told
    assert len(told) == 401


@pytest.mark.parametrize(
    "odd",
    [
        {"log": [{"text": "without a time"}]},
        {"log": [{"at": 1.0}]},
        {"log": "one text"},
        {"connections": [None]},
        {"exchanges": [{"kind": ["read"]}]},
        {"seed": None, "subject": "reference"},
        {"declared": None, "seed": 1, "subject": "reference"},
    ],
)
def test_journals_of_other_versions_can_be_shown(odd: dict[str, Any]) -> None:
    """A missing or odd field costs that field alone."""
    assert details(render([journal({"word": "fail", **odd})]))["TOK-11"][0]["word"] == "fail"


def test_times_are_whole_milliseconds() -> None:
    """A field that an older journal lacks is null."""
    operation = {"verb": "read", "path": "a", "began": 1.23656, "ended": None, "outcome": "ok"}
    found = details(render([journal({"operations": [operation]})]))
    row = ["read", "a", 1237, None, "ok", *[None] * 4]
    assert found["TOK-11"][0]["operations"] == [row]


def test_times_are_those_of_the_texts() -> None:
    """They round to the same hundredths."""
    times = [0.0, 0.005, 0.9648, 0.965, 0.9651, 1.23456, 2.675, *(n / 7919 for n in range(9000))]
    marks = [{"at": at, "text": "x"} for at in times]
    found = details(render([journal({"marks": marks, "connections": times[:900]})]))["TOK-11"][0]
    shown = [at for at, _ in found["marks"]]
    # page.js rounds halves up.
    assert [(at + 5) // 10 / 100 for at in shown] == [float(f"{at:.2f}") for at in times]
    assert max(abs(at - 1000 * time) for at, time in zip(shown, times, strict=True)) < 2
    assert found["connections"] == shown[:900]


def test_each_field_of_the_page_exists_in_a_record(
    story: Story, record: Callable[..., Any]
) -> None:
    story.call(1.0)
    story.sent("login", 1.0, credential="credential-1")
    story.put(0.5, "v1")
    story.used(2.0)
    story.fault(Signature())
    story.history.mark("delivered")
    story.history.note_handshake(1, refused="unknown authority")
    story.history.touches = [Touch("drip", 9.0, None)]
    story.history.stalls = [Stall(3.0, 0.4)]
    story.history.audit = [AuditRecord(1.0, "auth/approle/login", "update", None, None)]
    finding = Finding("p", "late", 1.0)
    made = record("fail", verdict=Verdict("fail", [finding], set_aside=[SetAside(finding, "w")]))
    shown = {
        "operations": data.OPERATION,
        "exchanges": data.EXCHANGE,
        "audit": data.AUDIT,
        "rotations": data.ROTATION,
        "touches": data.TOUCH,
        "faults": data.FAULT,
        "marks": data.MARK,
        "uses": data.USE,
        "handshakes": data.HANDSHAKE,
        "stalls": data.STALL,
    }
    for events, names in shown.items():
        assert set(names) <= set(made[events][0]), events
    told = details(render([journal(made)]))["TOK-11"][0]
    assert {events for events in shown if not told[events]} == set()
    assert [told["reason"]["seen"], told["reason"]["at"]] == ["late", 1000]
    ((title, (aside,)),) = [fold for fold in told["folds"] if "count" in fold[0]]
    assert (title, aside["seen"]) == ("Findings that do not count", "late")
    assert aside["note"] == "It does not count: w."


def test_what_a_request_carried_and_what_acted_on_it() -> None:
    """The fault is shown without its number."""
    login = {"kind": "login", "method": "POST", "path": "x", "namespace": "team", "ttl": 9.0}
    login |= {"credential": "credential-1", "interference": "answer to login 3 s late #2"}
    found = details(render([journal({"exchanges": [login]})]))["TOK-11"][0]["exchanges"][0]
    assert found[-4:] == ["credential-1", "team", None, "answer to login 3 s late"]


def test_runs_of_one_scenario() -> None:
    runs = [{"word": "pass", "why": "", "seconds": 2.0}, {"word": "fail", "why": "w", "seconds": 3}]
    flaky = {"word": "flaky", "rate": "1 of 2", "runs": runs}
    found = details(render([journal(flaky)]))["TOK-11"][0]
    assert found["rate"] == "1 of 2"
    told = [{"seen": "pass, 2.0 s"}, {"seen": "fail, 3 s: w"}]
    assert found["folds"] == [["Each run", told]]


def test_runs_that_confirmed_a_verdict() -> None:
    """A run on a slow machine does not count."""
    runs = [{"word": "fail", "why": "w", "too_slow": "it stood still"}, {"word": "pass", "why": ""}]
    entry = {"word": "flaky", "why": "1 of 2", "confirmation": runs}
    found = details(render([journal(entry)]))["TOK-11"][0]
    told = [{"seen": "fail: w (does not count: it stood still)"}, {"seen": "pass"}]
    assert found["folds"] == [["Each run", told]]


def test_where_the_harness_broke_down() -> None:
    broken = {"word": "error", "trace": "x" * 10_000 + "KeyError: 'a'"}
    found = details(render([journal(broken)]))["TOK-11"][0]["trace"]
    assert (len(found), found.endswith("KeyError: 'a'")) == (6000, True)
    assert details(render([journal({**broken, "word": "pass"})]))["TOK-11"][0]["trace"] == ""


def test_whose_verdicts_they_are() -> None:
    """The times that the client declares are shown too."""
    client = {"subject": "mine", "version": "1.4.2", "declares": {"refresh": 5.0}}
    assert "process engine, client 1.4.2, declares refresh 5 s</li>" in render(
        [journal({}) | {"client": client}]
    )


def test_words_are_explained() -> None:
    """The page needs no documents."""
    page = render([journal({})])
    told = " ".join(re.findall(r"<dt>([^<]*)</dt>", page[page.index("What the words mean") :]))
    assert all(
        word in told
        for word in (*WORDS, "critical", "medium", "harm", "known", "fixed", "token-1", "T")
    )


def test_a_flood_of_requests_is_a_page_that_opens() -> None:
    """It shows the first, the last, and those near a finding."""
    login = {"kind": "login", "method": "POST", "began": 0.001, "status": 200, "path": "l"}
    asked = [
        {"kind": "read", "method": "GET", "path": f"p/{n}", "began": n / 5000, "ended": n / 5000,
         "status": 503, "connection": n}
        for n in range(60_000)
    ]  # fmt: skip
    finding = {"promise": "no loop without a pause", "seen": "5000 in a second", "at": 7.0}
    flood = {"word": "fail", "findings": [finding], "exchanges": [asked[0], login, *asked[1:]]}
    page = render([journal({**flood, "connections": [one["began"] for one in asked]})])
    assert len(page) < 200_000
    found = details(page)["TOK-11"][0]
    paths = [one[2] for one in found["exchanges"]]
    assert {"l", "p/0", "p/59999", "p/35000"} <= set(paths)
    assert len(paths) == 3001
    assert len(found["connections"]) == 3000
    assert found["left"] == 57_000 + 57_000
    assert details(render([journal({"exchanges": asked[:3000]})]))["TOK-11"][0]["left"] == 0


@pytest.mark.slow  # a very large page
def test_a_flood_in_every_scenario_is_a_page_that_opens() -> None:
    """Fewer events of each scenario are left; the first and the last stay."""
    chance = random.Random(7)
    flood = [
        {"kind": "read", "method": "GET", "path": f"p/{n}", "began": n / 300 + chance.random() / 9,
         "ended": n / 300 + 0.5 + chance.random(), "status": 503, "connection": n}
        for n in range(3000)
    ]  # fmt: skip
    page = render([journal(*({"id": f"TOK-{n:03}", "exchanges": flood} for n in range(126)))])
    assert len(page) < 2_000_000
    shown = details(page)
    assert len(shown) == 126
    for (one,) in shown.values():
        assert (one["exchanges"][0][2], one["exchanges"][-1][2]) == ("p/0", "p/2999")
        assert len(one["exchanges"]) + one["left"] == 3000


def test_what_a_client_says_at_length() -> None:
    """It is cut, and says where the rest is."""
    long = "x" * 9000
    read = {"verb": "read", "path": "a", "began": 1.0, "ended": 1.1, "message": long}
    finding = {"promise": "p", "seen": long, "at": 1.0}
    entry = {"word": "fail", "findings": [finding, finding], "untouched": [long]}
    found = details(render([journal({**entry, "operations": [read]})]))["TOK-11"][0]
    folded = [one["seen"] for _, told in found["folds"] for one in told]
    assert len(folded) == 2
    told = [found["operations"][0][6], found["reason"]["seen"], *folded]
    for text in told:
        assert len(text) < 2000
        assert text.endswith("x ... 7500 more letters, all of them in the journal ...")


def test_more_runs_than_letters() -> None:
    """A page has at most 26 runs, a letter each."""
    assert len(heads(render([journal({})] * 26))["runs"]) == 26
    with pytest.raises(SettingsError, match="at most 26 runs side by side"):
        render([journal({})] * 27)
