"""The ways of reading that a client claims, all of them asked."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

from vault_harness.faults import Fault
from vault_harness.scenario.driver import Verb, Way
from vault_harness.scenario.lab import Lab
from vault_harness.scenario.observations import Operation
from vault_harness.scenario.verdict import Finding


def ways(lab: Lab) -> list[Verb]:
    """The ways of reading that the subject claims."""
    return ["read", "read_cached"] if lab.can("cached") else ["read"]


def every_way(lab: Lab) -> list[Way]:
    """The same, and that of a whole secret, if the subject claims it."""
    found: list[Way] = [*ways(lab)]
    return [*found, "read_all"] if lab.can("read_all") else found


def has_its_files(lab: Lab) -> bool:
    """Whether the subject is an agent, which has the secrets that it was configured to have."""
    return lab.environment.subject.kind == "agent"


@contextmanager
def reading_in_each_way(lab: Lab, *, every: float, callers: int = 1) -> Iterator[None]:
    """Let so many callers read while the block runs, and one by a cache, if the subject has one.

    What keeps a cache fresh meets a fault only if the cache was asked for something before.
    """
    with ExitStack() as reading:
        reading.enter_context(lab.reading(every=every, callers=callers))
        if lab.can("cached"):
            reading.enter_context(lab.reading(every=every, verb="read_cached"))
        yield


@contextmanager
def reading_in_every_way(lab: Lab, *, every: float) -> Iterator[None]:
    """Let one caller for each way of reading that there is read while the block runs."""
    with ExitStack() as reading:
        for way in every_way(lab):
            reading.enter_context(lab.reading(every=every, verb=way))
        yield


def recovers_in_each_way(lab: Lab, *, after: Fault) -> None:
    """Wait for a good read in each way after a fault, and ask later whether it came in time.

    What a cache learned in the fault it may hand out, as old, for one refresh time more.
    """
    lab.recovers(after=after, verb="read")
    within = lab.recovery_after(after) + lab.refresh
    if lab.can("cached"):
        lab.recovers(after=after, within=within, verb="read_cached")
    wholes_come_back(lab, since=after.end, within=within)


def ask_for_a_whole(lab: Lab, *, spare: bool = False) -> Operation | None:
    """Ask once for all of a secret, the scenario's own or its spare one; None of who claims none.

    That way is often a second piece of code: what is well for one key may be lost on it alone.
    """
    if not lab.can("read_all"):
        return None
    entry = lab.entry
    path, key = (entry.spare_path, entry.spare_key) if spare else (entry.path, entry.key)
    return lab.client.read_all(path, (key,))


def wholes_come_back(lab: Lab, *, since: float, within: float) -> None:
    """Ask for the whole secret, of who claims to give any, until it is good; never is a finding.

    One is asked for in any case, however much of the time the other ways of reading have taken.

    Args:
        lab: The scenario.
        since: When the fault was over, or met.
        within: Seconds; what a cache of wholes learned in the fault it may hand out for R.
    """
    whole = ask_for_a_whole(lab)
    while whole is not None and not whole.good and whole.outcome != "died":
        if whole.began > since + within + lab.history.slack(since, whole.began):
            promise = f"a good read_all within {within:.3g} s after the fault"
            text = f"it still ends {whole.told}"
            lab.note(Finding(promise, text, since, until=whole.began, lacks=True))
            return
        lab.watch(0.2)
        whole = ask_for_a_whole(lab)
