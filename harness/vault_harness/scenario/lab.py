"""The lab: one scenario's own Vault, proxy, recorder, subject and history, up to the verdict."""

from __future__ import annotations

from contextlib import AbstractContextManager
from pathlib import Path
from typing import Self

from vault_harness.errors import SubjectError
from vault_harness.faults import Fault
from vault_harness.scenario import oracles
from vault_harness.scenario._audit import read_audit
from vault_harness.scenario._bench import KEY, PATH, ROLE, Bench, Workplace
from vault_harness.scenario._leaks import leaks
from vault_harness.scenario.catalogue import Entry
from vault_harness.scenario.driver import Driver, Verb, reading, said
from vault_harness.scenario.guard import evidence_of
from vault_harness.scenario.history import History, Operation, Touch
from vault_harness.scenario.oracles import Oracle
from vault_harness.scenario.verdict import Finding, NotExercised, Verdict, decide
from vault_harness.subjects import OperationFailed, Subject, open_subject
from vault_harness.vault import approle

__all__ = ["KEY", "PATH", "ROLE", "Lab", "NotClaimed", "Workplace"]

STEADY_READS = 3
"""Good reads in a row that make a steady state."""

LONGEST = 60.0
"""Seconds; a subject that declares a longer back-off or deadline is not waited for."""


class NotClaimed(Exception):
    """The subject does not claim, declare or tell what the scenario is about."""


class Lab(Bench):
    """One scenario under way. Close it (it is a context manager) and nothing of it is left.

    Attributes:
        client: The subject, once `start` was called.
        verdict: What the scenario came to, once `judge` was called.
    """

    def __init__(self, workplace: Workplace, entry: Entry) -> None:
        self._findings: list[Finding] = []
        self._asked: list[Oracle] = []
        self._subject: Subject | None = None
        self._client: Driver | None = None
        self.verdict: Verdict | None = None
        super().__init__(workplace, entry)

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
        if name in self.workplace.declared:
            return self.workplace.declared[name]
        return self._subject.declares.get(name) if self._subject else None

    @property
    def recovery(self) -> float:
        """B + 2 s: how soon after a fault a good read must come."""
        return min(self.declared("backoff_cap", self.ttl / 2), LONGEST) + 2.0

    @property
    def refresh(self) -> float:
        """R: how soon a changed secret must be seen, seconds."""
        return self.declared("refresh", 5.0)

    # The subject

    def environ(self) -> dict[str, str]:
        """The subject's whole configuration."""
        environ = {
            "USE_VAULT": "true",
            "VAULT_ADDR": self.address,
            "VAULT_MOUNT_POINT": "ecommerce",
            "VAULT_CLIENT_TIMEOUT": f"{self.deadline:g}",
            # Beyond the guide's own variables: short ones, so that their ends can be watched.
            "VAULT_CACHE_TTL": "2",
            "VAULT_MAX_STALE": "6",
            **self.entry.environ,
        }
        if self.entry.ids == "files":
            role_id_file, secret_id_file = approle.credential_files(ROLE, self.directory)
            environ["VAULT_ROLE_ID_FILE"] = str(role_id_file)
            environ["VAULT_SECRET_ID_FILE"] = str(secret_id_file)
        else:
            environ["VAULT_ROLE_ID"] = self.role_id
            environ["VAULT_SECRET_ID"] = self.secret_id.secret_id
        return environ

    @property
    def started(self) -> bool:
        """Whether a subject runs."""
        return self._client is not None

    @property
    def tells_outcomes(self) -> bool:
        """Whether the subject tells one failure from another, as far as is known by now."""
        return self.client.subject.tells_outcomes

    @property
    def client(self) -> Driver:
        """The subject, started."""
        assert self._client is not None, "the scenario did not call lab.start()"
        return self._client

    def open(self, *, timeout: float = 15.0) -> Driver | None:
        """Start the subject; None if it refuses to start, which the history then tells."""
        operation = self.history.begin_operation("start")
        try:
            subject = open_subject(
                self.workplace.subject,
                self.environ(),
                log=self.directory / f"subject-{operation.number}.log",
                timeout=timeout,
                # A developer's own SECRET_KEY is no fallback of this scenario's.
                withhold={key for _, _, keys in self.stack.blueprint.paths() for key in keys},
            )
        except (OperationFailed, SubjectError) as error:
            text = said(self.secrets, str(error))
            self.history.end_operation(operation, "error", message=text)
            return None
        self.history.end_operation(operation, "ok")
        self._subject = subject
        try:
            self._check_claims(subject)
        except NotClaimed:
            subject.kill()
            raise
        self._client = Driver(subject, self.history, self.secrets, deadline=self.deadline)
        self._closing.callback(self._end_subject, self._client)
        return self._client

    def start(self) -> Driver:
        """Start the subject and see it in its steady state.

        Raises:
            NotExercised: It does not start, or it does not read.
        """
        client = self.open()
        if client is None:
            raise NotExercised(f"the subject does not start: {self.history.operations[-1].message}")
        for number in range(STEADY_READS):
            read = client.read()
            if not read.good:
                raise NotExercised(
                    f"no steady state: read {number + 1} before any fault ended "
                    f"{read.outcome}: {read.message}"
                )
        if self.history.last_token() is None:
            raise NotExercised("the subject reads, but no login of it passed the recorder")
        return client

    def _check_claims(self, subject: Subject) -> None:
        entry = self.entry
        if missing := sorted(entry.needs - subject.capabilities):
            raise NotClaimed(f"the subject does not claim: {', '.join(missing)}")
        known = {*self.workplace.declared, *subject.declares}
        if missing := sorted(entry.declares - known):
            raise NotClaimed(f"the subject does not declare {', '.join(missing)} (see --declare)")
        if self.deadline > LONGEST:
            raise NotClaimed(
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

    def reading(
        self,
        *,
        every: float = 0.25,
        callers: int = 1,
        verb: Verb = "read",
        path: str = PATH,
        key: str = KEY,
    ) -> AbstractContextManager[None]:
        """Let callers read again and again while a block runs."""
        return reading(self.client, every=every, callers=callers, verb=verb, path=path, key=key)

    # Time

    def watch(self, seconds: float) -> None:
        """Let the scenario go on for so long, or until the subject dies."""
        self.history.wait_for(self._dead, seconds)

    def _dead(self) -> bool:
        return any(o.outcome == "died" for o in list(self.history.operations))

    def until_good_read(self, *, since: float, within: float) -> None:
        """Wait for a good read that began after `since`; an oracle says whether it was in time."""
        limit = within + oracles.TOLERANCE + max(0.0, since - self.history.now())
        self.history.wait_for(
            lambda: any(o.good for o in self.history.calls("read", "read_cached", since=since)),
            limit,
        )

    def hold(self, fault: Fault, seconds: float) -> None:
        """Let a fault last so long, and longer if it has not bitten yet.

        A client that reads from its cache may meet it only after its refresh time.
        """
        self.watch(seconds)
        if not self._dead():
            self.history.wait_for(lambda: self.bit(fault), self.refresh + oracles.TOLERANCE)

    # The verdict

    def judge_later(self, *asked: Oracle) -> None:
        """Ask these oracles too when it comes to the verdict."""
        self._asked.extend(asked)

    def note(self, *found: Finding) -> None:
        """Add findings that a scenario made by itself."""
        self._findings.extend(found)

    def judge(
        self,
        *asked: Oracle,
        refresh: float | None = None,
        stale_for: float | None = None,
        fallback: bool = False,
        steady: bool = True,
    ) -> None:
        """Ask the oracles, those of every scenario too, and come to a verdict.

        Args:
            asked: The oracles of this scenario.
            refresh: How old a value may be that is not marked stale; the subject's R by default.
            stale_for: How old one may be that is marked stale; the subject's S by default.
            fallback: Whether the value of the environment variable is right too.
            steady: Whether the steady state must hold again now.
        """
        if steady:
            self._ask_again()
        self._collect()
        if self._client is not None:
            self._client.look_again()
        standing = (
            oracles.no_wrong_value(
                refresh=self.refresh if refresh is None else refresh,
                stale_for=self.declared_or_none("max_stale") if stale_for is None else stale_for,
                fallback=fallback,
            ),
            oracles.every_call_ends_within(self.deadline),
            *self._harmless,
        )
        for oracle in (*self._asked, *asked, *standing):
            self._findings.extend(oracle(self.history))
        accessors = self._accessors()
        evidence, untouched = [], []
        for fault in self.history.faults:
            found = evidence_of(self.history, fault, accessors)
            if found:
                evidence.append(found)
            elif not fault.optional:
                untouched.append(
                    f"{fault.name} (from +{fault.began:.2f} s) never touched the subject's traffic"
                )
        self.verdict = decide(self._findings, untouched, evidence)

    def abandon(self, why: str) -> None:
        """Come to a verdict on a scenario that cannot be carried out.

        It is not exercised, unless the subject did harm up to then: that is never excused.

        Args:
            why: What is missing.
        """
        for oracle in self._harmless:
            self._findings.extend(oracle(self.history))
        self.verdict = decide(self._findings, [why], [])

    @property
    def _harmless(self) -> tuple[Oracle, ...]:
        """What is promised whatever a scenario is about."""
        return oracles.stays_alive(), self._no_secret_leaked

    def _ask_again(self) -> None:
        self.until_good_read_by_asking(within=self.recovery)

    def until_good_read_by_asking(self, *, within: float) -> Operation | None:
        """Read until it works; after `within` seconds the last failure is a finding."""
        since = self.history.now()
        last: Operation | None = None
        while self.history.now() - since <= within + oracles.TOLERANCE:
            last = self.client.read()
            if last.good or last.outcome == "died":
                break
            self.history.wait_for(lambda: False, 0.2)
        if last is None or not last.good:
            said = f"{last.outcome}: {last.message}" if last else "nothing"
            self.note(
                Finding(
                    "the steady state holds again after the faults",
                    f"reads still end {said}",
                    since,
                )
            )
        return last

    def _collect(self) -> None:
        self._look_at_connections()
        if (path := self.stack.node.audit_path) and path.is_file():
            self.history.audit.extend(read_audit(path, self.history))

    def _look_at_connections(self) -> None:
        """Ask Toxiproxy which toxics acted, and when."""
        wall = self.history.wall
        connections = self.workplace.toxiproxy.connections(self.proxy.name)
        self.history.touches_known = connections is not None
        self.history.touches = [
            Touch(toxic, wall(c.opened), None if c.closed is None else wall(c.closed))
            for c in connections or ()
            for toxic in c.toxics
        ]

    def bit(self, fault: Fault) -> bool:
        """Whether a fault has touched the subject's traffic by now."""
        self._look_at_connections()
        return evidence_of(self.history, fault, self._accessors()) is not None

    def _accessors(self) -> dict[str, str]:
        """The accessor of each token that was seen."""
        return {
            label: accessor
            for exchange in list(self.history.exchanges)
            if (label := exchange.token) and (accessor := self.recorder.accessor(label))
        }

    def _no_secret_leaked(self, history: History) -> list[Finding]:
        pid = self._client.subject.pid if self._client else None
        return leaks(self.secrets, logs=self._logs(), pid=pid, operations=history.operations)

    def _logs(self) -> list[Path]:
        return sorted(self.directory.glob("subject-*.log"))

    def subject_log(self, lines: int = 8) -> str:
        """The last lines that the subject logged, without secrets."""
        texts = [log.read_text(errors="replace") for log in self._logs()]
        return self.secrets.redact("\n".join("\n".join(texts).splitlines()[-lines:]))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()
