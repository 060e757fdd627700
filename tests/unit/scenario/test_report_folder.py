from __future__ import annotations

import fcntl
import os
import subprocess
import sys
import xml.etree.ElementTree as ET
from dataclasses import asdict
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
from _pytest.junitxml import LogXML, xml_key

from tests.running import ran
from vault_harness.cli.running import PYTEST
from vault_harness.judge.plugin import table as table_module
from vault_harness.judge.plugin.table import Table
from vault_harness.judge.report import Asked, Line, Summary, begin
from vault_harness.judge.report.known import Known
from vault_harness.judge.report.outcome import Outcome

ROOT = Path(__file__).parents[3]


def ran_in(folder: Path, *words: str, **environ: str) -> subprocess.CompletedProcess[str]:
    return ran(words, cwd=folder, env=os.environ | {"HARNESS_ENGINE": "process", **environ})


def begun(
    report: Path, folder: Path, *, subject: str = "reference", only: str = "TOK-01", **environ: str
) -> subprocess.CompletedProcess[str]:
    """Run a scenario that is to write its report to this folder."""
    words = ["scenarios", "--subject", subject, "--only", only, "--report", str(report)]
    return ran_in(folder, sys.executable, "-m", "vault_harness", *words, **environ)


def test_a_folder_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    ended = begun(tmp_path / "file" / "report", tmp_path)
    assert ended.returncode == Outcome.USAGE
    assert "the report cannot be written: Not a directory" in ended.stderr
    assert "what to do" in ended.stderr
    assert "Traceback" not in ended.stdout + ended.stderr


@pytest.mark.parametrize(
    "given",
    [
        {},
        # The start of this client is measured, so its report begins before pytest is configured.
        {"subject": f"command:{sys.executable}", "only": "TOK"},
    ],
    ids=["reference", "measured"],
)
def test_a_folder_of_another_run(given: dict[str, str], tmp_path: Path) -> None:
    (tmp_path / "journal.json").write_text("mine")
    held = os.open(tmp_path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        fcntl.flock(held, fcntl.LOCK_EX)
        ended = begun(tmp_path, tmp_path, **given)
    finally:
        os.close(held)
    assert ended.returncode == Outcome.USAGE
    assert "Traceback" not in ended.stdout + ended.stderr
    assert "another run writes its report here" in ended.stderr
    assert (tmp_path / "journal.json").read_text() == "mine"


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"only": "TOK,NOPE"}, "NOPE"),
        ({"subject": "command:./nothing-here", "only": "TOK"}, "nothing-here"),
        ({"HARNESS_ENGINE": "docker", "DOCKER_HOST": "unix:///nowhere.sock"}, "docker"),
    ],
)
def test_what_is_refused_leaves_the_last_report(
    given: dict[str, str], said: str, tmp_path: Path
) -> None:
    report = tmp_path / "report"
    report.mkdir()
    for name in ("journal.json", "score.json", "index.html"):
        (report / name).write_text("mine")
    subject = f"command:{sys.executable} -c pass"
    ended = begun(report, tmp_path, **{"subject": subject, "only": "TOK", **given})
    assert (ended.returncode, said in ended.stderr) == (Outcome.USAGE, True), ended.stderr
    assert {file.name: file.read_text() for file in report.iterdir()} == dict.fromkeys(
        ("journal.json", "score.json", "index.html"), "mine"
    )


@pytest.mark.parametrize(
    ("before", "after"),
    [
        (Outcome.KEPT, Outcome.CRASHED),
        (Outcome.NOT_EXERCISED, Outcome.CRASHED),
        (Outcome.BROKEN, Outcome.BROKEN),
        (Outcome.INTERRUPTED, Outcome.INTERRUPTED),
    ],
)
def test_a_disk_that_is_full_at_the_end(
    before: Outcome, after: Outcome, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The run has crashed, unless a promise is broken."""
    told: list[str] = []
    terminal = SimpleNamespace(
        section=told.append,
        write_line=lambda text, **_: told.append(text),
        flush=lambda: None,
    )
    plugins = SimpleNamespace(get_plugin=lambda _: terminal)
    table = Table(cast("Any", SimpleNamespace(pluginmanager=plugins)), suite=True)
    table._summary = Summary("mine")
    session: Any = SimpleNamespace(exitstatus=int(before))
    monkeypatch.setattr(table, "_settle", lambda _: None)  # it would grade this run
    ending = table.pytest_sessionfinish(session)
    next(ending)
    with pytest.raises(StopIteration):
        ending.throw(OSError(28, "No space left on device", "/report/journal.json"))
    assert session.exitstatus == after
    assert any(text.startswith("mine: 0 of 0 scenarios pass") for text in told)
    assert "the report cannot be written: No space left on device" in told


def table_of(
    monkeypatch: pytest.MonkeyPatch,
    *lines: Line,
    suite: bool = True,
    before: Known | None = None,
    **chosen: object,
) -> Table:
    """Return the table of a run with these lines, options and known failures."""
    given = {
        "subject": "mine",
        "run": "r",
        "write_known": False,
        "allow_not_exercised": False,
        "part": None,
        **chosen,
    }
    monkeypatch.setattr(table_module, "options", lambda _: SimpleNamespace(**given))
    monkeypatch.setattr(table_module, "known", lambda _: before or Known())
    config = SimpleNamespace(option=SimpleNamespace(collectonly=False), stash=pytest.Stash())
    table = Table(cast("Any", config), suite=suite)
    if lines:
        table._summary = Summary("mine", list(lines))
    return table


@pytest.mark.parametrize(("before", "after"), [("pass", 3), ("not exercised", 3), ("fail", 1)])
def test_known_failures_that_cannot_be_written(
    before: str, after: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The run has crashed, unless a promise is broken."""
    (tmp_path / "file").write_text("")
    begin(tmp_path, subject="mine", run="r", planned={"KV-01": 1.0})
    line = Line("KV-01", "p", "critical", before, 1.0)
    file = tmp_path / "file" / "known.toml"
    table = table_of(monkeypatch, line, report=tmp_path, write_known=True, known_file=file)
    session: Any = SimpleNamespace(exitstatus=0 if before == "pass" else 1)
    table._settle(session)
    assert session.exitstatus == after
    assert table._complete
    assert table._no_known_file[0].startswith("the file of known failures cannot be written: ")


def test_known_failures_of_half_a_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    begin(tmp_path, subject="mine", run="r", planned={"KV-01": 1.0, "KV-02": 1.0})
    file = tmp_path / "known.toml"
    line = Line("KV-01", "p", "critical", "fail", 1.0)
    table = table_of(monkeypatch, line, report=tmp_path, write_known=True, known_file=file)
    table._settle(cast("Any", SimpleNamespace(exitstatus=int(pytest.ExitCode.INTERRUPTED))))
    told: list[str] = []
    table._show_known(SimpleNamespace(write_line=lambda t, **_: told.append(t), flush=print), [])
    assert not file.exists()
    assert told[0].startswith("the file of known failures was not changed: this run did not")


@pytest.mark.parametrize(
    ("suite", "part", "after"), [(True, None, 2), (True, "1/2", 0), (False, None, 0)]
)
def test_a_run_that_asked_nothing(
    suite: bool, part: str | None, after: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """That is fine for a part or beside other tests."""
    begin(tmp_path, subject="mine", run="r", planned={"KV-02": 1.0})
    line = Line("KV-02", "p", "low", "skipped", 1.0)
    table = table_of(monkeypatch, line, suite=suite, report=tmp_path, part=part)
    session: Any = SimpleNamespace(exitstatus=0)
    table._settle(session)
    assert session.exitstatus == after


@pytest.mark.parametrize(("part", "after"), [("3/3", 0), (None, 5)])
def test_a_run_without_any_scenario(
    part: str | None, after: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A whole run without any is an error."""
    begin(tmp_path, subject="mine", run="r", planned={}, asked=Asked(part))
    table = table_of(monkeypatch, report=tmp_path, part=part)
    session: Any = SimpleNamespace(exitstatus=int(pytest.ExitCode.NO_TESTS_COLLECTED))
    table._settle(session)
    assert session.exitstatus == after
    assert (table._summary is not None) is (part is not None)


@pytest.mark.parametrize(
    ("words", "code", "after", "complete"),
    [
        (("pass", "error"), 1, Outcome.CRASHED, True),
        (("fail", "error"), 1, Outcome.BROKEN, True),
        (("pass",), 1, Outcome.CRASHED, False),  # the other one's process died
        (("pass", "error"), pytest.ExitCode.INTERRUPTED, Outcome.INTERRUPTED, False),
        (("pass", "pass"), pytest.ExitCode.INTERNAL_ERROR, Outcome.CRASHED, False),
        (("pass", "fail"), pytest.ExitCode.INTERNAL_ERROR, Outcome.BROKEN, False),
    ],
)
def test_a_scenario_in_which_the_harness_broke_down(
    words: tuple[str, ...],
    code: int,
    after: int,
    complete: bool,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """It never passes; a crash leaves the run incomplete."""
    planned = {"KV-01": 1.0, "KV-02": 1.0}
    begin(tmp_path, subject="mine", run="r", planned=planned)
    lines = [Line(i, "p", "critical", word, 1.0) for i, word in zip(planned, words, strict=False)]
    table = table_of(monkeypatch, *lines, report=tmp_path)
    session: Any = SimpleNamespace(exitstatus=int(code))
    table._settle(session)
    assert (session.exitstatus, table._complete) == (after, complete)


def settled(
    monkeypatch: pytest.MonkeyPatch, folder: Path, *lines: Line, code: int = 0
) -> tuple[int, dict[str, str]]:
    """Return the exit code of a run with these lines, and the failures in its JUnit file."""
    table = table_of(monkeypatch, *lines, report=folder)
    junit = LogXML(str(folder / "junit.xml"), None)
    table._config.stash[xml_key] = junit
    session: Any = SimpleNamespace(exitstatus=code)
    junit.pytest_sessionstart()
    table._settle(session)
    junit.pytest_sessionfinish()
    cases = ET.parse(folder / "junit.xml").getroot().iter("testcase")  # noqa: S314 - our own
    failures = {str(one.get("name")): one.find("failure") for one in cases}
    return session.exitstatus, {
        name: str(found.text) for name, found in failures.items() if found is not None
    }


def test_a_good_run_in_its_junit_file(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    begin(tmp_path, subject="mine", run="r", planned={"KV-01": 1.0})
    line = Line("KV-01", "p", "critical", "pass", 1.0)
    assert settled(monkeypatch, tmp_path, line) == (Outcome.KEPT, {})


def test_a_secret_that_came_out_in_the_junit_file(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """All rows may pass."""
    begin(tmp_path, subject="mine", run="r", planned={"KV-01": 1.0})
    line = Line("KV-01", "p", "critical", "pass", 1.0, leaks=("+1.00 s: its log has token-1",))
    told = {"no secret comes out": "KV-01    +1.00 s: its log has token-1"}
    assert settled(monkeypatch, tmp_path, line) == (Outcome.BROKEN, told)


@pytest.mark.parametrize(
    ("code", "ended"),
    [(pytest.ExitCode.INTERRUPTED, Outcome.INTERRUPTED), (pytest.ExitCode.OK, Outcome.CRASHED)],
)
def test_a_run_that_did_not_end_in_the_junit_file(
    code: int, ended: Outcome, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    planned = {"KV-01": 1.0, "KV-03": 1.0}
    begin(tmp_path, subject="mine", run="r", planned=planned)
    line = Line("KV-01", "p", "critical", "pass", 1.0)
    found, told = settled(monkeypatch, tmp_path, line, code=code)
    assert (found, list(told)) == (ended, ["it comes to its end"])
    assert "this is no pass" in told["it comes to its end"]
    assert "without a verdict: KV-03" in told["it comes to its end"]


@pytest.mark.parametrize(
    ("word", "before", "junit", "last"),
    [
        ("fail", Known(), "skipped", "failed as known"),
        ("pass", Known({"KV-01": "issue 7"}), None, "passed"),  # its line goes
        ("not exercised", Known(), "failure", "failed"),  # which is never known
    ],
)
def test_what_is_known_from_now_on_in_the_junit_file(
    word: str,
    before: Known,
    junit: str | None,
    last: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    begin(tmp_path, subject="mine", run="r", planned={"KV-01": 1.0})
    file = tmp_path / "known.toml"
    table = table_of(monkeypatch, before=before, report=tmp_path, write_known=True, known_file=file)
    line = before.mark(Line("KV-01", "p", "critical", word, 1.0, broken=("one login",)))
    name = "test_kv.py::test_it"
    ended: list[Any] = [("passed", None, "setup"), ("failed", "what was seen", "call")]
    reports = [
        pytest.TestReport(name, ("test_kv.py", 1, "KV-01 test_it"), {}, *one)
        for one in (*ended, cast("Any", ("passed", None, "teardown")))
    ]
    reports[1].scenario = {"line": asdict(line), "product": "", "engine": "", "wire": ""}  # type: ignore[attr-defined] # as reports carry it
    told: list[str] = []
    stats: dict[str, list[Any]] = {"failed": [reports[1]]}
    terminal = SimpleNamespace(
        ensure_newline=list,
        write_line=lambda text, **_: told.append(text),
        flush=list,
        isatty=False,
        stats=stats,
        _add_stats=lambda category, more: stats.setdefault(category, []).extend(more),
        _set_main_color=list,
    )
    xml = LogXML(str(tmp_path / "junit.xml"), None)
    config: Any = table._config
    config.pluginmanager = SimpleNamespace(get_plugin=lambda _: terminal)
    config.stash[xml_key] = xml
    xml.pytest_sessionstart()
    for report in reports:
        xml.pytest_runtest_logreport(report)
        table.pytest_runtest_logreport(report)
    table._settle(cast("Any", SimpleNamespace(exitstatus=1)))
    table._recount(terminal)
    xml.pytest_sessionfinish()
    suite = next(ET.parse(tmp_path / "junit.xml").getroot().iter("testsuite"))  # noqa: S314 - our own
    (case,) = suite.iter("testcase")
    assert case.get("name") == "KV-01 test_it"
    assert [one.tag for one in case] == ([] if junit is None else [junit])
    assert [suite.get(name) for name in ("tests", "failures", "skipped")] == [
        "1",
        str(int(junit == "failure")),
        str(int(junit == "skipped")),
    ]
    assert {key: len(found) for key, found in stats.items()} == {last: 1}


def test_without_its_journal_a_run_is_incomplete(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    line = Line("KV-01", "p", "critical", "pass", 1.0)
    found, told = settled(monkeypatch, tmp_path, line)
    assert (found, list(told)) == (Outcome.CRASHED, ["it comes to its end"])


def collected_in(
    folder: Path, *words: str, installed: str = "", **environ: str
) -> subprocess.CompletedProcess[str]:
    """Collect scenarios in a folder with a `secrets.py`."""
    (folder / "secrets.py").write_text("raise SystemExit('this is not the module you want')")
    words = ("scenarios", "--only", "TOK-01", "--args", " ".join(["--collect-only", *words]))
    places = [str(ROOT / "harness"), *([installed] if installed else [])]  # an empty one is here
    environ |= {"PYTHONPATH": os.pathsep.join(places)}
    return ran_in(folder, sys.executable, "-P", "-m", "vault_harness", *words, **environ)


@pytest.mark.slow  # two runs of pytest, about other people's plugins
def test_a_plugin_that_is_installed_beside_the_suite(tmp_path: Path) -> None:
    """It is not loaded unless it is named."""
    site = tmp_path / "site"
    (site / "loud-1.0.dist-info").mkdir(parents=True)
    (site / "loud-1.0.dist-info" / "METADATA").write_text("Name: loud\nVersion: 1.0\n")
    (site / "loud-1.0.dist-info" / "entry_points.txt").write_text("[pytest11]\nloud = loud\n")
    (site / "loud.py").write_text("def pytest_configure(): raise LookupError('I am loud')\n")
    ended = collected_in(tmp_path, "-q", installed=str(site))
    assert (ended.returncode, "I am loud" in ended.stdout + ended.stderr) == (0, False)
    ended = collected_in(tmp_path, "-q", "-p", "loud", installed=str(site))
    assert "I am loud" in ended.stdout + ended.stderr


@pytest.mark.slow  # a run of pytest, about one variable
def test_an_image_for_production(tmp_path: Path) -> None:
    """PYTHONOPTIMIZE would drop assertions, so it is ignored with a message."""
    ended = collected_in(tmp_path, "-q", PYTHONOPTIMIZE="2")
    assert ended.returncode == 0, ended.stdout + ended.stderr
    assert "ignored, since they are meant for other tests: PYTHONOPTIMIZE" in ended.stderr


def test_a_plugin_where_the_run_is_started(tmp_path: Path) -> None:
    """A `secrets.py` there changes nothing."""
    (tmp_path / "shop_plugin.py").write_text("def pytest_report_header(): return 'shop is here'")
    ended = collected_in(tmp_path, "-p", "shop_plugin")
    assert (ended.returncode, "shop is here" in ended.stdout) == (0, True)
    assert "not the module you want" not in ended.stdout + ended.stderr


def test_an_interrupt_while_pytest_is_imported(tmp_path: Path) -> None:
    """It ends with a line and 130, without a traceback."""
    text = "import os, signal\nos.kill(os.getpid(), signal.SIGINT)\n"
    (tmp_path / "early.py").write_text(text)
    command = (sys.executable, *PYTEST, "-p", "early", "--help")
    ended = ran_in(tmp_path, *command, HARNESS_INTERRUPTS="held")
    assert ended.returncode == Outcome.INTERRUPTED
    assert ended.stderr == "interrupted before any test began: this is no pass\n"


def test_a_plugin_that_breaks_down_before_the_run(tmp_path: Path) -> None:
    text = "def pytest_cmdline_main(config): raise LookupError('no such thing')\n"
    (tmp_path / "early.py").write_text(text)
    ended = collected_in(tmp_path, "-p", "early")
    assert ended.returncode == Outcome.CRASHED
    assert ended.stderr.endswith("LookupError: no such thing\n")


def test_a_subject_that_is_empty(tmp_path: Path) -> None:
    """No report is begun."""
    ended = begun(tmp_path / "report", tmp_path, subject="")
    assert (ended.returncode, "--subject is empty, and names no" in ended.stderr) == (4, True)
    assert not (tmp_path / "report").exists()


def test_streams_that_were_closed(tmp_path: Path) -> None:
    words = ["scenarios", "--only", "TOK-01", "--args", "--collect-only"]
    program = [sys.executable, "-m", "vault_harness", *words]
    ended = ran_in(tmp_path, "sh", "-c", 'exec "$@" <&- >&- 2>&-', "sh", *program)
    assert (ended.returncode, ended.stderr) == (0, "")
