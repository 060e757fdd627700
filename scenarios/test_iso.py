"""Isolation: a fault of one secret does not stop the readers of others."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack

import pytest

from vault_harness.judge.driver import ReadVerb, Verb
from vault_harness.judge.helpers.calls import ALONE, read_verbs, secrets_by_verb
from vault_harness.judge.lab import Lab
from vault_harness.judge.oracles import nobody_waits, none_of, reads_go_on, same_token
from vault_harness.judge.verdict import NotClaimed, NotExercised

SICK, SICK_KEY = "backend/celery", "CELERY_BROKER_URL"
FINE = [f"backend/fine-{number}" for number in range(1, 10)]
KEY = "VALUE"

ROTATED = FINE[-2:]
"""Secrets that change: one read plainly, one from the cache if there is one."""

BEYOND_REFRESH = 2.0
"""Seconds beyond R: an old value of a rotated secret is then wrong."""


SLOW = 1.2
"""Seconds of delay, which is no outage."""

SLOW_CALLERS = 3
"""More than the connections of a pool with two for each host."""

WAITS = 0.33
"""Part of that delay for which another reader may wait."""


@pytest.mark.scenario("ISO-01")
def test_one_sick_path(lab: Lab) -> None:
    """Nine secrets are read, and two of them rotated, while a tenth is answered 500, then late."""
    client = lab.start()
    verbs: dict[str, Verb] = dict.fromkeys(FINE, "read")
    verbs[ROTATED[-1]] = read_verbs(lab)[-1]
    # First: a client that refreshes in this order meets it first.
    for verb in read_verbs(lab):
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
            lab.hold(fault, max(4 * lab.deadline, lab.refresh + BEYOND_REFRESH))
        lab.recovers(after=fault, path=SICK)
        late_by = min(SLOW, 0.75 * lab.deadline)
        with (
            lab.http.delay("read", by=late_by, path=f"*/data/{SICK}") as slow,
            lab.reading(every=0.5, path=SICK, key=SICK_KEY, callers=SLOW_CALLERS - 1),
        ):
            lab.hold(slow, late_by)
    _beside_one_in_vain(lab)
    # A client may rest, as in an outage. Its next try may be for the same secret, but not again and
    # again.
    bound = 2 * lab.deadline + min(lab.declared("backoff_cap", lab.deadline), lab.deadline)
    lab.judge(
        *(reads_go_on(bound, since=fault.began, until=fault.end, path=path) for path in FINE),
        same_token(since=fault.began),
        nobody_waits(WAITS * late_by, since=slow.began, until=slow.end, of=FINE),
    )


def _beside_one_in_vain(lab: Lab) -> None:
    fine = FINE[0]
    with (
        lab.http.delay("read", by=2 * lab.deadline, path=f"*/data/{SICK}") as never,
        lab.http.delay("read", by=ALONE * lab.deadline, path=f"*/data/{fine}") as late,
        ThreadPoolExecutor(1) as other,
    ):
        never.optional = late.optional = True  # a client may answer from memory
        if lab.client.read(fine, KEY).failed:
            return
        other.submit(lab.client.read, SICK, SICK_KEY)
        lab.watch(0.5 * lab.deadline)  # the other read ends in the middle of this one
        read = lab.client.read(fine, KEY)
    lost = {f"it ended {read.told}, beside one of {SICK} that ended in vain"} if read.failed else ()
    lab.judge_later(none_of("a read is not lost with another one", lost, at=read.began))


OTHER_ROLE = "ai-services"

THEIRS: dict[ReadVerb, tuple[str, str]] = {
    "read": ("ai/openai", "OPENAI_API_KEY"),
    "read_cached": ("ai/anthropic", "ANTHROPIC_API_KEY"),
    "read_all": ("ai/huggingface", "HUGGINGFACE_API_KEY"),
}


@pytest.mark.scenario("ISO-02")
def test_two_roles_in_one_process(lab: Lab) -> None:
    """Two clients of one process with different roles get no secret of each other's."""
    if lab.environment.subject.kind != "in-process":
        raise NotClaimed("a program has one set of ids: two roles in one process need python:")
    with lab.ids_of(OTHER_ROLE):
        other = lab.open()
    if other is None:
        raise NotExercised("a client of another role does not start")
    client = lab.start()
    lab.history.clients = 2
    ours = secrets_by_verb(lab)
    theirs = {verb: THEIRS[verb] for verb in ours}
    began = lab.history.now()
    with lab.condition("path denied", statuses=frozenset({403})) as denied:
        own = [client.ask(verb, *ours[verb]) for verb in ours]
        own += [other.ask(verb, *theirs[verb]) for verb in ours]
        crossing = [client.ask(verb, *theirs[verb]) for verb in ours]
        crossing += [other.ask(verb, *ours[verb]) for verb in ours]
    other.close()
    # A plain read shows whether the client has lost its token or connections.
    after = client.read("backend/celery", "CELERY_BROKER_URL")
    crossed = {f"{call.verb} gave a value of {call.path}" for call in crossing if call.good}
    denied.optional = bool(crossed)
    lab.judge(
        none_of("no value crosses to a client of another role", crossed, harm=True, at=began),
        none_of(
            "each client reads what its own role may",
            {f"{call.verb} of {call.path} ended {call.told}" for call in own if not call.good},
            at=began,
        ),
        none_of(
            "the end of one client does not touch the other",
            {f"a read ended {after.told}"} if not after.good else (),
            at=after.began,
        ),
    )
