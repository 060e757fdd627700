"""Agents: one between client and Vault that answers from memory, and what is rendered beside it."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import pytest

from vault_harness.faults import Fault
from vault_harness.scenario import History, Lab, Operation
from vault_harness.scenario.caching_proxy import caching_proxy
from vault_harness.scenario.driver import Verb
from vault_harness.scenario.helpers import has_its_files, ways
from vault_harness.scenario.lab import KEY
from vault_harness.scenario.oracles import (
    no_failed_read,
    none_of,
    recovers_within,
    requests_at_most,
    sees,
)

VERSIONS = 6


@pytest.mark.scenario("AGT-01")
def test_cached_login(lab: Lab) -> None:
    """The proxy's cache answers logins; a token is revoked, and the cache hands it out again."""
    with caching_proxy(lab):
        lab.start()
        with lab.reading(every=0.5):
            lab.watch(lab.ttl)
            with lab.vault.token_revoked(lab.accessor()) as fault:
                # The proxy learns of it when it renews the token next, after three quarters of the
                # token's life at most; until then each login is answered with the dead one.
                bound = 0.75 * lab.ttl + lab.recovery
                revoked = lab.history.now()
                # Who answers from memory meets it later, and has the same proxy before it.
                lab.until(lambda: _answered(lab.history, since=revoked), within=bound + lab.reach)
                lab.until_good_read(since=revoked, within=bound)
            lab.watch(1.5)  # who goes on with the dead token now is to be seen
        # Each call may find out anew that it is refused, and log in for that; no call twice.
        calls = len(lab.history.calls("read", since=fault.began - lab.deadline))
        lab.judge(
            # Empty for who declares a deadline that is longer than all that was before.
            no_failed_read(until=fault.began - lab.deadline, may_be_empty=True),
            recovers_within(bound, since=revoked, begun=True),
            requests_at_most(1 + calls, "login", since=fault.began),
            requests_at_most(2 * (1 + calls), "read", since=fault.began),
        )


def _answered(history: History, *, since: float) -> bool:
    """Whether Vault has given a secret, or the number of its version, since then."""
    return bool(history.find("read", "metadata", since=since, where=lambda e: e.good))


@pytest.mark.scenario("AGT-02")
def test_what_is_kept_is_whole(lab: Lab) -> None:
    """Six rotations under looks at what is kept; then an answer that a newer one has overtaken."""
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
        for way, unread in UNREAD.items():
            _older_answer_comes_last(lab, way, unread)
    lab.judge(
        no_failed_read(),
        sees(last, path, since=written, within=lab.refresh),
        *(
            none_of("a newer version is not followed by an older one", _steps_back(lab.history, of))
            for of in (path, *UNREAD.values())
        ),
    )


UNREAD: dict[Verb, str] = {"read_cached": "backend/late/cached", "read": "backend/late/plain"}
"""By the way in which its first answer comes late a secret that nobody has read before."""

LATE_BY = 0.6
"""Seconds by which it does, and a third of a call's time at most: the secret is rotated and read
anew meanwhile.
"""

LOOKS = 4
"""How often it is looked at what is kept of it then."""


def _older_answer_comes_last(lab: Lab, way: Verb, path: str) -> None:
    """Let a read be slow; the secret is rotated and read before its answer, which is older, comes.

    Who has one request for all who ask at once has no newer answer then, and rightly.
    """
    client, asked = lab.client, f"*/data/{path}"
    lab.put("v1", path=path, key=KEY)
    by = min(LATE_BY, 0.3 * lab.deadline)
    with (
        lab.http.delay("read", path=asked, by=by, first=1) as late,
        ThreadPoolExecutor(1) as caller,
    ):
        slow = caller.submit(client.read, path, KEY, verb=way)
        lab.until(lambda: slow.done() or _told(lab.history, late), within=lab.deadline)
        lab.put("v2", path=path, key=KEY)
        for verb in ways(lab):
            client.read(path, KEY, verb=verb)
        slow.result()
    for _ in range(LOOKS):
        client.read(path, KEY, verb="read_cached")
        lab.watch(0.05)


def _told(history: History, late: Fault) -> bool:
    """Whether Vault has given the answer that is held back."""
    mark = late.signature.interference
    held = history.find("read", since=late.began, where=lambda e: e.interference == mark)
    return any(read.status is not None for read in held)


def _steps_back(history: History, path: str) -> list[str]:
    """Where a cache gave an older version than one that it had given before that read began."""
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
