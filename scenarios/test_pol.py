"""Policy: a 403 that no login can fix."""

from __future__ import annotations

import math
from contextlib import ExitStack

import pytest

from vault_harness.judge.helpers.calls import all_read_verbs, own_path, secrets_by_verb
from vault_harness.judge.helpers.lives import replaced_unmet
from vault_harness.judge.helpers.starts import allow_writes
from vault_harness.judge.lab import KEY, PATH, ROLE, Lab
from vault_harness.judge.oracles import (
    READ_VERBS,
    a_denial_costs_little,
    fails_as,
    failures_are,
    logins_at_most,
    no_failed_read,
    no_request_storm,
    quiet,
    recovers_within,
    requests_at_most,
    says_of_its_health,
)
from vault_harness.recorder.fault import Fault, RequestKind
from vault_harness.recorder.history import SLACK, History
from vault_harness.recorder.observations import Exchange

DENIED, DENIED_KEY = "ai/openai", "OPENAI_API_KEY"

NEIGHBOUR, NEIGHBOUR_KEY = "ai/anthropic", "ANTHROPIC_API_KEY"

ASKS: frozenset[RequestKind] = frozenset({"read", "metadata"})
"""Some clients ask for a secret's version first."""

UNREAD = "ai/unread"

NARROW = """
path "ecommerce/data/shared/stripe" { capabilities = ["read"] }
"""

DENIED_FOR = 1.0
"""Seconds of POL-02 in which each new read must be denied."""

ONCE_WELL = 2.0
"""Seconds of POL-04 until a client says that it is well."""

ONE_LOGIN_IN = 8.0
"""Seconds for one login because of denials: the length of POL-02 with the suite's own R."""


@pytest.mark.scenario("POL-01")
def test_denied_path_is_surfaced(lab: Lab) -> None:
    """A denied path is reported as denied, costs little, and leaves other reads alone."""
    client = lab.start()
    paths = {way: own_path(lab, DENIED, way) for way in all_read_verbs(lab)}
    with lab.reading(every=0.5), lab.condition("path denied", statuses=frozenset({403})) as denied:
        for _ in range(3):
            for way, path in paths.items():
                client.ask(way, path, DENIED_KEY)
            lab.watch(0.5)
        lab.watch(2.0)
    _looks_in_vain(lab, denied)
    lab.judge(
        # The catalogue sets a variable for this secret; its value would be harm.
        *(
            fails_as("denied", path=path, until=denied.end, verbs=READ_VERBS)
            for path in {*paths.values()}
        ),
        a_denial_costs_little(since=denied.began, until=denied.end, path=tuple(paths.values())),
        no_failed_read(since=denied.began, until=denied.end, path=PATH),
    )


LOOKS: tuple[RequestKind, ...] = ("lookup", "capabilities")


def _looks_in_vain(lab: Lab, denied: Fault) -> None:
    """Read a denied path while the client's first lookups of its token fail (500).

    A client that takes the token for dead logs in after each denial, but only one login is allowed.
    """
    lab.put("v1", path=UNREAD, key=KEY)
    with lab.http.fail(*LOOKS, first=2, status=500) as failing:
        failing.optional = True  # Vault's words for a denial make a lookup needless
        for _ in range(2):
            lab.client.read(UNREAD, KEY)
    lab.judge_later(
        fails_as("denied", "unavailable", path=UNREAD, since=failing.began),
        logins_at_most(1, since=denied.began),
    )


@pytest.mark.scenario("POL-02")
def test_narrowed_policy_is_a_denial_and_passes(lab: Lab) -> None:
    """A narrowed policy denies reads in each way, and a restored one lets them work again soon."""
    client = lab.start()
    secrets = secrets_by_verb(lab)
    # A cache may serve fresh values first. Later calls must end before the fault.
    narrow = lab.refresh + lab.deadline + DENIED_FOR
    with ExitStack() as callers:
        for verb, (path, key) in secrets.items():
            client.ask(verb, path, key)  # a cache has a value before the denial
            callers.enter_context(lab.reading(every=0.5, verb=verb, path=path, key=key))
        asked = lab.history.now()  # a read may be denied before Vault answers the change
        with lab.vault.policy(ROLE, NARROW) as fault:
            lab.hold(fault, narrow)
        again = lab.recovery_after(fault) + lab.refresh
        for verb in secrets:  # a client may remember a denial for as long as a value
            lab.recovers(after=fault, within=again, verb=verb)
    end = fault.end - lab.deadline
    if not lab.leaves("file"):  # a file keeps its content
        due = fault.began + lab.refresh
        due += SLACK
        for verb in secrets:
            lab.judge_later(fails_as("denied", since=due, until=end, verbs=(verb,)))
    denied = tuple({path for path, _ in secrets.values()})
    lab.judge(
        failures_are("denied", since=asked, until=end, verbs=READ_VERBS, may_be_empty=True),
        # Counted here and not as a storm: each call may cost a lookup and a repetition, and in a
        # long fault a client may check more than once for a new policy.
        a_denial_costs_little(since=asked, path=denied, logins=math.ceil(narrow / ONE_LOGIN_IN)),
        no_request_storm(since=fault.began, until=fault.end, denied=denied),
    )


@pytest.mark.scenario("POL-03")
def test_policy_that_the_role_gains_is_used(lab: Lab) -> None:
    """A policy that the role gains is used after the next login, with few logins in all."""
    client = lab.start()
    lab.put("v1", path=DENIED, key=DENIED_KEY)
    with lab.condition("path denied", statuses=frozenset({403}), kinds=ASKS) as old:
        client.read(DENIED, DENIED_KEY)
        lab.watch(0.5)
    life = lab.entry.max_ttl
    # The token's life, one call, and the time a denial may be remembered.
    bound = life + lab.deadline + lab.refresh
    with lab.vault.role(ROLE, token_policies=[ROLE, "ai-services"]) as gained:
        good = False
        while not good and lab.history.now() < gained.began + bound:
            good = client.read(DENIED, DENIED_KEY).good
            lab.watch(0.4)
        end = lab.history.now()
    lab.judge(
        recovers_within(bound, since=gained.began, path=DENIED),
        fails_as("denied", path=DENIED, until=gained.began),
        # A client may find the new policy with its first call.
        failures_are("denied", since=gained.began, path=DENIED, may_be_empty=True),
        # To try the new policy, and for a lost answer.
        logins_at_most(2, since=old.began, until=end),
    )


@pytest.mark.scenario("POL-04")
def test_denied_path_leaves_the_others_alone(lab: Lab) -> None:
    """A path that is denied five times a second leaves five other readers alone."""
    allow_writes(lab, NEIGHBOUR)  # also lets the role read it
    lab.start()
    allowed = {
        PATH: "SECRET_KEY",
        "backend/database": "DB_PASSWORD",
        "backend/redis": "REDIS_PASSWORD",
        "shared/stripe": "STRIPE_SECRET_KEY",
        NEIGHBOUR: NEIGHBOUR_KEY,
    }
    for path, key in allowed.items():
        lab.put("v1", path=path, key=key)
    with ExitStack() as callers:
        denied = callers.enter_context(
            lab.condition("path denied", statuses=frozenset({403}), kinds=ASKS)
        )
        callers.enter_context(lab.reading(every=0.2, path=DENIED, key=DENIED_KEY))
        for path, key in allowed.items():
            callers.enter_context(lab.reading(every=0.5, path=path, key=key))
        lab.watch(4.0)
        _is_well_beside_a_denial(lab)
    lab.judge(
        *(no_failed_read(path=path) for path in allowed),
        # The catalogue sets a variable for this secret; its value would be harm.
        fails_as("denied", path=DENIED),
        a_denial_costs_little(since=denied.began, path=DENIED),
    )


def _is_well_beside_a_denial(lab: Lab) -> None:
    if not lab.can("health"):
        return
    since = lab.history.now()
    while not lab.client.healthy() and lab.history.now() < since + ONCE_WELL:
        lab.watch(0.1)
    lab.judge_later(says_of_its_health(well=True, since=since, until=lab.history.now()))


@pytest.mark.scenario("POL-05")
def test_tokens_bound_to_other_addresses_cost_no_storm(lab: Lab) -> None:
    """Tokens that are bound to other addresses cost no storm of logins."""
    lab.start()
    elsewhere = ["203.0.113.0/24"]
    with lab.reading(every=1.5):
        with (
            lab.vault.role(ROLE, token_bound_cidrs=elsewhere) as bound,
            lab.vault.token_revoked(lab.tokens.accessor()) as fault,
        ):
            # A client that answers from memory needs a login only at its next renewal.
            lab.history.wait_for(lambda: lab.touched(fault), lab.ttl)
            lab.watch(6.0)
            # The new token is refused only at its next use.
            lab.until(lambda: bool(_refused(lab.history, since=fault.began)), within=lab.reach)
            replaced_unmet(lab, fault)
        lab.recovers(after=bound)
    refused = _refused(lab.history, since=fault.began, until=fault.end)
    lab.require(
        "a token that was issued, and refused at once",
        lambda history: bool(refused and history.find("login", since=fault.began)),
    )
    lab.judge(
        failures_are(
            "denied", "unavailable", since=fault.began, until=fault.end, may_be_empty=True
        ),
        no_request_storm(since=fault.began, until=fault.end),
        requests_at_most(quiet(fault.length), "login", since=fault.began, until=fault.end),
    )


def _refused(history: History, *, since: float, until: float | None = None) -> list[Exchange]:
    return history.find(*ASKS, since=since, until=until, where=lambda e: e.status == 403)
