"""The score of a run: a grade by caps, what changed since another one, and a badge.

A grade is the best that nothing forbids. Averages would let many small promises pay for a broken
critical one; so each rule only says how high a grade may be:

====================================  ==============
a secret came out, or a wrong value   F
three critical promises broken        D
a critical promise broken             C
a high one broken                     B
a medium or low one broken            A
nothing broken                        A+
====================================  ==============

What has no verdict may be broken: a high promise that was left out of a run, or that the client
claims and nobody could ask, or in which the harness broke down, is as a broken one here, and a
medium or low one too. Where that is so of a critical promise, or none was judged at all, or the run
did not end, there is no grade: it could be any down to C. What is known to fail is broken all the
same.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, get_args

from vault_harness import files
from vault_harness.commands import named
from vault_harness.errors import SettingsError
from vault_harness.report import formats
from vault_harness.report._journal import checked
from vault_harness.report._markdown import plain
from vault_harness.report._moments import one_line
from vault_harness.report._reading import check_shape, check_version, read_object, wrong
from vault_harness.report.formats import (
    SCHEMA_VERSION,
    Grade,
    Judged,
    Score,
    release,
    suite_version,
)

SCORE, BADGE = "score.json", "badge.json"

FEW = 5
"""Scenarios that only one of two runs asked, up to which each is told by itself."""

MANY = 3
"""Critical promises broken from which a client is not to be used."""

_BOUND = re.compile(r"(?<!log in) within \d+(?:\.\d+)? s\b")
_NUMBER = re.compile(r"\d+(?:\.\d+)?")

GRADES: tuple[Grade, ...] = get_args(Grade)
"""The best first."""

_RANKS = {"pass": 0, "flaky": 1, "fail": 2}
"""Verdicts on the client, the best first; others say nothing of it."""

_NO_SCORE = "neither a score nor a journal"

_LEAK = "no secret in a log or a message"
_COLOURS = {
    "A+": "brightgreen",
    "A": "brightgreen",
    "B": "green",
    "C": "orange",
    "D": "red",
    "F": "red",
}


def score_of(journal: Mapping[str, Any]) -> Score:
    """The score of a journal."""
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
        harm.append(_LEAK)
    broken = [_untimed(one) for one in record.get("broken") or ()]
    broken = broken or [_untimed(one["promise"]) for one in findings]
    if record["word"] not in ("fail", "flaky"):
        broken = []
    return Judged(
        verdict=record["word"],
        severity=record["severity"],
        broken=sorted(set(broken)),
        harm=sorted(set(harm)),
        cannot=_cannot(record, claims),
    )


def _untimed(promise: object) -> str:
    """A promise without the seconds that were allowed: they come from how long a fault took.

    What is committed differs from run to run by nothing that the client did not do.
    """
    return _BOUND.sub(" in time", str(promise))


def _cannot(record: Mapping[str, Any], claims: frozenset[str]) -> str:
    """Why a scenario was not asked, where the client claims all that it takes; else nothing."""
    cannot = record.get("cannot") if record["word"] == "skipped" else None
    if not isinstance(cannot, Mapping):
        return ""
    needs = cannot.get("needs") or ()
    needed = map(str, needs) if isinstance(needs, list | tuple) else ()
    return str(cannot.get("why") or "") if set(needed) <= {*claims, "read"} else ""


def _grade(
    scenarios: Mapping[str, Judged], left_out: Mapping[str, str], *, complete: bool, engine: str
) -> tuple[Grade | None, list[str]]:
    """The grade and what keeps it down; None, and what keeps it from being given."""
    if harm := [f"{id}: {text}" for id, one in scenarios.items() for text in one.harm]:  # noqa: A001
        return "F", harm
    broken = _by_severity(scenarios, lambda one: one.verdict in ("fail", "flaky"))
    unasked = _by_severity(scenarios, _is_unasked)
    critical, unseen = unasked["critical"], Counter(left_out.values())
    lacking = _not_judged(scenarios, ("critical",))
    if unseen["critical"]:
        # Nobody has heard by now which of them the client claims at all.
        lacking.append(f"critical, and left out of this run, claimed or not: {unseen['critical']}")
    lacking += _never(scenarios, engine, ("critical",))
    if not complete:
        lacking.append("the run did not come to its end")
    asked = any(o.severity == "critical" and o.verdict in _RANKS for o in scenarios.values())
    if not asked and not critical and not unseen["critical"]:
        lacking.append("nothing critical was judged" if scenarios else "nothing was judged")
    if lacking:
        return None, lacking
    why = [f"{name}, and broken: {', '.join(ids)}" for name, ids in broken.items() if ids]
    why += _not_judged(scenarios, ("high", "medium", "low"))
    why += [f"{name}, and left out of this run: {unseen[name]}" for name in broken if unseen[name]]
    why += _never(scenarios, engine, ("high", "medium", "low"))
    if len(broken["critical"]) >= MANY:
        return "D", why
    caps: dict[str, Grade] = {"critical": "C", "high": "B", "medium": "A", "low": "A"}
    capped = (caps[one] for one in caps if broken[one] or unasked[one] or unseen[one])
    return next(capped, "A+"), why


def _by_severity(
    scenarios: Mapping[str, Judged], wanted: Callable[[Judged], bool]
) -> dict[str, list[str]]:
    """The ids of some scenarios, in order, for each severity."""
    return {
        severity: sorted(
            id
            for id, one in scenarios.items()  # noqa: A001 - it is one
            if one.severity == severity and wanted(one)
        )
        for severity in get_args(formats.Severity)
    }


def _not_judged(scenarios: Mapping[str, Judged], severities: Iterable[str]) -> list[str]:
    """Claimed promises that have no verdict, a line for each severity and reason."""
    failed = _by_severity(scenarios, lambda one: one.verdict == "error")
    unasked = _by_severity(scenarios, lambda one: _is_unasked(one) and one.verdict != "error")
    told = []
    for name in severities:
        if ids := unasked[name]:
            told.append(f"{name}, and not asked: {', '.join(ids)}")
        if ids := failed[name]:
            told.append(f"{name}, and not judged, as the harness broke down: {', '.join(ids)}")
    return told


def broken_down(score: Score) -> list[str]:
    """The scenarios in which the harness broke down: whether they got worse nobody knows."""
    return sorted(id for id, one in score.scenarios.items() if one.verdict == "error")  # noqa: A001


def _is_unasked(one: Judged) -> bool:
    """Whether a promise that the client claims to keep has no verdict: it may be broken."""
    return one.verdict in ("not exercised", "error") or bool(one.cannot)


def _never(scenarios: Mapping[str, Judged], engine: str, severities: Collection[str]) -> list[str]:
    """Why promises can never be asked here, with what to do, a line for each reason."""
    found: dict[str, list[str]] = {}
    for id, one in scenarios.items():  # noqa: A001 - it is one
        if one.severity in severities and one.cannot:
            found.setdefault(one.cannot, []).append(id)
    return [
        f"{', '.join(sorted(ids))}: {why}"
        + ("; HARNESS_ENGINE=process can" if _of_the_engine(why, engine) else "")
        for why, ids in found.items()
    ]


def _of_the_engine(why: str, engine: str) -> bool:
    """Whether it is another engine's fault than that which can do most."""
    return engine not in ("", "process") and why.startswith(f"the {engine} engine cannot")


def updated(old: Score, new: Score) -> Score:
    """A score in which some verdicts are those of a later run of the same client.

    Args:
        old: Of a whole run.
        new: Of a run of some scenarios. What it did not exercise, or could not for its engine's or
            machine's sake, stays as it was judged.

    Raises:
        SettingsError: They are not of the same client, suite and surroundings.
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
    grade, why = _grade(scenarios, {}, complete=old.complete, engine=old.surroundings.engine)
    return old.model_copy(update={"grade": grade, "why": why, "scenarios": scenarios})


def load_score(path: Path) -> Score:
    """Read a score, or make that of a journal.

    Raises:
        SettingsError: It is neither, or of a version that this suite does not know.
    """
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
    """Refuse a score whose grade is better than its own verdicts allow: a merge by hand, say.

    That of a suite with other promises may have had other rules.

    Raises:
        SettingsError: It is.
    """
    if score.grade is None or release(score.suite_version) != release(suite_version()):
        return
    best, why = _grade(
        score.scenarios, {}, complete=score.complete, engine=score.surroundings.engine
    )
    if best is None or GRADES.index(score.grade) < GRADES.index(best):
        said = f"its grade is {score.grade}, and its verdicts allow {best or 'none'}"
        remedy = f"write it anew from a journal: {named('score', '--to', 'FILE')}"
        raise wrong(path, "no score of these verdicts", f"{said} ({'; '.join(why)})", remedy)


def refuse_another(path: Path, what: Literal["score", "badge"]) -> None:
    """Refuse to write a score, or a badge, in place of a file that is none: the journal, say.

    Raises:
        SettingsError: It is there, has something in it, and is no such file.
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
    """A score as the text of its file: the same for the same verdicts."""
    found = score.model_dump()
    for one in found["scenarios"].values():
        if not one["cannot"]:  # most scores have none at all
            del one["cannot"]
    return json.dumps(found, indent=1, sort_keys=True) + "\n"


def write_score(score: Score, folder: Path) -> Path:
    """Write a score and its badge into a folder; returns the file of the score."""
    drawn = badge(score, version=suite_version())
    files.write_text(folder / BADGE, json.dumps(drawn, indent=1) + "\n")
    files.write_text(folder / SCORE, as_text(score))
    return folder / SCORE


def profile(score: Score) -> str:
    """What the client claims, which is part of its grade."""
    return ", ".join(score.client.capabilities) or "nothing"


def told(score: Score) -> str:
    """The grade in a line, and below it what keeps it down."""
    head = f"grade {score.grade or 'none'} (claims {profile(score)}; suite {score.suite_version})"
    return "\n".join(map(one_line, [head, *(f"  {reason}" for reason in score.why)]))


@dataclass(frozen=True)
class Change:
    """A scenario whose verdict differs between two scores; None where one did not have it."""

    id: str
    old: str | None
    new: str | None

    @property
    def regression(self) -> bool:
        """Whether it got worse, by verdicts that both say something of the client."""
        if self.old not in _RANKS or self.new not in _RANKS:
            return False
        return _RANKS[self.new] > _RANKS[self.old]

    @property
    def row(self) -> tuple[str, str, str, str]:
        """Its cells in a table."""
        mark = "regression" if self.regression else ""
        return self.id, self.old or "not there", self.new or "not there", mark


def changes(old: Score, new: Score) -> list[Change]:
    """What differs, by id."""
    words = [{id: one.verdict for id, one in s.scenarios.items()} for s in (old, new)]  # noqa: A001
    found = (Change(id, words[0].get(id), words[1].get(id)) for id in sorted(words[0] | words[1]))  # noqa: A001
    return [change for change in found if change.old != change.new]


def in_rows(found: Collection[Change]) -> tuple[list[Change], list[str]]:
    """What differs as rows of a table, and in a line each what only one of the two runs asked.

    A part of a run has little of what a whole one has: as rows that would hide all else.

    Args:
        found: Of `changes`.
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
    """Secrets and wrong values that came out in the new one and not in the old."""
    before = {(id, _untimed(text)) for id, one in old.scenarios.items() for text in one.harm}  # noqa: A001
    return [
        f"{id}: {text}"
        for id, one in new.scenarios.items()  # noqa: A001 - it is one
        for text in one.harm
        if (id, _untimed(text)) not in before
    ]


def also_broken(old: Score, new: Score) -> list[str]:
    """Promises that a scenario broke now, and not before, when it broke others.

    Its verdict is the same, which tells of no change. Harm is told by `harms`.
    """
    found = []
    for id, one in new.scenarios.items():  # noqa: A001 - it is one
        before = old.scenarios.get(id)
        if before is not None and {before.verdict, one.verdict} <= {"fail", "flaky"}:
            known = {_uncounted(text) for text in (*before.broken, *one.harm)}
            found += [f"{id}: {text}" for text in one.broken if _uncounted(text) not in known]
    return found


def _uncounted(promise: str) -> str:
    """A promise as it is compared: how much was allowed may come from how much was asked."""
    return _NUMBER.sub("N", _untimed(promise))


def says_nothing(old: Score, new: Score) -> bool:
    """Whether no critical promise that was judged before was exercised now, where some were run.

    So it is of a client that does not start any more: what is asked of a start it may break as it
    did before, and then nothing got worse of which both say something. Where the harness broke down
    nobody knows either.
    """
    asked = {
        one.verdict
        for id, one in new.scenarios.items()  # noqa: A001 - it is one
        if (before := old.scenarios.get(id)) is not None
        and (before.severity, before.verdict in _RANKS) == ("critical", True)
    }
    # A part of a run may have nothing but what its client was never asked.
    return bool(asked & {"not exercised", "error"}) and not asked & _RANKS.keys()


def unlike(old: Score, new: Score) -> list[str]:
    """In what two scores differ besides their verdicts, a line each: so much less they compare."""
    before, now = old.client, new.client
    found = []
    if before.subject != now.subject:
        found.append(f"another client? {before.subject} before, {now.subject} now")
    if before.capabilities != now.capabilities:
        found.append(
            f"it claimed {profile(old)} before, and {profile(new)} now: what it does not claim "
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
    """What changed, for a pull request."""
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
    """Whether anything got worse that both runs say something of."""
    return bool(harms(old, new)) or any(change.regression for change in changes(old, new))


def badge(score: Score, *, version: str) -> dict[str, object]:
    """A badge as shields.io takes it from an endpoint; one of another suite has expired.

    Args:
        score: Of a run.
        version: Of the suite that is asked; promises and grades are that suite's.
    """
    if release(score.suite_version) != release(version):
        message, colour = f"expired (suite {score.suite_version})", "lightgrey"
    elif score.grade is None:
        message, colour = "no grade", "lightgrey"
    else:
        message, colour = f"{score.grade} ({profile(score)})", _COLOURS[score.grade]
    return {
        "schemaVersion": 1,
        "label": f"vault-harness {release(version)}",
        "message": message,
        "color": colour,
        "cacheSeconds": 3600,
    }
