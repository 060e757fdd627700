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

A_LEASE = 5 / 6
"""Of the token's TTL: the life of a credential that Vault knows nothing of, so that its renewal is
due while the token's is waited for."""

GREEN = 200
"""``sys/health`` of a Vault that is open and leads."""


@pytest.mark.scenario("NSP-01")
def test_every_request_names_the_namespace(lab: Lab) -> None:
    """A token dies before its time; the next one reads a whole, writes, is renewed, given back."""
    allow_writes(lab, LEDGER)
    lab.put("v1", path=LEDGER, key="entry")
    client = lab.start()
    # To the end: whoever has another token by then may want another credential with it.
    made, renewed = _a_credential(lab)
    with lab.recorder.stub(made), lab.recorder.stub(renewed):
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


def _a_credential(lab: Lab) -> tuple[Stub, Stub]:
    """What whoever leases is told in Vault's place, first and at each renewal of it.

    Where it is asked for is all that counts, so no database is needed, nor a mount. Its password is
    as secret as one that Vault has made.
    """
    password = token_hex(16)
    lab.secrets.add("credential", password)
    lease, life = f"{CREDENTIALS}/{token_hex(12)}", round(A_LEASE * lab.ttl)
    granted = {"lease_id": lease, "renewable": True, "lease_duration": life}
    made = {**granted, "data": {"username": "app", "password": password}}
    looked = {**granted, "data": {"id": lease, "renewable": True, "ttl": life}}
    return (
        Stub(status=200, body=json.dumps(made).encode(), kinds=frozenset({"credential"})),
        # Who looks at it before is told the same.
        Stub(status=200, body=json.dumps(looked).encode(), kinds=frozenset({"lease"})),
    )


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
