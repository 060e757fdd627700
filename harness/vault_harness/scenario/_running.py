"""The subject of a scenario: configured, started, called, and waited for."""

from __future__ import annotations

import tempfile
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Literal

from vault_harness.errors import EngineError, SubjectError
from vault_harness.faults import Fault
from vault_harness.scenario import oracles
from vault_harness.scenario._leaks import CommandLines, told_by_files
from vault_harness.scenario._logs import LogLine, LogWatch
from vault_harness.scenario._starvation import Starvation
from vault_harness.scenario._ways_in import WaysIn
from vault_harness.scenario.catalogue import Entry
from vault_harness.scenario.conditions import Condition
from vault_harness.scenario.driver import (
    LETTERS_OF_A_START,
    Driver,
    Way,
    in_a_line,
    reading,
    redacted,
)
from vault_harness.scenario.environment import Environment
from vault_harness.scenario.observations import Operation, Touch
from vault_harness.scenario.oracles import Oracle, slow_at_first
from vault_harness.scenario.vacuity import evidence_of
from vault_harness.scenario.verdict import Finding, NotClaimed, NotExercised
from vault_harness.subjects import OperationFailed, Subject, open_subject

STEADY_READS = 3
"""Good reads in a row that make a steady state."""

STEADY_WITHIN = 10.0
"""Seconds after ``hello`` in which it must come: to be ready need not mean that Vault is there."""

LONGEST = 60.0
"""Seconds; a subject that declares a longer back-off or deadline is not waited for."""

UNTOLD = 15.0
"""Seconds, and half a life at most: what is granted as a back-off to a subject that declares none,
where no single fault says by its length how far pauses that double have come."""

PROBE = 2.0
"""Seconds granted beyond a back-off: for the probe itself, and a login where one is needed."""

AFTER = 0.5
"""Seconds for which a window is watched beyond its end; what comes then is late, and is told."""


class Running(WaysIn):
    """The servers of one scenario and the subject that runs against them.

    Attributes:
        steady_since: When its steady state was reached; 0 where it was not asked for.
        threads_before: Threads of this process that ran before the scenario did.
        wanted_ttl: Set by a scenario that needs a longer one than it was given, in seconds: it is
            run anew then.
    """

    steady_since = 0.0
    wanted_ttl = 0.0

    def __init__(
        self, environment: Environment, entry: Entry, *, directory: Path | None = None
    ) -> None:
        self.threads_before = frozenset(threading.enumerate())
        self._findings: list[Finding] = []
        self._asked: list[Oracle] = []
        self._conditions: list[tuple[str, Condition]] = []
        self._subject: Subject | None = None
        self._drivers: list[Driver] = []
        self._logs: list[Path] = []
        self._commands = CommandLines()
        super().__init__(environment, entry, directory=directory)
        self._closing.enter_context(Starvation(self.history, self._processes))
        self._log_watch = self._closing.enter_context(LogWatch(self.logs, self.history.now))

    # The scenario's numbers

    @property
    def deadline(self) -> float:
        """D: the total deadline of each call, seconds; the subject's own, where it has another."""
        return self.declared("deadline", self.entry.deadline)

    def declared(self, name: str, default: float) -> float:
        """A time by which the subject asks to be judged, in seconds, or the suite's own."""
        found = self.declared_or_none(name)
        return default if found is None else found

    def declared_or_none(self, name: str) -> float | None:
        """A time that the command line declares, or else the subject itself, in seconds."""
        if name in self.environment.declared:
            return self.environment.declared[name]
        return self._subject.declares.get(name) if self._subject else None

    @property
    def recovery(self) -> float:
        """Seconds in which a good read must come where no single fault says how long it lasted."""
        return min(self.declared("backoff_cap", min(self.ttl / 2, UNTOLD)), LONGEST) + PROBE

    def recovery_after(self, fault: Fault) -> float:
        """Seconds after a fault in which a good read must come.

        A client that doubles its pauses waits, when Vault is back, at most about as long as it
        has waited by then: that is the length of the fault. One that waits longer declares it
        (``backoff_cap``).
        """
        if (cap := self.declared_or_none("backoff_cap")) is not None:
            return min(cap, LONGEST) + PROBE
        return min(max(1.0, 1.5 * fault.length), self.ttl / 2, LONGEST) + PROBE

    def or_its_pause(self, seconds: float) -> float:
        """So many seconds, or what the subject's declared back-off takes, if that is more."""
        cap = self.declared_or_none("backoff_cap")
        return seconds if cap is None else max(seconds, min(cap, LONGEST) + PROBE)

    @property
    def reach(self) -> float:
        """Seconds after which a fault must have met the subject: it refreshes, or tries again."""
        longest = max(self.refresh, self.declared("backoff_cap", 0.0), self.deadline)
        return min(longest, LONGEST) + PROBE

    @property
    def refresh(self) -> float:
        """R: how soon a changed secret must be seen, seconds."""
        return self.declared("refresh", 5.0)

    @property
    def start_under_a_fault(self) -> float:
        """Seconds from a start in the midst of a scenario to ``hello``.

        Two thirds of what any other has: by then its supervisor ends who waits there for ever.
        """
        return self.environment.start * 2 / 3

    @property
    def longest_start(self) -> float:
        """Seconds that are granted from a subject's start to its steady state."""
        return self.environment.start + self._steady_within

    @property
    def asks_within(self) -> float:
        """Seconds from a start by which it has asked Vault for something, whatever it waits for.

        Less than it may take to ``hello``: who waits for Vault with that is met before it gives up.
        """
        return self.environment.start / 2

    @property
    def _steady_within(self) -> float:
        """Seconds of it after ``hello``."""
        return max(STEADY_WITHIN, self.environment.start / 3)

    # The subject

    def environ(self) -> dict[str, str]:
        """The subject's whole configuration."""
        return {
            "USE_VAULT": "true",
            "VAULT_ADDR": self.address,
            "VAULT_MOUNT_POINT": self.entry.mount,
            "VAULT_CLIENT_TIMEOUT": f"{self.deadline:g}",
            # Beyond the guide's own variables: short ones, so that their ends can be watched.
            "VAULT_CACHE_TTL": "1",
            "VAULT_MAX_STALE": "6",
            **(self._tls.environ() if self._tls is not None else {}),
            **({"VAULT_NAMESPACE": self.entry.namespace} if self.entry.namespace else {}),
            **(self._clock.environ() if self._clock is not None else {}),
            **self.entry.environ,
            **self.login_environ(),
        }

    @property
    def said(self) -> dict[str, object] | None:
        """What the subject says of itself, as data; None if it did not start."""
        if self._subject is None:
            return None
        declared = {**self._subject.declares, **self.environment.declared}
        return {
            "version": self._subject.version,
            "capabilities": sorted(self._subject.capabilities),
            "declares": dict(sorted(declared.items())),
        }

    @property
    def started(self) -> bool:
        """Whether a subject runs."""
        return bool(self._drivers)

    @property
    def tells_outcomes(self) -> bool:
        """Whether the subject tells one failure from another, as far as is known by now."""
        return self.client.subject.tells_outcomes

    @property
    def client(self) -> Driver:
        """The subject, started; the latest, where there are several."""
        assert self._drivers, "the scenario did not call lab.start()"
        return self._drivers[-1]

    @property
    def drivers(self) -> list[Driver]:
        """Every client that was started, in that order."""
        return list(self._drivers)

    def _processes(self) -> list[int]:
        """Ids of the subject's processes; none where it runs in this one, or nobody knows where."""
        pids = (driver.subject.pid for driver in self.drivers)
        return [pid for pid in pids if pid is not None]

    def look_at_command_lines(self) -> str:
        """Note the command lines of the subject's processes, while they live; all that were seen.

        It takes a millisecond or two: a look at each process of the machine. Nobody is looked at
        who runs in this process, whose children are servers.
        """
        self._commands.look(self._processes())
        return str(self._commands)

    def files_for_all(self, *, since: float) -> set[str]:
        """What is new where a program keeps its files, and tells others a secret, in words.

        That is the folder for temporary files, the home, and the folder in which it was started.

        Args:
            since: From when on a file is new, seconds on the wall clock.
        """
        # A program whose home has a token of Vault's in it is given another one.
        homes = {Path.home(), self.directory / "home"}
        folders = {Path(tempfile.gettempdir()), Path.cwd(), *homes}
        return told_by_files(self.secrets, folders, since=since)

    def can(self, word: str) -> bool:
        """Whether the subject claims this capability (``cached``, ``health``, ``write``)."""
        return word in self.client.subject.capabilities

    def leaves(self, what: Literal["token", "file"]) -> bool:
        """Whether the subject says that it leaves this behind, and so is not asked for it."""
        return what in self.client.subject.leaves

    def open(self, *, timeout: float | None = None) -> Driver | None:
        """Start the subject; None if it refuses to start, which the history then tells.

        Args:
            timeout: Seconds until its ``hello``; those of the environment by default.

        Raises:
            NotClaimed: It does not claim or declare what this scenario is about.
            NotExercised: It declares a deadline that nobody waits for.
        """
        operation = self.history.begin_operation("start")
        within = self.environment.start if timeout is None else timeout
        try:
            with self.spent.on("the subject's start"):
                subject = self._open_subject(self.environ(), operation.number, within)
        except (OperationFailed, SubjectError) as error:
            text = redacted(self.secrets, in_a_line(error), LETTERS_OF_A_START)
            self.history.end_operation(operation, "error", message=text)
            self._check_way_in(operation.number, within)
            return None
        self.history.end_operation(operation, "ok")
        self._subject = subject
        try:
            self._check_claims(subject)
            self.prepare_database(leases="lease" in subject.capabilities)
        except (NotClaimed, NotExercised, EngineError):
            subject.kill()
            raise
        driver = Driver(
            subject,
            self.history,
            self.secrets,
            deadline=self.deadline,
            path=self.entry.path,
            key=self.entry.key,
            instance=operation.number,
        )
        self._drivers.append(driver)
        self._closing.callback(self._end_subject, driver)
        return driver

    def _open_subject(self, environ: dict[str, str], number: int, timeout: float) -> Subject:
        log = self.directory / f"subject-{number}.log"
        if log not in self._logs:
            self._logs.append(log)
        return open_subject(
            self.environment.subject,
            environ,
            log=log,
            timeout=timeout,
            # A developer's own SECRET_KEY is no fallback of this scenario's.
            withhold={key for _, _, keys in self.stack.blueprint.paths() for key in keys},
            within=self._name.command if self._name is not None else (),
        )

    def _check_way_in(self, number: int, timeout: float) -> None:
        """Hear what a subject claims that did not start without the ids of an AppRole.

        Raises:
            NotClaimed: With them it starts, and does not claim what this scenario is about.
            NotExercised: As `open`.
        """
        if self.entry.auth == "approle":
            return
        try:
            subject = self._open_subject(self.environ() | self.approle_environ(), number, timeout)
        except (OperationFailed, SubjectError):
            return
        try:
            self._check_claims(subject)
        finally:
            subject.kill()

    def start(self, *, within: float | None = None, callers: int = 0) -> Driver:
        """Start the subject and wait for its steady state: three good reads in a row.

        Args:
            within: Seconds that it may take after ``hello``; a third of what that may take itself.
            callers: So many ask at once before anything else, while it may have no token yet.

        Raises:
            NotExercised: It does not start, or it does not read.
        """
        within = self._steady_within if within is None else within
        client = self.open()
        if client is None:
            raise NotExercised(f"the subject does not start: {self.history.operations[-1].message}")
        reads: list[Operation] = []
        if callers:
            with ThreadPoolExecutor(callers) as first:
                reads += first.map(lambda _: client.read(), range(callers))
        until = self.history.now() + within
        good = 0
        while good < STEADY_READS:
            read = client.read()
            reads.append(read)
            good = good + 1 if read.good else 0
            if read.outcome == "died" or (not good and self.history.now() > until):
                raise NotExercised(
                    f"no steady state within {within:g} s: the last read before any fault ended "
                    f"{read.told}"
                )
            if not good:
                self.history.let_pass(0.2, what="a steady state")
        if self.history.last_token() is None and self.entry.auth != "token-file":
            raise NotExercised("the subject reads, but no login of it passed the recorder")
        self.steady_since = self.history.now()
        self.look_at_command_lines()
        # Those of this start alone: an earlier one has had its warm-up, and is asked in earnest.
        self.let_off_at_first(reads)
        return client

    def let_off_at_first(self, reads: Sequence[Operation]) -> None:
        """Let these off that failed, or were late for what is loaded once: they are a warm-up.

        Nobody promised that it is ready at once: a virtual machine loads while it is first asked.

        Args:
            reads: The first of an instance that was started while nothing is broken.
        """
        good = [read for read in reads if read.good]
        ready = min(good, key=lambda o: o.ended or o.began, default=None)
        slow = slow_at_first(reads, self.deadline, ready=ready) if ready is not None else []
        for read in (*slow, *(read for read in reads if read.failed)):
            if read.outcome not in ("hung", "died"):
                read.verb = "warm-up"

    def _check_claims(self, subject: Subject) -> None:
        entry = self.entry
        if missing := sorted(entry.asks_for - subject.capabilities):
            raise NotClaimed(f"the subject does not claim: {', '.join(missing)}")
        known = {*self.environment.declared, *subject.declares}
        if missing := sorted(entry.declares - known):
            raise NotClaimed(f"the subject does not declare {', '.join(missing)} (see --declare)")
        if self.deadline > LONGEST:
            # A time narrows no promise: whoever declares one so long has not been asked.
            raise NotExercised(
                f"its calls may take {self.deadline:g} s; configure it with at most {LONGEST:g} s"
            )
        if entry.process and subject.pid is None:
            raise NotClaimed("the subject has no process of its own on this machine")

    def needs_outcomes(self) -> None:
        """Leave the scenario if the subject, which has failed by now, does not tell why.

        It stays if something was found already: that counts, whatever the subject tells.

        Raises:
            NotClaimed: It does not.
        """
        if not self.tells_outcomes and not self._findings:
            raise NotClaimed("the subject does not tell one failure from another (outcomes)")

    def _end_subject(self, client: Driver) -> None:
        try:
            client.subject.close(timeout=5.0)
        except (OperationFailed, SubjectError):
            client.subject.kill()
        # Once it is buried: many scenarios end it themselves, long before.
        self.spent.subject += getattr(client.subject, "cpu", 0.0)

    def reading(
        self,
        *,
        every: float = 0.25,
        callers: int = 1,
        verb: Way = "read",
        path: str | None = None,
        key: str | None = None,
    ) -> AbstractContextManager[None]:
        """Let callers read again and again while a block runs."""
        return reading(self.client, every=every, callers=callers, verb=verb, path=path, key=key)

    # Time

    def watch(self, seconds: float) -> None:
        """Let the scenario go on for so long, or until the subject dies."""
        self.history.let_pass(seconds, unless=self._dead, what="time to pass")

    def until(self, condition: Callable[[], bool], *, within: float) -> bool:
        """Let the scenario go on until something is so; whether it came within so many seconds."""
        return self.history.wait_for(lambda: condition() or self._dead(), within) and condition()

    def _dead(self) -> bool:
        return any(o.outcome == "died" for o in list(self.history.operations))

    def until_good_read(self, *, since: float, within: float) -> None:
        """Wait for a good read that began after `since`; an oracle says whether it was in time."""
        limit = within + AFTER + max(0.0, since - self.history.now())
        self.history.wait_for(
            lambda: any(o.good for o in self.history.calls("read", "read_cached", since=since)),
            limit,
            what="a good read",
        )

    def recovers(
        self,
        *,
        after: Fault,
        within: float | None = None,
        path: str | None = None,
        verb: str | None = None,
    ) -> None:
        """Wait for a good read after a fault, and ask later whether it came in time.

        Needs callers that go on reading (`reading`).

        Args:
            after: A fault that is undone by now.
            within: Seconds; by default what the fault's length and the declared back-off give.
            path: Reads of this secret only.
            verb: ``read`` or ``read_cached``, where callers read in both ways; by default one
                that is good again is enough.
        """
        bound = self.recovery_after(after) if within is None else within
        verbs = ("read", "read_cached") if verb is None else (verb,)
        self.until(
            lambda: any(
                o.good and path in (None, o.path)
                for o in self.history.calls(*verbs, since=after.end)
            ),
            within=bound + self.deadline,
        )
        self._asked.append(oracles.recovers_within(bound, since=after.end, path=path, verb=verb))

    def ask(self, oracle: Oracle) -> None:
        """Ask this oracle too when the scenario is judged."""
        self._asked.append(oracle)

    def logs_in_again(self, *, since: float, within: float) -> None:
        """Wait for a login that Vault accepts, and ask later whether it came in time.

        The window is waited for to its end, unless the login comes before: reads that are served
        from memory say nothing of it.
        """
        left = max(0.0, since + within + AFTER - self.history.now())
        self.until(lambda: bool(self.history.logins(since=since)), within=left)
        self._asked.append(oracles.logs_in_again(since=since, within=within))

    def hold(self, fault: Fault, seconds: float) -> None:
        """Let a fault last so long, and longer if it has not met the subject yet.

        A client that reads from its memory may meet it only when it refreshes.
        """
        self.watch(seconds)
        if not self._dead():
            self.history.wait_for(
                lambda: self.touched(fault), self.reach, what="the fault to touch"
            )
        self.look_at_command_lines()

    def touched(self, fault: Fault) -> bool:
        """Whether a fault has touched the subject's traffic by now."""
        self._look_at_connections()
        return self._evidence_of(fault) is not None

    def _evidence_of(self, fault: Fault) -> str | None:
        """How a fault is known to have touched the subject; None if it is not."""
        # Whoever is asked says himself what fails; one that renders files has its log alone.
        asked = self.environment.subject.kind != "agent" or (self.started and self.tells_outcomes)
        told = () if asked else self.log_lines()
        return evidence_of(self.history, fault, self._accessors(), told)

    def until_good_read_by_asking(self, *, within: float) -> Operation | None:
        """Read until it works; after `within` seconds the last failure is a finding."""
        since = self.history.now()
        last: Operation | None = None
        while self.history.now() - since <= within + self.history.slack(since, self.history.now()):
            last = self.client.read()
            if last.good or last.outcome == "died":
                break
            self.history.let_pass(0.2, what="a good read")
        if last is None or not last.good:
            how = last.told if last else "nothing"
            promise = "the steady state holds again after the faults"
            self._findings.append(Finding(promise, f"reads still end {how}", since))
        return last

    # Witnesses

    def _look_at_connections(self) -> None:
        """Ask Toxiproxy which toxics acted, and when."""
        wall = self.history.wall
        connections = self.environment.toxiproxy.connections(self.proxy.name)
        self.history.touches_known = connections is not None
        self.history.touches = [
            Touch(toxic, wall(c.opened), None if c.closed is None else wall(c.closed))
            for c in connections or ()
            for toxic in c.toxics
        ]

    def _accessors(self) -> dict[str, str]:
        """The accessor of each token that was seen."""
        return {
            label: accessor
            for exchange in list(self.history.exchanges)
            if (label := exchange.token) and (accessor := self.recorder.accessor(label))
        }

    def logs(self) -> list[Path]:
        """The files into which the subject's log goes, one for each start."""
        return list(self._logs)

    def keep_logs(self) -> None:
        """Fetch the logs that are kept elsewhere, of those who are not closed: they are judged."""
        for driver in self.drivers:
            if not driver.closed:
                driver.subject.logs()

    def log_lines(self) -> list[LogLine]:
        """Every line that the subject logged, on the history's clock. May hold secrets."""
        return self._log_watch.lines()

    def log_times(self) -> list[float]:
        """When each line that the subject logged was first seen, in order."""
        return [line.at for line in self.log_lines()]
