"""Namespaces: a Vault within a Vault, with its own seal."""

from __future__ import annotations

import json
from contextlib import ExitStack
from secrets import token_hex

import pytest

from vault_harness.judge.helpers.calls import ask_for_a_whole
from vault_harness.judge.helpers.database import CREDENTIALS
from vault_harness.judge.helpers.lives import lost_until_met
from vault_harness.judge.helpers.starts import LEDGER, allow_writes, canary
from vault_harness.judge.lab import Lab
from vault_harness.judge.oracles import (
    names_its_namespace,
    no_request_storm,
    renews_within,
    same_token,
)
from vault_harness.recorder.fault import Stub

A_LEASE = 5 / 6
"""Part of the token's TTL: a renewal is due while the token's is awaited."""


@pytest.mark.scenario("NSP-01")
def test_every_request_names_the_namespace(lab: Lab) -> None:
    """Every request of a client names its namespace, also after its token is lost."""
    allow_writes(lab, LEDGER)
    lab.put("v1", path=LEDGER, key="entry")
    client = lab.start()
    # To the end: a client with a new token may ask for a new credential.
    made, renewed = _a_credential(lab)
    with lab.recorder.stub(made), lab.recorder.stub(renewed):
        with lab.reading(every=0.5):
            lab.watch(0.5)
            with ExitStack() as losses, lab.vault.token_revoked(lab.tokens.accessor()) as fault:
                met = lost_until_met(lab, losses, fault)
                lab.logs_in_again(since=met, within=lab.ttl + lab.deadline)
            # Only the namespace of a change counts here.
            for verb, change in (("write", client.write), ("update", client.update)):
                if lab.can(verb):
                    change(LEDGER, {"entry": canary(lab)})
            if lab.can("lease"):
                client.lease(CREDENTIALS)
            ask_for_a_whole(lab)  # often separate code, with headers of its own
            lab.watch(1.1 * lab.ttl)
            until = lab.history.now()
        lab.judge(
            names_its_namespace(lab.entry.namespace),
            renews_within(0.3, 0.9, since=fault.began, until=until),
        )


def _a_credential(lab: Lab) -> tuple[Stub, Stub]:
    """Return stubs for a credential and its renewal.

    Only the request's namespace counts, so no database is needed.
    """
    password = token_hex(16)
    lab.secrets.add("credential", password)
    lease, life = f"{CREDENTIALS}/{token_hex(12)}", round(A_LEASE * lab.ttl)
    granted = {"lease_id": lease, "renewable": True, "lease_duration": life}
    made = {**granted, "data": {"username": "app", "password": password}}
    looked = {**granted, "data": {"id": lease, "renewable": True, "ttl": life}}
    return (
        Stub(status=200, body=json.dumps(made).encode(), kinds=frozenset({"credential"})),
        # A lookup of the lease gets the same answer.
        Stub(status=200, body=json.dumps(looked).encode(), kinds=frozenset({"lease"})),
    )


@pytest.mark.scenario("NSP-02")
def test_sealed_namespace_is_an_outage(lab: Lab) -> None:
    """A sealed namespace on a healthy server costs no login and no storm, and reads work again."""
    lab.start()
    with lab.reading(every=0.5):
        lab.watch(0.5)
        with lab.vault.namespace_sealed() as fault:
            health = lab.stack.operator.health()
            lab.hold(fault, 0.05 * lab.ttl)
        # OpenBao may deny requests, or miss a secret, until it has loaded the namespace. A client
        # may remember either for as long as a value.
        lab.recovers(after=fault, within=lab.recovery_after(fault) + lab.refresh)
    lab.require(
        "the server's health is green while the namespace is sealed",
        lambda _: f"sys/health answered {health}" if health == 200 else "",
    )
    lab.judge(
        # A denial from that moment may have led to a login.
        same_token(since=fault.began, opened=fault.end),
        no_request_storm(since=fault.began, until=fault.end),
    )
