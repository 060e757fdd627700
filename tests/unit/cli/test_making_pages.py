from __future__ import annotations

import fcntl
import json
import os
import sys
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.running import ran

Program = Callable[..., Any]  # of conftest.py


HEAD = {
    "schema_version": 2,
    "suite_version": "0.1.0",
    "complete": True,
    "summary": "",
    "engine": "process",
    "subject": "mine",
}


def journal(path: Path, subject: str) -> str:
    """Write the journal of a run with one scenario."""
    one = {"id": "TOK-11", "promise": "One login", "severity": "critical", "word": "pass"}
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps({**HEAD, "subject": subject, "scenarios": [{**one, "seconds": 1}]}))
    return str(path)


def test_the_last_run(program: Program, tmp_path: Path) -> None:
    journal(tmp_path / "report" / "journal.json", "mine")
    ended = program("report")
    assert (ended.code, ended.out.strip()) == (0, "written: report/index.html")
    assert "<h1>mine</h1>" in (tmp_path / "report" / "index.html").read_text()


def test_the_page_is_opened(tmp_path: Path) -> None:
    """The browser is the environment's; if it fails, the path is printed."""
    journal(tmp_path / "report" / "journal.json", "mine")
    browser = tmp_path / "browser"
    browser.write_text(f'#!/bin/sh\necho "$1" > {tmp_path}/opened\nexit 1\n')
    browser.chmod(0o755)
    ended = ran(
        [sys.executable, "-m", "vault_harness", "report", "--open"],
        env={"BROWSER": f"{browser} %s", "PATH": str(tmp_path), "HOME": str(tmp_path)},
        cwd=tmp_path,
        check=True,
    )
    page = tmp_path / "report" / "index.html"
    assert (tmp_path / "opened").read_text().strip() == page.as_uri()
    assert f"open {page} in one" in ended.stdout


def test_several_runs(program: Program, tmp_path: Path) -> None:
    files = [journal(tmp_path / f"{name}.json", name) for name in ("mine", "yours", "theirs")]
    ended = program("report", *files[:2], "--also", files[2], "--to", "all.html")
    assert ended.code == 0
    page = (tmp_path / "all.html").read_text()
    for title in ("A mine", "B yours", "C theirs"):
        assert f"<h2>{title}</h2>" in page


def test_a_run_that_broke_off_is_no_pass(program: Program, tmp_path: Path) -> None:
    old = scored(tmp_path / "old.json", "pass")
    unfinished = json.loads(Path(old).read_text()) | {"complete": False}
    (tmp_path / "new.json").write_text(json.dumps(unfinished))
    ended = program("score", "new.json", "--against", "old.json")
    assert ended.code == 3
    assert "this is no pass" in ended.out


@pytest.mark.parametrize("text", [None, "{", "[]", '{"scenarios": []}'])
def test_a_file_that_is_no_journal_is_refused(
    program: Program, tmp_path: Path, text: str | None
) -> None:
    if text is not None:
        (tmp_path / "x.json").write_text(text)
    ended = program("report", "x.json")
    assert ended.code not in (0, None)
    assert "looked at: x.json" in ended.err
    assert not (tmp_path / "report").exists()


def scored(path: Path, word: str) -> str:
    """Write a journal with one critical scenario."""
    one = {"id": "TOK-11", "promise": "One login", "severity": "critical", "word": word}
    path.write_text(json.dumps({**HEAD, "scenarios": [{**one, "seconds": 1}]}))
    return str(path)


def test_score(program: Program, tmp_path: Path) -> None:
    """The exit code is 1 only if something got worse."""
    good, bad = scored(tmp_path / "a.json", "pass"), scored(tmp_path / "b.json", "fail")
    ended = program("score", good, "--to", "old.json", "--badge", "badge.json")
    assert (ended.code, ended.out.startswith("grade A+ (claims nothing;")) == (0, True)
    assert json.loads((tmp_path / "old.json").read_text())["grade"] == "A+"
    ended = program("score", bad, "--against", "old.json", "--markdown", "change.md")
    assert (ended.code, "TOK-11  pass  fail  regression" in ended.out) == (1, True)
    assert "| TOK-11 | pass | fail | regression |" in (tmp_path / "change.md").read_text()
    assert program("score", good, "--against", bad).code == 0
    same = program("score", good, "--against", scored(tmp_path / "c.json", "pass"))
    assert (same.code, same.out.splitlines()[-1]) == (0, "no verdict changed")
    assert program("score", good, "--markdown", "change.md").code == 4


@pytest.mark.parametrize(
    "words",
    [
        ("score", "--against", "report/score.json"),
        ("score", "report/score.json", "--against", "report/journal.json"),
        ("score", "--against", "./report/../report/journal.json"),
    ],
)
def test_a_run_is_not_compared_with_itself(
    words: tuple[str, ...], program: Program, tmp_path: Path
) -> None:
    """It is compared with a committed score, not with what it wrote itself."""
    (tmp_path / "report").mkdir()
    scored(tmp_path / "report" / "journal.json", "fail")
    assert program("score", "--to", "report/score.json").code == 0
    ended = program(*words)
    assert (ended.code, "the run would be compared with itself" in ended.err) == (4, True)
    assert program("score", "--to", "score.json").code == 0
    assert program("score", "--against", "score.json").code == 0


def test_a_score_that_is_a_link_stays_one(program: Program, tmp_path: Path) -> None:
    run = scored(tmp_path / "run.json", "pass")
    for name in ("score", "badge"):
        (tmp_path / f"{name}.json").symlink_to(f"of-all-{name}.json")
    assert program("score", run, "--to", "score.json", "--badge", "badge.json").code == 0
    for name in ("score", "badge"):
        assert (tmp_path / f"{name}.json").is_symlink()
        assert (tmp_path / f"of-all-{name}.json").is_file()


def test_a_score_of_half_a_run_is_not_kept(program: Program, tmp_path: Path) -> None:
    """Later runs could break the rest unseen."""
    half = json.loads(Path(scored(tmp_path / "run.json", "pass")).read_text())
    (tmp_path / "run.json").write_text(json.dumps(half | {"complete": False}))
    ended = program("score", "run.json", "--to", "score.json", "--badge", "badge.json")
    assert (ended.code, (tmp_path / "score.json").exists()) == (3, False)
    assert "score.json is not written: later runs would be compared with" in ended.out
    assert "schemaVersion" in json.loads((tmp_path / "badge.json").read_text())


def test_a_worse_run_replaces_no_score_that_it_is_compared_with(
    program: Program, tmp_path: Path
) -> None:
    good, bad = scored(tmp_path / "a.json", "pass"), scored(tmp_path / "b.json", "fail")
    assert program("score", bad, "--to", "score.json").code == 0
    both = ("--against", "score.json", "--to", "./score.json")
    assert program("score", good, *both).code == 0
    for _ in range(2):
        ended = program("score", bad, *both)
        assert (ended.code, "./score.json stays as it was" in ended.out) == (1, True)
    assert program("score", bad, "--to", "score.json").code == 0


@pytest.mark.parametrize(
    ("words", "name"),
    [
        (("--to", "run.json"), "run.json"),  # the journal that the score is made from
        (("--to", "README.md"), "README.md"),
        (("--to", "new.json", "--badge", "run.json"), "run.json"),
        (("--badge", "README.md"), "README.md"),
    ],
)
def test_a_score_replaces_nothing_but_a_score(
    words: tuple[str, ...], name: str, program: Program, tmp_path: Path
) -> None:
    scored(tmp_path / "run.json", "pass")
    (tmp_path / "README.md").write_text("mine")
    before = (tmp_path / name).read_text()
    ended = program("score", "run.json", *words)
    assert (ended.code, f"this would replace {name}, which is no " in ended.err) == (4, True)
    assert (tmp_path / name).read_text() == before
    assert not (tmp_path / "new.json").exists()
    (tmp_path / "empty").write_text("")
    for _ in range(2):
        words = ("--to", "new.json", "--badge", "empty")
        assert program("score", "run.json", *words).code == 0


def test_text_of_a_received_file_is_shown_in_one_line(program: Program, tmp_path: Path) -> None:
    """A hosted job takes a line that begins with two colons as a command."""
    odd = "yours\n::stop-commands::x\x1b[2J"
    scored(tmp_path / "new.json", "pass")
    one = {"id": odd, "promise": odd, "severity": "high", "word": "fail", "seconds": 1}
    client = {"subject": odd, "capabilities": [odd]}
    whole = {**HEAD, "subject": odd, "client": client, "scenarios": [one]}
    (tmp_path / "old.json").write_text(json.dumps(whole))
    (tmp_path / "other.json").write_text(json.dumps({**whole, "suite_version": odd}))
    (tmp_path / "twice.json").write_text(json.dumps({**whole, "scenarios": [one, one]}))
    (tmp_path / "newer.json").write_text(
        json.dumps({**whole, "schema_version": 9} | {"suite_version": odd})
    )
    for words in (
        *(("score", "new.json", "--against", "old.json"), ("score", "old.json")),
        *(("score", "twice.json"), ("score", "newer.json")),
        *(("report", "--join", "old.json"), ("report", "--join", "old.json", "other.json")),
    ):
        ended = program(*words)
        said = ended.out + ended.err
        assert "::stop-commands::x" in said, words
        assert not [text for text in said.splitlines() if text.strip().startswith("::")], words
        assert "\x1b" not in said, words


def test_a_client_that_no_longer_starts_is_not_a_pass(program: Program, tmp_path: Path) -> None:
    """No verdict got worse."""
    scored(tmp_path / "old.json", "pass")
    new = scored(tmp_path / "new.json", "not exercised")
    ended = program("score", new, "--against", "old.json", "--markdown", "change.md")
    assert (ended.code, "no critical promise was exercised, as some were before" in ended.out) == (
        2,
        True,
    ), ended
    assert "this is no pass" in (tmp_path / "change.md").read_text()
    same = scored(tmp_path / "same.json", "not exercised")
    assert program("score", new, "--against", same).code == 0


@pytest.mark.parametrize(("words", "code"), [(("error", "pass"), 3), (("error", "fail"), 1)])
def test_a_run_in_which_the_harness_broke_down_is_no_pass(
    words: tuple[str, str], code: int, program: Program, tmp_path: Path
) -> None:
    """It is treated as an incomplete run."""
    scored(tmp_path / "old.json", "pass")
    new = json.loads(Path(scored(tmp_path / "new.json", words[0])).read_text())
    new["scenarios"].append({**new["scenarios"][0], "id": "KV-01", "word": words[1]})
    old = {**new, "scenarios": [{**one, "word": "pass"} for one in new["scenarios"]]}
    (tmp_path / "new.json").write_text(json.dumps(new))
    (tmp_path / "old.json").write_text(json.dumps(old))
    ended = program("score", "new.json", "--against", "old.json")
    assert ended.code == code
    assert "the harness broke down in TOK-11: this is no pass" in ended.out


@pytest.mark.parametrize("words", [("--join", "1", "2"), ("1", "--join", "2"), ("--join", ".")])
def test_parts_that_are_named_one_after_the_other(
    words: tuple[str, ...], program: Program, tmp_path: Path
) -> None:
    """A shell makes these of `--join shards/*`."""
    for number, word in ((1, "pass"), (2, "fail")):
        file = Path(journal(tmp_path / str(number) / "journal.json", "mine"))
        part = json.loads(file.read_text())
        part["scenarios"][0] |= {"id": f"TOK-1{number}", "word": word}
        file.write_text(json.dumps(part))
    ended = program("report", *words, "--to", "all/index.html")
    assert (ended.code, "1 of 2 scenarios pass; 1 fail (TOK-12)" in ended.out) == (1, True), ended
    assert "TOK-12" in (tmp_path / "all" / "index.html").read_text()


def two_parts(tmp_path: Path, *, complete: bool = True) -> None:
    """Write TOK-11, which passes, in one part of a run, and TOK-12, which fails, in another."""
    for number, word in ((1, "pass"), (2, "fail")):
        file = Path(journal(tmp_path / f"shards-{number}" / "journal.json", "mine"))
        part = json.loads(file.read_text()) | {"shard": f"{number}/2"}
        part["scenarios"][0] |= {"id": f"TOK-1{number}", "word": word}
        part["complete"] = complete or number == 1
        file.write_text(json.dumps(part))


JOIN = ("report", "--join", "shards-1", "--join", "shards-2")


def test_known_failures_are_written_for_a_joined_run(program: Program, tmp_path: Path) -> None:
    """A part knows only its own scenarios."""
    two_parts(tmp_path)
    file = tmp_path / "vault-harness.toml"
    file.write_text('[known-failing]\nTOK-11 = "kept by now"\nTOK-15 = "not asked here"\n')
    ended = program(*JOIN, "--write-known")
    assert (ended.code, "recorded as known in vault-harness.toml" in ended.out) == (0, True), ended
    assert "1 of 2 scenarios pass; 1 fail (TOK-12; 1 as known)" in ended.out
    found = tomllib.loads(file.read_text())
    assert found == {"known-failing": {"TOK-12": "One login", "TOK-15": "not asked here"}}
    whole = json.loads((tmp_path / "report" / "journal.json").read_text())
    told = {one["id"]: one["known"] for one in whole["scenarios"]}
    assert told == {"TOK-11": None, "TOK-12": {"kind": "failing", "reason": "One login"}}


def test_incomplete_parts_write_no_known_failures(program: Program, tmp_path: Path) -> None:
    two_parts(tmp_path, complete=False)
    ended = program(*JOIN, "--write-known", "--known", "known.toml")
    assert (ended.code, "half a run says nothing of the rest" in ended.err) == (1, True), ended
    assert not (tmp_path / "known.toml").exists()


def test_known_failures_are_of_a_run_that_is_joined(program: Program, tmp_path: Path) -> None:
    """Any other run has written the file itself."""
    journal(tmp_path / "report" / "journal.json", "mine")
    ended = program("report", "--write-known")
    assert (ended.code, "name its parts with --join" in ended.err) == (4, True), ended


def test_known_without_write_known_is_refused(program: Program, tmp_path: Path) -> None:
    """It would have no effect."""
    two_parts(tmp_path)
    ended = program(*JOIN, "--known", "known.toml")
    assert (ended.code, "add --write-known" in ended.err) == (4, True), ended
    assert not (tmp_path / "report").exists()


def test_a_committed_score_in_the_target_is_left(program: Program, tmp_path: Path) -> None:
    journal(tmp_path / "shards" / "journal.json", "mine")
    (tmp_path / "score.json").write_text("mine")
    ended = program("report", "--join", "shards", "--to", "all.html")
    assert (ended.code, "would replace score.json" in ended.err) == (4, True), ended
    assert (tmp_path / "score.json").read_text() == "mine"
    assert not (tmp_path / "journal.json").exists()
    # The score of the last joined run is replaced.
    (tmp_path / "score.json").unlink()
    for _ in range(2):
        assert program("report", "--join", "shards", "--to", "all.html").code == 0


@pytest.mark.parametrize("words", [(), ("--to", "report/index.html"), ("--join", "parts")])
def test_a_foreign_page_at_the_target_is_left(
    words: tuple[str, ...], program: Program, tmp_path: Path
) -> None:
    journal(tmp_path / "report" / "journal.json", "mine")
    journal(tmp_path / "parts" / "journal.json", "mine")
    page = tmp_path / "report" / "index.html"
    page.write_text("<title>Coverage report</title>")
    ended = program("report", *words)
    assert (ended.code, "would replace index.html, which is not the page" in ended.err) == (
        4,
        True,
    ), ended
    assert page.read_text() == "<title>Coverage report</title>"
    # An empty page and a page of ours are replaced.
    page.write_text("")
    for _ in range(2):
        assert program("report", *words).code == 0
    assert "a Vault client judged</title>" in page.read_text()


@pytest.mark.parametrize("words", [(), ("--join", "report")])
def test_a_page_is_no_folder(words: tuple[str, ...], program: Program, tmp_path: Path) -> None:
    journal(tmp_path / "report" / "journal.json", "mine")
    (tmp_path / "public").mkdir()
    ended = program("report", *words, "--to", "public")
    assert (ended.code, "name a file in it: --to public/index.html" in ended.err) == (4, True)
    assert list((tmp_path / "public").iterdir()) == []


def test_a_page_of_many_runs_is_known_again(program: Program, tmp_path: Path) -> None:
    """Its title is long."""
    names = [f"command:./{number} --{'long' * 60}" for number in range(12)]
    files = [journal(tmp_path / f"{n}.json", name) for n, name in enumerate(names)]
    others = [word for file in files[2:] for word in ("--also", file)]
    for _ in range(2):
        assert program("report", *files[:2], *others, "--to", "all.html").code == 0


@pytest.mark.parametrize("named", [("report", "shards"), ("report/journal.json", "shards"), (".",)])
def test_a_whole_is_not_written_over_a_part(
    named: tuple[str, ...], program: Program, tmp_path: Path
) -> None:
    for folder, number in (("report", 1), ("shards", 2)):
        file = Path(journal(tmp_path / folder / "journal.json", "mine"))
        part = json.loads(file.read_text()) | {"shard": f"{number}/2"}
        part["scenarios"][0]["id"] = f"TOK-1{number}"
        file.write_text(json.dumps(part))
    before = (tmp_path / "report" / "journal.json").read_text()
    words = [word for one in named for word in ("--join", one)]
    ended = program("report", *words)
    assert (ended.code, "would replace one of its parts" in ended.err) == (4, True), ended
    assert "looked at: report/journal.json" in ended.err
    assert (tmp_path / "report" / "journal.json").read_text() == before
    for _ in range(2):
        ended = program("report", "--join", "report", "--join", "shards", "--to", "all/index.html")
        assert (ended.code, "2 of 2 scenarios pass" in ended.out) == (0, True), ended


def test_a_whole_run_removes_the_files_of_an_earlier_one(program: Program, tmp_path: Path) -> None:
    """They would mislead."""
    journal(tmp_path / "shards" / "journal.json", "mine")
    journal(tmp_path / "report" / "journal.json", "the run before")
    for name in ("junit.xml", "TOK-11.log", "notes.txt", "build.log"):
        (tmp_path / "report" / name).write_text("")
    assert program("report", "--join", "shards").code == 0
    left = {file.name for file in (tmp_path / "report").iterdir()}
    made = {"journal.json", "score.json", "badge.json", "index.html", "causes.txt", "failures.txt"}
    assert left == made | {"notes.txt", "build.log"}
    # Without an earlier run, a file of that name belongs to somebody else.
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "junit.xml").write_text("mine")
    assert program("report", "--join", "shards", "--to", "other/index.html").code == 0
    assert (tmp_path / "other" / "junit.xml").read_text() == "mine"


def test_a_run_in_progress_keeps_its_journal(program: Program, tmp_path: Path) -> None:
    journal(tmp_path / "shards" / "journal.json", "mine")
    journal(tmp_path / "report" / "journal.json", "under way")
    held = os.open(tmp_path / "report", os.O_RDONLY | os.O_DIRECTORY)
    try:
        fcntl.flock(held, fcntl.LOCK_EX)
        ended = program("report", "--join", "shards")
    finally:
        os.close(held)
    assert (ended.code, "another run writes its report here" in ended.err) == (4, True), ended
    assert "under way" in (tmp_path / "report" / "journal.json").read_text()
