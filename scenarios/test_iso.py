"""Isolation: what is wrong with one secret does not stop the readers of others."""

from __future__ import annotations

from contextlib import ExitStack

import pytest

from vault_harness.scenario import Lab
from vault_harness.scenario.oracles import reads_go_on, same_token

SICK, SICK_KEY = "backend/celery", "CELERY_BROKER_URL"
FINE = [f"backend/fine-{number}" for number in range(1, 10)]
KEY = "VALUE"


@pytest.mark.scenario("ISO-01")
def test_one_sick_path(lab: Lab) -> None:
    """One secret of ten is answered 500 for a while; the nine others are read all the time."""
    client = lab.start()
    for path in FINE:
        lab.put("v1", path=path, key=KEY)
        client.read(path, KEY)
    client.read(SICK, SICK_KEY)
    with ExitStack() as callers:
        for path in FINE:
            callers.enter_context(lab.reading(every=0.5, path=path, key=KEY))
        callers.enter_context(lab.reading(every=0.5, path=SICK, key=SICK_KEY))
        lab.watch(0.5)
        with lab.http.fail("read", status=500, path=f"*/data/{SICK}") as fault:
            lab.hold(fault, 4 * lab.deadline)
        lab.recovers(after=fault, path=SICK)
    # A client may take the failure for one of Vault and give it a rest, and its next look may be at
    # the same secret; but not again and again.
    bound = 2 * lab.deadline + min(lab.declared("backoff_cap", lab.deadline), lab.deadline)
    lab.judge(
        *(reads_go_on(bound, since=fault.began, until=fault.end, path=path) for path in FINE),
        same_token(since=fault.began),
    )
