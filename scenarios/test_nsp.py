"""Namespaces: a Vault within a Vault, whose seal is its own."""

from __future__ import annotations

import json
from contextlib import ExitStack
from secrets import token_hex

import pytest

from vault_harness.scenario import Lab, Stub
from vault_harness.scenario.helpers import (
    allow_writes,
    ask_for_a_whole,
    canary,
    lost_until_met,
)
from vault_harness.scenario.leases import CREDENTIALS
from vault_harness.scenario.oracles import (
    names_its_namespace,
    no_request_storm,
    renews_within,
    same_token,
)

LEDGER = "backend/ledger"

A_LONG_LEASE = 3600
"""Seconds for which a credential lives that Vault knows nothing of: no renewal is due."""

GREEN = 200
"""``sys/health`` of a Vault that is open and leads."""


@pytest.mark.scenario("NSP-01")
def test_every_request_names_the_namespace(lab: Lab) -> None:
    """A token dies before its time; the next one reads a whole, writes, is renewed, given back."""
    allow_writes(lab, LEDGER)
    lab.put("v1", path=LEDGER, key="entry")
    client = lab.start()
    # To the end: whoever has another token by then may want another credential with it.
    with lab.recorder.stub(_a_credential(lab)):
        with lab.reading(every=0.5):
            lab.watch(0.5)
            with ExitStack() as losses, lab.vault.token_revoked(lab.accessor()) as fault:
                met = lost_until_met(lab, losses, fault)
                lab.logs_in_again(since=met, within=lab.ttl + lab.deadline)
            # That it is done is asked elsewhere; where a change goes to is all that counts here.
            for verb, change in (("write", client.write), ("update", client.update)):
                if lab.can(verb):
                    change(LEDGER, {"entry": canary(lab)})
            if lab.can("lease"):
                client.lease(CREDENTIALS)
            ask_for_a_whole(lab)  # often a second piece of code, with headers of its own
            lab.watch(1.1 * lab.ttl)
            until = lab.history.now()
        lab.judge(
            names_its_namespace(lab.entry.namespace),
            renews_within(0.3, 0.9, since=fault.began, until=until),
        )


def _a_credential(lab: Lab) -> Stub:
    """What whoever leases is told in Vault's place: where it is asked for is all that counts.

    So no database is needed, nor a mount. It lives for so long that nobody comes to its renewal.
    Its password is as secret as one that Vault has made.
    """
    password = token_hex(16)
    lab.secrets.add("credential", password)
    made = {
        "lease_id": f"{CREDENTIALS}/{token_hex(12)}",
        "renewable": True,
        "lease_duration": A_LONG_LEASE,
        "data": {"username": "app", "password": password},
    }
    return Stub(status=200, body=json.dumps(made).encode(), kinds=frozenset({"credential"}))


@pytest.mark.scenario("NSP-02")
def test_sealed_namespace_is_an_outage(lab: Lab) -> None:
    """The namespace is sealed for 0.05 of the token's life, under reads; the server is well."""
    lab.start()
    with lab.reading(every=0.5):
        lab.watch(0.5)
        with lab.vault.namespace_sealed() as fault:
            health = lab.stack.operator.health()
            lab.hold(fault, 0.05 * lab.ttl)
        # OpenBao may deny what it allows before it has read the namespace's policies, or not find
        # it: either may be remembered for as long as a value.
        lab.recovers(after=fault, within=lab.recovery_after(fault) + lab.refresh)
    lab.require(
        "the server's health is green while the namespace is sealed",
        lambda _: f"sys/health answered {health}" if health == GREEN else "",
    )
    lab.judge(
        # For such a denial somebody may have logged in.
        same_token(since=fault.began, opened=fault.end),
        no_request_storm(since=fault.began, until=fault.end),
    )
