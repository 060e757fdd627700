"""Hygiene of the client's process: what it says, and what it must not say."""

from __future__ import annotations

import secrets

import pytest

from harness.scenario import Lab
from harness.scenario.oracles import bad_logins_at_most
from harness.vault.approle import SecretId


@pytest.mark.scenario("PRC-04")
def test_no_secret_is_said(lab: Lab) -> None:
    """In turn: a denied path, truncated answers, a seal, a refused secret-id, an outage."""
    client = lab.start()

    def recover() -> None:
        lab.until_good_read(since=lab.history.now(), within=lab.recovery)

    with lab.reading(every=0.2):
        client.read("ai/openai", "OPENAI_API_KEY")
        with lab.network.truncated(after=150):
            lab.watch(0.8)
        recover()
        with lab.vault.sealed():
            lab.watch(1.0)
        recover()
        good = lab.secret_id
        wrong = secrets.token_hex(18)
        lab.secrets.add("secret-id", wrong, "wrong secret-id")
        lab.deliver(SecretId(secret_id=wrong, accessor=""))
        with lab.vault.token_revoked(lab.accessor()):
            lab.watch(1.5)
        lab.deliver(good)
        recover()
        with lab.network.down():
            lab.watch(0.8)
        recover()
    lab.judge(bad_logins_at_most(4, secret_id="wrong secret-id"))
