"""The client's process: what it says and must not say, frozen, and ended while it is busy."""

from __future__ import annotations

import contextlib
import secrets
import threading

import pytest

from vault_harness.errors import SubjectError
from vault_harness.scenario import Finding, Lab
from vault_harness.scenario.lab import KEY, PATH
from vault_harness.scenario.oracles import (
    TOLERANCE,
    at_most,
    bad_logins_at_most,
    logins_at_most,
    logs_in_again,
    none_of,
    recovers_within,
    requests_at_most,
)
from vault_harness.subjects import OperationFailed
from vault_harness.vault.approle import SecretId


@pytest.mark.scenario("PRC-04")
def test_no_secret_is_said(lab: Lab) -> None:
    """In turn: a denied path, truncated answers, a seal, a refused secret-id, an outage."""
    client = lab.start()

    def recover() -> None:
        lab.until_good_read(since=lab.history.now(), within=lab.recovery)

    with lab.reading(every=0.2):
        client.read("ai/openai", "OPENAI_API_KEY")
        with lab.network.truncated(after=150) as fault:
            lab.hold(fault, 0.8)
        recover()
        with lab.vault.sealed() as fault:
            lab.hold(fault, 1.0)
        recover()
        good = lab.secret_id
        wrong = secrets.token_hex(18)
        lab.secrets.add("secret-id", wrong, "wrong secret-id")
        lab.deliver(SecretId(secret_id=wrong, accessor=""))
        with lab.vault.token_revoked(lab.accessor()) as fault:
            lab.hold(fault, 1.5)
        lab.deliver(good)
        recover()
        with lab.network.down() as fault:
            lab.hold(fault, 0.8)
        recover()
    lab.judge(bad_logins_at_most(4, secret_id="wrong secret-id"))


@pytest.mark.scenario("PRC-03")
def test_frozen_client_wakes_up(lab: Lab) -> None:
    """The client's process stands still for two lives of its token; nobody calls it meanwhile."""
    client = lab.start()
    pid = client.subject.pid
    assert pid is not None
    with lab.process.client_paused(pid) as fault:
        lab.watch(2 * lab.ttl)
    woken = fault.ended or 0.0
    with lab.reading(every=0.4):
        lab.until_good_read(since=woken, within=5.0)
        lab.watch(1.5)
    calls = len(lab.history.calls("read", since=woken, until=woken + 1.0))
    lab.judge(
        recovers_within(5.0, since=woken),
        logs_in_again(since=woken, within=5.0),
        logins_at_most(1, since=woken),
        requests_at_most(5 + calls, since=woken, until=woken + 1.0),
    )


@pytest.mark.scenario("PRC-05")
def test_health_goes_red_and_green_again(lab: Lab) -> None:
    """Well in the steady state, not well under a seal, and well again soon after it."""
    client = lab.start()
    promise = "health tells the truth"
    if not client.healthy():
        lab.note(Finding(promise, "it says not well in the steady state", lab.history.now()))
    with lab.reading(every=0.5):
        with lab.vault.sealed() as fault:
            red = _turns(lab, well=False, within=0.5 * lab.ttl)
        ended = fault.ended or 0.0
        lab.until_good_read(since=ended, within=lab.recovery)
        green = _turns(lab, well=True, within=lab.recovery)
    if not red:
        text = f"it said well for {0.5 * lab.ttl:g} s under a seal"
        lab.note(Finding(promise, text, fault.began))
    if not green:
        text = f"it said not well {lab.recovery:g} s after Vault answered again"
        lab.note(Finding(promise, text, ended))
    lab.judge(recovers_within(lab.recovery, since=ended))


def _turns(lab: Lab, *, well: bool, within: float) -> bool:
    """Ask for its health until it says so, or for so long."""
    began = lab.history.now()
    while lab.client.healthy() != well:
        if lab.history.now() > began + within + TOLERANCE:
            return False
        lab.watch(0.3)
    return True


@pytest.mark.scenario("PRC-07")
def test_end_while_a_call_hangs(lab: Lab) -> None:
    """Answers vanish, a read waits for its own, and the subject is ended."""
    client = lab.start()

    def read_in_vain() -> None:
        # Not noted: of a process that ends, nobody hears how its last call ended.
        with contextlib.suppress(OperationFailed, SubjectError):
            client.subject.read(PATH, KEY, timeout=lab.deadline + 6.0)

    with lab.network.black_hole() as fault:
        hanging = threading.Thread(target=read_in_vain, name="hanging read", daemon=True)
        hanging.start()
        lab.history.wait_for(lambda: bool(lab.history.find(since=fault.began)), 3.0)
        closed = client.close(timeout=lab.deadline + 10.0)
        took = (closed.ended or lab.history.now()) - closed.began
        hanging.join(timeout=lab.deadline)
    lab.judge(
        at_most(lab.deadline + 5.0, took, "seconds until it has ended"),
        none_of("it ends cleanly", {closed.message} if closed.failed else ()),
        none_of("no call outlasts the end", {"the read still hangs"} if hanging.is_alive() else ()),
        steady=False,
    )
