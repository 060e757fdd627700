"""The fallback: the environment variable of the secret's name, in an outage and only then."""

from __future__ import annotations

import pytest

from vault_harness.scenario import Finding, Lab
from vault_harness.scenario.helpers import ways
from vault_harness.scenario.lab import ROLE
from vault_harness.scenario.oracles import fails_as


@pytest.mark.scenario("FBK-01")
def test_fallback_while_vault_is_away(lab: Lab) -> None:
    """Vault cannot be reached from the start; the variable is read; then Vault comes back."""
    with lab.network.down() as fault:
        client = lab.open()
        if client is None:
            why = lab.history.operations[-1].message
            lab.note(Finding("it starts without Vault", why, lab.history.now()))
        else:
            for verb in ways(lab):
                read = client.read(verb=verb)
                if read.value != "fallback":
                    text = f"{verb} ended {read.told}"
                    lab.note(Finding("the environment variable is the fallback", text, read.began))
    if client is None:
        client = lab.start()  # only now it tells whether it claims to have a fallback at all
    bound = lab.recovery_after(fault) + lab.refresh
    for verb in ways(lab):
        read = client.read(verb=verb)
        while read.value == "fallback" and read.began <= fault.over(bound):
            lab.watch(0.3)
            read = client.read(verb=verb)
        if read.value == "fallback":
            promise = f"Vault's value within {bound:.3g} s"
            lab.note(Finding(promise, f"{verb} still gives the fallback", read.began))
    lab.judge(fallback=True)


DELETED, DELETED_KEY = "shared/stripe", "STRIPE_SECRET_KEY"

UNREAD, UNREAD_KEY = "backend/database", "DB_PASSWORD"
"""What nobody has read before the login is refused: there is no last good value of it."""


@pytest.mark.scenario("FBK-02")
def test_no_fallback_without_an_outage(lab: Lab) -> None:
    """Denied, missing, deleted, and no login that Vault takes, each with a variable of its name."""
    client = lab.start()
    kv = lab.stack.operator.client.secrets.kv.v2
    kv.delete_metadata_and_all_versions("backend/redis", mount_point="ecommerce")
    lab.delete(DELETED)
    with lab.condition("path denied", statuses=frozenset({403})):
        for verb in ways(lab):
            client.read("ai/openai", "OPENAI_API_KEY", verb=verb)
    for verb in ways(lab):
        client.read("backend/redis", "NO_SUCH_KEY", verb=verb)
        client.read("backend/celery", "NO_SUCH_KEY", verb=verb)
        client.read(DELETED, DELETED_KEY, verb=verb)
    _access_is_taken_away(lab)
    lab.judge(
        fails_as("denied", path="ai/openai"),
        fails_as("missing", path="backend/redis"),
        fails_as("missing", path="backend/celery"),
        fails_as("deleted", "missing", path=DELETED),
        # Who waits for another secret-id before it tries again may say so.
        fails_as("denied", "unavailable", path=UNREAD),
    )


def _access_is_taken_away(lab: Lab) -> None:
    """The token is revoked and its secret-id destroyed; one read each way; then a new one comes.

    A read each way and one try beside them stay below the five that lock the role.
    """
    with (
        lab.vault.secret_id_destroyed(ROLE, lab.secret_id.accessor) as refused,
        lab.vault.token_revoked(lab.accessor()),
    ):
        _read_unread(lab)
        if not lab.touched(refused):
            # Who takes a dead token for a denial logs in at its next renewal only.
            lab.history.wait_for(lambda: lab.touched(refused), lab.ttl)
            _read_unread(lab)
        lab.new_secret_id()
    # So short a fault does not tell how long who was refused may rest.
    lab.until_good_read_by_asking(within=lab.recovery)


def _read_unread(lab: Lab) -> None:
    for verb in ways(lab):
        lab.client.read(UNREAD, UNREAD_KEY, verb=verb)
