"""Rehearse: try every operation of the protocol with a subject, on a Vault without faults."""

from __future__ import annotations

import tempfile
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from secrets import token_hex
from typing import Literal

from vault_harness.errors import SubjectError, named
from vault_harness.judge.catalogue import Entry
from vault_harness.judge.driver import Driver, in_a_line, redacted
from vault_harness.judge.environment import Environment
from vault_harness.judge.helpers.starts import allow_writes
from vault_harness.judge.lab import Lab
from vault_harness.judge.logs import leaks
from vault_harness.judge.subjects import CAPABILITIES, OperationFailed
from vault_harness.judge.verdict import NotClaimed, NotExercised
from vault_harness.recorder.observations import Operation

ENTRY = Entry(
    id="CHECK-01",
    promise="A client answers every operation that it claims where nothing is broken",
    severity="low",
    source="docs/reference/line-protocol.md",
    ttl=60,
)

READY = 5.0
"""Seconds until ``hello``, above which a start is slow: dozens of scenarios wait for it."""

QUICK = 0.5
"""Seconds above which an undisturbed call is slow."""

SIDE_BY_SIDE = 8

CHILD = 1.0
"""Seconds for which a forked child reads."""

OTHER_WITHIN = 2.0
"""Seconds between the first good reads of two secrets, since files are rendered one by one."""

HERD = 3

WRITTEN = "backend/rehearsal"
"""Path that a subject may write, if it claims ``write``."""

LETTERS = "backend/letters"
"""Path of a value beyond ASCII, which a program may wrongly write in the locale's encoding."""

LONGEST = 30.0
"""Longest declared refresh or max_stale, in seconds, that scenarios wait for."""

ASKED = CAPABILITIES - {"tls", "fallback"}
"""Capabilities that one Vault without faults can check; ways to log in are not among them."""

Shortcoming = Literal["wrong", "unsafe", "slow", "lacks"]


@dataclass(frozen=True)
class Step:
    """One operation of the rehearsal."""

    name: str
    seconds: float
    said: str


@dataclass(frozen=True)
class Remark:
    """Something that the subject's author should know.

    `kind` is ``wrong`` for a broken contract, ``unsafe`` for a broken promise, ``slow`` for lost
    time, and ``lacks`` for what scenarios skip.
    """

    kind: Shortcoming
    text: str
    remedy: str = ""

    def __str__(self) -> str:
        return f"{self.text}: {self.remedy}" if self.remedy else self.text


@dataclass
class Rehearsal:
    """The result of a rehearsal; its log has no secrets."""

    steps: list[Step] = field(default_factory=list)
    remarks: list[Remark] = field(default_factory=list)
    log: list[str] = field(default_factory=list)

    @property
    def well(self) -> bool:
        return all(remark.kind not in ("wrong", "unsafe") for remark in self.remarks)

    def remark(self, kind: Shortcoming, text: str, remedy: str = "") -> None:
        self.remarks.append(Remark(kind, " ".join(text.split()), remedy))

    def wrong(self, text: str, remedy: str) -> None:
        self.remark("wrong", text, remedy)

    def unkept(self, capability: str, text: str) -> None:
        self.wrong(text, f"fix it, or leave {capability} out of its capabilities")


def rehearse(environment: Environment, *, start: float) -> Rehearsal:
    """`start` limits the seconds to ``hello``."""
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
            came.wrong(refused or f"it does not start: {began.message}", "see what it logged")
        else:
            _claims(came, driver)
            _speak(came, lab, driver)
            lab.look_at_command_lines()
            _end(came, lab, driver)
        came.log = [lab.secrets.redact(line.text) for line in lab.log_lines()]
        commands = lab.look_at_command_lines()
        for leak in leaks(lab.secrets, lab.history, log=lab.log_lines(), commands=commands):
            came.remark(
                "unsafe", f"a secret came out: {leak.seen}", "log and print no value, token or id"
            )
    return came


def _claims(came: Rehearsal, driver: Driver) -> None:
    subject = driver.subject
    claimed = ", ".join(sorted(subject.capabilities))
    declared = ", ".join(f"{name} {value:g} s" for name, value in sorted(subject.declares.items()))
    came.steps.append(Step("hello said", 0.0, f"{claimed}; {declared or 'declares no times'}"))
    if unasked := sorted(subject.capabilities - ASKED):
        said = "claimed, and not asked here: scenarios do"
        came.steps.append(Step(", ".join(unasked), 0.0, said))
    lacking = sorted(CAPABILITIES - subject.capabilities)
    if lacking:
        text = f"it does not claim {', '.join(lacking)}: scenarios about that are skipped"
        came.remark("lacks", text)
    if "cached" in subject.capabilities and "max_stale" not in subject.declares:
        text = "it has a cache and declares no max_stale (or --declare max_stale=SECONDS does)"
        came.remark("lacks", f"{text}: KV-02 is skipped")
    for name in getattr(subject, "ignored", ()):
        text = f"its answer to hello has {name}, which is ignored"
        came.remark("lacks", f"{text}: capabilities, auth, declares, leaves and version are read")
    stale, refresh = (subject.declares.get(name, 0.0) for name in ("max_stale", "refresh"))
    if "cached" in subject.capabilities and stale > LONGEST:
        text = (
            f"it declares max_stale of {stale:g} s, and a scenario waits for {LONGEST:g} s at most"
        )
        came.remark("lacks", f"{text}: KV-02 is skipped")
    if refresh > LONGEST:
        text = (
            f"it declares refresh of {refresh:g} s, and a scenario waits for {LONGEST:g} s at most"
        )
        came.remark("lacks", f"{text}: scenarios about it are not exercised, so it has no grade")


def _speak(came: Rehearsal, lab: Lab, driver: Driver) -> None:
    claimed = driver.subject.capabilities
    try:
        first = _first_read(came, lab, driver)
    except NotClaimed as error:
        came.wrong(f"{error}, which nearly every scenario reads", "let it render that one too")
        return
    if not first.good:
        came.wrong(
            f"it does not read: {first.told}",
            "take address, mount and ids from the variables: "
            f"{named('docs', 'reference/subject-environment')}",
        )
        return
    if lab.history.last_token() is None:
        came.wrong("it reads, but none of its logins was seen", "ask only the Vault at VAULT_ADDR")
    _right(came, "read", driver.read())
    at_once = _side_by_side(driver)
    came.steps.append(
        Step(f"{SIDE_BY_SIDE} reads at once", max(map(_length, at_once)), _words(at_once))
    )
    if not all(one.good for one in at_once):
        came.wrong(
            f"of {SIDE_BY_SIDE} reads at once not all are answered rightly",
            "answer each request once, by its id, and let none wait for another",
        )
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
    for verb in sorted({"lease", "static"} & claimed):
        came.steps.append(Step(verb, 0.0, "not asked here: it takes a database"))
    _other(came, lab, driver)
    _refused(came, lab, driver)


def _of_a_process(came: Rehearsal, lab: Lab, driver: Driver) -> None:
    if "fork" in driver.subject.capabilities:
        _forked(came, lab, driver)
    if "herd" in driver.subject.capabilities:
        _herd(came, lab, driver)


def _put(lab: Lab, data: dict[str, str]) -> None:
    kept = lab.stack.operator.client.secrets.kv.v2
    kept.create_or_update_secret(WRITTEN, data, mount_point=lab.entry.mount)


def _stored(came: Rehearsal, lab: Lab, operation: Operation, wanted: dict[str, str]) -> None:
    verb = operation.verb
    _note(came, verb, operation)
    if operation.outcome != "ok":
        said = operation.told if operation.message else "badly"
        came.unkept(verb, f"it claims {verb}, and its {verb} ended {said}")
        return
    found = lab.stack.operator.client.secrets.kv.v2.read_secret_version(
        WRITTEN, mount_point=lab.entry.mount, raise_on_deleted_version=True
    )["data"]["data"]
    if found != wanted:
        lost = sorted(name for name in wanted if found.get(name) != wanted[name])
        text = f"of what it should have stored {', '.join(lost) or 'more than asked'} is not so"
        came.unkept(verb, f"its {verb} ended ok, and {text} in Vault")


def _forked(came: Rehearsal, lab: Lab, driver: Driver) -> None:
    child = driver.fork(lab.entry.path, lab.entry.key, seconds=CHILD, every=CHILD / 4)
    _note(came, "fork", child.operation, slow=CHILD + QUICK)
    if child.operation.outcome != "ok":
        came.unkept("fork", f"it claims fork, and makes no child: {child.operation.message}")
    elif child.failures or set(child.values) != {"v1"}:
        seen = child.failures[0] if child.failures else "not v1"
        came.unkept("fork", f"its forked child does not read as it does: {seen}")


def _herd(came: Rehearsal, lab: Lab, driver: Driver) -> None:
    try:
        herd = driver.herd(HERD, timeout=driver.patience)
    except (OperationFailed, SubjectError) as error:
        text = redacted(lab.secrets, in_a_line(error))
        came.unkept("herd", f"it claims herd, and makes none: {text}")
        return
    reads = [one.read() for one in herd]
    good = sum(read.good for read in reads)
    step = Step(f"a herd of {HERD}", max(map(_length, reads)), f"{good} of {HERD} read")
    came.steps.append(step)
    if good < HERD:
        came.unkept("herd", "not all clients of its herd read")


def _first_read(came: Rehearsal, lab: Lab, driver: Driver) -> Operation:
    """Return the last try if none is good: ``hello`` may come before the token."""
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
        came.wrong(
            f"{name} gave {read.outcome} {read.value or read.message}, not v1",
            "answer with what Vault has under that path and key",
        )


def _health(came: Rehearsal, driver: Driver) -> None:
    well = driver.healthy()
    came.steps.append(Step("health", 0.0, "well" if well else "not well"))
    if not well:
        came.unkept("health", "it claims health, and is not well where nothing is broken")


def _other(came: Rehearsal, lab: Lab, driver: Driver) -> None:
    """Check that the subject reads the other secret, which the closing act needs.

    An agent may be configured without it.
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
        came.wrong(f"{error}: {ending}", "let it render that one too")
        return
    _note(came, f"read of {path}", read)
    if not read.good:
        came.wrong(
            f"it does not read {path}: {read.told}: {ending}",
            "read whatever path it is asked for",
        )


def _refused(came: Rehearsal, lab: Lab, driver: Driver) -> None:
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
        came.remark(
            "unsafe", "it gave a value for a secret that is not there", "let that read fail"
        )
    elif missing.outcome != "missing" and driver.subject.is_alive():
        text = f"a missing secret ended {missing.outcome}: it does not say why a read fails"
        came.remark("lacks", f"{text} (outcomes)")
    if driver.subject.is_alive():
        _letters(came, lab, driver)
    else:
        came.wrong(f"it broke down then: {missing.message}", "answer with ok false, and go on")


def _letters(came: Rehearsal, lab: Lab, driver: Driver) -> None:
    """A wrong value is harm."""
    wanted = lab.put("letters", path=LETTERS, key="LETTERS", value=f"canary-äß€-{token_hex(12)}")
    read = driver.read(LETTERS, "LETTERS")
    _note(came, "read of a value beyond ASCII", read)
    if not read.good:
        came.wrong(f"it does not read a value beyond ASCII: {read.told}", "read and write UTF-8")
    elif read.value != wanted:
        text = "a value beyond ASCII came out as another one"
        came.remark("unsafe", text, "write UTF-8, whatever the locale says")


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
        came.wrong(f"its close ended {closed.told}", "give the token back and exit within 5 s")
    code = driver.subject.exit_code
    if code not in (None, 0):
        came.wrong(f"its process ended with {code}, not with 0", "exit with 0 after close")
    _alive(came, lab.tokens.alive, left="token" in driver.subject.leaves)


def _alive(came: Rehearsal, count: Callable[[], int], *, left: bool) -> None:
    alive = count()
    came.steps.append(Step("tokens left", 0.0, str(alive)))
    if alive and left:
        came.remark("lacks", "its token lives on after its end, as it says")
    elif alive:
        remedy = "revoke them, or say by leaves that it leaves its token behind"
        came.remark("unsafe", f"{alive} of its tokens live on after close", remedy)


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
