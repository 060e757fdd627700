"""Configure, start, call and await the subject of a scenario."""

from __future__ import annotations

import os
import tempfile
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager
from pathlib import Path
from secrets import token_hex
from typing import Literal
from unittest.mock import patch

from vault_harness.errors import EngineError, SubjectError
from vault_harness.files import private_directory
from vault_harness.judge import oracles
from vault_harness.judge.catalogue import Entry
from vault_harness.judge.conditions import Condition, evidence_of
from vault_harness.judge.credentials import Credentials, Tokens
from vault_harness.judge.driver import (
    LETTERS_OF_A_START,
    Driver,
    ReadVerb,
    in_a_line,
    reading,
    redacted,
)
from vault_harness.judge.environment import Environment
from vault_harness.judge.logs import CommandLines, LogLine, LogWatch, files_with_secrets
from vault_harness.judge.oracles import Oracle, slow_at_first
from vault_harness.judge.servers import Servers
from vault_harness.judge.subjects import OperationFailed, Subject, make_home, open_subject
from vault_harness.judge.subjects.process import Apart
from vault_harness.judge.verdict import Finding, NotClaimed, NotExercised
from vault_harness.recorder.fault import Fault
from vault_harness.recorder.history import SLACK
from vault_harness.recorder.observations import Operation, Touch

STEADY_READS = 3

STEADY_WITHIN = 10.0
"""Seconds from ``hello`` to the steady state, as ``hello`` may come before the token."""

LONGEST = 60.0
"""The longest declared back-off or deadline, in seconds, that a scenario waits for."""

UNTOLD = 15.0
"""Seconds of back-off allowed without a declaration, up to half of the TTL."""

PROBE = 2.0
"""Seconds allowed beyond a back-off, for the next try and a login."""

AFTER = 0.5
"""Seconds that a window is watched beyond its end, so that a late event is reported."""


class Running(Servers):
    """The servers of one scenario and the subject that runs against them.

    Attributes:
        steady_since: 0 if nobody waited for the steady state.
        wanted_ttl: The TTL in seconds that the scenario needs, if its own is shorter. It then runs
            again.
        own: Variables that name the subject's own folders, if it has any.
    """

    steady_since = 0.0
    wanted_ttl = 0.0

    def __init__(
        self, environment: Environment, entry: Entry, *, directory: Path | None = None
    ) -> None:
        self.threads_before = frozenset(threading.enumerate())
        self.own: dict[str, str] = {}
        self._findings: list[Finding] = []
        self._asked: list[Oracle] = []
        self._conditions: list[tuple[str, Condition]] = []
        self._subject: Subject | None = None
        self._drivers: list[Driver] = []
        self._logs: list[Path] = []
        self._commands = CommandLines()
        super().__init__(environment, entry, directory=directory)
        try:
            self.tokens = Tokens(self)
            self.credentials = Credentials(self, self.tokens)
        except BaseException:
            self.close()
            raise
        self._log_watch = self._closing.enter_context(LogWatch(self.logs, self.history.now))

    @property
    def deadline(self) -> float:
        """Return D, the deadline of each call in seconds."""
        return self.declared("deadline", self.entry.deadline)

    def declared(self, name: str, default: float) -> float:
        found = self.declared_or_none(name)
        return default if found is None else found

    def declared_or_none(self, name: str) -> float | None:
        if name in self.environment.declared:
            return self.environment.declared[name]
        return self._subject.declares.get(name) if self._subject else None

    @property
    def recovery(self) -> float:
        return min(self.declared("backoff_cap", min(self.ttl / 2, UNTOLD)), LONGEST) + PROBE

    def recovery_after(self, fault: Fault) -> float:
        """Return how many seconds after a fault a good read must come.

        A client that doubles its pauses waits about as long as the fault lasted. One that waits
        longer declares it (``backoff_cap``).
        """
        if (cap := self.declared_or_none("backoff_cap")) is not None:
            return min(cap, LONGEST) + PROBE
        return min(max(1.0, 1.5 * fault.length), self.ttl / 2, LONGEST) + PROBE

    @property
    def back_within(self) -> float:
        """Return the seconds in which a good read must come after all faults so far."""
        over = [fault for fault in self.history.faults if fault.ended is not None]
        return max((self.recovery_after(fault) for fault in over), default=self.recovery)

    def or_its_pause(self, seconds: float) -> float:
        cap = self.declared_or_none("backoff_cap")
        return seconds if cap is None else max(seconds, min(cap, LONGEST) + PROBE)

    @property
    def reach(self) -> float:
        """Return the seconds until a fault must touch the subject, by its next refresh or try."""
        longest = max(self.refresh, self.declared("backoff_cap", 0.0), self.deadline)
        return min(longest, LONGEST) + PROBE

    @property
    def refresh(self) -> float:
        """Return R: the seconds within which a changed secret must be seen."""
        return self.declared("refresh", 5.0)

    @property
    def start_under_a_fault(self) -> float:
        """In seconds, from a start during a scenario to ``hello``.

        It is less than for other starts, as a supervisor would stop a client that waits for ever.
        """
        return self.environment.start * 2 / 3

    @property
    def longest_start(self) -> float:
        return self.environment.start + self._steady_within

    @property
    def asks_within(self) -> float:
        """Return the seconds from a start until the subject must have sent a request.

        It is less than the limit of ``hello``, so that a client that waits for Vault is not
        stopped.
        """
        return self.environment.start / 2

    @property
    def _steady_within(self) -> float:
        return max(STEADY_WITHIN, self.environment.start / 3)

    def environ(self) -> dict[str, str]:
        return {
            "USE_VAULT": "true",
            "VAULT_ADDR": self.address,
            "VAULT_MOUNT_POINT": self.entry.mount,
            "VAULT_CLIENT_TIMEOUT": f"{self.deadline:g}",
            # These are short, so that a scenario sees their ends.
            "VAULT_CACHE_TTL": "1",
            "VAULT_MAX_STALE": "6",
            **(self._tls.environ() if self._tls is not None else {}),
            **({"VAULT_NAMESPACE": self.entry.namespace} if self.entry.namespace else {}),
            **(self._clock.environ() if self._clock is not None else {}),
            **self.own,
            **self.entry.environ,
            **self.credentials.environ(),
        }

    @property
    def said(self) -> dict[str, object] | None:
        """Return what the subject declares; None if it did not start."""
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
        return bool(self._drivers)

    @property
    def reports_outcomes(self) -> bool:
        return self.client.subject.reports_outcomes

    @property
    def client(self) -> Driver:
        assert self._drivers, "the scenario did not call lab.start()"
        return self._drivers[-1]

    @property
    def drivers(self) -> list[Driver]:
        return list(self._drivers)

    def _processes(self) -> list[int]:
        pids = (driver.subject.pid for driver in self.drivers)
        return [pid for pid in pids if pid is not None]

    def look_at_command_lines(self) -> str:
        """Return all command lines of the subject's processes seen so far.

        A subject within this process is skipped, since the children of this process are servers.
        """
        self._commands.look(self._processes())
        return str(self._commands)

    def files_for_all(self, *, since: float) -> set[str]:
        """Return world-readable files with a secret in the temporary, home and working folders.

        `since` is in seconds on the wall clock.
        """
        # If the home contains a token, the program gets another home.
        homes = {Path.home(), self.directory / "home"}
        folders = {Path(tempfile.gettempdir()), Path.cwd(), *homes, *map(Path, self.own.values())}
        return files_with_secrets(self.secrets, folders, since=since)

    def give_own_folders(self) -> str:
        """Give the subject its own home and temporary folder.

        Return the label of a token that lies in that home, as a developer's token does.
        """
        token = f"hvs.{token_hex(24)}"
        home = make_home(self.directory / "own-home", token)
        temporary = private_directory(self.directory / "own-tmp")
        self.own = {"HOME": str(home), "TMPDIR": str(temporary)}
        if self.environment.subject.kind == "in-process":
            self._closing.enter_context(patch.dict(os.environ, {"HOME": str(home)}))
        return self.secrets.add("token", token, "token of the home folder")

    def can(self, word: str) -> bool:
        return word in self.client.subject.capabilities

    def leaves(self, what: Literal["token", "file"]) -> bool:
        return what in self.client.subject.leaves

    def open(self, *, timeout: float | None = None) -> Driver | None:
        """Start the subject; return None if it refuses to start.

        `timeout` limits the seconds to ``hello``.
        """
        operation = self.history.begin_operation("start")
        within = self.environment.start if timeout is None else timeout
        try:
            with self.spent.on("the subject's start"):
                subject = self._open_subject(self.environ(), operation.number, within)
        except (OperationFailed, SubjectError) as error:
            text = redacted(self.secrets, in_a_line(error), LETTERS_OF_A_START)
            self.history.end_operation(operation, "error", message=text)
            self._check_login_method(operation.number, within)
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
            secret=(self.entry.path, self.entry.key),
        )
        driver.instance = operation.number
        self._drivers.append(driver)
        self._closing.callback(self._end_subject, driver)
        return driver

    def _open_subject(self, environ: dict[str, str], number: int, timeout: float) -> Subject:
        log = self.directory / f"subject-{number}.log"
        if log not in self._logs:
            self._logs.append(log)
        # A developer's own SECRET_KEY must not serve as the fallback.
        keys = {key for _, _, several in self.stack.blueprint.paths() for key in several}
        return open_subject(
            self.environment.subject,
            environ,
            log=log,
            timeout=timeout,
            apart=Apart(withhold=keys, within=self._name.command if self._name is not None else ()),
        )

    def _check_login_method(self, number: int, timeout: float) -> None:
        """Check the claims of a subject that starts only with the ids of an AppRole."""
        if self.entry.auth == "approle":
            return
        try:
            subject = self._open_subject(
                self.environ() | self.credentials.approle_environ(), number, timeout
            )
        except (OperationFailed, SubjectError):
            return
        try:
            self._check_claims(subject)
        finally:
            subject.kill()

    def start(self, *, within: float | None = None, callers: int = 0) -> Driver:
        """Start the subject and wait for its steady state: three good reads in a row.

        Args:
            within: Seconds that it may take after ``hello``.
            callers: Number of simultaneous first calls, while there may be no token yet.
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
            raise NotExercised("the subject reads, but none of its logins passed the recorder")
        self.steady_since = self.history.now()
        self.look_at_command_lines()
        # Reads after an earlier start are no warm-up.
        self.mark_warm_up(reads)
        return client

    def mark_warm_up(self, reads: Sequence[Operation]) -> None:
        """Mark first reads that failed or were slow as a warm-up.

        A Java VM loads classes at the first call. `reads` are the first of an instance that started
        without a fault.
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
            # A declaration narrows no promise, so the subject has only not been asked.
            raise NotExercised(
                f"its calls may take {self.deadline:g} s; configure it with at most {LONGEST:g} s"
            )
        if entry.process and subject.pid is None:
            raise NotClaimed("the subject has no process of its own on this machine")

    def needs_outcomes(self) -> None:
        """Raise `NotClaimed` if the subject has failed and cannot say why.

        The scenario goes on if there is already a finding, which counts in any case.
        """
        if not self.reports_outcomes and not self._findings:
            raise NotClaimed("the subject does not say why a call fails (outcomes)")

    def _end_subject(self, client: Driver) -> None:
        try:
            client.subject.close(timeout=5.0)
        except (OperationFailed, SubjectError):
            client.subject.kill()
        # The CPU time is known only after the process has ended.
        self.spent.subject += getattr(client.subject, "cpu", 0.0)

    def reading(
        self,
        *,
        every: float = 0.25,
        callers: int = 1,
        verb: ReadVerb = "read",
        path: str | None = None,
        key: str | None = None,
    ) -> AbstractContextManager[None]:
        return reading(self.client, every=every, callers=callers, verb=verb, path=path, key=key)

    def watch(self, seconds: float) -> None:
        self.history.let_pass(seconds, unless=self._dead, what="time to pass")

    def until(self, condition: Callable[[], bool], *, within: float) -> bool:
        return self.history.wait_for(lambda: condition() or self._dead(), within) and condition()

    def _dead(self) -> bool:
        return any(o.outcome == "died" for o in list(self.history.operations))

    def until_good_read(self, *, since: float, within: float) -> None:
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
        """Wait for a good read after a fault, and check later that it came in time.

        Callers must be reading (`reading`), and the fault must be over.

        Args:
            within: Seconds; by default `recovery_after` the fault.
            verb: ``read`` or ``read_cached``; by default either one counts.
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
        self._asked.append(oracle)

    def logs_in_again(self, *, since: float, within: float) -> None:
        """Wait for a login, and check later that it came in time."""
        left = max(0.0, since + within + AFTER - self.history.now())
        self.until(lambda: bool(self.history.logins(since=since)), within=left)
        self._asked.append(oracles.logs_in_again(since=since, within=within))

    def hold(self, fault: Fault, seconds: float) -> None:
        """Keep a fault for some seconds, and longer until it touches the subject.

        A client that answers from memory may notice it only at its next refresh.
        """
        self.watch(seconds)
        if not self._dead():
            self.history.wait_for(
                lambda: self.touched(fault), self.reach, what="the fault to touch"
            )
        self.look_at_command_lines()

    def touched(self, fault: Fault) -> bool:
        self._look_at_connections()
        return self._evidence_of(fault) is not None

    def _evidence_of(self, fault: Fault) -> str | None:
        # A subject with calls reports failures by itself. An agent has only its log.
        asked = self.environment.subject.kind != "agent" or (self.started and self.reports_outcomes)
        told = () if asked else self.log_lines()
        return evidence_of(self.history, fault, self._accessors(), told)

    def until_good_read_by_asking(self, *, within: float) -> Operation | None:
        """Read until a read is good; add a finding if that takes too long."""
        since = self.history.now()
        last: Operation | None = None
        while self.history.now() - since <= within + SLACK:
            last = self.client.read()
            if last.good or last.outcome == "died":
                break
            self.history.let_pass(0.2, what="a good read")
        if last is None or not last.good:
            how = last.told if last else "nothing"
            promise = "the steady state holds again after the faults"
            self._findings.append(Finding(promise, f"reads still end {how}", since))
        return last

    def _look_at_connections(self) -> None:
        wall = self.history.wall
        connections = self.environment.toxiproxy.connections(self.proxy.name)
        self.history.touches_known = connections is not None
        self.history.touches = [
            Touch(toxic, wall(c.opened), None if c.closed is None else wall(c.closed))
            for c in connections or ()
            for toxic in c.toxics
        ]

    def _accessors(self) -> dict[str, str]:
        return {
            label: accessor
            for exchange in list(self.history.exchanges)
            if (label := exchange.token) and (accessor := self.recorder.accessor(label))
        }

    def logs(self) -> list[Path]:
        return list(self._logs)

    def keep_logs(self) -> None:
        for driver in self.drivers:
            if not driver.closed:
                driver.subject.logs()

    def log_lines(self) -> list[LogLine]:
        """Lines may contain secrets."""
        return self._log_watch.lines()

    def log_times(self) -> list[float]:
        return [line.at for line in self.log_lines()]
