"""Use all ways of reading that a client claims."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

from vault_harness.judge.driver import ReadVerb, Verb
from vault_harness.judge.lab import Lab
from vault_harness.judge.verdict import Finding
from vault_harness.recorder.fault import Fault
from vault_harness.recorder.history import SLACK
from vault_harness.recorder.observations import Operation

WITHIN_A_CALL = 0.75
"""Part of a call's deadline; a longer hang would be an outage."""

ALONE = 0.7
"""Part of a call's deadline: the delay of a call's only answer."""

HELD_UP = 3
"""A caller that waits for a third of a hang is held up."""


def read_verbs(lab: Lab) -> list[Verb]:
    return ["read", "read_cached"] if lab.can("cached") else ["read"]


def all_read_verbs(lab: Lab) -> list[ReadVerb]:
    found: list[ReadVerb] = [*read_verbs(lab)]
    return [*found, "read_all"] if lab.can("read_all") else found


def has_its_files(lab: Lab) -> bool:
    """Return whether the subject is an agent, which has only the files of its configuration."""
    return lab.environment.subject.kind == "agent"


def own_path(lab: Lab, path: str, verb: ReadVerb) -> str:
    """Return a path for each way of reading, so that no way shows what another learned."""
    return path if verb == "read" or has_its_files(lab) else f"{path}-{verb}"


CACHED = "backend/redis", "REDIS_PASSWORD"
"""Only read from the cache."""


def secret_of_the_cache(lab: Lab) -> tuple[str, str]:
    return (lab.entry.spare_path, lab.entry.spare_key) if has_its_files(lab) else CACHED


def secrets_by_verb(lab: Lab) -> dict[ReadVerb, tuple[str, str]]:
    """Return a secret and a key for each claimed way of reading.

    One way could fill or empty the cache of another.
    """
    entry = lab.entry
    secrets: dict[ReadVerb, tuple[str, str]] = {
        "read": (entry.path, entry.key),
        "read_cached": secret_of_the_cache(lab),
        "read_all": (entry.spare_path, entry.spare_key),
    }
    return {verb: secrets[verb] for verb in all_read_verbs(lab)}


@contextmanager
def reading_keys(lab: Lab, *, every: float, callers: int = 1) -> Iterator[None]:
    """Let callers read, one of them from the cache if there is one.

    A cache refreshes during a fault only if somebody has read from it before.
    """
    with ExitStack() as reading:
        reading.enter_context(lab.reading(every=every, callers=callers))
        if lab.can("cached"):
            path, key = secret_of_the_cache(lab)
            cached = lab.reading(every=every, verb="read_cached", path=path, key=key)
            reading.enter_context(cached)
        yield


@contextmanager
def reading_with_all_verbs(lab: Lab, *, every: float) -> Iterator[None]:
    with ExitStack() as reading:
        for verb, (path, key) in secrets_by_verb(lab).items():
            reading.enter_context(lab.reading(every=every, verb=verb, path=path, key=key))
        yield


def recovers_with_all_verbs(lab: Lab, *, after: Fault) -> None:
    """Wait for a good read in each way, and judge its time.

    A cache may hand out what it learned in the fault for R more.
    """
    lab.recovers(after=after, verb="read")
    within = lab.recovery_after(after) + lab.refresh
    if lab.can("cached"):
        lab.recovers(after=after, within=within, verb="read_cached")
    wholes_come_back(lab, since=after.end, within=within)


def ask_for_a_whole(lab: Lab) -> Operation | None:
    """Read the whole spare secret once, if the subject claims that: it is often separate code."""
    if not lab.can("read_all"):
        return None
    path, key = secrets_by_verb(lab)["read_all"]
    return lab.client.read_all(path, (key,))


def wholes_come_back(lab: Lab, *, since: float, within: float) -> None:
    """Read the whole secret until that succeeds."""
    whole = ask_for_a_whole(lab)
    while whole is not None and not whole.good and whole.outcome != "died":
        if whole.began > since + within + SLACK:
            promise = f"a good read_all within {within:.3g} s after the fault"
            text = f"it still ends {whole.told}"
            lab.note(Finding(promise, text, since, until=whole.began))
            return
        lab.watch(0.2)
        whole = ask_for_a_whole(lab)
