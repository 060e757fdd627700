"""The fallback: an environment variable's value, in an outage only."""

from __future__ import annotations

from contextlib import ExitStack

import pytest

from vault_harness.judge.driver import Verb
from vault_harness.judge.faults.http import SEALED
from vault_harness.judge.helpers.calls import own_path, read_verbs
from vault_harness.judge.lab import ROLE, Lab
from vault_harness.judge.oracles import fails_as
from vault_harness.judge.verdict import Finding
from vault_harness.recorder.fault import Fault
from vault_harness.recorder.history import SLACK
from vault_harness.recorder.observations import Operation

LATER = 3.0
"""Seconds. The last good value may come first, for one (``VAULT_MAX_STALE``)."""


@pytest.mark.scenario("FBK-01")
def test_fallback_while_vault_is_away(lab: Lab) -> None:
    """The variable's value is given while Vault is away or sealed, and Vault's value afterwards."""
    with lab.http.fail("login", status=503, body=SEALED) as sealed:
        with lab.network.down():
            client = lab.open()
            if client is None:
                why = lab.history.operations[-1].message
                lab.note(Finding("it starts without Vault", why, lab.history.now()))
            else:
                _write_own_paths(lab)
                for verb in read_verbs(lab):
                    _gives_the_variable(lab, verb)
        if client is not None:
            _has_it_under_a_seal_too(lab)
    if client is None:
        lab.start()  # only now can it tell whether it has a fallback
        _write_own_paths(lab)
    _comes_back(lab, sealed)
    _vault_goes_away_again(lab)
    # Another key has no variable, so any value for it would be wrong.
    lab.judge(fallback={(_path(lab, verb), lab.entry.key) for verb in read_verbs(lab)})


def _path(lab: Lab, verb: Verb) -> str:
    return own_path(lab, lab.entry.path, verb)


def _read(lab: Lab, verb: Verb) -> Operation:
    return lab.client.read(_path(lab, verb), verb=verb)


def _write_own_paths(lab: Lab) -> None:
    for path in {_path(lab, verb) for verb in read_verbs(lab)} - {lab.entry.path}:
        lab.put("v1", path=path)


def _gives_the_variable(lab: Lab, verb: Verb) -> bool:
    """Return whether the variable's value came; anything else is a finding."""
    read = _read(lab, verb)
    given = read.value == "fallback"
    if not given:
        text = f"{verb} ended {read.told}"
        lab.note(Finding("the environment variable is the fallback", text, read.began))
    return given


def _has_it_under_a_seal_too(lab: Lab) -> None:
    until = lab.history.now() + lab.reach
    while lab.history.now() <= until:
        began = lab.history.now()
        if not all(_gives_the_variable(lab, verb) for verb in read_verbs(lab)):
            return
        if lab.history.find("login", since=began, where=lambda e: e.by == "stub"):
            return
        lab.watch(0.2)


def _comes_back(lab: Lab, fault: Fault) -> None:
    bound = lab.recovery_after(fault) + lab.refresh
    for verb in read_verbs(lab):
        read = _read(lab, verb)
        while _is_not_back(read) and read.began <= fault.over(bound) + SLACK:
            lab.watch(0.3)
            read = _read(lab, verb)
        promise = f"Vault's value within {bound:.3g} s"
        if read.value == "fallback":
            lab.note(Finding(promise, f"{verb} still gives the fallback", read.began))
        elif read.failed:
            text = f"{verb} still ends {read.told}"
            lab.note(Finding(promise, text, fault.end, until=read.began))


def _is_not_back(read: Operation) -> bool:
    return read.value == "fallback" or (read.failed and read.outcome != "died")


def _vault_goes_away_again(lab: Lab) -> None:
    """Take Vault away until its values are too old to be served.

    Callers also ask for a key that was never read and has no variable.
    """
    path, key = lab.entry.spare_path, lab.entry.spare_key
    with ExitStack() as callers:
        with lab.network.down() as fault:
            for verb in read_verbs(lab):
                callers.enter_context(lab.reading(every=0.5, verb=verb, path=path, key=key))
            for verb in read_verbs(lab):
                read = _read(lab, verb)
                while _is_from_vault(read) and read.began <= fault.began + LATER:
                    lab.watch(0.2)
                    read = _read(lab, verb)

            def answered() -> bool:
                calls = lab.history.calls(
                    *read_verbs(lab),
                    since=fault.began,
                    where=lambda call: call.path == path and call.ended is not None,
                )
                return {call.verb for call in calls} == set(read_verbs(lab))

            asked = lab.until(answered, within=2 * lab.deadline)
            lab.hold(fault, 0.0)
        lab.require("a key without a variable is asked for in an outage", lambda _: asked)
        _comes_back(lab, fault)


def _is_from_vault(read: Operation) -> bool:
    return not read.failed and read.value != "fallback"


DELETED, DELETED_KEY = "backend/deleted", "STRIPE_SECRET_KEY"

UNREAD, UNREAD_KEY = "backend/database", "DB_PASSWORD"


@pytest.mark.scenario("FBK-02")
def test_no_fallback_without_an_outage(lab: Lab) -> None:
    """Denied, missing and deleted keys, and refused logins, fail although there is a variable."""
    client = lab.start()
    kv = lab.stack.operator.client.secrets.kv.v2
    kv.delete_metadata_and_all_versions("backend/redis", mount_point="ecommerce")
    verbs = read_verbs(lab)
    for verb in verbs:
        lab.put("v1", path=own_path(lab, "backend/celery", verb), key="ANOTHER_KEY")
        lab.put("v1", path=own_path(lab, DELETED, verb), key=DELETED_KEY)
        lab.delete(own_path(lab, DELETED, verb))
    with lab.condition("path denied", statuses=frozenset({403})):
        for verb in verbs:
            client.read(own_path(lab, "ai/openai", verb), "OPENAI_API_KEY", verb=verb)
    for verb in verbs:
        client.read(own_path(lab, "backend/redis", verb), "NO_SUCH_KEY", verb=verb)
        client.read(own_path(lab, "backend/celery", verb), "NO_SUCH_KEY", verb=verb)
        client.read(own_path(lab, DELETED, verb), DELETED_KEY, verb=verb)
    _access_is_taken_away(lab)
    lab.judge(
        *(
            fails_as(*outcomes, path=own_path(lab, path, verb))
            for verb in verbs
            for path, outcomes in {
                "ai/openai": ("denied",),
                "backend/redis": ("missing",),
                "backend/celery": ("missing",),
                DELETED: ("deleted", "missing"),
                # A client that waits for a new secret-id may say "unavailable".
                UNREAD: ("denied", "unavailable"),
            }.items()
        )
    )


def _access_is_taken_away(lab: Lab) -> None:
    """Revoke the token, destroy its secret-id, and deliver a new one.

    The reads stay below the five failures that lock the role.
    """
    with (
        lab.vault.secret_id_destroyed(ROLE, lab.secret_id.accessor) as refused,
        lab.vault.token_revoked(lab.tokens.accessor()),
    ):
        _read_unread(lab)
        if not lab.touched(refused):
            # A client that takes this for a denial logs in only at its next renewal.
            lab.history.wait_for(lambda: lab.touched(refused), lab.ttl)
            _read_unread(lab)
        lab.new_secret_id()
    # A refused client may rest, and this fault is too short to tell how long.
    lab.until_good_read_by_asking(within=lab.recovery)


def _read_unread(lab: Lab) -> None:
    for verb in read_verbs(lab):
        lab.client.read(own_path(lab, UNREAD, verb), UNREAD_KEY, verb=verb)
