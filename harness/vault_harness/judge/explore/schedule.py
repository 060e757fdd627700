"""Describe schedules, whose faults are tied to points, and their file."""

from __future__ import annotations

import json
import re
import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

from vault_harness.errors import SettingsError
from vault_harness.judge.explore.points import (
    CONNECTIONS,
    KINDS,
    ORDINALS,
    PHASES,
    SECRET,
    Point,
)

FORMAT = 1
"""Raised when a field of the file changes its meaning."""

LARGEST = 4096
"""Bytes of a file, so that it can be mailed."""

WHILE = 1.5
"""Seconds of most faults that do not act only once."""

LONG = 4.0
"""Seconds of a fault in which calls reach their deadline, so that callers see it."""

LONGEST = 6.0
"""Seconds in which a token may end without a login, and a cached value is read again."""

Means = Literal["request", "network", "server", "own server"]
"""How a fault is made. Only ``own server`` needs a Vault that no other run uses."""


@dataclass(frozen=True)
class Kind:
    """A kind of fault.

    Attributes:
        words: What happens; of a fault of requests, what follows "the request is".
        cost: The shrinker prefers a low one.
        kinds: The requests at which it is tried; empty means all.
        phases: Also empty for all.
        once: Whether it can act on one request.
        lasts: Seconds if it acts for a while; 0 if it cannot.
    """

    words: str
    means: Means
    cost: int = 0
    kinds: frozenset[str] = frozenset()
    phases: frozenset[str] = frozenset()
    once: bool = True
    lasts: float = WHILE


_READS = frozenset({"read"})
_MAY_LOG_IN = frozenset({"login", "renew", "lookup", "read"})
_WITH_TOKEN = frozenset({"renew", "lookup", "read"})
_ALIVE = frozenset({"steady", "renewal due", "near max TTL", "after a fault"})

FAULTS: dict[str, Kind] = {
    "500": Kind("answered 500", "request", 0),
    "503": Kind("answered 503", "request", 1, lasts=LONG),
    "502": Kind("answered 502", "request", 2),
    "403": Kind("answered 403", "request", 3),
    "404": Kind("answered 404", "request", 4, kinds=_READS),
    "412": Kind("answered 412", "request", 5, kinds=_READS),
    "429": Kind("answered 429", "request", 6),
    "429-retry-after": Kind("answered 429 with Retry-After: 1", "request", 7),
    "lost": Kind("carried out, but its answer is lost", "request", 8),
    "late": Kind("answered half a deadline late", "request", 9),
    "silent": Kind("carried out, but never answered", "request", 10, lasts=LONG),
    "goodbye": Kind("answered, and the answer closes the connection", "request", 11),
    "page-200": Kind("answered with a sign-in page and 200", "request", 12),
    "page-403": Kind("answered with a gateway's page and 403", "request", 13),
    "page-404": Kind("answered with a gateway's page and 404", "request", 14, kinds=_READS),
    "redirect": Kind("redirected to a server that is not there", "request", 15),
    "refused": Kind("the network is down", "network", 16, once=False, lasts=LONG),
    "cut-off": Kind("every connection is cut off in its answer", "network", 17, once=False),
    "dripping": Kind("every answer comes byte by byte", "network", 18, once=False, lasts=LONG),
    "token-revoked": Kind(
        "the token is revoked",
        *("server", 19, _WITH_TOKEN, _ALIVE),
        lasts=0.0,
    ),
    "role-locked": Kind("the role is locked", "server", 20, _MAY_LOG_IN, once=False),
    "secret-id-gone": Kind(
        "the secret-id is destroyed, and not replaced",
        *("server", 21, _MAY_LOG_IN),
        once=False,
        lasts=LONGEST,
    ),
    "policy-narrowed": Kind(
        "a policy allows nothing", "server", 22, _WITH_TOKEN, _ALIVE, once=False, lasts=LONGEST
    ),
    "secret-changed": Kind(
        "the secret gets a new version", "server", 23, _READS, _ALIVE, lasts=0.0
    ),
    "secret-deleted": Kind(
        "the secret stays deleted",
        *("server", 24, _READS, _ALIVE),
        once=False,
    ),
    "sealed": Kind("Vault is sealed", "own server", 25, once=False),
}

NOT_HERE = {"stepped-down": "needs three nodes, and exploring uses one"}

_NOT_AT_THE_END = frozenset({"server", "own server"})


@dataclass(frozen=True, order=True)
class Step:
    """One fault at one point.

    Attributes:
        lasts: Seconds; 0 if it acts on one request.
    """

    point: Point
    fault: str
    lasts: float = 0.0

    @property
    def kind(self) -> Kind:
        return FAULTS[self.fault]

    def __str__(self) -> str:
        kind, span = self.kind, f" for {self.lasts:g} s" if self.lasts else ""
        if kind.means == "server":
            return f"Before {self.point}, {kind.words}{span}"
        if not span:
            text = f"{self.point} is {kind.words}"
            return text[0].upper() + text[1:]
        which = "read" if kind.kinds else "request"
        each = f"every {which} is " if kind.means == "request" else ""
        return f"{span[1].upper()}{span[2:]} from {self.point} on, {each}{kind.words}"


def possible(point: Point) -> list[Step]:
    """Return every fault that makes sense at a point, the simplest first."""
    steps = []
    for name, kind in FAULTS.items():
        if kind.kinds and (point.kind not in kind.kinds or point.path not in _paths(point)):
            continue
        if kind.phases and point.phase not in kind.phases:
            continue
        if point.phase == "closing" and kind.means in _NOT_AT_THE_END:
            continue
        if kind.means in _NOT_AT_THE_END and point.ordinal != "first":
            continue  # any request may be the first to meet a server's state
        steps += [Step(point, name)] * kind.once
        steps += [Step(point, name, kind.lasts)] * bool(kind.lasts)
    return steps


def _paths(point: Point) -> tuple[str, ...]:
    return (SECRET,) if point.kind == "read" else (point.path,)


@dataclass(frozen=True)
class Baseline:
    """The cost of a client's fault-free lives.

    Attributes:
        rate: Requests in the busiest second.
        own: The same for requests without a caller.
        keeps: Whether each token was renewed or replaced before it ended.
        revokes: Whether the last token was revoked at the end.
    """

    rate: int = 0
    own: int = 0
    keeps: bool = False
    revokes: bool = False

    def joined(self, other: Baseline) -> Baseline:
        rate, own = max(self.rate, other.rate), max(self.own, other.own)
        return Baseline(rate, own, self.keeps and other.keeps, self.revokes and other.revokes)


@dataclass(frozen=True)
class Schedule:
    """Faults, each tied to a point. Without steps it is a life without faults.

    Attributes:
        subject: The client that the schedule broke; empty if it was made by hand.
        baseline: Without it, oracles that compare are left out.
        max_ttl: Seconds; 0 if the run ends long before it.
    """

    steps: tuple[Step, ...]
    subject: str = field(default="", compare=False)
    promise: str = field(default="", compare=False)
    ttl: float = field(default=8.0, compare=False)
    max_ttl: float = 0.0
    baseline: Baseline | None = field(default=None, compare=False)

    @property
    def size(self) -> tuple[int, int, int, bool]:
        return (
            len(self.steps),
            sum(bool(step.lasts) for step in self.steps),
            sum(step.kind.cost for step in self.steps),
            bool(self.max_ttl),
        )

    @property
    def own_server(self) -> bool:
        return any(step.kind.means == "own server" for step in self.steps)

    @property
    def by_network(self) -> bool:
        """Return whether the schedule needs Toxiproxy."""
        return any(step.kind.means == "network" for step in self.steps)

    def without(self, number: int) -> Schedule:
        return replace(self, steps=self.steps[:number] + self.steps[number + 1 :])

    def simpler(self) -> list[Schedule]:
        """Return the schedules in which one step is simpler, the simplest first."""
        found = []
        for number, step in enumerate(self.steps):
            options = [step_ for step_ in possible(step.point) if _cost(step_) < _cost(step)]
            for option in options:
                steps = (*self.steps[:number], option, *self.steps[number + 1 :])
                found.append(replace(self, steps=steps))
        return sorted(found, key=lambda one: one.size)

    def __str__(self) -> str:
        if not self.steps:
            return "There is no fault."
        return " ".join(f"{n}. {step}." for n, step in enumerate(self.steps, start=1))


def _cost(step: Step) -> tuple[bool, int]:
    return bool(step.lasts), step.kind.cost


def to_toml(schedule: Schedule) -> str:
    lines = [
        "# The task `replay` runs this.",
        f"format = {FORMAT}",
        f"subject = {_text(schedule.subject)}",
        f"promise = {_text(schedule.promise)}",
        f"ttl = {schedule.ttl:g}",
        *([f"max_ttl = {schedule.max_ttl:g}"] if schedule.max_ttl else []),
        *([] if schedule.steps else ["step = []"]),
    ]
    if schedule.baseline is not None:
        lines += [
            "",
            "[baseline]",
            f"rate = {schedule.baseline.rate}",
            f"own = {schedule.baseline.own}",
            f"keeps = {str(schedule.baseline.keeps).lower()}",
            f"revokes = {str(schedule.baseline.revokes).lower()}",
        ]
    for step in schedule.steps:
        point = step.point
        lines += [
            "",
            "[[step]]",
            f'request = "{point.kind}"',
            f"path = {_text(point.path)}",
            f'phase = "{point.phase}"',
            f'ordinal = "{point.ordinal}"',
            *([f'connection = "{point.connection}"'] if point.connection else []),
            f'fault = "{step.fault}"',
            f"lasts = {step.lasts:g}",
        ]
    return "\n".join(lines) + "\n"


def _text(text: str) -> str:
    """Return a TOML string: JSON in which one more character is escaped."""
    return json.dumps(text, ensure_ascii=False).replace("\x7f", "\\u007f")


def load_schedule(path: Path) -> Schedule:
    try:
        text = path.read_bytes()[: LARGEST + 1].decode()
    except (OSError, UnicodeDecodeError) as error:
        cause = getattr(error, "strerror", None) or "it is not UTF-8"
        raise _wrong(path, 0, f"it cannot be read: {cause}") from None
    if len(text.encode()) > LARGEST:
        raise _wrong(path, 0, f"it has more than {LARGEST} bytes")
    return parse_schedule(text, path)


def parse_schedule(text: str, path: Path) -> Schedule:
    try:
        told = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        found = re.search(r"line (\d+)", str(error))
        said = re.sub(r" \(at .*\)$", "", str(error))
        raise _wrong(path, int(found[1]) if found else 1, said) from None
    file = _File(text, path)
    if told.get("format") != FORMAT:
        said = f"format {told.get('format')} cannot be read; this version reads format {FORMAT}"
        raise file.wrong("format", said)
    file.only(told, ("format", "subject", "promise", "ttl", "max_ttl", "baseline", "step"))
    ttl = file.number(told, "ttl", default=8.0, least=8.0)
    max_ttl = file.number(told, "max_ttl", default=0.0, least=ttl) if "max_ttl" in told else 0.0
    given = told.get("step")
    if not isinstance(given, list) or not all(isinstance(s, dict) for s in given):
        raise file.wrong("step", "there is no [[step]]")
    steps = tuple(_step(file, one, number) for number, one in enumerate(given, start=1))
    subject, promise = (str(told.get(name, "")) for name in ("subject", "promise"))
    baseline = _baseline(file, told["baseline"]) if "baseline" in told else None
    return Schedule(steps, subject, promise, ttl, max_ttl, baseline)


def _baseline(file: _File, told: Any) -> Baseline:
    # `revokes` is new, so older files do not have it.
    if not isinstance(told, dict) or {*told, "revokes"} != {"rate", "own", "keeps", "revokes"}:
        raise file.wrong("[baseline]", "[baseline] has rate, own, keeps and revokes, no more")
    for name in ("rate", "own"):
        if type(told[name]) is not int or told[name] < 0:
            raise file.wrong(name, f"{name} is not a number of requests")
    for name in ("keeps", "revokes"):
        if type(told.get(name, False)) is not bool:
            raise file.wrong(name, f"{name} is not true or false")
    return Baseline(**told)


def _step(file: _File, told: Mapping[str, Any], number: int) -> Step:
    names = ("request", "path", "phase", "ordinal", "connection", "fault", "lasts")
    file.only(told, names, number)
    kind = file.word(told, "request", KINDS, number)
    path = told.get("path", SECRET)
    if not isinstance(path, str):
        raise file.wrong("path", "path is not a text", number)
    connection = file.word(told, "connection", ("", *CONNECTIONS), number, default="")
    fault = file.word(told, "fault", (*FAULTS, *NOT_HERE), number)
    if fault in NOT_HERE:
        raise file.wrong("fault", f"{fault} {NOT_HERE[fault]}", number)
    point = Point(
        kind,
        path,
        file.word(told, "phase", PHASES, number),
        file.word(told, "ordinal", ORDINALS, number),
        connection,
    )
    lasts = file.number(told, "lasts", default=0.0, least=0.0, step=number)
    if (lasts and not FAULTS[fault].lasts) or (not lasts and not FAULTS[fault].once):
        how = "cannot last" if lasts else "needs lasts, in seconds"
        raise file.wrong("lasts", f"{fault} {how}", number)
    return Step(point, fault, lasts)


@dataclass(frozen=True)
class _File:
    text: str
    path: Path

    def wrong(self, name: str, what: str, step: int = 0) -> SettingsError:
        return _wrong(self.path, self._line(name, step), what)

    def only(self, told: Mapping[str, Any], names: Iterable[str], step: int = 0) -> None:
        if foreign := [name for name in told if name not in names]:
            raise self.wrong(foreign[0], f"there is no field {foreign[0]}", step)

    def word(
        self,
        told: Mapping[str, Any],
        name: str,
        known: Iterable[str],
        step: int,
        default: str | None = None,
    ) -> str:
        found = told.get(name, default)
        known = tuple(known)
        if found not in known:
            said = f"{name} is missing" if found is None else f"there is no {name} {found!r}"
            raise self.wrong(name, f"{said}; give one of {', '.join(filter(None, known))}", step)
        return str(found)

    def number(
        self, told: Mapping[str, Any], name: str, *, default: float, least: float, step: int = 0
    ) -> float:
        """Return a number of seconds from `least` to a minute."""
        found = told.get(name, default)
        if isinstance(found, bool) or not isinstance(found, int | float):
            raise self.wrong(name, f"{name} is not a number", step)
        if not least <= found <= 60:
            raise self.wrong(name, f"{name} is not between {least:g} and 60 seconds", step)
        return float(found)

    def _line(self, name: str, step: int) -> int:
        """Return the line of a field, else of its step, else the first line."""
        begun, at = 0, 1
        for number, line in enumerate(self.text.splitlines(), start=1):
            if line.strip().startswith("[[step]]"):
                begun += 1
                if begun == step:
                    at = number
            elif begun == step and line.partition("=")[0].strip().strip('"') == name:
                return number
        return at


def _wrong(path: Path, line: int, what: str) -> SettingsError:
    return SettingsError(
        f"{path}:{line}: {what}" if line else f"{path}: {what}",
        looked_at=str(path),
        remedy="correct that line, or take a file that this version of explore wrote",
    )
