"""Group the findings of a run by cause: a theme of promises, in one or more scenarios.

One defect of a client breaks many scenarios. So each scenario counts only for the cause that
explains most scenarios. Grades count causes.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal

from vault_harness.judge.report.lines import Line
from vault_harness.judge.report.timing import one_line


@dataclass(frozen=True)
class Theme:
    """The common subject of several promises.

    Attributes:
        words: A promise that contains one of these words belongs to the theme.
    """

    broken: str
    remedy: str
    words: tuple[str, ...] = ()


SECRETS = Theme(
    "it gives secrets away",
    "Keep tokens, secret-ids and values out of logs, messages and command lines. Send them over "
    "TLS, and to Vault only.",
    ("no secret in a log", "no token and no secret-id", "over TLS only", "nobody else can read"),
)
VALUES = Theme(
    "a wrong value, or a write that is lost or done twice",
    "Never repeat a write blindly, and change secrets with check-and-set. Keep memory apart by "
    "path, role and namespace.",
    (
        *("of one version", "what its own role may", "for nobody else", "no write is repeated"),
        *("names the namespace", "initialises a Vault", "versions"),
    ),
)

THEMES = (
    SECRETS,
    VALUES,
    Theme(
        "it does not clean up",
        "On close, stop all threads, revoke token and leases, and close the connections. Leave "
        "nothing open after an outage.",
        (
            *("once it is closed", "clean end", "close ends", "link leaves nothing"),
            "clients leave nothing",
            *("seals leave nothing", "faults leave nothing", "outlasts the end", "tokens alive"),
            *("given back", "ends cleanly", "exit code", "SIGTERM", "it has ended"),
            *("end of one", "left alone", "token alone", "connections of its own", "stay open"),
        ),
    ),
    Theme(
        "calls outlast their deadline",
        "Give each call one deadline for connecting, for all tries and their pauses, and for "
        "waiting for a lock.",
        ("call ends", "health ends", "waits longer", "holds up no"),
    ),
    Theme(
        "it lets tokens or leases run out",
        "Renew at half to three quarters of the life. Once a renewal no longer extends it, replace "
        "it while it still lives.",
        (
            *("renewal between", "before it ends", "next renewal", "renewed, or replaced"),
            *("renewal or a login", "that has ended", "another token", "renews its token"),
            "keeps its credential",
        ),
    ),
    Theme(
        "it asks too much of Vault",
        "Put growing, jittered pauses between tries, obey Retry-After, and stop after four refused "
        "logins. Callers share one look at the token.",
        (
            *("storm", "stampede", "no loop", "no log without", "s apart", "Retry-After"),
            *("that asks", "requests (", "requests to", "revocations", "of a processor"),
            *("refused", "locked", "a denial costs", "nobody asks at"),
            *("known to be dead", "renewal", "instances log in", "one credential to the next"),
        ),
    ),
    Theme(
        "it does not recover after a fault",
        "After a 403, look the token up, and log in again if it is dead. Drop broken connections. "
        "Keep trying, with pauses, until Vault answers.",
        (
            *("after the fault", "a new login", "steady state", "good again", "loss of its token"),
            *("reads are good", "stays alive", "it starts", "reads go to", "link is up"),
            *("that works", "nobody touched", "delivered last"),
        ),
    ),
    Theme(
        "it takes more logins or credentials than it needs",
        "Let one caller log in for all. Keep the token through errors and outages, and log in only "
        "when lookup-self says that it is dead.",
        ("login", "credential", "same secret-id", "users that were"),
    ),
    Theme(
        "it misnames failures",
        "Tell missing, deleted, denied and unavailable apart by status and body. Only a 404 of "
        "Vault's own means missing. Let health tell the truth.",
        (
            *("failure then is", "reported as", "called missing", "fails as", "refuses fails"),
            *("health tells", "health says", "its health"),
        ),
    ),
    Theme(
        "it does not see what changed",
        "Read each secret again within the declared refresh time, in every way of reading, and "
        "right after an outage.",
        (
            *("is seen", "is gone", "is missing", "Vault's value", "that is over"),
            *("accepted by the database", "no wrong value", "older one", "is served past"),
            *("is rotated", "whatever time of day"),
        ),
    ),
    Theme(
        "calls fail that could succeed",
        "Retry reads within the deadline. While Vault is away, serve the last good value for as "
        "long as the client declares. Encode paths and values.",
        (
            *(
                "no read",
                "reads fail",
                "read of",
                "reads of",
                "read is not lost",
                "to its end",
                "a 412",
            ),
            *("value is served", "is the fallback", "at hand", "goes on", "a write"),
            *("can be written", "write is done", "in spite of another"),
        ),
    ),
)


def theme_of(promise: str, *, harm: bool = False) -> Theme:
    """Return the theme of a promise; harm belongs to `VALUES`, unless a secret leaked.

    An unknown promise, as from another suite, becomes a theme of its own.
    """
    found = next((one for one in THEMES if any(text in promise for text in one.words)), None)
    if harm and found is not SECRETS:
        return VALUES
    return found or Theme(promise, "Look at the timeline of the scenario.")


Kind = Literal["leak", "harm", "broken", "should", "fixed", "error", "not exercised"]
"""What a cause means, the worst first.

``harm`` is harm other than a leak. ``fixed`` is a known failure that passes. ``error`` is one of
the harness. ``not exercised`` proves nothing.
"""

LABELS = ("harm", "critical", "high", "SHOULD")
KINDS: tuple[Kind, ...] = ("leak", "harm", "broken", "should", "fixed", "error", "not exercised")
SEVERITIES = ("critical", "high", "medium", "low")

LEAK = "no secret in a log or a message"

OF_THE_CLIENT: tuple[Kind, ...] = ("leak", "harm", "broken", "should")

_OTHERS: dict[Kind, Theme] = {
    "fixed": Theme(
        "the file of known failures names what passes",
        "Take the lines of what passes out of the file.",
    ),
    "error": Theme(
        "the harness or the scenario broke down, not the client",
        "Run it again. The log of the scenario says what broke down.",
    ),
    "not exercised": Theme(
        "it proved nothing",
        "See what was missing. `subject check` tries the client where nothing is broken.",
    ),
}


@dataclass(frozen=True)
class Example:
    """A scenario that shows a cause.

    Attributes:
        at: Seconds since the scenario began; None if unknown.
        others: Number of further causes that the same scenario shows.
    """

    id: str
    severity: str
    seen: str = ""
    at: float | None = None
    others: int = 0

    def __str__(self) -> str:
        when = f" at +{self.at:.2f} s" if self.at is not None else ""
        return one_line(f"{self.id}{when}: {self.seen}")


@dataclass(frozen=True)
class Cause:
    """One theme that was broken in one or more scenarios.

    Attributes:
        examples: One for each scenario that shows the cause, the clearest first.
        explains: The scenarios that count for this cause; empty if each counts for a larger one.
    """

    kind: Kind
    theme: Theme
    examples: tuple[Example, ...]
    explains: frozenset[str] = frozenset()

    @property
    def clearest(self) -> Example:
        """Return the scenario to begin with: it counts for this cause and shows few others."""
        return self.examples[0]

    @property
    def ids(self) -> list[str]:
        return sorted(example.id for example in self.examples)

    @property
    def counts(self) -> bool:
        return bool(self.explains) or self.kind == "leak"

    @property
    def label(self) -> str:
        """Return ``harm``, ``critical``, ``high`` or ``SHOULD``; or the kind."""
        if self.kind in ("leak", "harm"):
            return "harm"
        if self.kind != "broken":
            return self.kind.replace("should", "SHOULD")
        counted = [one for one in self.examples if one.id in self.explains] or self.examples
        return min((one.severity for one in counted), key=_severity)

    @property
    def title(self) -> str:
        """Such as ``critical: it asks too much of Vault``."""
        return f"{self.label}: {one_line(self.theme.broken)}"

    @property
    def count(self) -> str:
        """Such as ``explains 13 scenarios, shows in 4 more``."""
        explained = len(self.explains)
        more = len(self.examples) - explained
        parts = [f"explains {explained} scenario{'s' * (explained != 1)}"] if explained else []
        parts += [f"shows in {more}{' more' * bool(parts)}"] if more else []
        return ", ".join(parts)


def causes(records: Iterable[Mapping[str, Any]], lines: Iterable[Line]) -> list[Cause]:
    """Return harm first, then the causes that explain most.

    A known failure that fails is no cause.
    """
    by_id = {line.id: line for line in lines}
    return grouped(
        one
        for record in records
        if (line := by_id.get(str(record["id"]))) is not None
        for one in _of_scenario(record, line)
    )


def grouped(found: Iterable[Cause]) -> list[Cause]:
    """Join the causes of single scenarios, and count each scenario for the largest of its causes.

    Causes that explain nothing come last.
    """
    by_theme: dict[tuple[Kind, Theme], dict[str, Cause]] = {}
    for one in found:
        key: Kind = "broken" if one.kind == "should" else one.kind
        by_theme.setdefault((key, one.theme), {}).setdefault(one.clearest.id, one)
    shows = Counter(id for group in by_theme.values() for id in group)  # noqa: A001 - it is one
    left, ordered, counted = list(by_theme.values()), list[Cause](), set[str]()
    while left:
        joined = [_joined(list(group.values()), shows, counted) for group in left]
        best = min(range(len(left)), key=lambda index: _rank(joined[index]))
        counted |= joined[best].explains
        ordered.append(joined[best])
        del left[best]
    return ordered


def of_promises(
    id: str,  # noqa: A002 - it is one
    severity: str,
    broken: Collection[str],
    harm: Collection[str],
) -> Iterator[Cause]:
    for promise in sorted(harm):
        yield _one(Example(id, severity, ""), promise, harm=True)
    for promise in sorted(set(broken).difference(harm)):  # sorted, so that the file stays the same
        yield _one(Example(id, severity, ""), promise)


def _one(example: Example, promise: str, *, harm: bool = False) -> Cause:
    kind: Kind = "harm" if harm else "should" if example.severity in SEVERITIES[2:] else "broken"
    if promise == LEAK:
        kind = "leak"
    return Cause(kind, theme_of(promise, harm=harm), (example,))


def _of_scenario(record: Mapping[str, Any], line: Line) -> Iterator[Cause]:
    fails = line.word in ("fail", "flaky")
    findings = record.get("findings") or ()
    seen = Example(line.id, line.severity, line.why)
    for leak in record.get("leaks") or ():
        yield _one(replace(seen, seen=leak["seen"], at=leak.get("at")), LEAK)
    if fails and line.about_leaks and not findings:
        yield _one(seen, LEAK)
    elif fails and not line.is_excused:
        if not findings:  # only the scenario's line is left
            yield _one(seen, line.promise)
        for one in findings:
            example = replace(seen, seen=one["seen"], at=one.get("at"))
            yield _one(example, str(one["promise"]), harm=bool(one.get("harm")))
    kind: Kind
    match line.counts_as:
        case "not exercised" | "error" as kind:
            yield Cause(kind, _OTHERS[kind], (seen,))
        case "broken" if line.is_news:
            example = Example(line.id, line.severity, f"passes, known as: {line.reason}")
            yield Cause("fixed", _OTHERS["fixed"], (example,))


def _joined(group: list[Cause], shows: Mapping[str, int], counted: set[str]) -> Cause:
    """Scenarios in `counted` belong to another cause."""
    first = group[0]
    # A leak has nothing to do with the other failures of the scenario in which it was seen.
    explains = frozenset(
        one.clearest.id
        for one in group
        if one.clearest.id not in counted and (one.kind != "leak" or shows[one.clearest.id] == 1)
    )
    kinds = [one.kind for one in group if one.clearest.id in explains] or [first.kind]
    examples = (replace(one.clearest, others=shows[one.clearest.id] - 1) for one in group)
    return Cause(
        min(kinds, key=KINDS.index),
        first.theme,
        tuple(sorted(examples, key=lambda one: (one.id not in explains, *_clarity(one)))),
        explains,
    )


def _clarity(example: Example) -> tuple[int, int, str]:
    return _severity(example.severity), example.others, example.id


def _severity(name: str) -> int:
    return SEVERITIES.index(name) if name in SEVERITIES else len(SEVERITIES)


def _rank(cause: Cause) -> tuple[bool, int, int, int, str]:
    """Sort harm first, then the causes of most scenarios not explained so far."""
    kind = KINDS.index(cause.kind)
    severity = _severity(cause.clearest.severity)
    return not cause.counts, kind, -len(cause.explains), severity, cause.theme.broken
