"""The lab: one scenario's own Vault, proxy, recorder, subject and history, up to the verdict."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import replace

from vault_harness.errors import HarnessDefect, ScenarioDefect
from vault_harness.scenario import oracles
from vault_harness.scenario._asking import Asking
from vault_harness.scenario._audit_records import read_audit
from vault_harness.scenario._leaks import leaks
from vault_harness.scenario._servers import KEY, MOUNT, PATH, ROLE
from vault_harness.scenario.closing import LATE, closing_act
from vault_harness.scenario.conditions import look
from vault_harness.scenario.environment import Environment
from vault_harness.scenario.observations import Exchange, Operation
from vault_harness.scenario.oracles import Oracle, standing
from vault_harness.scenario.verdict import (
    Finding,
    NotClaimed,
    NotExercised,
    Seen,
    SetAside,
    Verdict,
    decide,
)

__all__ = ["KEY", "MOUNT", "PATH", "ROLE", "Environment", "Lab", "NotClaimed", "NotExercised"]


class Lab(Asking):
    """One scenario under way. Close it (it is a context manager) and nothing of it is left.

    Attributes:
        client: The subject, once `start` was called.
        verdict: What the scenario came to, once `judge` was called.
        no_closing: Why the closing act was left out; empty if it was carried out.
    """

    verdict: Verdict | None = None
    no_closing: str = ""

    # The verdict

    def judge(
        self,
        *asked: Oracle,
        refresh: float | None = None,
        stale_for: float | None = None,
        fallback: Collection[tuple[str, str]] = (),
        steady: bool = True,
        no_closing: str = "",
        no_health: str = "",
    ) -> None:
        """Ask the oracles, those of every scenario too, and come to a verdict.

        Args:
            asked: The oracles of this scenario.
            refresh: How old a value may be that is not marked stale; the subject's R by default.
            stale_for: How old one may be that is marked stale; the subject's S by default.
            fallback: For which paths and keys the value of the environment variable is right too.
            steady: Whether the steady state must hold again now.
            no_health: Why the closing act leaves out the question after the subject's health.
            no_closing: Why the closing act is left out, in a few words. It need not be given where
                the scenario itself has ended the subject.

        Raises:
            HarnessDefect: Something went wrong in the harness.
            ScenarioDefect: The scenario has neither a fault nor a condition that must have been
                met.
            NotExercised: The subject was configured without what the closing act reads.
        """
        if not self.history.faults and not self._conditions:
            raise ScenarioDefect(
                f"{self.entry.id} has neither a fault nor a condition that must have been met: "
                "whatever happens, it would pass",
                looked_at="lab.history.faults, lab.require, lab.must_have",
                remedy="let something go wrong in the scenario (lab.network, lab.vault, lab.http, "
                "lab.process), or say by lab.require what must have happened",
            )
        if steady and self.started:
            self.until_good_read_by_asking(within=self._back_within())
            self._until_read_anew()
        elif steady:
            tried = self.history.operations[-1:]
            why = tried[0].message if tried else "nobody started it"
            self.note(Finding("it starts in the end", why, self.history.now()))
        # The scenario's own oracles see what was before the closing act, unless they are about what
        # may come late; the standing ones see all.
        self._look_at_connections()
        self._look_again()
        own: list[Oracle] = [*self._asked, *asked]
        to_the_end: list[Oracle] = [one for one in own if isinstance(one, oracles.ToTheEnd)]
        for oracle in own:
            if oracle not in to_the_end:
                self._findings.extend(oracle(self.history))
        self.look_at_command_lines()  # those of who is closed are gone
        open_until = self.history.now() + LATE if to_the_end else 0.0
        try:
            self._close_or_say_why(no_closing, no_health, steady=steady, open_until=open_until)
        except NotExercised:
            for oracle in to_the_end:  # what was seen up to here counts all the same
                self._findings.extend(oracle(self.history))
            raise
        self._collect()
        self._look_again()
        kept = self.refresh if refresh is None else refresh
        always = (
            oracles.no_wrong_value(
                refresh=kept,
                stale_for=self.declared_or_none("max_stale") if stale_for is None else stale_for,
                fallback=fallback,
            ),
            standing.no_false_absence(refresh=kept),
            oracles.every_call_ends_within(self.deadline),
            standing.verbs_end_in_time(self.deadline),
            standing.closes_well(),
            standing.one_renewal_at_a_time(),
            standing.loops_have_pauses(),
            standing.no_request_with_a_dead_token(self.deadline),
            oracles.stays_alive(),
        )
        for oracle in (*to_the_end, *always):
            self._findings.extend(oracle(self.history))
        self._decide()

    def _look_again(self) -> None:
        """Label what an operator's own tool wrote before the lab could learn it."""
        for driver in self.drivers:
            driver.look_again()

    def abandon(self, why: str) -> None:
        """Come to a verdict on a scenario that cannot be carried out.

        It is not exercised, unless the subject did harm up to then: that is never excused.

        Args:
            why: What is missing.
        """
        self.keep_logs()
        self.history.freeze()
        self._refuse_defects()
        self._findings.extend(oracles.stays_alive()(self.history))
        self._decide(Seen("the scenario", why, met=False))

    def skip(self, why: str) -> None:
        """Come to a verdict on a scenario that turns out to be about what the subject claims not.

        It is skipped, unless the subject did harm up to then. What else was found does not count.

        Args:
            why: What it does not claim.
        """
        self.abandon(why)
        verdict = self.verdict
        assert verdict is not None, "it was abandoned"
        verdict.set_aside += [
            SetAside(finding, "it is skipped") for finding in verdict.findings if not finding.harm
        ]
        verdict.findings = [finding for finding in verdict.findings if finding.harm]
        if not verdict.findings:
            verdict.word, verdict.untouched = "skipped", [why]

    def _decide(self, *further: Seen) -> None:
        found = leaks(
            self.secrets,
            self.history,
            log=self.log_lines(),
            commands=self.look_at_command_lines(),
        )
        if self.entry.leaks:
            self._findings.extend(found)
            found = []
        self.verdict = decide(
            self._with_their_ends(),
            [*further, *self._seen_faults(), *self._seen_conditions()],
            faults=self.history.faults,
            stalls=[stall for stall in self.history.stalls if stall.end >= self.steady_since],
            crowding=self.history.crowding,
            starved=self.history.starved,
            longest_stall=self._longest_stall(),
        )
        self.verdict.leaks = found

    def _with_their_ends(self) -> list[Finding]:
        """The findings; one about a call or a request lasts as long as that did.

        A call that began before a fault and was held up by it is not a matter of the time before.
        """
        now = self.history.now()
        events: list[Exchange | Operation] = [*self.history.exchanges, *self.history.operations]
        ends = {event.began: now if event.ended is None else event.ended for event in events}
        return [
            replace(finding, until=ends[finding.at])
            if finding.until is None and finding.at in ends
            else finding
            for finding in self._findings
        ]

    def _seen_faults(self) -> list[Seen]:
        """Each fault: how it is known to have touched the subject, or that it is not."""
        seen = []
        for fault in self.history.faults:
            if found := self._evidence_of(fault):
                seen.append(Seen(fault.name, found, met=True, at=fault.began))
            elif not fault.optional:
                text = (
                    f"{fault.name} (from +{fault.began:.2f} s) never touched the subject's traffic"
                )
                seen.append(Seen(fault.name, text, met=False, at=fault.began))
        return seen

    def _seen_conditions(self) -> list[Seen]:
        return [look(name, condition, self.history) for name, condition in self._conditions]

    def _longest_stall(self) -> float:
        """Seconds of standing still from which bounds of this scenario prove nothing."""
        return min(self.deadline, self.ttl / 4) / 2

    def _back_within(self) -> float:
        """Seconds in which the steady state must hold again: what the longest fault asks for."""
        over = [fault for fault in self.history.faults if fault.ended is not None]
        return max((self.recovery_after(fault) for fault in over), default=self.recovery)

    def _until_read_anew(self) -> None:
        """Give a program whose files stay good in an outage the time that others have after it.

        A look into a file is good at once; how soon it has come back is told by what it sends.
        """
        ends = [fault.ended for fault in self.history.faults if fault.ended is not None]
        if not ends or not self.leaves("file"):
            return
        since, path = max(ends), f"data/{self.entry.path}"

        def read_anew() -> bool:
            reads = self.history.find("read", since=since, where=lambda e: e.good)
            return any(read.path.endswith(path) for read in reads)

        self.until(read_anew, within=max(0.0, since + self._back_within() - self.history.now()))

    # The closing act

    def _close_or_say_why(
        self, why: str, no_health: str, *, steady: bool, open_until: float = 0.0
    ) -> None:
        if not why:
            why = self._cannot_close(steady=steady)
        self.no_closing = why
        if why:
            self.keep_logs()
            self.history.mark(f"no closing act: {why}")
            if self.started and not self.client.closed:
                self.watch(max(0.0, open_until - self.history.now()))
            return
        try:
            closing_act(self, no_health=no_health, open_until=open_until)
        except NotClaimed as error:
            # It ends nearly every scenario: one that is configured without what it reads would be
            # asked nothing, and no claim of its own says so.
            raise NotExercised(f"no closing act: {error}") from None

    def _cannot_close(self, *, steady: bool) -> str:
        """Why there can be no closing act, if so."""
        if not self.started:
            return "the subject never started"
        if self.client.closed:
            return "the scenario itself ended the subject"
        if self._dead() or not self.client.subject.is_alive():
            return "the subject is dead"
        if not steady:
            return "the scenario does not end in a steady state"
        if any(o.failed for o in self.history.calls("read")[-1:]):
            return "the subject does not read any more"
        return ""

    # Witnesses

    def _collect(self) -> None:
        """Hear all witnesses, and let nobody write any more."""
        self._look_at_connections()
        self.history.freeze()
        self._refuse_defects()
        for node in self.stack.nodes:
            if (path := node.audit_path) and path.is_file():
                self.history.audit.extend(read_audit(path, self.history))
        self.history.audit.sort(key=lambda entry: entry.at)

    def _refuse_defects(self) -> None:
        if self.recorder.defects:
            raise HarnessDefect(
                f"the recorder failed: {self.recorder.defects[0]}", looked_at=self.entry.id
            )
