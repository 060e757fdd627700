"""The fallback: the environment variable of the secret's name, in an outage and only then."""

from __future__ import annotations

from contextlib import ExitStack

import pytest

from vault_harness.faults import Fault
from vault_harness.scenario import Finding, Lab
from vault_harness.scenario.driver import Verb
from vault_harness.scenario.helpers import ways
from vault_harness.scenario.lab import ROLE
from vault_harness.scenario.observations import Operation
from vault_harness.scenario.oracles import fails_as

SEALED = b'{"errors":["Vault is sealed"]}'

LATER = 3.0
"""Seconds of the second outage in which the variable's value may come: a last good one, which may
come first, ends after a second of it (``VAULT_MAX_STALE``).
"""


@pytest.mark.scenario("FBK-01")
def test_fallback_while_vault_is_away(lab: Lab) -> None:
    """Vault cannot be reached from the start, then it is sealed; it comes back; away once more."""
    with lab.http.fail("login", status=503, body=SEALED) as sealed:
        with lab.network.down():
            client = lab.open()
            if client is None:
                why = lab.history.operations[-1].message
                lab.note(Finding("it starts without Vault", why, lab.history.now()))
            else:
                for verb in ways(lab):
                    _gives_the_variable(lab, verb)
        if client is not None:
            _has_it_under_a_seal_too(lab)
    if client is None:
        lab.start()  # only now it tells whether it claims to have a fallback at all
    _comes_back(lab, sealed)
    _goes_away_once_more(lab)
    # No other key has a variable: what it gives for one of them is a wrong value.
    lab.judge(fallback={(lab.entry.path, lab.entry.key)})


def _gives_the_variable(lab: Lab, verb: Verb) -> bool:
    """Read what has a variable; whether its value came, which is asked."""
    read = lab.client.read(verb=verb)
    given = read.value == "fallback"
    if not given:
        text = f"{verb} ended {read.told}"
        lab.note(Finding("the environment variable is the fallback", text, read.began))
    return given


def _has_it_under_a_seal_too(lab: Lab) -> None:
    """Read in each way until a login has found Vault there, and sealed: that is an outage too."""
    until = lab.history.now() + lab.reach
    while lab.history.now() <= until:
        began = lab.history.now()
        if not all(_gives_the_variable(lab, verb) for verb in ways(lab)):
            return
        if lab.history.find("login", since=began, where=lambda e: e.by == "stub"):
            return
        lab.watch(0.2)


def _comes_back(lab: Lab, fault: Fault) -> None:
    """Demand Vault's value in each way after an outage."""
    bound = lab.recovery_after(fault) + lab.refresh
    for verb in ways(lab):
        read = lab.client.read(verb=verb)
        while _is_not_back(read) and read.began <= fault.over(bound) + lab.history.slack(
            fault.end, read.began
        ):
            lab.watch(0.3)
            read = lab.client.read(verb=verb)
        promise = f"Vault's value within {bound:.3g} s"
        if read.value == "fallback":
            lab.note(Finding(promise, f"{verb} still gives the fallback", read.began))
        elif read.failed:
            text = f"{verb} still ends {read.told}"
            lab.note(Finding(promise, text, fault.end, until=read.began, lacks=True))


def _is_not_back(read: Operation) -> bool:
    return read.value == "fallback" or (read.failed and read.outcome != "died")


def _goes_away_once_more(lab: Lab) -> None:
    """Have Vault away for a second time, until its values are too old to stand in, and back.

    Nothing that was read before has to stand in then, nor the variable. What has neither is asked
    for too: a key that nobody has read before, and that has no variable.
    """
    path, key = lab.entry.spare_path, lab.entry.spare_key
    with ExitStack() as callers:
        with lab.network.down() as fault:
            for verb in ways(lab):
                callers.enter_context(lab.reading(every=0.5, verb=verb, path=path, key=key))
            for verb in ways(lab):
                read = lab.client.read(verb=verb)
                while _is_from_vault(read) and read.began <= fault.began + LATER:
                    lab.watch(0.2)
                    read = lab.client.read(verb=verb)

            def answered() -> bool:
                """Whether each way of reading has come to an end without a variable."""
                calls = lab.history.calls(
                    *ways(lab),
                    since=fault.began,
                    where=lambda call: call.path == path and call.ended is not None,
                )
                return {call.verb for call in calls} == set(ways(lab))

            asked = lab.until(answered, within=2 * lab.deadline)
            lab.hold(fault, 0.0)
        lab.require("a key without a variable is asked for in an outage", lambda _: asked)
        _comes_back(lab, fault)


def _is_from_vault(read: Operation) -> bool:
    return not read.failed and read.value != "fallback"


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
