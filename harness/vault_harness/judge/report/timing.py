"""Turn the moments of a record into lines that a person can read, on one clock."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

from vault_harness.judge.record import ScenarioRecord
from vault_harness.judge.verdict import BEFORE_ANY_FAULT

MANY = 3
"""If there are more moments of the same kind than this, they share a line."""

TIMES = 4
"""Times that a shared line shows."""

STOOD_STILL = "the machine stood still"

UNREAD = 0.1
"""Seconds for which a request may lie unread before the text says so. Oracles use its arrival."""

LETTERS = 300
"""Characters shown of a log line. Some clients log whole answers in one line."""

SEEN = 1500
"""Characters shown of what was seen. Some clients put whole pages into their messages."""


_BEFORE = f"{BEFORE_ANY_FAULT}: "
"""The prefix of a reason that a client was not steady."""

FIRST_THAT = (
    "it broke that promise before any fault: fix that first, and this scenario can ask its own "
    "question"
)


@dataclass(frozen=True)
class Moment:
    """Something that happened, in one line of text.

    Attributes:
        at: Seconds since the scenario began.
        like: What moments of the same kind share; empty for a moment that never shares a line.
        minor: Whether only a full timeline shows it.
        key: Whether it is a finding, or the subject of one. It is then always shown.
    """

    at: float
    text: str
    like: str = ""
    minor: bool = False
    key: bool = False

    def __str__(self) -> str:
        return f"+{self.at:.2f} s  {self.text}"


class Told(NamedTuple):
    """A line, and whether it is always shown."""

    text: str
    key: bool = False


def moments(record: ScenarioRecord) -> list[Moment]:
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
    """If no finding counts, return the findings that were set aside. All have a time."""
    counting = record.get("findings", ())
    found = counting or [one["finding"] for one in record.get("set_aside", ())]
    return [finding for finding in found if finding["at"] is not None]


def why_not_exercised(record: Mapping[str, Any]) -> list[str]:
    """Return the reasons of ``not exercised``, with advice if a reason alone is not clear.

    A client that renews twice even without a fault breaks nearly every scenario before its fault.
    """
    reasons = [in_short(text, SEEN) for text in record.get("untouched") or ()]
    if any(reason.startswith(_BEFORE) for reason in reasons):
        reasons.append(FIRST_THAT)
    return reasons


def one_line(text: str) -> str:
    """Escape line breaks, control and invisible characters."""
    if text.isprintable():
        return text
    return "".join(
        char if char.isprintable() else char.encode("unicode_escape").decode() for char in text
    )


def in_short(line: object, letters: int = LETTERS) -> str:
    """Return the beginning of a text, and by how many characters it is longer."""
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
    if not by and exchange.get("interference"):  # journals of older runs have no interference
        by = f" ({exchange['interference'].rpartition(' #')[0]})"
    label = exchange["secret_id"] or exchange.get("credential") or exchange["token"]
    credential = f" with {label}" if label else ""
    what = f" of {exchange['path']}" if exchange["kind"] in ("read", "write") else ""
    if exchange.get("namespace"):  # journals of older runs have no namespace
        what += f" in namespace {exchange['namespace']}"
    text = f"Vault saw {exchange['kind']}{what}{credential}: {answer}{by}"
    if exchange["ttl"]:
        text += f", TTL {exchange['ttl']:g} s"
    if exchange["retry_after"] is not None:
        text += f", Retry-After {exchange['retry_after']:g} s"
    like = text
    if (waited := exchange.get("waited", 0.0)) >= UNREAD:  # journals of older runs have no waited
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
    """Return lines for moments; like moments share a line, up to the next single moment."""
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


def lines_of(
    record: ScenarioRecord,
    since: float = 0.0,
    until: float = float("inf"),
    *,
    all_of_it: bool = False,
) -> list[Told]:
    return collapse(
        moment
        for moment in moments(record)
        if since <= moment.at <= until and (all_of_it or moment.key or not moment.minor)
    )


_MARKUP = re.compile(r"[\\`*\[\]|]")


def plain(text: str) -> str:
    """Return a text in one line of Markdown, with each character shown as it is.

    A client's name, or a journal edited by hand, must neither break a table nor hide what follows,
    as ``<!--`` does on the page of a hosted job.
    """
    text = one_line(text).replace("&", "&amp;").replace("<", "&lt;")
    return _MARKUP.sub(r"\\\g<0>", text)
