"""Write and read the journal of a run: all records in one file, and the logs beside it."""

from __future__ import annotations

import fcntl
import json
import os
import re
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from vault_harness import files
from vault_harness.errors import SettingsError
from vault_harness.judge.record import ScenarioRecord
from vault_harness.judge.report.formats import (
    SCHEMA_VERSION,
    Journal,
    client_of,
    cores,
    suite_version,
    surroundings,
)
from vault_harness.judge.report.lines import Line, Summary
from vault_harness.judge.report.reading import (
    check_ids,
    check_shape,
    check_version,
    read_object,
    wrong,
)

JOURNAL = "journal.json"

NO_JOURNAL = "not a journal of a scenario run"

LEFT_BY_A_RUN = (
    *("index.html", "junit.xml", "score.json", "badge.json"),
    *("causes.txt", "failures.txt"),
)

PARTS = "parts"
"""Prefix of the folders that hold the records of a run until it ends. Killed runs leave theirs."""

_LOG = re.compile(r"[A-Z][A-Z0-9]{1,9}-[0-9]{2,3}\.log")
"""The name of a subject's log: the scenario's id."""

_REPLACED_BY_ALL = ("junit.xml",)
"""Files that any run replaces. Unit tests with ``--junitxml`` write one too."""

_HEAD = 10_000
"""Bytes at the start of a journal or page that identify it. A long title may name many clients."""

_JOURNAL = (b'"schema_version"', b'"suite_version"')

_PAGE = b"a Vault client judged</title>"
"""At the start of every page of a run. Its journal may be elsewhere."""

_RUN = re.compile(rf"{PARTS}-[0-9]+")


def write_part(parts: Path, record: ScenarioRecord) -> None:
    parts.mkdir(parents=True, exist_ok=True)
    # A run that is killed must not leave half a record.
    files.write_text(parts / f"{record['id']}.json", json.dumps(record))
    log = [f"+{line['at']:9.2f} s  {line['text']}\n" for line in record.get("log", ())]
    if log:
        (parts / f"{record['id']}.log").write_text("".join(log), encoding="utf-8")


def parts_folder(directory: Path, run: str) -> Path:
    return directory / f"{PARTS}-{run}"


def hold(directory: Path) -> int:
    """Lock a folder, creating it if needed, so that no other run writes its report there.

    Return the open descriptor. The lock lasts until it is closed, here and in all forks.
    """
    directory.mkdir(parents=True, exist_ok=True)
    opened = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        fcntl.flock(opened, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        os.close(opened)
        raise SettingsError(
            "another run writes its report here",
            looked_at=str(directory.absolute()),
            remedy="wait for its end, or name another folder: --report of judge and scenarios, "
            "--to of report",
        ) from error
    except OSError:
        pass  # the file system has no locks
    return opened


@dataclass(frozen=True)
class Asked:
    """The choice of scenarios in a run.

    Attributes:
        shard: The part and their number, such as ``2/4``.
        leaks_known: Whether the scenario about leaks is known to fail, run or not.
    """

    shard: str | None = None
    left_out: Mapping[str, str] = field(default_factory=dict)
    leaks_known: bool = False


ALL = Asked()


def begin(
    directory: Path,
    *,
    subject: str,
    run: str,
    planned: Mapping[str, float],
    asked: Asked = ALL,
) -> None:
    """Replace an earlier run's files by a journal that says that this run has not ended.

    Otherwise the earlier verdicts would remain if this run is killed. `SettingsError` is raised if
    the folder has foreign files of these names; nothing is touched.
    """
    refuse_foreign(directory)
    for name in LEFT_BY_A_RUN:
        (directory / name).unlink(missing_ok=True)
    # A killed run may have had the same name: in a container every run has process id 1.
    shutil.rmtree(parts_folder(directory, run), ignore_errors=True)
    journal = {
        "schema_version": SCHEMA_VERSION,
        "suite_version": suite_version(),
        "complete": False,
        "summary": f"{subject}: the run has not come to its end",
        "subject": subject,
        "engine": "",
        "run": run,
        "planned": dict(planned),
        **asdict(asked),
        "scenarios": [],
    }
    files.write_text(directory / JOURNAL, _as_text(journal))


def _says(file: Path, *words: bytes) -> bool:
    try:
        with file.open("rb") as opened:
            head = opened.read(_HEAD)
    except FileNotFoundError:
        return False
    return all(word in head for word in words)


def refuse_foreign(directory: Path) -> None:
    """Raise `SettingsError` if a report would replace files that no run has written."""
    if _says(directory / JOURNAL, *_JOURNAL):
        return
    found = [
        name
        for name in (JOURNAL, *LEFT_BY_A_RUN)
        if name not in _REPLACED_BY_ALL
        and (directory / name).exists()
        and not _says(directory / name, _PAGE)
    ]
    if found:
        raise SettingsError(
            f"the report would replace {', '.join(found)}, and there is no journal of a run beside",
            looked_at=str(directory.absolute()),
            remedy="is it committed, move it out of this folder (a run begins by removing the last "
            "one's files); is it what an earlier job left, remove it; or name a folder of its own: "
            "--report of judge and scenarios, --vault-report of pytest, --to of report",
        )


def refuse_foreign_page(page: Path) -> None:
    """Raise `SettingsError` if a page would replace a folder, or a file that is no page of a run.

    An empty file may be replaced.
    """
    if page.is_dir():
        raise SettingsError(
            "the page is a file, and this is a folder",
            looked_at=str(page.absolute()),
            remedy=f"name a file in it: --to {page / 'index.html'}",
        )
    if page.is_file() and page.stat().st_size and not _says(page, _PAGE):
        raise SettingsError(
            f"the page would replace {page.name}, which is not the page of a run",
            looked_at=str(page.absolute()),
            remedy="move that file, or name another one: --to FOLDER/index.html",
        )


def clear(directory: Path) -> None:
    """Remove all files of an earlier run except its journal, which is replaced."""
    if not _says(directory / JOURNAL, *_JOURNAL):
        return
    for name in LEFT_BY_A_RUN:
        (directory / name).unlink(missing_ok=True)
    _remove_logs(directory)


def _remove_logs(directory: Path) -> None:
    for log in directory.glob("*.log"):
        if _LOG.fullmatch(log.name):
            log.unlink()


def begun(directory: Path, run: str) -> dict[str, Any]:
    """Return the journal that a run began with; empty if there is none."""
    try:
        journal = load(directory / JOURNAL)
    except SettingsError:
        return {}
    return journal if journal.get("run") == run else {}


def collect_parts(
    directory: Path,
    parts: Path,
    summary: Summary,
    *,
    asked: Asked = ALL,
    code: int | None = None,
) -> Path:
    """Join the parts into ``journal.json``, and move the logs beside it.

    The logs of an earlier run, and the parts of a killed one, are removed. Other files stay. The
    lines of `summary` complete the records.
    """
    directory.mkdir(parents=True, exist_ok=True)
    _remove_logs(directory)
    scenarios = [
        json.loads(part.read_text(encoding="utf-8")) for part in sorted(parts.glob("*.json"))
    ]
    for log in parts.glob("*.log"):
        log.replace(directory / log.name)
    for left in directory.glob(f"{PARTS}-*"):
        if left == parts or (_RUN.fullmatch(left.name) and left.is_dir()):
            shutil.rmtree(left)
    lines = {line.id: line for line in summary.lines}
    for scenario in scenarios:
        if (line := lines.pop(scenario["id"], None)) is not None:
            scenario |= of_its_line(line)
    scenarios += [_only_a_line(line) for line in lines.values()]
    scenarios.sort(key=lambda scenario: str(scenario["id"]))
    journal = {
        "schema_version": SCHEMA_VERSION,
        "suite_version": suite_version(),
        "complete": summary.complete,
        "summary": str(summary),
        "subject": summary.subject,
        "product": summary.product,
        "engine": summary.engine,
        "client": client_of(summary.subject, scenarios),
        "surroundings": surroundings(summary.product, summary.engine, scenarios),
        "cores": cores(),
        "wires": sorted(summary.wires),
        "seconds": round(summary.seconds, 1),
        **asdict(asked),
        "unfinished": list(summary.unfinished),
        "code": code,
        "scenarios": scenarios,
    }
    target = directory / JOURNAL
    files.write_text(target, _as_text(journal))
    return target


def _as_text(journal: Mapping[str, Any]) -> str:
    """Full indentation would bypass the C encoder and add seconds to the end of a whole run."""
    fields = [
        f" {json.dumps(name)}: {json.dumps(value)}"
        for name, value in journal.items()
        if name != "scenarios"
    ]
    scenarios = ",\n".join(f"  {json.dumps(scenario)}" for scenario in journal["scenarios"])
    fields.append(f' "scenarios": [\n{scenarios}\n ]')
    return "{\n" + ",\n".join(fields) + "\n}\n"


def _only_a_line(line: Line) -> dict[str, Any]:
    record: dict[str, Any] = {
        "id": line.id,
        "promise": line.promise,
        "severity": line.severity,
        "word": line.word,
        "seconds": line.seconds,
        "why": line.why,
        "rate": line.rate,
        "findings": [
            {"promise": promise, "seen": line.why, "at": None, "harm": line.harm}
            for promise in line.broken
        ],
        "leaks": [{"promise": "", "seen": text, "at": None} for text in line.leaks],
    }
    return record | of_its_line(line)


def of_its_line(line: Line) -> dict[str, Any]:
    """Return what is known only at the end of a run."""
    known = {"known": {"kind": line.known, "reason": line.reason}} if line.known else {}
    forgiven = {"forgiven": True} if line.forgiven else {}
    about = {"about_leaks": True} if line.about_leaks else {}
    return {"word": line.word, "why": line.why, **forgiven, **known, **about}


@contextmanager
def malformed(path: Path, what: str) -> Iterator[None]:
    """Refuse a journal in whose events the block fails: `load` does not check their form."""
    try:
        yield
    except (AttributeError, IndexError, KeyError, OverflowError, TypeError, ValueError) as error:
        cause = f"{what} is not of the form that a run leaves ({type(error).__name__}: {error})"
        raise wrong(path, NO_JOURNAL, cause) from error


def load(path: Path) -> dict[str, Any]:
    return checked(read_object(path, NO_JOURNAL), path)


def checked(found: dict[str, Any], path: Path) -> dict[str, Any]:
    if "scenarios" not in found:
        raise wrong(path, NO_JOURNAL, "it has no scenarios")
    check_version(found, path)
    check_shape(Journal, found, path, NO_JOURNAL)
    check_ids(found, path, NO_JOURNAL)
    return found


def record_in(journal: Mapping[str, Any], id: str, path: Path) -> ScenarioRecord:  # noqa: A002 - it is one
    for scenario in journal["scenarios"]:
        if scenario["id"] == id.upper():
            found: ScenarioRecord = scenario
            return found
    known = ", ".join(str(scenario["id"]) for scenario in journal["scenarios"])
    raise SettingsError(
        f"there is no {id} in this journal", looked_at=str(path), remedy=f"name one of {known}"
    )
