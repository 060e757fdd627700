"""Policy: a 403 that no login can mend."""

from __future__ import annotations

import math
from contextlib import ExitStack

import pytest

from vault_harness.faults import Fault, RequestKind
from vault_harness.scenario import History, Lab
from vault_harness.scenario.helpers import (
    allow_writes,
    ask_for_a_whole,
    replaced_unmet,
    ways,
    wholes_come_back,
)
from vault_harness.scenario.lab import KEY, PATH, ROLE
from vault_harness.scenario.observations import Exchange
from vault_harness.scenario.oracles import (
    EVERY_WAY,
    a_denial_costs_little,
    fails_as,
    failures_are,
    logins_at_most,
    no_failed_read,
    no_request_storm,
    recovers_within,
    requests_at_most,
    says_of_its_health,
)

DENIED, DENIED_KEY = "ai/openai", "OPENAI_API_KEY"

NEIGHBOUR, NEIGHBOUR_KEY = "ai/anthropic", "ANTHROPIC_API_KEY"
"""What lies beside it in one folder."""

ASKS: frozenset[RequestKind] = frozenset({"read", "metadata"})
"""Requests by which a client asks for a secret: some look first which version it has."""

UNREAD = "ai/unread"
"""What nobody has been denied before: nobody knows of it yet whose fault that is."""

NARROW = """
path "ecommerce/data/shared/*" { capabilities = ["read"] }
"""

DENIED_FOR = 1.0
"""Seconds of POL-02 in which each read that begins has to be denied."""

ONCE_WELL = 2.0
"""Seconds of POL-04 in which a client has to say once that it is well."""

ONE_LOGIN_IN = 8.0
"""Seconds in which all denials may cost one login: as long as POL-02 takes by the suite's own R."""


@pytest.mark.scenario("POL-01")
def test_denied_path_is_surfaced(lab: Lab) -> None:
    """A backend asks three times, in each way, for what only the AI services may read."""
    client = lab.start()
    with lab.reading(every=0.5), lab.condition("path denied", statuses=frozenset({403})) as denied:
        for _ in range(3):
            client.read(DENIED, DENIED_KEY)
            if lab.can("cached"):
                client.read(DENIED, DENIED_KEY, verb="read_cached")
            if lab.can("read_all"):
                client.read_all(DENIED, (DENIED_KEY,))
            lab.watch(0.5)
        lab.watch(2.0)
    _looks_in_vain(lab, denied)
    lab.judge(
        # Its variable is set in the catalogue: a value of it would be harm.
        fails_as("denied", path=DENIED, until=denied.end, verbs=EVERY_WAY),
        a_denial_costs_little(since=denied.began, until=denied.end, path=DENIED),
        no_failed_read(since=denied.began, until=denied.end, path=PATH),
    )


LOOKS: tuple[RequestKind, ...] = ("lookup", "capabilities")
"""Requests by which a client finds out whose fault a denial was."""


def _looks_in_vain(lab: Lab, denied: Fault) -> None:
    """Have the denied path asked for twice more, while the first looks at the token fail (500).

    Nobody knows then whether the token is dead; that it is not is known from all that was read. Who
    takes it for dead logs in at each denial, and one login is granted for all of them.
    """
    lab.put("v1", path=UNREAD, key=KEY)
    with lab.http.fail(*LOOKS, first=2, status=500) as failing:
        failing.optional = True  # in Vault's own words a denial needs no look
        for _ in range(2):
            lab.client.read(UNREAD, KEY)
    lab.judge_later(
        fails_as("denied", "unavailable", path=UNREAD, since=failing.began),
        logins_at_most(1, since=denied.began, due=0.3),
    )


@pytest.mark.scenario("POL-02")
def test_narrowed_policy_is_a_denial_and_passes(lab: Lab) -> None:
    """Narrowed under reads in each way, and restored; live tokens feel that at once."""
    client = lab.start()
    # What a cache holds may be served for as long as it is fresh; what is asked from then on has to
    # end before this does.
    narrow = lab.refresh + lab.deadline + DENIED_FOR
    with ExitStack() as callers:
        callers.enter_context(lab.reading(every=0.5))
        if lab.can("cached"):  # which holds a value when it is denied
            client.read(verb="read_cached")
            callers.enter_context(lab.reading(every=0.5, verb="read_cached"))
        ask_for_a_whole(lab)  # so that who keeps any has one when it is denied
        asked = lab.history.now()  # a read may be denied before Vault has answered who narrowed it
        with lab.vault.policy(ROLE, NARROW) as fault:
            lab.hold(fault, narrow)
            ask_for_a_whole(lab)
        again = lab.recovery_after(fault) + lab.refresh
        for verb in ways(lab):  # a denial may be remembered for as long as a value, in each way
            lab.recovers(after=fault, within=again, verb=verb)
        wholes_come_back(lab, since=fault.end, within=again)
    if not lab.leaves("file"):  # what is in one stays there
        due = fault.began + lab.refresh
        due += lab.history.slack(fault.began, due)
        lab.judge_later(fails_as("denied", since=due, until=fault.end - lab.deadline))
        if lab.can("read_all"):  # which was asked for when all that was kept was too old
            lab.judge_later(fails_as("denied", since=due, until=fault.end, verbs=("read_all",)))
    lab.judge(
        failures_are("denied", since=asked, until=fault.end - lab.deadline, may_be_empty=True),
        # By its own count, and not as a storm: a look and a repetition are granted to each call.
        # Who looks now and then whether the role has got another policy does so more than once in a
        # long one.
        a_denial_costs_little(since=asked, path=PATH, logins=math.ceil(narrow / ONE_LOGIN_IN)),
        no_request_storm(since=fault.began, until=fault.end, denied=PATH),
    )


@pytest.mark.scenario("POL-03")
def test_policy_that_the_role_gains_is_used(lab: Lab) -> None:
    """A denied path is asked for again and again; the role gains its policy, for the next login."""
    client = lab.start()
    lab.put("v1", path=DENIED, key=DENIED_KEY)
    with lab.condition("path denied", statuses=frozenset({403}), kinds=ASKS) as old:
        client.read(DENIED, DENIED_KEY)
        lab.watch(0.5)
    life = lab.entry.max_ttl
    # The token's life, one call, and what a denial may be remembered for: a fresh value's time.
    bound = life + lab.deadline + lab.refresh
    with lab.vault.role(ROLE, token_policies=[ROLE, "ai-services"]) as gained:
        good = False
        while not good and lab.history.now() < gained.began + bound:
            good = client.read(DENIED, DENIED_KEY).good
            lab.watch(0.4)
        end = lab.history.now()
    lives = 1 + int((end - old.began) / life)
    lab.judge(
        recovers_within(bound, since=gained.began, path=DENIED),
        fails_as("denied", path=DENIED, until=gained.began),
        # A client may find the new policy with its first call.
        failures_are("denied", since=gained.began, path=DENIED, may_be_empty=True),
        # In its turn, as each renewal is capped here, and one to try what is new. Or one for each
        # life, as many again for a careful client, and that one.
        logins_at_most(1, since=old.began, until=end, due=0.3, whoever=True, few=2 * lives + 1),
    )


@pytest.mark.scenario("POL-04")
def test_denied_path_leaves_the_others_alone(lab: Lab) -> None:
    """One caller insists on a denied path, five times a second; five others read what they may."""
    allow_writes(lab, NEIGHBOUR)  # which lets the role read it too
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
        # Its variable is set in the catalogue: a value of it would be harm.
        fails_as("denied", path=DENIED),
        a_denial_costs_little(since=denied.began, path=DENIED),
    )


def _is_well_beside_a_denial(lab: Lab) -> None:
    """Ask for its health while all are read but one, until it says that it is well, or for long.

    Whoever tells what its last read came to says so when that was a good one.
    """
    if not lab.can("health"):
        return
    since = lab.history.now()
    while not lab.client.healthy() and lab.history.now() < since + ONCE_WELL:
        lab.watch(0.1)
    lab.judge_later(says_of_its_health(well=True, since=since, until=lab.history.now()))


@pytest.mark.scenario("POL-05")
def test_tokens_bound_to_other_addresses_cost_no_storm(lab: Lab) -> None:
    """The role binds its tokens to addresses that are not the client's, and the old one is lost."""
    lab.start()
    elsewhere = ["203.0.113.0/24"]
    with lab.reading(every=1.5):
        with (
            lab.vault.role(ROLE, token_bound_cidrs=elsewhere) as bound,
            lab.vault.token_revoked(lab.accessor()) as fault,
        ):
            # Who answers from memory needs a login only at its token's next renewal.
            lab.history.wait_for(lambda: lab.touched(fault), lab.ttl)
            lab.watch(6.0)
            # And what it has then is refused at its next look only.
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
        # As in a storm: one peak, and one a second.
        requests_at_most(5 + int(fault.length), "login", since=fault.began, until=fault.end),
    )


def _refused(history: History, *, since: float, until: float | None = None) -> list[Exchange]:
    """What was asked for a secret, and denied."""
    return history.find(*ASKS, since=since, until=until, where=lambda e: e.status == 403)
