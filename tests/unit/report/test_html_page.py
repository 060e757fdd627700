"""The page of a run: one text, the same for the same journal, and deaf to what clients say."""

from __future__ import annotations

import base64
import gzip
import json
import random
import re
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

from tests.unit.scenario.conftest import Story
from vault_harness.errors import SettingsError
from vault_harness.faults import Signature
from vault_harness.report.html import _data, render, write_page
from vault_harness.report.html._page import SEVERITIES, WORDS
from vault_harness.scenario import Finding, Verdict
from vault_harness.scenario.observations import AuditRecord, Stall, Touch
from vault_harness.scenario.verdict import SetAside


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


def heads(page: str) -> dict[str, Any]:
    """The names of runs and scenarios, for the script."""
    found = re.search(r'<script type="application/json" id="heads">(.*?)</script>', page)
    assert found is not None
    content: dict[str, Any] = json.loads(found[1])
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


def test_what_to_look_at_first_is_above_the_table() -> None:
    """One of 126 that is broken has a link there; what fails no run has none."""
    known = {"known": {"kind": "failing", "reason": "x"}}
    mine = journal(
        {"word": "not exercised"},
        {"id": "SEA-01", "word": "fail"},
        {"id": "KV-01", "word": "fail"},
        {"id": "KV-02", "word": "fail", "forgiven": True},
        {"id": "KV-03", "word": "fail", **known},
        {"id": "KV-04", "word": "pass", **known},
        {"id": "KV-05", "word": "skipped"},
        {"id": "KV-06"},
    )

    def above(*runs: dict[str, Any]) -> list[str]:
        head = render(list(runs)).partition("<details")[0]
        return re.findall(r"<dd>(?:fail|not|pass).*</dd>", head)

    assert above(mine) == [
        '<dd>fail: <a href="#KV-01">KV-01</a>, <a href="#SEA-01">SEA-01</a></dd>',
        '<dd>not exercised: <a href="#TOK-11">TOK-11</a></dd>',
        '<dd>pass (fixed): <a href="#KV-04">KV-04</a></dd>',
    ]
    assert above(journal({}), journal({"word": "fail"})) == [
        '<dd>fail: <a href="#TOK-11/B">TOK-11</a></dd>'
    ]
    (many,) = above(journal(*({"id": f"TOK-{n:03}", "word": "fail"} for n in range(126))))
    assert many.endswith(">TOK-039</a> and 86 more</dd>")


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


def test_what_a_client_says_changes_nothing_else() -> None:
    """Neither the colours of its log nor what turns a direction, so that harm is read backwards."""
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
    client = {"version": odd, "declares": {}, "capabilities": ["read"]}
    page = render([{**journal({**fields, "word": "error"}, subject=odd), "client": client}])
    shown = [json.dumps(part, ensure_ascii=False) for part in (details(page), heads(page))]
    assert not set("".join([page, *shown])) & set("\x1b\u202e\u2066")
    assert details(page)["TOK-11"][0]["trace"].count("\n") == 2


def test_a_time_beyond_all_times() -> None:
    """Of a journal that was made by hand: it is shown somewhere, and the page is made."""
    marks = [{"at": at, "text": "x"} for at in (1e308, -1e308)]
    assert details(render([journal({"marks": marks})]))["TOK-11"][0]["marks"][1][1] == "x"


def test_half_of_a_character_in_a_journal(tmp_path: Path) -> None:
    """Of an older suite, which kept it as a client said it."""
    write_page([journal({"why": "cut \ud83d"}, subject="\ud83d")], tmp_path / "index.html")
    assert details((tmp_path / "index.html").read_text("utf-8"))["TOK-11"][0]["why"]


def test_runs_stand_side_by_side() -> None:
    """A scenario that one of them did not run says so in its column."""
    first = journal({}, subject="mine")
    second = journal({"word": "fail"}, {"id": "SEA-01"}, subject="yours")
    page = render([first, second])
    row = re.search(r'href="#SEA-01".*?</tr>', page, re.DOTALL)
    assert row is not None
    assert re.findall(r'class="verdict [^"]*">([^<]*)<', row[0]) == ["not run", "pass"]
    assert details(page)["SEA-01"][0] is None


def test_a_run_that_did_not_end_says_so() -> None:
    """In its first lines, or its verdicts would look like a pass."""
    page = render([journal({}) | {"complete": False, "summary": "mine: incomplete: SEA-01"}])
    assert "did not come to its end, and is no pass" in page
    assert "mine: incomplete: SEA-01" in page
    assert "is no pass" not in render([journal({}) | {"complete": True}])


def test_what_the_verdicts_are_worth() -> None:
    """The grade with its reasons, which suite gave it, and what was spoken."""
    more = {"complete": True, "suite_version": "0.1.0", "wires": ["TLS"], "shard": "2/4"}
    page = render([journal({"word": "fail"}) | more])
    assert "grade C (claims nothing); critical, and broken: TOK-11" in page
    assert "process engine, TLS, suite 0.1.0, part 2/4" in page


def test_what_many_found_broken_is_told_once() -> None:
    """Twelve failures may have one cause; what one scenario alone found is not among them."""
    late = {"promise": "a good read within 3 s", "seen": "after 4 s", "at": 1.0}
    many = [
        {
            "id": f"NET-0{n}",
            "word": "fail",
            "findings": [late, late] if n else [{**late, "promise": "x"}],
        }
        for n in range(7)
    ]
    told = "broken again and again, for one cause perhaps: 6 scenarios: a good read within 3 s</dd>"
    assert told in render([journal(*many)])
    assert "again and again" not in render([journal(*many[:4])])


def test_secrets_that_came_out_are_shown() -> None:
    """Also where the scenario was about something else, and passes."""
    leak = {"promise": "no secret", "seen": "<token-1> in its log", "at": 1.5}
    found = details(render([journal({"leaks": [leak]})]))["TOK-11"][0]
    assert found["leaks"] == [["no secret", "<token-1> in its log", 1500, None]]


def test_known_failures_are_told_with_their_reason() -> None:
    """Where the scenario is shown."""
    known = {"word": "fail", "known": {"kind": "failing", "reason": "issue 7"}}
    assert details(render([journal(known)]))["TOK-11"][0]["known"] == "issue 7"


@pytest.mark.parametrize(
    ("more", "shown"),
    [
        ({}, "fail</td>"),
        ({"forgiven": True}, "fail <small>(SHOULD)</small></td>"),
        ({"known": {"kind": "failing", "reason": "x"}}, "fail <small>(known)</small></td>"),
        ({"known": {"kind": "failing", "reason": "x"}, "word": "flaky"}, "flaky</td>"),
        (
            {"known": {"kind": "failing", "reason": "x"}, "word": "pass"},
            "pass <small>(fixed)</small></td>",
        ),
        ({"known": {"kind": "flaky", "reason": "x"}, "word": "pass"}, "pass</td>"),
        (
            {
                "known": {"kind": "failing", "reason": "x"},
                "findings": [{"promise": "no wrong value", "seen": "v1", "harm": True}],
            },
            "fail</td>",
        ),
    ],
)
def test_what_counts_otherwise_is_marked(more: dict[str, Any], shown: str) -> None:
    """A green job with a red row would want an explanation, and a red one with none but passes."""
    assert f">{shown}" in render([journal({"word": "fail", **more})])


def test_a_part_does_not_tell_that_no_secret_came_out() -> None:
    """The row about them is known to fail and passes: in the rest it may fail."""
    leaks = {"about_leaks": True, "known": {"kind": "failing", "reason": "x"}}
    assert "(fixed)</small>" in render([journal(leaks)])
    for part in ({"left_out": {"SEA-01": "high"}}, {"complete": False}):
        assert "(fixed)</small>" not in render([journal(leaks) | part])


def test_two_runs_of_one_subject_can_be_told_apart() -> None:
    """Each bears the letter of its column; a run alone needs none."""
    assert heads(render([journal({}), journal({})]))["runs"] == ["A reference", "B reference"]
    assert heads(render([journal({})]))["runs"] == ["reference"]


def test_the_command_is_the_journals_own() -> None:
    """Somebody else's scenarios are run by pytest, which only the run itself knew."""
    command = "pytest resilience/test_till.py::test_seal --vault-seed 7"
    mine = {"again": command, "subject": "reference", "seed": 7}
    assert details(render([journal(mine)]))["TOK-11"][0]["again"] == command


def test_the_log_of_what_did_not_pass() -> None:
    """On the scenario's clock; that of a scenario that passed is left out."""
    log = {"log": [{"at": 1.5, "text": "renewed"}, {"at": None, "text": "no clock"}]}
    failed = details(render([journal({"word": "fail", **log})]))["TOK-11"][0]
    assert failed["log"] == "+1.50 s  renewed\nno clock"
    assert details(render([journal(log)]))["TOK-11"][0]["log"] == ""


def test_the_log_of_a_flood() -> None:
    """Its head and its end: many such would make a page that nobody opens."""
    lines = [{"at": n / 100, "text": f"line {n}"} for n in range(50_000)]
    page = render([journal({"word": "fail", "log": lines})])
    told = details(page)["TOK-11"][0]["log"].splitlines()
    assert (told[0], told[-1]) == ("+0.00 s  line 0", "+499.99 s  line 49999")
    assert "... 49600 more lines, all of them in the journal ..." in told
    assert len(told) == 401


def test_a_line_of_a_log_that_has_no_end() -> None:
    """Some clients log whole answers, or their dump: the page stays one that can be opened."""
    lines = [{"at": 1.0, "text": random.Random(n).randbytes(200_000).hex()} for n in range(8)]
    page = render([journal({"word": "fail", "log": lines})])
    assert len(page) < 100_000
    told = details(page)["TOK-11"][0]["log"].splitlines()
    assert len(told) == 8
    ending = "399700 more letters, all of them in the journal ..."
    assert all(line.endswith(ending) for line in told)


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
    """A field that is missing or of another form costs that field and no more."""
    assert details(render([journal({"word": "fail", **odd})]))["TOK-11"][0]["word"] == "fail"


def test_times_are_whole_milliseconds() -> None:
    """Events are lists, and a field that an older journal lacks is null."""
    operation = {"verb": "read", "path": "a", "began": 1.23656, "ended": None, "outcome": "ok"}
    found = details(render([journal({"operations": [operation]})]))
    row = ["read", "a", 1237, None, "ok", *[None] * 4]
    assert found["TOK-11"][0]["operations"] == [row]


def test_times_are_those_of_the_texts() -> None:
    """To the hundredth, as findings have them in their words; none is rounded twice."""
    times = [0.0, 0.005, 0.9648, 0.965, 0.9651, 1.23456, 2.675, *(n / 7919 for n in range(9000))]
    marks = [{"at": at, "text": "x"} for at in times]
    found = details(render([journal({"marks": marks, "connections": times[:900]})]))["TOK-11"][0]
    shown = [at for at, _ in found["marks"]]
    # As page.js rounds: halves up.
    assert [(at + 5) // 10 / 100 for at in shown] == [float(f"{at:.2f}") for at in times]
    assert max(abs(at - 1000 * time) for at, time in zip(shown, times, strict=True)) < 2
    assert found["connections"] == shown[:900]


def test_each_name_is_one_that_a_record_has(story: Story, record: Callable[..., Any]) -> None:
    """A field that no event has would be shown nowhere, and nobody would miss it."""
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
        "operations": _data.OPERATION,
        "exchanges": _data.EXCHANGE,
        "audit": _data.AUDIT,
        "rotations": _data.ROTATION,
        "touches": _data.TOUCH,
        "faults": _data.FAULT,
        "findings": _data.FINDING,
        "marks": _data.MARK,
        "uses": _data.USE,
        "handshakes": _data.HANDSHAKE,
        "stalls": _data.STALL,
    }
    for events, names in shown.items():
        assert set(names) <= set(made[events][0]), events
    told = details(render([journal(made)]))["TOK-11"][0]
    assert {events for events in shown if not told[events]} == set()
    assert told["aside"] == [["p", "late", 1000, False, "w"]]


def test_what_a_request_carried_and_what_acted_on_it() -> None:
    """A namespace, a credential, and the fault without the number that tells alike ones apart."""
    login = {"kind": "login", "method": "POST", "path": "x", "namespace": "team", "ttl": 9.0}
    login |= {"credential": "credential-1", "interference": "answer to login 3 s late #2"}
    found = details(render([journal({"exchanges": [login]})]))["TOK-11"][0]["exchanges"][0]
    assert found[-4:] == ["credential-1", "team", None, "answer to login 3 s late"]


def test_runs_of_one_scenario() -> None:
    """How many passed, and what each came to."""
    runs = [{"word": "pass", "why": "", "seconds": 2.0}, {"word": "fail", "why": "w", "seconds": 3}]
    flaky = {"word": "flaky", "rate": "1 of 2", "runs": runs}
    found = details(render([journal(flaky)]))["TOK-11"][0]
    assert (found["rate"], found["runs"]) == ("1 of 2", [["pass", "", 2.0], ["fail", "w", 3]])


def test_where_the_harness_broke_down() -> None:
    """The end of its traceback, where that is the verdict."""
    broken = {"word": "error", "trace": "x" * 10_000 + "KeyError: 'a'"}
    found = details(render([journal(broken)]))["TOK-11"][0]["trace"]
    assert (len(found), found.endswith("KeyError: 'a'")) == (6000, True)
    assert details(render([journal({**broken, "word": "pass"})]))["TOK-11"][0]["trace"] == ""


def test_whose_verdicts_they_are() -> None:
    """Its version, and the times that it declares, by which it was judged."""
    client = {"subject": "mine", "version": "1.4.2", "declares": {"refresh": 5.0}}
    assert "process engine, client 1.4.2, declares refresh 5 s</dd>" in render(
        [journal({}) | {"client": client}]
    )


def test_words_are_explained() -> None:
    """Each verdict, and what stands beside one, on the page itself: it travels without the docs."""
    page = render([journal({})])
    told = " ".join(re.findall(r"<dt>([^<]*)</dt>", page[page.index("What the words mean") :]))
    assert all(
        word in told for word in (*WORDS, *SEVERITIES, "harm", "known", "fixed", "token-1", "T")
    )


def test_a_flood_of_requests_is_a_page_that_opens() -> None:
    """Of a client that asks without a pause: the first, the last, and what a finding is about."""
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


def test_a_flood_in_every_scenario_is_a_page_that_opens() -> None:
    """The more there is of all of them, the less is shown of each; their first and last stay."""
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


def test_long_logs_in_every_scenario_are_a_page_that_opens() -> None:
    """Of a client that never works, and logs whole answers."""
    chance = random.Random(7)
    log = [{"at": n / 9, "text": chance.randbytes(150).hex()} for n in range(400)]
    log[0]["text"], log[-1]["text"] = "first", "last"
    failed = ({"id": f"TOK-{n:03}", "word": "fail", "log": log} for n in range(126))
    page = render([journal(*failed)])
    assert len(page) < 2_000_000
    for (one,) in details(page).values():
        assert one["log"].startswith("+0.00 s  first\n")
        assert one["log"].endswith("  last")


def test_what_a_client_says_at_length() -> None:
    """Some put a whole page, or a traceback, in each message: its begin, and where the rest is."""
    long = "x" * 9000
    read = {"verb": "read", "path": "a", "began": 1.0, "ended": 1.1, "message": long}
    finding = {"promise": "p", "seen": long, "at": 1.0}
    entry = {"word": "fail", "why": long, "findings": [finding], "untouched": [long]}
    found = details(render([journal({**entry, "operations": [read]})]))["TOK-11"][0]
    told = [found["operations"][0][6], found["findings"][0][1], found["why"], *found["untouched"]]
    for text in told:
        assert len(text) < 2000
        assert text.endswith("x ... 7500 more letters, all of them in the journal ...")


def test_when_a_scenario_began() -> None:
    """For who has a log of their own, with times of the day."""
    assert details(render([journal({"started": 1795871638.5309})]))["TOK-11"][0]["started"] == (
        1795871638531
    )
    assert details(render([journal({"started": "then"})]))["TOK-11"][0]["started"] is None


def test_the_file_is_made_with_its_folder(tmp_path: Path) -> None:
    """`report/` need not be there yet."""
    target = write_page([journal({})], tmp_path / "report" / "index.html")
    assert target.read_text(encoding="utf-8").startswith("<!doctype html>")


def test_more_runs_than_letters() -> None:
    """Each has one for its column."""
    assert len(heads(render([journal({})] * 26))["runs"]) == 26
    with pytest.raises(SettingsError, match="at most 26 runs side by side"):
        render([journal({})] * 27)
