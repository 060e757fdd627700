"""Agents: a caching proxy between client and Vault, and rendered files."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import pytest

from vault_harness.judge.driver import Verb
from vault_harness.judge.helpers.calls import has_its_files, read_verbs
from vault_harness.judge.helpers.instead import caching_proxy
from vault_harness.judge.lab import KEY, Lab
from vault_harness.judge.oracles import (
    no_failed_read,
    none_of,
    recovers_within,
    requests_at_most,
    sees,
)
from vault_harness.recorder.fault import Fault
from vault_harness.recorder.history import History
from vault_harness.recorder.observations import Operation

VERSIONS = 6


@pytest.mark.scenario("AGT-01")
def test_cached_login(lab: Lab) -> None:
    """A client reads again although a proxy answers its logins with a revoked token for a while."""
    with caching_proxy(lab):
        lab.start()
        with lab.reading(every=0.5):
            lab.watch(lab.ttl)
            with lab.vault.token_revoked(lab.tokens.accessor()) as fault:
                # The proxy notices the loss when it renews, after at most three quarters of the
                # token's life. Before that it answers each login with the dead token.
                bound = 0.75 * lab.ttl + lab.recovery
                revoked = lab.history.now()
                # A client that answers from memory notices later.
                lab.until(lambda: _answered(lab.history, since=revoked), within=bound + lab.reach)
                lab.until_good_read(since=revoked, within=bound)
            lab.watch(1.5)  # for a client that still uses the dead token
        # Each call may be refused and log in once.
        calls = len(lab.history.calls("read", since=fault.began - lab.deadline))
        lab.judge(
            # With a long deadline there may be no earlier read.
            no_failed_read(until=fault.began - lab.deadline, may_be_empty=True),
            recovers_within(bound, since=revoked, begun=True),
            requests_at_most(1 + calls, "login", since=fault.began),
            requests_at_most(2 * (1 + calls), "read", since=fault.began),
        )


def _answered(history: History, *, since: float) -> bool:
    return bool(history.find("read", "metadata", since=since, where=lambda e: e.good))


@pytest.mark.scenario("AGT-02")
def test_what_is_kept_is_whole(lab: Lab) -> None:
    """A cache gives the new value after six rotations, and never an older one after a newer one."""
    client = lab.start()
    client.read(verb="read_cached")
    with lab.reading(every=0.02, callers=2, verb="read_cached"):
        for number in range(2, 2 + VERSIONS):
            lab.put(f"v{number}")
            lab.watch(lab.refresh / 5)
        last = f"v{1 + VERSIONS}"
        written = lab.history.rotations[-1].done or lab.history.now()
        lab.until(
            lambda: lab.history.calls("read_cached")[-1].value == last, within=lab.refresh + 0.5
        )
    path = lab.entry.path
    lab.require(
        f"{VERSIONS} versions written while it reads",
        lambda history: sum(r.path == path for r in history.rotations) > VERSIONS,
    )
    if not has_its_files(lab):
        for slow_verb, unread in UNREAD.items():
            _older_answer_comes_last(lab, slow_verb, unread)
    lab.judge(
        no_failed_read(),
        sees(last, path, since=written, within=lab.refresh),
        *(
            none_of("a newer version is not followed by an older one", _steps_back(lab.history, of))
            for of in (path, *UNREAD.values())
        ),
    )


UNREAD: dict[Verb, str] = {"read_cached": "backend/late/cached", "read": "backend/late/plain"}

LATE_BY = 0.6
"""Seconds, at most a third of a call."""

LOOKS = 4


def _older_answer_comes_last(lab: Lab, slow_verb: Verb, path: str) -> None:
    """Rotate and read a secret before a slow, older answer to it comes.

    A client that sends one request for all concurrent callers gets no newer answer; that is
    allowed.
    """
    client, asked = lab.client, f"*/data/{path}"
    lab.put("v1", path=path, key=KEY)
    by = min(LATE_BY, 0.3 * lab.deadline)
    with (
        lab.http.delay("read", path=asked, by=by, first=1) as late,
        ThreadPoolExecutor(1) as caller,
    ):
        slow = caller.submit(client.read, path, KEY, verb=slow_verb)
        lab.until(lambda: slow.done() or _told(lab.history, late), within=lab.deadline)
        lab.put("v2", path=path, key=KEY)
        for verb in read_verbs(lab):
            client.read(path, KEY, verb=verb)
        slow.result()
    for _ in range(LOOKS):
        client.read(path, KEY, verb="read_cached")
        lab.watch(0.05)


def _told(history: History, late: Fault) -> bool:
    mark = late.signature.interference
    held = history.find("read", since=late.began, where=lambda e: e.interference == mark)
    return any(read.status is not None for read in held)


def _steps_back(history: History, path: str) -> list[str]:
    age = {
        rotation.value: n for n, rotation in enumerate(history.rotations) if rotation.path == path
    }
    reads = history.calls("read_cached", where=lambda o: o.path == path and o.value in age)
    newest: list[Operation] = []
    found = []
    for read in sorted(reads, key=lambda o: o.began):
        before = [o for o in newest if (o.ended or read.began) < read.began]
        if before and age[str(before[-1].value)] > age[str(read.value)]:
            found.append(f"{before[-1].value}, then {read.value} at +{read.began:.2f} s")
        if not newest or age[str(read.value)] > age[str(newest[-1].value)]:
            newest.append(read)
    return found[:3]
