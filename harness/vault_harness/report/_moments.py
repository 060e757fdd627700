"""The moments of a record, on one clock: what happened, in lines that a person can read."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

from vault_harness.scenario.record import ScenarioRecord

MANY = 3
"""How many alike are told one by one; more of them share a line."""

TIMES = 4
"""How many times such a line gives."""

STOOD_STILL = "the machine stood still"
"""How a stall is called, as in a verdict."""

UNREAD = 0.1
"""Seconds for which a request lay unread that are told: an oracle judges it by when it came."""

LETTERS = 300
"""Letters that are shown of a line that a client logged: some log whole answers, in one line."""

SEEN = 1500
"""And of what was seen, which may have a client's message in it: some put whole pages there."""


_BEFORE = "before any fault: "
"""How a reason begins by which a client was not steady: `vault_harness.scenario.verdict`."""

_FIRST_THAT = (
    "it broke that promise while nothing was broken yet: mend that first, then this scenario can "
    "ask what it is about"
)


@dataclass(frozen=True)
class Moment:
    """Something that happened.

    Attributes:
        at: When, seconds since the scenario began.
        text: What, in one line.
        like: What moments of the same kind share; empty for one that is never put together.
        minor: Whether it only matters to somebody who looks at everything.
        key: Whether a finding is about it, or it is one: then it is never left out.
    """

    at: float
    text: str
    like: str = ""
    minor: bool = False
    key: bool = False

    def __str__(self) -> str:
        return f"+{self.at:.2f} s  {self.text}"


class Told(NamedTuple):
    """A line, and whether it is never left out."""

    text: str
    key: bool = False


def moments(record: ScenarioRecord) -> list[Moment]:
    """Every moment of a record, in order."""
    found = [Moment(mark["at"], one_line(mark["text"])) for mark in record.get("marks", ())]
    for fault in record.get("faults", ()):
        detail = ", ".join(f"{name} {value}" for name, value in fault["detail"].items())
        name = f"{fault['name']} ({detail})" if detail else fault["name"]
        found.append(Moment(fault["began"], f"FAULT {name}"))
        if fault["ended"] is not None:
            found.append(Moment(fault["ended"], f"undone: {fault['name']}"))
    found += [_rotation(rotation) for rotation in record.get("rotations", ())]
    findings = findings_of(record)
    about = {finding["at"] for finding in findings}
    witnessed = [_exchange(exchange) for exchange in record.get("exchanges", ())]
    witnessed += [_operation(operation) for operation in record.get("operations", ())]
    witnessed += [_use(use) for use in record.get("uses", ())]
    found += [replace(one, key=one.at in about) for one in witnessed]
    found += [
        Moment(line["at"], f"log: {one_line(in_short(line['text']))}", minor=True)
        for line in record.get("log", ())
    ]
    found += [
        Moment(stall["at"], f"{STOOD_STILL} for {stall['length']:.2f} s", STOOD_STILL,
               minor=stall["length"] < 0.25)
        for stall in record.get("stalls", ())
    ]  # fmt: skip
    word = "FINDING" if record.get("findings") else "SET ASIDE"
    found += [
        Moment(finding["at"], f"{word} {one_line(in_short(finding['seen'], SEEN))}", key=True)
        for finding in findings
    ]
    return sorted(found, key=lambda moment: moment.at)


def findings_of(record: ScenarioRecord) -> list[dict[str, Any]]:
    """The findings with a time; where none counts, those for which nothing was exercised."""
    counting = record.get("findings", ())
    found = counting or [one["finding"] for one in record.get("set_aside", ())]
    return [finding for finding in found if finding["at"] is not None]


def why_not_exercised(record: Mapping[str, Any]) -> list[str]:
    """The reasons of a verdict that proves nothing, with what they mean where that is not plain.

    A client that renews twice at once does so with nothing broken: every scenario but those that
    are about that finds it before its fault, and cannot tell what it is about.
    """
    reasons = [in_short(text, SEEN) for text in record.get("untouched") or ()]
    if any(reason.startswith(_BEFORE) for reason in reasons):
        reasons.append(_FIRST_THAT)
    return reasons


def one_line(text: str) -> str:
    """A text as it stands in one line: breaks, and what would not be seen, are written out.

    So are control characters, and those that turn the direction of what comes after them.
    """
    if text.isprintable():
        return text
    return "".join(
        char if char.isprintable() else char.encode("unicode_escape").decode() for char in text
    )


def in_short(line: object, letters: int = LETTERS) -> str:
    """The beginning of a line that a client logged, or said, and by how much it is longer."""
    text = str(line or "")
    if (more := len(text) - letters) <= 0:
        return text
    return f"{text[:letters]} ... {more} more letters, all of them in the journal ..."


def _rotation(rotation: dict[str, Any]) -> Moment:
    seeded = str(rotation["value"]).endswith("seeded")
    text = f"{rotation['path']} is now {rotation['value']}"
    return Moment(rotation["at"], text, "seeded" if seeded else "", minor=seeded)


def _use(use: dict[str, Any]) -> Moment:
    how = "accepted" if use["accepted"] else "refused"
    text = f"the database {how} {use['credential']}"
    return Moment(use["began"], text, text, minor=use["accepted"])


def _exchange(exchange: dict[str, Any]) -> Moment:
    answer = (
        str(exchange["status"])
        if exchange["status"] is not None
        else f"no answer ({exchange['closed'] or 'pending'})"
    )
    good = exchange["status"] is not None and exchange["status"] < 300
    by = " from the harness" if exchange["by"] == "stub" else ""
    if not by and exchange.get("interference"):  # journals of older runs have none
        by = f" ({exchange['interference'].rpartition(' #')[0]})"
    label = exchange["secret_id"] or exchange.get("credential") or exchange["token"]
    credential = f" with {label}" if label else ""
    what = f" of {exchange['path']}" if exchange["kind"] in ("read", "write") else ""
    if exchange.get("namespace"):  # journals of older runs have none
        what += f" in namespace {exchange['namespace']}"
    text = f"Vault saw {exchange['kind']}{what}{credential}: {answer}{by}"
    if exchange["ttl"]:
        text += f", TTL {exchange['ttl']:g} s"
    if exchange["retry_after"] is not None:
        text += f", Retry-After {exchange['retry_after']:g} s"
    like = text
    if (waited := exchange.get("waited", 0.0)) >= UNREAD:  # journals of older runs have none
        text += f", {waited:.2f} s after it came"
    return Moment(
        exchange["began"], one_line(text), like, minor=good and exchange["kind"] == "read"
    )


def _operation(operation: dict[str, Any]) -> Moment:
    what = f"{operation['verb']} {operation['path']}".strip()
    message = f": {operation['message'][:160]}" if operation["message"] else ""
    if operation["ended"] is None:
        text, like = f"{what} has not ended", what
    else:
        took = operation["ended"] - operation["began"]
        like = f"{what} ended {operation['outcome']}{message}"
        over = f"after {took:.2f} s, at +{operation['ended']:.2f} s"
        text = f"{what} ended {operation['outcome']} {over}{message}"
    good = operation["outcome"] == "ok" and operation["verb"] not in ("start", "close")
    value = f", gave {operation['value']}" if operation["value"] else ""
    return Moment(operation["began"], one_line(text + value), one_line(like + value), minor=good)


def collapse(told: Iterable[Moment]) -> list[Told]:
    """Lines for moments; many alike, between two that stand alone, share one."""
    lines: list[Told] = []
    group: dict[str, list[Moment]] = {}

    def end_group() -> None:
        texts: list[tuple[float, str]] = []
        for alike in group.values():
            if len(alike) <= MANY:
                texts += [(moment.at, str(moment)) for moment in alike]
                continue
            times = ", ".join(f"+{moment.at:.2f}" for moment in alike[:TIMES])
            until = f"to +{alike[-1].at:.2f} s"
            text = (
                f"+{alike[0].at:.2f} s  {len(alike)} times {until}: {alike[0].like} ({times} ...)"
            )
            texts.append((alike[0].at, text))
        lines.extend(Told(text) for _, text in sorted(texts))
        group.clear()

    for moment in told:
        if moment.like and not moment.key:
            group.setdefault(moment.like, []).append(moment)
        else:
            end_group()
            lines.append(Told(str(moment), moment.key))
    end_group()
    return lines


def shown(
    record: ScenarioRecord,
    *,
    since: float = 0.0,
    until: float = float("inf"),
    all_of_it: bool = False,
) -> list[str]:
    """The lines of a while, many alike in one; minor ones only if `all_of_it` is wanted."""
    return [line.text for line in lines_of(record, since, until, all_of_it=all_of_it)]


def lines_of(
    record: ScenarioRecord,
    since: float = 0.0,
    until: float = float("inf"),
    *,
    all_of_it: bool = False,
) -> list[Told]:
    """The same, and which of them are never left out."""
    return collapse(
        moment
        for moment in moments(record)
        if since <= moment.at <= until and (all_of_it or moment.key or not moment.minor)
    )
