"""What a client is known to break: the file, and what it makes of lines and runs."""

from __future__ import annotations

import signal
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from vault_harness.errors import SettingsError
from vault_harness.judge.report import Line, Summary
from vault_harness.judge.report.known import Known, load_known, no_more_asked, place_of, write_known
from vault_harness.judge.report.outcome import Outcome, interrupted, outcome

KNOWN = Known({"TOK-12": "issue 7"}, {"NET-11": "one attempt more"})


def line(
    id: str,  # noqa: A002 - it is an id
    word: str,
    *broken: str,
    leaks: tuple[str, ...] = (),
    harm: bool = False,
) -> Line:
    """Return a scenario's line, marked with what `KNOWN` says of it."""
    made = Line(id, "A promise", "high", word, 1.0, "+1.23 s: late", "", leaks, False, broken)
    return KNOWN.mark(replace(made, harm=harm))


# The file


def test_what_is_written_is_read(tmp_path: Path) -> None:
    known = Known({"TOK-12": 'a "quoted" \\ reason\nof two lines: ü'}, {"NET-11": "sometimes"})
    assert load_known(write_known(known, tmp_path / "known.toml")) == known


@pytest.mark.parametrize("odd", ["\U0001f525", "\x7f", "\u2028", "\x00\x1b", "\\ud83d", "C:\\u"])
def test_any_letter_is_read_as_it_was_written(odd: str, tmp_path: Path) -> None:
    """TOML has no pairs of escapes, so an emoji is written as such."""
    known = Known({"TOK-12": f"a {odd} b"})
    assert load_known(write_known(known, tmp_path / "known.toml")) == known


def test_comments_of_the_file_stay(tmp_path: Path) -> None:
    file = tmp_path / "known.toml"
    text = (
        "[known-failing]\n# tokens\n\n# until 2.0 is out\nTOK-12 = 'issue #7'  # ask Ann\n"
        "SEA-01 = 'x'  # long ago\n# rarely\n[known-flaky]\nNET-11 = 'y'\n# mended: KV-01\n"
    )
    file.write_text(text)
    for _ in range(2):
        write_known(Known({"TOK-12": "issue #7"}, {"NET-11": "y"}), file)
    assert file.read_text().partition("\n\n")[2] == (
        '[known-failing]\n# tokens\n# until 2.0 is out\nTOK-12 = "issue #7"  # ask Ann\n\n'
        '# rarely\n[known-flaky]\nNET-11 = "y"\n\n# mended: KV-01\n'
    )
    assert load_known(file) == Known({"TOK-12": "issue #7"}, {"NET-11": "y"})


def test_a_file_that_is_a_link_stays_one(tmp_path: Path) -> None:
    """The shared file is written."""
    shared = tmp_path / "shared.toml"
    shared.write_text('[known-failing]\n# ask Ann\nTOK-12 = "issue 7"\n')
    (link := tmp_path / "known.toml").symlink_to(shared.name)
    write_known(KNOWN, link)
    assert link.is_symlink()
    assert load_known(shared) == KNOWN
    assert "# ask Ann\n" in shared.read_text()


def test_a_known_failure_can_be_an_inline_table(tmp_path: Path) -> None:
    """Ids may have any case."""
    file = tmp_path / "known.toml"
    file.write_text('known-failing = {"tok-12" = "issue 7"}\n')
    assert load_known(file) == Known({"TOK-12": "issue 7"})


def test_a_mark_at_the_begin_of_the_file(tmp_path: Path) -> None:
    """A byte order mark is ignored."""
    file = tmp_path / "known.toml"
    file.write_text('[known-failing]\r\nTOK-12 = "issue 7"\r\n', encoding="utf-8-sig", newline="")
    assert load_known(file) == Known({"TOK-12": "issue 7"})


def test_nothing_is_known_without_a_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A named file must exist."""
    monkeypatch.chdir(tmp_path)
    assert load_known() == Known()
    with pytest.raises(SettingsError, match="cannot be read"):
        load_known(tmp_path / "known.toml")


@pytest.mark.parametrize("what", ["folder", "link"])
def test_a_file_that_is_none(what: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A folder or a broken link is refused."""
    monkeypatch.chdir(tmp_path)
    place = tmp_path / "vault-harness.toml"
    if what == "folder":
        place.mkdir()
    else:
        place.symlink_to("nowhere")
    with pytest.raises(SettingsError, match="cannot be read: ") as caught:
        load_known()
    assert caught.value.looked_at == "vault-harness.toml"
    assert caught.value.remedy.startswith("name a file that exists and that you can read")


@pytest.mark.parametrize(
    ("text", "said", "line"),
    [
        ("[known-failing", "cannot be read", ""),
        ("[known-failing]\nTOK-12 = why", r"cannot be read: .*\(at line 2, ", ""),
        ('[known-failing]\nTOK-11 = "x"\n[known-falling]\n', "there is no known-falling", ":3"),
        ('known-failing = ["TOK-12"]', "is not a table", ":1"),
        ("[known-failing]\nTOK-12 = true", "TOK-12 has no reason", ":2"),
        ('[known-failing]\n# why\nTOK-12 = " "', "TOK-12 has no reason", ":3"),
        ('[known-failing]\nTOK-12 = "x"\ntok-12 = "y"', "TOK-12 is there twice", ":3"),
        ('[known-failing]\nTOK-12 = "x"\n[known-flaky]\ntok-12 = "x"', "fail always, and", ":4"),
    ],
)
def test_files_that_make_no_sense(tmp_path: Path, text: str, said: str, line: str) -> None:
    """The error has the line and an example."""
    file = tmp_path / "known.toml"
    file.write_text(text)
    with pytest.raises(SettingsError, match=said) as caught:
        load_known(file)
    assert (caught.value.looked_at, "TOK-12 =" in caught.value.remedy) == (f"{file}{line}", True)


@pytest.mark.parametrize(("id", "place"), [("NOPE-01", "known.toml:4"), ("TOK-13", "known.toml")])
def test_a_scenario_is_found_by_its_line(id: str, place: str, tmp_path: Path) -> None:  # noqa: A002
    """Or by the file."""
    file = tmp_path / "known.toml"
    file.write_text('[known-failing]\nTOK-12 = "x"\n[known-flaky]\nnope-01 = "y"\n')
    assert place_of(id, file) == str(tmp_path / place)


def test_writing_after_a_run() -> None:
    """Broken promises come in, kept ones go, and the rest stays."""
    old = Known(
        {"TOK-12": "issue 7", "SEA-01": "gone", "KV-01": "by hand"}, {"NET-11": "sometimes"}
    )
    lines = [
        line("TOK-12", "not exercised"),
        line("SEA-01", "pass"),
        line("KV-01", "fail", "values are right"),
        line("NET-11", "fail", "reads work"),
        line("POL-01", "fail", "one login at most"),
        line("SRV-01", "flaky", "no storm"),
    ]
    assert old.after(lines) == Known(
        {"TOK-12": "issue 7", "KV-01": "by hand", "POL-01": "one login at most"},
        {"NET-11": "sometimes", "SRV-01": "no storm"},
    )


def test_a_scenario_that_is_no_longer_asked_is_reported(tmp_path: Path) -> None:
    file = tmp_path / "known.toml"
    file.write_text(
        '[known-failing]\nTOK-12 = "x"\nKV-01 = "x"\n[known-flaky]\nnet-11 = "x"\nNOPE-1 = "x"\n'
    )
    why = "the subject does not claim: lease"
    records: list[dict[str, Any]] = [
        {"id": "TOK-12", "word": "skipped", "why": why},
        {"id": "NET-11", "word": "skipped", "why": "no PostgreSQL", "cannot": {"why": "none"}},
        {"id": "KV-01", "word": "fail"},
        {"id": "KV-02", "word": "skipped", "why": why},
    ]
    known = load_known(file)
    told = [f"TOK-12 is known to fail, and is no longer asked: skipped: {why} ({file}:2)"]
    assert no_more_asked(known, records, path=file) == told
    gone = f"NOPE-1 is known to fail, and is no longer asked: there is no such scenario ({file}"
    there = {"TOK-12", "KV-01", "NET-11"}
    assert no_more_asked(known, records, there, file) == [f"{gone}:6)", *told]


# What a line counts as


@pytest.mark.parametrize(
    ("id", "word", "counts"),
    [
        ("TOK-01", "pass", "kept"),
        ("TOK-01", "fail", "broken"),
        ("TOK-01", "flaky", "broken"),
        ("TOK-01", "not exercised", "not exercised"),
        ("TOK-01", "skipped", "skipped"),
        ("TOK-01", "error", "error"),
        ("TOK-12", "fail", "kept"),
        ("TOK-12", "pass", "broken"),
        ("TOK-12", "flaky", "broken"),
        ("TOK-12", "not exercised", "not exercised"),
        ("TOK-12", "error", "error"),
        ("NET-11", "fail", "kept"),
        ("NET-11", "pass", "kept"),
        ("NET-11", "flaky", "kept"),
    ],
)
def test_what_counts(id: str, word: str, counts: str) -> None:  # noqa: A002 - it is an id
    """Its pass counts as broken, and no proof is never excused."""
    assert line(id, word).counts_as == counts


def test_known_failures_are_shown_apart_from_new_ones() -> None:
    lines = [line("TOK-12", "fail"), line("TOK-01", "fail")]
    assert "fail (known)" in str(lines[0])
    assert "pass (fixed)" in str(line("TOK-12", "pass"))
    text = str(Summary("mine", lines))
    assert "; fail: TOK-01; fail as known: TOK-12 " in text


# Unknown harm


@pytest.mark.parametrize(("id", "word"), [("TOK-12", "fail"), ("NET-11", "flaky")])
def test_harm_is_not_excused_by_another_broken_promise(id: str, word: str) -> None:  # noqa: A002
    """The reason must begin with "harm" to excuse it."""
    harmful = line(id, word, harm=True)
    assert (harmful.counts_as, outcome([harmful])) == ("broken", Outcome.BROKEN)
    text = str(Summary("mine", [harmful]))
    assert f"; {word}: {id}; known to fail, and did harm: {id} " in text
    told = replace(harmful, reason=f"Harm: {harmful.reason}")
    assert (told.counts_as, outcome([told])) == ("kept", Outcome.KEPT)
    assert "did harm" not in str(Summary("mine", [told]))


def test_harm_is_written_with_its_reason(tmp_path: Path) -> None:
    """It is added once, before what was written by hand."""
    lines = [
        line("TOK-12", "fail", "one login", harm=True),
        line("NET-11", "flaky", "reads work", harm=True),
        line("KV-01", "fail", "no wrong value", harm=True),
    ]
    found = KNOWN.after(lines)
    assert found == Known(
        {"TOK-12": "harm: issue 7", "KV-01": "harm: no wrong value"},
        {"NET-11": "harm: one attempt more"},
    )
    assert found.after(lines) == found
    again = load_known(write_known(found, tmp_path / "known.toml"))
    assert outcome(map(again.mark, lines)) is Outcome.KEPT


# Exit codes

PASS, FAIL, UNSURE = (line("TOK-01", word) for word in ("pass", "fail", "not exercised"))
SKIPPED = line("KV-02", "skipped")


@pytest.mark.parametrize(
    ("lines", "found"),
    [
        ([PASS], Outcome.KEPT),
        ([PASS, line("TOK-12", "fail")], Outcome.KEPT),
        ([PASS, replace(FAIL, forgiven=True)], Outcome.KEPT),
        ([PASS, FAIL, UNSURE], Outcome.BROKEN),
        ([PASS, line("TOK-12", "pass")], Outcome.BROKEN),
        ([line("KV-01", "pass", leaks=("token-1",))], Outcome.BROKEN),
        ([PASS, UNSURE], Outcome.NOT_EXERCISED),
        ([UNSURE, line("TOK-02", "error")], Outcome.CRASHED),
        ([SKIPPED, SKIPPED], Outcome.NOT_EXERCISED),
        ([PASS, SKIPPED], Outcome.KEPT),
        ([SKIPPED, line("TOK-12", "fail")], Outcome.KEPT),
        ([], Outcome.NOT_EXERCISED),
    ],
)
def test_exit_codes(lines: list[Line], found: Outcome) -> None:
    """The worst verdict decides."""
    assert outcome(lines) is found


def test_runs_that_do_not_end_are_no_passes() -> None:
    assert interrupted(signal.SIGINT) is Outcome.INTERRUPTED
    assert interrupted(signal.SIGTERM) is Outcome.TERMINATED
    assert interrupted(signal.SIGHUP) is Outcome.HUNG_UP
    assert outcome([PASS], complete=False) is Outcome.CRASHED
    assert outcome([FAIL], complete=False) is Outcome.BROKEN


def test_not_exercised_may_be_allowed() -> None:
    """Nothing else can."""
    assert outcome([PASS, UNSURE], allow_not_exercised=True) is Outcome.KEPT


def test_leaks_that_are_known_in_another_part() -> None:
    """The part lacks the row about leaks."""
    leaking = line("KV-01", "pass", leaks=("token-1",))
    assert outcome([leaking]) is Outcome.BROKEN
    assert outcome([leaking], leaks_known=True) is Outcome.KEPT
    assert outcome([FAIL, leaking], leaks_known=True) is Outcome.BROKEN
    row = replace(line("TOK-12", "pass"), about_leaks=True, undecided=True)
    assert (outcome([row]), row.is_news) == (Outcome.KEPT, False)
    assert KNOWN.after([row]) == KNOWN
