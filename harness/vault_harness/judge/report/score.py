"""Score a run: a grade that counts causes, the changes since another run, and a badge.

====================================  ==============
a secret came out, or other harm      F
three critical causes                 D
one or two                            C
a cause of high severity              B
causes of broken SHOULDs alone        A
nothing broken                        A+
====================================  ==============

An incomplete run has no grade, unless it is F or D: see `_unasked`. Known failures count as broken.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, get_args

from vault_harness import files
from vault_harness.errors import SettingsError, named
from vault_harness.judge.report import formats
from vault_harness.judge.report.causes import LABELS, LEAK, Cause, grouped, of_promises
from vault_harness.judge.report.formats import (
    SCHEMA_VERSION,
    Grade,
    Judged,
    Score,
    release,
    suite_version,
)
from vault_harness.judge.report.journal import checked
from vault_harness.judge.report.reading import check_shape, check_version, read_object, wrong
from vault_harness.judge.report.timing import one_line, plain

SCORE, BADGE = "score.json", "badge.json"

FEW = 5
"""If only one of two runs has more scenarios than this, they are counted and not listed."""

MANY = 3
"""Critical causes that make the grade D."""

_BOUND = re.compile(r"(?<!log in) within \d+(?:\.\d+)? s\b")
_NUMBER = re.compile(r"\d+(?:\.\d+)?")

GRADES: tuple[Grade, ...] = get_args(Grade)
"""The best first."""

_RANKS = {"pass": 0, "flaky": 1, "fail": 2}
"""Verdicts on the client, the best first."""

_NO_SCORE = "neither a score nor a journal"

_COLOURS = {
    "A+": "brightgreen",
    "A": "brightgreen",
    "B": "green",
    "C": "orange",
    "D": "red",
    "F": "red",
}


def score_of(journal: Mapping[str, Any]) -> Score:
    records = list(journal["scenarios"])
    client = formats.Client.model_validate(
        journal.get("client") or formats.client_of(str(journal.get("subject", "")), records)
    )
    claims = frozenset(client.capabilities)
    ordered = sorted(records, key=lambda record: str(record["id"]))
    scenarios = {str(one["id"]): _judged(one, claims) for one in ordered}
    left_out = dict(journal.get("left_out") or {})
    given = formats.Surroundings.model_validate(
        journal.get("surroundings")
        or formats.surroundings(
            str(journal.get("product", "")), str(journal.get("engine", "")), records
        )
    )
    complete = bool(journal.get("complete", False))
    grade, why = _grade(scenarios, left_out, complete=complete, engine=given.engine)
    return Score(
        schema_version=SCHEMA_VERSION,
        suite_version=str(journal.get("suite_version", "")),
        complete=complete,
        client=client,
        surroundings=given,
        grade=grade,
        why=why,
        scenarios=scenarios,
    )


def _judged(record: Mapping[str, Any], claims: frozenset[str]) -> Judged:
    findings = list(record.get("findings") or ())
    harm = [_untimed(one["promise"]) for one in findings if one.get("harm")]
    if record.get("leaks"):
        harm.append(LEAK)
    broken = [_untimed(one) for one in record.get("broken") or ()]
    broken = broken or [_untimed(one["promise"]) for one in findings]
    if record["word"] not in ("fail", "flaky"):
        broken = []
    elif not broken:  # only the scenario's line is left
        broken = [str(record.get("promise", record["id"]))]
    return Judged(
        verdict=record["word"],
        severity=record["severity"],
        broken=sorted(set(broken)),
        harm=sorted(set(harm)),
        cannot=_cannot(record, claims),
    )


def _untimed(promise: object) -> str:
    """Return a promise without its bound in seconds, which depends on how long a fault took.

    A committed score must change only when the client does.
    """
    return _BOUND.sub(" in time", str(promise))


def _cannot(record: Mapping[str, Any], claims: frozenset[str]) -> str:
    """Return why a scenario was skipped although the client claims all it needs, or ""."""
    cannot = record.get("cannot") if record["word"] == "skipped" else None
    if not isinstance(cannot, Mapping):
        return ""
    needs = cannot.get("needs") or ()
    needed = map(str, needs) if isinstance(needs, list | tuple) else ()
    return str(cannot.get("why") or "") if set(needed) <= {*claims, "read"} else ""


def causes_of(scenarios: Mapping[str, Judged]) -> list[Cause]:
    """Leave out causes that explain no scenario."""
    found = grouped(
        cause
        for id, one in scenarios.items()  # noqa: A001 - it is one
        for cause in of_promises(id, one.severity, one.broken, one.harm)
    )
    return [cause for cause in found if cause.counts]


def in_numbers(found: Iterable[Cause]) -> str:
    """Such as ``3 critical causes, 1 high cause``."""
    counts = Counter(cause.label for cause in found)
    return ", ".join(
        f"{counts[label]} {label.replace('harm', 'harmful')} cause{'s' * (counts[label] != 1)}"
        for label in LABELS
        if counts[label]
    )


def _grade(
    scenarios: Mapping[str, Judged], left_out: Collection[str], *, complete: bool, engine: str
) -> tuple[Grade | None, list[str]]:
    found = causes_of(scenarios)
    counts = Counter(cause.label for cause in found)
    why = [
        f"{cause.label}: {cause.theme.broken} (explains {len(cause.explains)}, "
        f"clearest {cause.clearest.id})"
        for cause in found
    ]
    if counts["harm"] or counts["critical"] >= MANY:  # further verdicts cannot change this grade
        return ("F" if counts["harm"] else "D"), why
    lacking, unasked = _unasked(scenarios, engine)
    if left_out:
        lacking.append(f"{len(left_out)} scenario{'s' * (len(left_out) != 1)} left out of this run")
    if not complete:
        lacking.append("the run did not come to its end")
    if not any(o.severity == "critical" and o.verdict in _RANKS for o in scenarios.values()):
        lacking.append("nothing critical was judged")
    if lacking:
        return None, [*lacking, *why, *unasked]
    best: Grade = "B" if counts["high"] else "A" if found else "A+"
    return "C" if counts["critical"] else best, [*why, *unasked]


def _unasked(scenarios: Mapping[str, Judged], engine: str) -> tuple[list[str], list[str]]:
    """Return lines about claimed scenarios without a verdict, one for each reason.

    The first list prevents a grade: critical scenarios and all errors of the harness.
    """
    found: dict[tuple[bool, str], list[str]] = {}
    for id, one in sorted(scenarios.items()):  # noqa: A001 - it is one
        if not one.cannot and one.verdict not in ("not exercised", "error"):
            continue
        why = one.cannot or one.verdict.replace("error", "the harness broke down")
        if engine not in ("", "process") and why.startswith(f"the {engine} engine cannot"):
            why += "; HARNESS_ENGINE=process can"
        decides = one.severity == "critical" or one.verdict == "error"
        found.setdefault((decides, why), []).append(id)
    told = {key: f"no verdict on {', '.join(ids)}: {key[1]}" for key, ids in found.items()}
    return [told[key] for key in told if key[0]], [told[key] for key in told if not key[0]]


def broken_down(score: Score) -> list[str]:
    return sorted(id for id, one in score.scenarios.items() if one.verdict == "error")  # noqa: A001


def updated(old: Score, new: Score) -> Score:
    """Replace some verdicts of a score by those of a later run of the client.

    Scenarios that `new` did not exercise, or that the engine or machine could not run, keep the old
    verdict.
    """
    for what in ("suite_version", "client", "surroundings"):
        before, now = getattr(old, what), getattr(new, what)
        if before != now:
            raise SettingsError(
                f"verdicts of two runs make no score: their {what.replace('_', ' ')} differ",
                looked_at=f"{before}; {now}",
                remedy="run the whole suite",
            )
    scenarios = dict(old.scenarios)
    for id, one in new.scenarios.items():  # noqa: A001 - it is one
        judged = one.verdict not in ("not exercised", "error") and not one.cannot
        if judged or id not in scenarios:
            scenarios[id] = one
    scenarios = dict(sorted(scenarios.items()))
    grade, why = _grade(scenarios, (), complete=old.complete, engine=old.surroundings.engine)
    return old.model_copy(update={"grade": grade, "why": why, "scenarios": scenarios})


def load_score(path: Path) -> Score:
    """Read a score, or make the score of a journal."""
    found = read_object(path, _NO_SCORE)
    if isinstance(found.get("scenarios"), list):
        return score_of(checked(found, path))
    if "scenarios" not in found:
        raise wrong(path, _NO_SCORE, "it has no scenarios")
    check_version(found, path)
    score: Score = check_shape(Score, found, path, _NO_SCORE)
    _refuse_better(score, path)
    return score


def _refuse_better(score: Score, path: Path) -> None:
    """Raise `SettingsError` if a grade is better than its verdicts allow, as after a bad merge.

    Scores of another release are not checked: its rules may differ.
    """
    if score.grade is None or release(score.suite_version) != release(suite_version()):
        return
    best, why = _grade(
        score.scenarios, (), complete=score.complete, engine=score.surroundings.engine
    )
    if best is None or GRADES.index(score.grade) < GRADES.index(best):
        said = f"its grade is {score.grade}, and its verdicts allow {best or 'none'}"
        remedy = f"write it again from a journal: {named('score', '--to', 'FILE')}"
        raise wrong(path, "no score of these verdicts", f"{said} ({'; '.join(why)})", remedy)


def refuse_another(path: Path, what: Literal["score", "badge"]) -> None:
    """Raise `SettingsError` if a score or badge would replace a file of another kind.

    An empty file may be replaced.
    """
    if not path.is_file() or not path.stat().st_size:
        return
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        found = None
    is_one = isinstance(found, dict) and (
        isinstance(found.get("scenarios"), dict) if what == "score" else "schemaVersion" in found
    )
    if not is_one:
        raise SettingsError(
            f"this would replace {path.name}, which is no {what}",
            looked_at=str(path),
            remedy=f"name another file: {named('score')} --{'to' if what == 'score' else what} "
            f"{what}.json",
        )


def as_text(score: Score) -> str:
    """Equal verdicts give equal text."""
    found = score.model_dump()
    for one in found["scenarios"].values():
        if not one["cannot"]:  # most scores have none
            del one["cannot"]
    return json.dumps(found, indent=1, sort_keys=True) + "\n"


def write_score(score: Score, folder: Path) -> Path:
    drawn = badge(score, version=suite_version())
    files.write_text(folder / BADGE, json.dumps(drawn, indent=1) + "\n")
    files.write_text(folder / SCORE, as_text(score))
    return folder / SCORE


def claims_of(score: Score) -> str:
    """The client's grade covers only what it claims."""
    return ", ".join(score.client.capabilities) or "nothing"


def told(score: Score) -> str:
    head = f"grade {score.grade or 'none'} (claims {claims_of(score)}; suite {score.suite_version})"
    return "\n".join(map(one_line, [head, *(f"  {reason}" for reason in score.why)]))


@dataclass(frozen=True)
class Change:
    """A scenario whose verdict differs between two scores; None if a score lacks it."""

    id: str
    old: str | None
    new: str | None

    @property
    def regression(self) -> bool:
        """Return whether the verdict got worse; both verdicts must be on the client."""
        if self.old not in _RANKS or self.new not in _RANKS:
            return False
        return _RANKS[self.new] > _RANKS[self.old]

    @property
    def row(self) -> tuple[str, str, str, str]:
        mark = "regression" if self.regression else ""
        return self.id, self.old or "not there", self.new or "not there", mark


def changes(old: Score, new: Score) -> list[Change]:
    words = [{id: one.verdict for id, one in s.scenarios.items()} for s in (old, new)]  # noqa: A001
    found = (Change(id, words[0].get(id), words[1].get(id)) for id in sorted(words[0] | words[1]))  # noqa: A001
    return [change for change in found if change.old != change.new]


def in_rows(found: Collection[Change]) -> tuple[list[Change], list[str]]:
    """Return the changes as rows of a table, and lines about scenarios of only one of the runs.

    A part of a run lacks most scenarios. As rows they would hide everything else.
    """
    rows, lines = list(found), []
    for what, only in (
        ("judged before, and not in this run", [one for one in rows if one.new is None]),
        ("judged now, and not before", [one for one in rows if one.old is None]),
    ):
        if len(only) > FEW:
            rows = [one for one in rows if one not in only]
            lines.append(f"{what}: {len(only)}, {only[0].id} to {only[-1].id}")
    return rows, lines


def harms(old: Score, new: Score) -> list[str]:
    before = {(id, _untimed(text)) for id, one in old.scenarios.items() for text in one.harm}  # noqa: A001
    return [
        f"{id}: {text}"
        for id, one in new.scenarios.items()  # noqa: A001 - it is one
        for text in one.harm
        if (id, _untimed(text)) not in before
    ]


def also_broken(old: Score, new: Score) -> list[str]:
    """Return promises that are newly broken in a scenario that was broken before."""
    found = []
    for id, one in new.scenarios.items():  # noqa: A001 - it is one
        before = old.scenarios.get(id)
        if before is not None and {before.verdict, one.verdict} <= {"fail", "flaky"}:
            known = {uncounted(text) for text in (*before.broken, *one.harm)}
            found += [f"{id}: {text}" for text in one.broken if uncounted(text) not in known]
    return found


def uncounted(promise: str) -> str:
    """Return a promise without numbers, for comparison: they may depend on how much was asked."""
    return _NUMBER.sub("N", _untimed(promise))


def says_nothing(old: Score, new: Score) -> bool:
    """Return whether critical scenarios that had a verdict ran again, and all lost it.

    A client that no longer starts looks like that. Its verdicts on starting may have been bad
    before, so that nothing gets worse.
    """
    asked = {
        one.verdict
        for id, one in new.scenarios.items()  # noqa: A001 - it is one
        if (before := old.scenarios.get(id)) is not None
        and (before.severity, before.verdict in _RANKS) == ("critical", True)
    }
    # A part of a run may have only scenarios that the client was never asked.
    return bool(asked & {"not exercised", "error"}) and not asked & _RANKS.keys()


def unlike(old: Score, new: Score) -> list[str]:
    before, now = old.client, new.client
    found = []
    if before.subject != now.subject:
        found.append(f"another client? {before.subject} before, {now.subject} now")
    if before.capabilities != now.capabilities:
        found.append(
            f"it claimed {claims_of(old)} before, and {claims_of(new)} now: what it does not claim "
            "it is not asked"
        )
    if before.declares != now.declares:
        found.append(f"it declared {_times(old)} before, {_times(new)} now")
    if old.suite_version != new.suite_version:
        found.append(f"suite {old.suite_version} before, {new.suite_version} now")
    places = [
        f"{name} {one} before, {two} now"
        for name, one in old.surroundings.model_dump().items()
        if (two := getattr(new.surroundings, name, one)) != one
    ]
    found += places
    if not old.complete:
        found.append("the run before did not come to its end: what it has not judged is not worse")
    if failed := broken_down(new):
        found.append(f"the harness broke down in {', '.join(failed)}: this is no pass")
    if not new.complete:
        found.append("the run did not come to its end: this is no pass")
    elif says_nothing(old, new):
        found.append("no critical promise was exercised, as some were before: this is no pass")
    return found


def _times(score: Score) -> str:
    told = [f"{name} {value:g} s" for name, value in sorted(score.client.declares.items())]
    return ", ".join(told) or "no times"


def markdown(old: Score, new: Score) -> str:
    lines = [f"### Vault client: {_grades(old, new)}", ""]
    lines += [f"- {plain(text)}" for text in new.why]
    lines += [f"- new: {plain(text)}" for text in harms(old, new)]
    lines += [f"- also broken: {plain(text)}" for text in also_broken(old, new)]
    rows, rest = in_rows(changes(old, new))
    if rows:
        lines += ["", "| scenario | before | now | |", "| --- | --- | --- | --- |"]
        lines += [f"| {' | '.join(map(plain, change.row))} |" for change in rows]
    else:
        lines += ["", "No verdict changed."]
    if others := [*rest, *unlike(old, new)]:
        lines += ["", *(f"- {plain(text)}" for text in others)]
    return "\n".join(lines) + "\n"


def _grades(old: Score, new: Score) -> str:
    if old.grade == new.grade:
        return f"grade {new.grade or 'none'}, as before"
    return f"grade {old.grade or 'none'} before, {new.grade or 'none'} now"


def regressed(old: Score, new: Score) -> bool:
    return bool(harms(old, new)) or any(change.regression for change in changes(old, new))


def badge(score: Score, *, version: str) -> dict[str, object]:
    """Return a badge in the form of a shields.io endpoint. It expires with its suite."""
    if release(score.suite_version) != release(version):
        message, colour = f"expired (suite {score.suite_version})", "lightgrey"
    elif score.grade is None:
        message, colour = "no grade", "lightgrey"
    else:
        message, colour = f"{score.grade} ({claims_of(score)})", _COLOURS[score.grade]
    return {
        "schemaVersion": 1,
        "label": f"vault-harness {release(version)}",
        "message": message,
        "color": colour,
        "cacheSeconds": 3600,
    }
