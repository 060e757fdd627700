"""Data and cache: rotated, outdated, deleted."""

from __future__ import annotations

import pytest

from vault_harness.scenario import Finding, Lab, NotClaimed
from vault_harness.scenario.driver import Verb
from vault_harness.scenario.history import Operation
from vault_harness.scenario.lab import PATH
from vault_harness.scenario.oracles import (
    TOLERANCE,
    fails_as,
    logins_at_most,
    no_failed_read,
    requests_at_most,
)

LONGEST = 30.0
"""A declared refresh or max_stale beyond this would make a scenario wait for too long."""


@pytest.mark.scenario("KV-01")
def test_rotated_secret_is_seen(lab: Lab) -> None:
    """A new version is written while callers read, from the cache too where there is one."""
    client = lab.start()
    if lab.refresh > LONGEST:
        raise NotClaimed(
            f"it declares refresh of {lab.refresh:g} s; configure it with at most {LONGEST:g} s"
        )
    verbs: list[Verb] = (
        ["read", "read_cached"] if "cached" in client.subject.capabilities else ["read"]
    )
    for number, verb in enumerate(verbs, start=2):
        # One way of reading at a time: a plain read must not freshen what the cache would serve.
        client.read(verb=verb)
        new = f"v{number}"
        lab.put(new)
        changed = lab.history.now()
        seen = client.read(verb=verb)
        while seen.value != new and lab.history.now() < changed + lab.refresh + 2 * TOLERANCE:
            lab.watch(0.2)
            seen = client.read(verb=verb)
        if not seen.failed and seen.value != new:
            promise = f"a rotated secret is seen within {lab.refresh:g} s"
            lab.note(Finding(promise, f"{verb} still gives {seen.value}", seen.began))
    lab.judge(no_failed_read())


@pytest.mark.scenario("KV-02")
def test_stale_values_have_an_end(lab: Lab) -> None:
    """Vault is away for longer than max_stale."""
    client = lab.start()
    limit = lab.declared("max_stale", 0.0)
    if limit > LONGEST:
        raise NotClaimed(
            f"it declares max_stale of {limit:g} s; configure it with at most {LONGEST:g} s"
        )
    client.read(verb="read_cached")
    with lab.network.down() as fault:
        while lab.history.now() < fault.began + limit + 3 * TOLERANCE:
            call = client.read(verb="read_cached")
            _judge_age(lab, call, (call.ended or call.began) - fault.began, limit)
            lab.watch(0.3)
        if "health" in client.subject.capabilities and client.healthy():
            lab.note(
                Finding("health tells the truth", "it says well in an outage", lab.history.now())
            )
    lab.judge()


def _judge_age(lab: Lab, call: Operation, age: float, limit: float) -> None:
    if call.failed and age < limit - lab.refresh - TOLERANCE:
        text = f"a read failed {age:.1f} s into the outage as {call.outcome}"
        lab.note(Finding(f"the last good value is served for {limit:g} s", text, call.began))
    if not call.failed and age > limit + TOLERANCE:
        lab.note(
            Finding(
                f"no value is served past {limit:g} s",
                f"one was, {age:.1f} s into the outage",
                call.began,
                harm=True,
            )
        )


@pytest.mark.scenario("KV-03")
def test_deleted_is_not_missing(lab: Lab) -> None:
    """A secret is soft-deleted, destroyed, and removed with its metadata."""
    client = lab.start()
    kv = lab.stack.operator.client.secrets.kv.v2
    path, key = "backend/celery", "CELERY_BROKER_URL"
    lab.put("v1", path=path, key=key)

    def gone(wanted: str) -> None:
        since = lab.history.now()
        call = client.read(path, key)
        while not call.failed and lab.history.now() < since + lab.refresh + TOLERANCE:
            lab.watch(0.3)
            call = client.read(path, key)
        promise = f"a {wanted} secret is reported as {wanted}"
        if not call.failed:
            lab.note(Finding(promise, f"a read still gives {call.value}", call.began))
        elif call.outcome not in ("error", wanted) or not (
            call.outcome == "error" or lab.tells_outcomes
        ):
            lab.note(
                Finding(promise, f"it was reported as {call.outcome}: {call.message}", call.began)
            )

    kv.delete_latest_version_of_secret(path, mount_point="ecommerce")
    gone("deleted")
    kv.destroy_secret_versions(path, [1, 2], mount_point="ecommerce")
    gone("deleted")
    kv.delete_metadata_and_all_versions(path, mount_point="ecommerce")
    gone("missing")
    lab.needs_outcomes()
    lab.judge(no_failed_read(path="backend/django"))


@pytest.mark.scenario("KV-05")
def test_wrong_mount_is_a_configuration_error(lab: Lab) -> None:
    """VAULT_MOUNT_POINT names no mount; the subject is asked three times, then once each second."""
    client = lab.open()
    if client is None:
        lab.judge(logins_at_most(1), steady=False)  # it refused to start, which is an answer too
        return
    with lab.condition("no such mount", statuses=frozenset({403, 404})):
        for _ in range(3):
            client.read()
            lab.watch(0.5)
        with lab.reading(every=1.0):
            lab.watch(2.5)
    calls = len(lab.history.calls("read"))
    lab.judge(
        fails_as("denied", "missing", path=PATH),
        # One to begin with, and one to see whether the role has got a policy meanwhile.
        logins_at_most(2),
        requests_at_most(2 * calls, "read", since=0.0),
        requests_at_most(1 + calls, "lookup", "capabilities", since=0.0),
        steady=False,
    )
