"""Isolation: what is wrong with one secret does not stop the readers of others."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack

import pytest

from vault_harness.scenario import Lab
from vault_harness.scenario.driver import Verb
from vault_harness.scenario.helpers import ways
from vault_harness.scenario.oracles import nobody_waits, none_of, reads_go_on, same_token

SICK, SICK_KEY = "backend/celery", "CELERY_BROKER_URL"
FINE = [f"backend/fine-{number}" for number in range(1, 10)]
KEY = "VALUE"

ROTATED = FINE[-2:]
"""What changes while another one is sick: one that is read, and one by a cache where there is one.
"""

OLD_BY_THEN = 2.0
"""Seconds beyond R for which it stays sick: what was kept of a rotated secret is wrong by then."""


SLOW = 1.2
"""Seconds by which the answers to one secret are late then, three quarters of a call's time at
most: nobody has to take that for an outage.
"""

SLOW_CALLERS = 3
"""Who reads that one then: more than connections in a pool that holds two for a host."""

WAITS = 0.33
"""Of that time, for which a reader of another secret may wait: a third, as behind a renewal."""


ALONE = 0.7
"""Of a call's deadline: so late is an answer that is in time, as in NET-06."""


@pytest.mark.scenario("ISO-01")
def test_one_sick_path(lab: Lab) -> None:
    """One secret of ten is answered 500, then late; nine are read all the time, two rotated."""
    client = lab.start()
    verbs: dict[str, Verb] = dict.fromkeys(FINE, "read")
    verbs[ROTATED[-1]] = ways(lab)[-1]
    # The sick one comes first: who looks at all that was asked for, in order, meets it before them.
    for verb in ways(lab):
        client.read(SICK, SICK_KEY, verb=verb)
    for path, verb in verbs.items():
        lab.put("v1", path=path, key=KEY)
        client.read(path, KEY, verb=verb)
    with ExitStack() as callers:
        for path, verb in verbs.items():
            callers.enter_context(lab.reading(every=0.5, path=path, key=KEY, verb=verb))
        callers.enter_context(lab.reading(every=0.5, path=SICK, key=SICK_KEY))
        lab.watch(0.5)
        with lab.http.fail("read", status=500, path=f"*/data/{SICK}") as fault:
            for path in ROTATED:
                lab.put("v2", path=path, key=KEY)
            lab.hold(fault, max(4 * lab.deadline, lab.refresh + OLD_BY_THEN))
        lab.recovers(after=fault, path=SICK)
        late_by = min(SLOW, 0.75 * lab.deadline)
        with (
            lab.http.delay("read", by=late_by, path=f"*/data/{SICK}") as slow,
            lab.reading(every=0.5, path=SICK, key=SICK_KEY, callers=SLOW_CALLERS - 1),
        ):
            lab.hold(slow, late_by)
    _beside_one_in_vain(lab)
    # A client may take the failure for one of Vault and give it a rest, and its next look may be at
    # the same secret; but not again and again.
    bound = 2 * lab.deadline + min(lab.declared("backoff_cap", lab.deadline), lab.deadline)
    lab.judge(
        *(reads_go_on(bound, since=fault.began, until=fault.end, path=path) for path in FINE),
        same_token(since=fault.began),
        nobody_waits(WAITS * late_by, since=slow.began, until=slow.end, of=FINE),
    )


def _beside_one_in_vain(lab: Lab) -> None:
    """Have a read end at its deadline while another one waits for an answer that comes in time.

    Who cannot wait for that answer where nothing is beside it is not asked.
    """
    fine = FINE[0]
    with (
        lab.http.delay("read", by=2 * lab.deadline, path=f"*/data/{SICK}") as never,
        lab.http.delay("read", by=ALONE * lab.deadline, path=f"*/data/{fine}") as late,
        ThreadPoolExecutor(1) as other,
    ):
        never.optional = late.optional = True  # from memory a value may come at once
        if lab.client.read(fine, KEY).failed:
            return
        other.submit(lab.client.read, SICK, SICK_KEY)
        lab.watch(0.5 * lab.deadline)  # so that the other one ends in the middle of this one
        read = lab.client.read(fine, KEY)
    lost = {f"it ended {read.told}, beside one of {SICK} that ended in vain"} if read.failed else ()
    lab.judge_later(none_of("a read is not lost with another one", lost, at=read.began))
