"""The journal of a run: every scenario's record in one file, and the subject's log beside it."""

from __future__ import annotations

import fcntl
import json
import os
import re
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from vault_harness import files
from vault_harness.errors import SettingsError
from vault_harness.report._lines import Line, Summary
from vault_harness.report._reading import (
    check_ids,
    check_shape,
    check_version,
    read_object,
    wrong,
)
from vault_harness.report.formats import (
    SCHEMA_VERSION,
    Journal,
    client_of,
    cores,
    leaks_of,
    suite_version,
    surroundings,
)
from vault_harness.scenario.record import ScenarioRecord

JOURNAL = "journal.json"

NO_JOURNAL = "not a journal of a scenario run"
"""What messages say of a file that is none."""

LEFT_BY_A_RUN = ("index.html", "junit.xml", "score.json", "badge.json")
"""What is made at the end of a run, from its journal."""

PARTS = "parts"
"""Folders of this name and a run's are of runs under way, or of runs that were killed."""

_LOG = re.compile(r"[A-Z][A-Z0-9]{1,9}-[0-9]{2,3}\.log")
"""What a run calls a subject's log: by the scenario's id."""

_REPLACED_BY_ALL = ("junit.xml",)
"""What a run replaces whoever left it: unit tests with ``--junitxml=report/junit.xml``, say."""

_HEAD = 10_000
"""Bytes of a journal, or a page, in which it says what it is: a title may name many clients."""

_JOURNAL = (b'"schema_version"', b'"suite_version"')
"""In the head of a journal of ours: what it begins with."""

_PAGE = b"a Vault client judged</title>"
"""In the head of a page of ours, which may have been made of a journal that is elsewhere."""

_RUN = re.compile(rf"{PARTS}-[0-9]+")
"""What a run calls the folder of its parts."""


def write_part(parts: Path, record: ScenarioRecord) -> None:
    """Keep one scenario's record, and the subject's log, until the run ends.

    Args:
        parts: A folder of this run's own.
        record: Of the scenario.
    """
    parts.mkdir(parents=True, exist_ok=True)
    # Whole or not at all: who is killed meanwhile must not leave half of one to be read.
    files.write_text(parts / f"{record['id']}.json", json.dumps(record))
    log = [f"+{line['at']:9.2f} s  {line['text']}\n" for line in record.get("log", ())]
    if log:
        (parts / f"{record['id']}.log").write_text("".join(log), encoding="utf-8")


def parts_folder(directory: Path, run: str) -> Path:
    """Where the parts of one run are kept meanwhile."""
    return directory / f"{PARTS}-{run}"


def hold(directory: Path) -> int:
    """Open a folder, made if need be, and keep all others that write reports out of it.

    Returns:
        What is open: the folder is held until that is closed, here and in all forks.

    Raises:
        SettingsError: Another one holds it.
        OSError: It cannot be made or opened.
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
        pass  # a file system without locks
    return opened


def begin(
    directory: Path,
    *,
    subject: str,
    run: str,
    planned: Mapping[str, float],
    left_out: Mapping[str, str],
    shard: str | None = None,
    leaks_known: bool = False,
) -> None:
    """Replace what an earlier run left by a journal that says that this one has not ended.

    Whoever kills a run, or loses the machine under it, must not find the last one's verdicts.

    Args:
        directory: Of the report.
        subject: The client under test.
        run: Name of this run.
        planned: The scenarios that will be run, and how long each takes, about.
        left_out: Those that will not be, with their severities.
        shard: Which part of how many, such as ``2/4``.
        leaks_known: Whether the row about leaks, run or not, is known to fail.

    Raises:
        SettingsError: The folder has files of such names, and no journal of a run; nothing is
            touched.
    """
    refuse_foreign(directory)
    for name in LEFT_BY_A_RUN:
        (directory / name).unlink(missing_ok=True)
    # Of a run that was killed, and had the same name: in a container every run has process id 1.
    shutil.rmtree(parts_folder(directory, run), ignore_errors=True)
    journal = {
        "schema_version": SCHEMA_VERSION,
        "suite_version": suite_version(),
        "complete": False,
        "summary": f"{subject}: the run has not come to its end",
        "subject": subject,
        "engine": "",
        "run": run,
        "shard": shard,
        "planned": dict(planned),
        "left_out": dict(left_out),
        "leaks_known": leaks_known,
        "scenarios": [],
    }
    files.write_text(directory / JOURNAL, _as_text(journal))


def _says(file: Path, *words: bytes) -> bool:
    """Whether all of these words stand where a file begins, which may be long."""
    try:
        with file.open("rb") as opened:
            head = opened.read(_HEAD)
    except FileNotFoundError:
        return False
    return all(word in head for word in words)


def refuse_foreign(directory: Path) -> None:
    """Refuse a folder whose files a report would replace, and that is none of a run's.

    Raises:
        SettingsError: It has such files.
    """
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
    """Refuse to write a page in place of a file that is none: somebody's own, or of another tool.

    Raises:
        SettingsError: It is there, has something in it, and is no page of ours; or it is a folder.
    """
    if page.is_dir():
        raise SettingsError(
            "the page is a file, and this is a folder",
            looked_at=str(page.absolute()),
            remedy=f"name a file in it: --to {page / 'index.html'}",
        )
    if page.is_file() and page.stat().st_size and not _says(page, _PAGE):
        raise SettingsError(
            f"the page would replace {page.name}, which is none of a run of scenarios",
            looked_at=str(page.absolute()),
            remedy="move it out of the way, or name another file: --to FOLDER/index.html",
        )


def clear(directory: Path) -> None:
    """Remove what an earlier run left in the folder of its report, but for its journal.

    Beside another journal its JUnit file, or the log of a client, would be taken for that one's.
    """
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
    """The journal that a run began with; empty if it began none."""
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
    complete: bool = True,
    left_out: Mapping[str, str] | None = None,
    shard: str | None = None,
    leaks_known: bool = False,
) -> Path:
    """Join the parts into ``journal.json``, in the order of their ids, and put the logs beside it.

    What an earlier run left there, its logs or parts if it was killed, goes; nothing else does.

    Args:
        directory: Of the report.
        parts: Of this run.
        summary: Its lines.
        complete: Whether the run came to its end.
        left_out: Scenarios that were not chosen, with their severities.
        shard: Which part of how many it was, such as ``2/4``.
        leaks_known: Whether the row about leaks, run or not, is known to fail.
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
        "complete": complete,
        "summary": str(summary),
        "subject": summary.subject,
        "product": summary.product,
        "engine": summary.engine,
        "client": client_of(summary.subject, scenarios),
        "surroundings": surroundings(summary.product, summary.engine, scenarios),
        "cores": cores(),
        "wires": sorted(summary.wires),
        "seconds": round(summary.seconds, 1),
        "shard": shard,
        "left_out": dict(left_out or {}),
        "leaks_known": leaks_known,
        "scenarios": scenarios,
    }
    target = directory / JOURNAL
    files.write_text(target, _as_text(journal))
    return target


def _as_text(journal: Mapping[str, Any]) -> str:
    """A journal as a file has it: a field a line, and a scenario a line.

    Not indented all the way down, which Python does by itself and not in C: of a whole run, with
    each event in ten lines, that took seconds at its end.
    """
    fields = [
        f" {json.dumps(name)}: {json.dumps(value)}"
        for name, value in journal.items()
        if name != "scenarios"
    ]
    scenarios = ",\n".join(f"  {json.dumps(scenario)}" for scenario in journal["scenarios"])
    fields.append(f' "scenarios": [\n{scenarios}\n ]')
    return "{\n" + ",\n".join(fields) + "\n}\n"


def _only_a_line(line: Line) -> dict[str, Any]:
    """The record of a scenario of which nothing but its line is left."""
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
    """What only the end of a run knows of a scenario."""
    known = {"known": {"kind": line.known, "reason": line.reason}} if line.known else {}
    forgiven = {"forgiven": True} if line.forgiven else {}
    about = {"about_leaks": True} if line.about_leaks else {}
    return {"word": line.word, "why": line.why, **forgiven, **known, **about}


def load(path: Path) -> dict[str, Any]:
    """Read a journal.

    Raises:
        SettingsError: It is not one, or one of a version that this suite does not know.
    """
    return checked(read_object(path, NO_JOURNAL), path)


def checked(found: dict[str, Any], path: Path) -> dict[str, Any]:
    """What was read from a file, if it is a journal.

    Raises:
        SettingsError: It is none, or one of a version that this suite does not know.
    """
    if "scenarios" not in found:
        raise wrong(path, NO_JOURNAL, "it has no scenarios")
    check_version(found, path)
    check_shape(Journal, found, path, NO_JOURNAL)
    check_ids(found, path, NO_JOURNAL)
    for scenario in found["scenarios"]:  # who reads on knows one form of them
        if "leaks" in scenario:
            scenario["leaks"] = leaks_of(scenario["leaks"])
        if "known" in scenario:
            scenario["known"] = scenario["known"] or None
    return found


def record_in(journal: Mapping[str, Any], id: str, path: Path) -> ScenarioRecord:  # noqa: A002 - it is one
    """One scenario's record.

    Raises:
        SettingsError: The journal has none with that id.
    """
    for scenario in journal["scenarios"]:
        if scenario["id"] == id.upper():
            found: ScenarioRecord = scenario
            return found
    known = ", ".join(str(scenario["id"]) for scenario in journal["scenarios"])
    raise SettingsError(
        f"there is no {id} in this journal", looked_at=str(path), remedy=f"name one of {known}"
    )
