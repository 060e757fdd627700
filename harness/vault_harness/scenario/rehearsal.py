"""A rehearsal: every operation of the protocol with a subject, on a real Vault without any fault.

For whoever writes a subject: it says what it lacks, what is slow, and what it printed where it
should not, before thirty scenarios say the same in thirty ways.
"""

from __future__ import annotations

import tempfile
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from secrets import token_hex
from typing import Literal

from vault_harness.errors import SubjectError
from vault_harness.scenario._leaks import leaks
from vault_harness.scenario.catalogue import Entry
from vault_harness.scenario.driver import Driver, in_a_line, redacted
from vault_harness.scenario.environment import Environment
from vault_harness.scenario.helpers import allow_writes
from vault_harness.scenario.lab import Lab
from vault_harness.scenario.observations import Operation
from vault_harness.scenario.verdict import NotClaimed, NotExercised
from vault_harness.subjects import CAPABILITIES, OperationFailed

ENTRY = Entry(
    id="CHECK-01",
    promise="A client answers every operation that it claims where nothing is broken",
    severity="low",
    source="docs/subjects.md, the line protocol",
    ttl=60,
)

READY = 5.0
"""Seconds until ``hello`` from which a start is called slow: dozens of scenarios wait for it."""

QUICK = 0.5
"""Seconds from which one call with nothing in its way is called slow."""

SIDE_BY_SIDE = 8
"""Callers that read at once."""

CHILD = 1.0
"""Seconds for which a forked child reads."""

OTHER_WITHIN = 2.0
"""Seconds after a first good read in which another secret must be there: files come one by one."""

HERD = 3
"""Clients in one process."""

WRITTEN = "backend/rehearsal"
"""Where a subject that claims to write may do so."""

LETTERS = "backend/letters"
"""Where a value beyond ASCII is, which a program may write as its locale says, and not as UTF-8."""

LONGEST = 30.0
"""Seconds of a declared refresh or max_stale for which scenarios about it wait."""

ASKED = CAPABILITIES - {"tls", "fallback", "redirects"}
"""What can be asked on one Vault without a fault; further ways in than an AppRole cannot either."""

Shortcoming = Literal["wrong", "slow", "lacks"]


@dataclass(frozen=True)
class Step:
    """One operation of the rehearsal.

    Attributes:
        name: What was asked.
        seconds: How long it took.
        said: What came of it.
    """

    name: str
    seconds: float
    said: str


@dataclass(frozen=True)
class Remark:
    """Something that its author should know.

    Attributes:
        kind: ``wrong`` breaks its contract, ``slow`` costs time, ``lacks`` is skipped elsewhere.
        text: In one sentence.
    """

    kind: Shortcoming
    text: str


@dataclass
class Rehearsal:
    """What came of it.

    Attributes:
        steps: In the order in which they were taken.
        remarks: What its author should know.
        log: What the subject logged, without secrets.
    """

    steps: list[Step] = field(default_factory=list)
    remarks: list[Remark] = field(default_factory=list)
    log: list[str] = field(default_factory=list)

    @property
    def well(self) -> bool:
        """Whether it keeps to its contract."""
        return all(remark.kind != "wrong" for remark in self.remarks)

    def remark(self, kind: Shortcoming, text: str) -> None:
        """Note something."""
        self.remarks.append(Remark(kind, " ".join(text.split())))


def rehearse(environment: Environment, *, start: float) -> Rehearsal:
    """Speak the protocol with a subject.

    Args:
        environment: An engine, and which subject.
        start: Seconds that it may take to its ``hello``.
    """
    came = Rehearsal()
    folder = Path(tempfile.mkdtemp(prefix="rehearsal-", dir=environment.directory))
    with Lab(environment, ENTRY, directory=folder / "lab") as lab:
        allow_writes(lab, WRITTEN)
        _put(lab, {"entry": "canary-first"})
        driver: Driver | None = None
        refused = ""
        try:
            driver = lab.open(timeout=start)
        except NotExercised as error:
            refused = str(error)
        began = lab.history.operations[-1]
        _note(came, "start and hello", began, slow=READY)
        if driver is None:
            came.remark("wrong", refused or f"it does not start: {began.message}")
        else:
            _claims(came, driver)
            _speak(came, lab, driver)
            lab.look_at_command_lines()
            _end(came, lab, driver)
        came.log = [lab.secrets.redact(line.text) for line in lab.log_lines()]
        commands = lab.look_at_command_lines()
        for leak in leaks(lab.secrets, lab.history, log=lab.log_lines(), commands=commands):
            came.remark("wrong", f"a secret came out: {leak.seen}")
    return came


def _claims(came: Rehearsal, driver: Driver) -> None:
    subject = driver.subject
    claimed = ", ".join(sorted(subject.capabilities))
    declared = ", ".join(f"{name} {value:g} s" for name, value in sorted(subject.declares.items()))
    came.steps.append(Step("hello said", 0.0, f"{claimed}; {declared or 'declares no times'}"))
    if unasked := sorted(subject.capabilities - ASKED):
        said = "claimed, and not asked here: scenarios do"
        came.steps.append(Step(", ".join(unasked), 0.0, said))
    lacking = sorted(CAPABILITIES - subject.capabilities - {"redirects"})
    if lacking:
        text = f"it does not claim {', '.join(lacking)}: scenarios about that are skipped"
        came.remark("lacks", text)
    if "cached" in subject.capabilities and "max_stale" not in subject.declares:
        text = "it has a cache and declares no max_stale (or --declare max_stale=SECONDS does)"
        came.remark("lacks", f"{text}: KV-02 is skipped")
    for name in getattr(subject, "ignored", ()):
        text = f"its answer to hello has {name}, which nobody reads"
        came.remark("lacks", f"{text}: capabilities, auth, declares and version are read")
    stale, refresh = (subject.declares.get(name, 0.0) for name in ("max_stale", "refresh"))
    if "cached" in subject.capabilities and stale > LONGEST:
        text = f"it declares max_stale of {stale:g} s, and nobody waits for more than {LONGEST:g} s"
        came.remark("lacks", f"{text}: KV-02 is skipped")
    if refresh > LONGEST:
        text = f"it declares refresh of {refresh:g} s, and nobody waits for more than {LONGEST:g} s"
        came.remark("lacks", f"{text}: scenarios about it are not exercised, so it has no grade")


def _speak(came: Rehearsal, lab: Lab, driver: Driver) -> None:
    """Ask for everything that it claims, with right and wrong words."""
    claimed = driver.subject.capabilities
    try:
        first = _first_read(came, lab, driver)
    except NotClaimed as error:
        came.remark("wrong", f"{error}, which nearly every scenario reads")
        return
    if not first.good:
        came.remark("wrong", f"it does not read: {first.told}")
        return
    if lab.history.last_token() is None:
        came.remark("wrong", "it reads, but no login of it was seen: is it asking another Vault?")
    _right(came, "read", driver.read())
    at_once = _side_by_side(driver)
    came.steps.append(
        Step(f"{SIDE_BY_SIDE} reads at once", max(map(_length, at_once)), _words(at_once))
    )
    if not all(one.good for one in at_once):
        came.remark("wrong", f"of {SIDE_BY_SIDE} reads at once not all are answered rightly")
    if "cached" in claimed:
        _right(came, "read_cached", driver.read(verb="read_cached"))
    if "read_all" in claimed:
        _right(came, "read_all", driver.read_all(lab.entry.path, (lab.entry.key,)))
    if "health" in claimed:
        _health(came, driver)
    if "write" in claimed:
        new = {"entry": "canary-rehearsal"}
        _stored(came, lab, driver.write(WRITTEN, new), new)
    if "update" in claimed:
        _put(lab, {"entry": "canary-second", "other": "canary-other"})
        changed = {"entry": "canary-updated"}
        _stored(came, lab, driver.update(WRITTEN, changed), {**changed, "other": "canary-other"})
    if driver.subject.pid is not None:
        _of_a_process(came, lab, driver)
    if "lease" in claimed:
        came.steps.append(Step("lease", 0.0, "not asked here: it takes a database"))
    _other(came, lab, driver)
    _refused(came, lab, driver)


def _of_a_process(came: Rehearsal, lab: Lab, driver: Driver) -> None:
    """What nobody is asked who has no process of its own, whatever it claims."""
    if "fork" in driver.subject.capabilities:
        _forked(came, lab, driver)
    if "herd" in driver.subject.capabilities:
        _herd(came, lab, driver)


def _put(lab: Lab, data: dict[str, str]) -> None:
    """Store what a subject that writes will find."""
    kept = lab.stack.operator.client.secrets.kv.v2
    kept.create_or_update_secret(WRITTEN, data, mount_point=lab.entry.mount)


def _stored(came: Rehearsal, lab: Lab, operation: Operation, wanted: dict[str, str]) -> None:
    """Whether what a subject says that it stored is there."""
    verb = operation.verb
    _note(came, verb, operation)
    if operation.outcome != "ok":
        said = operation.told if operation.message else "badly"
        came.remark("wrong", f"it claims {verb}, and its {verb} ended {said}")
        return
    found = lab.stack.operator.client.secrets.kv.v2.read_secret_version(
        WRITTEN, mount_point=lab.entry.mount, raise_on_deleted_version=True
    )["data"]["data"]
    if found != wanted:
        lost = sorted(name for name in wanted if found.get(name) != wanted[name])
        text = f"of what it should have stored {', '.join(lost) or 'more than asked'} is not so"
        came.remark("wrong", f"its {verb} ended ok, and {text} in Vault")


def _forked(came: Rehearsal, lab: Lab, driver: Driver) -> None:
    child = driver.fork(lab.entry.path, lab.entry.key, seconds=CHILD, every=CHILD / 4)
    _note(came, "fork", child.operation, slow=CHILD + QUICK)
    if child.operation.outcome != "ok":
        came.remark("wrong", f"it claims fork, and makes no child: {child.operation.message}")
    elif child.failures or set(child.values) != {"v1"}:
        seen = child.failures[0] if child.failures else "not v1"
        came.remark("wrong", f"its forked child does not read as it does: {seen}")


def _herd(came: Rehearsal, lab: Lab, driver: Driver) -> None:
    try:
        herd = driver.herd(HERD, timeout=driver.patience)
    except (OperationFailed, SubjectError) as error:
        text = redacted(lab.secrets, in_a_line(error))
        came.remark("wrong", f"it claims herd, and makes none: {text}")
        return
    reads = [one.read() for one in herd]
    good = sum(read.good for read in reads)
    step = Step(f"a herd of {HERD}", max(map(_length, reads)), f"{good} of {HERD} read")
    came.steps.append(step)
    if good < HERD:
        came.remark("wrong", "not all clients of its herd read")


def _first_read(came: Rehearsal, lab: Lab, driver: Driver) -> Operation:
    """A first read that may take a while: to be ready need not mean that Vault is there."""
    reads = [driver.read()]
    while not reads[-1].good and driver.subject.is_alive() and lab.history.now() < lab.ttl / 2:
        lab.watch(0.2)
        reads.append(driver.read())
    _note(came, "first read", reads[-1], slow=2.0)
    if len(reads) > 1 and reads[-1].good:
        came.remark("slow", f"{len(reads)} reads were needed until one succeeded")
    return reads[-1]


def _right(came: Rehearsal, name: str, read: Operation) -> None:
    _note(came, name, read)
    if not read.good or read.value != "v1":
        came.remark("wrong", f"{name} gave {read.outcome} {read.value or read.message}, not v1")


def _health(came: Rehearsal, driver: Driver) -> None:
    well = driver.healthy()
    came.steps.append(Step("health", 0.0, "well" if well else "not well"))
    if not well:
        came.remark("wrong", "it claims health, and is not well where nothing is broken")


def _other(came: Rehearsal, lab: Lab, driver: Driver) -> None:
    """Whether it reads the other secret, which the closing act of a scenario reads and deletes.

    An agent may be configured without it, and a client may know one path.
    """
    if not driver.subject.is_alive():
        return
    path, key = lab.entry.spare_path, lab.entry.spare_key
    ending = "nearly every scenario ends with that, and is not exercised without it"
    until = lab.history.now() + OTHER_WITHIN
    try:
        read = driver.read(path, key)
        while not read.good and driver.subject.is_alive() and lab.history.now() < until:
            lab.watch(0.2)
            read = driver.read(path, key)
    except NotClaimed as error:
        came.remark("wrong", f"{error}: {ending}")
        return
    _note(came, f"read of {path}", read)
    if not read.good:
        came.remark("wrong", f"it does not read {path}: {read.told}: {ending}")


def _refused(came: Rehearsal, lab: Lab, driver: Driver) -> None:
    """What it makes of a secret that is not there, and then of one in other letters."""
    try:
        missing = driver.read("backend/no-such-secret", "NO_SUCH_KEY")
    except NotClaimed:
        text = (
            "it serves only the secrets that it is configured with: scenarios of others are skipped"
        )
        came.remark("lacks", text)
        return
    _note(came, "read of a secret that is not there", missing)
    if missing.good:
        came.remark("wrong", "it gave a value for a secret that is not there")
    elif missing.outcome != "missing" and driver.subject.is_alive():
        text = f"a missing secret ended {missing.outcome}: it does not tell why a read fails"
        came.remark("lacks", f"{text} (outcomes)")
    if driver.subject.is_alive():
        _letters(came, lab, driver)
    else:
        came.remark("wrong", f"it broke down then: {missing.message}")


def _letters(came: Rehearsal, lab: Lab, driver: Driver) -> None:
    """Whether a value beyond ASCII comes out as it is: a wrong value is harm, wherever it is."""
    wanted = lab.put("letters", path=LETTERS, key="LETTERS", value=f"canary-äß€-{token_hex(12)}")
    read = driver.read(LETTERS, "LETTERS")
    _note(came, "read of a value beyond ASCII", read)
    if not read.good:
        came.remark("wrong", f"it does not read a value beyond ASCII: {read.told}")
    elif read.value != wanted:
        text = "a value beyond ASCII came out as another one"
        came.remark("wrong", f"{text}: write UTF-8, whatever the locale says")


def _side_by_side(driver: Driver) -> list[Operation]:
    found: list[Operation] = []
    threads = [
        threading.Thread(target=lambda: found.append(driver.read()), daemon=True)
        for _ in range(SIDE_BY_SIDE)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(driver.patience + 1.0)
    return found


def _end(came: Rehearsal, lab: Lab, driver: Driver) -> None:
    closed = driver.close(timeout=5.0)
    _note(came, "close", closed, slow=2.0)
    if closed.outcome != "ok":
        came.remark("wrong", f"its close ended {closed.told}")
    code = driver.subject.exit_code
    if code not in (None, 0):
        came.remark("wrong", f"its process ended with {code}, not with 0")
    _alive(came, lab.tokens_alive, left="token" in driver.subject.leaves)


def _alive(came: Rehearsal, count: Callable[[], int], *, left: bool) -> None:
    alive = count()
    came.steps.append(Step("tokens left", 0.0, str(alive)))
    if alive and left:
        came.remark("lacks", "its token lives on after its end, as its configuration says")
    elif alive:
        came.remark("wrong", f"{alive} of its tokens live on after close: revoke them")


def _note(came: Rehearsal, name: str, operation: Operation, *, slow: float = QUICK) -> None:
    seconds = _length(operation)
    said = operation.outcome or "nothing"
    came.steps.append(Step(name, seconds, f"{said} {operation.value or ''}".strip()))
    if seconds > slow:
        came.remark("slow", f"{name} took {seconds:.1f} s with nothing in its way")


def _length(operation: Operation) -> float:
    return (operation.ended or operation.began) - operation.began


def _words(operations: list[Operation]) -> str:
    good = sum(one.good for one in operations)
    return f"{good} of {SIDE_BY_SIDE} right"
