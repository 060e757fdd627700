"""The lab: one scenario's Vault, proxy, recorder, subject and history, up to the verdict."""

from __future__ import annotations

import json
from collections.abc import Collection
from dataclasses import replace
from datetime import datetime
from pathlib import Path

from vault_harness.errors import HarnessDefect, ScenarioDefect
from vault_harness.judge import oracles
from vault_harness.judge.closing import LATE, Asking, closing_act
from vault_harness.judge.conditions import look
from vault_harness.judge.environment import Environment
from vault_harness.judge.logs import leaks
from vault_harness.judge.oracles import Oracle, standing
from vault_harness.judge.servers import KEY, MOUNT, PATH, ROLE
from vault_harness.judge.verdict import (
    Finding,
    NotClaimed,
    NotExercised,
    Seen,
    SetAside,
    Verdict,
    decide,
)
from vault_harness.recorder.history import History
from vault_harness.recorder.observations import AuditRecord, Exchange, Operation


def read_audit(path: Path, history: History) -> list[AuditRecord]:
    """Return the answered requests of a file audit log (JSON lines, ``log_raw`` or not).

    An unfinished last line is skipped.
    """
    records = []
    for line in path.read_text(encoding="utf-8", errors="replace").splitlines():
        try:
            entry = json.loads(line)
        except ValueError:
            continue
        if not isinstance(entry, dict) or entry.get("type") != "response":
            continue
        at = _unix(str(entry.get("time", "")))
        if at is None:
            continue
        request, auth = entry.get("request") or {}, entry.get("auth") or {}
        records.append(
            AuditRecord(
                at=history.wall(at),
                path=str(request.get("path", "")),
                operation=str(request.get("operation", "")),
                accessor=auth.get("accessor"),
                error=entry.get("error"),
            )
        )
    return records


def _unix(text: str) -> float | None:
    """Return None if it is invalid or has no time zone."""
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        return None
    return moment.timestamp() if moment.tzinfo is not None else None


__all__ = ["KEY", "MOUNT", "PATH", "ROLE", "Environment", "Lab", "NotClaimed", "NotExercised"]


class Lab(Asking):
    """One running scenario, a context manager. Closing it leaves nothing behind.

    Attributes:
        client: The subject, after `start`.
        no_closing: Why the closing act was left out, or an empty text.
    """

    verdict: Verdict | None = None
    no_closing: str = ""

    def judge(
        self,
        *asked: Oracle,
        fallback: Collection[tuple[str, str]] = (),
        steady: bool = True,
        no_closing: str = "",
        no_health: str = "",
    ) -> None:
        """Ask the scenario's oracles and the standing ones, and set the verdict.

        Args:
            fallback: Paths and keys for which the environment variable's value is right too.
            steady: Whether the subject must be in its steady state again.
            no_closing: Why the closing act is left out. It needs no reason if the scenario has
                ended the subject.
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
            self.until_good_read_by_asking(within=self.back_within)
            self._until_read_again()
        elif steady:
            tried = self.history.operations[-1:]
            why = tried[0].message if tried else "nobody started it"
            self.note(Finding("it starts in the end", why, self.history.now()))
        # The scenario's own oracles do not see the closing act, except oracles on late events.
        self._look_at_connections()
        self._look_again()
        own: list[Oracle] = [*self._asked, *asked]
        to_the_end: list[Oracle] = [one for one in own if isinstance(one, oracles.ToTheEnd)]
        for oracle in own:
            if oracle not in to_the_end:
                self._findings.extend(oracle(self.history))
        self.look_at_command_lines()  # before the subject is closed
        open_until = self.history.now() + LATE if to_the_end else 0.0
        try:
            self._close_or_say_why(no_closing, no_health, steady=steady, open_until=open_until)
        except NotExercised:
            for oracle in to_the_end:  # their findings still count
                self._findings.extend(oracle(self.history))
            raise
        self._collect()
        self._look_again()
        always = (
            oracles.no_wrong_value(
                refresh=self.refresh,
                stale_for=self.declared_or_none("max_stale"),
                fallback=fallback,
            ),
            standing.no_false_absence(refresh=self.refresh),
            oracles.every_call_ends_within(self.deadline),
            standing.health_ends_within(self.deadline),
            standing.one_renewal_at_a_time(),
            standing.loops_have_pauses(),
            standing.no_request_with_a_dead_token(self.deadline),
            oracles.stays_alive(),
        )
        for oracle in (*to_the_end, *always):
            self._findings.extend(oracle(self.history))
        self._decide()

    def _look_again(self) -> None:
        for driver in self.drivers:
            driver.look_again()

    def abandon(self, why: str) -> None:
        """Set the verdict ``not exercised``, unless the subject has done harm."""
        self.keep_logs()
        self.history.freeze()
        self._refuse_defects()
        self._findings.extend(oracles.stays_alive()(self.history))
        self._decide(Seen("the scenario", why, met=False))

    def skip(self, why: str) -> None:
        """Set the verdict ``skipped``, unless the subject has done harm."""
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
            carried=self.entry.leaks,
        )
        if self.entry.leaks:  # besides harm, only leaks fail this scenario
            self._findings = [*(f for f in self._findings if f.harm), *found]
            found = []
        self.verdict = decide(
            self._with_their_ends(),
            [*further, *self._seen_faults(), *self._seen_conditions()],
            faults=self.history.faults,
        )
        self.verdict.leaks = found

    def _with_their_ends(self) -> list[Finding]:
        """Let a finding on a call or request end when the call or request ended.

        Otherwise a call that a fault delayed would count as "before any fault".
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

    def _until_read_again(self) -> None:
        """Wait until a program that renders files has read the secret again.

        Its files can be read at any time. Only its requests show that it has recovered.
        """
        ends = [fault.ended for fault in self.history.faults if fault.ended is not None]
        if not ends or not self.leaves("file"):
            return
        since, path = max(ends), f"data/{self.entry.path}"

        def read_again() -> bool:
            reads = self.history.find("read", since=since, where=lambda e: e.good)
            return any(read.path.endswith(path) for read in reads)

        self.until(read_again, within=max(0.0, since + self.back_within - self.history.now()))

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
        before = len(self._findings)
        try:
            closing_act(self, no_health=no_health, open_until=open_until)
        except NotClaimed as error:
            # Otherwise a subject that is configured without the act's secrets would escape most
            # questions, although no claim excludes them.
            raise NotExercised(f"no closing act: {error}") from None
        finally:
            self._findings[before:] = [
                replace(finding, closing=True) for finding in self._findings[before:]
            ]

    def _cannot_close(self, *, steady: bool) -> str:
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

    def _collect(self) -> None:
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
