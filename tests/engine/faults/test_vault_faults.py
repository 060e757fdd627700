from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable
from contextlib import AbstractContextManager

import hvac
import pytest

from tests.engine.faults.conftest import Answer, Broken, ask
from vault_harness.errors import CapabilityMissing
from vault_harness.judge.faults import VaultFaults
from vault_harness.local.vault import approle
from vault_harness.recorder.fault import Fault
from vault_harness.waiting import wait_until

NARROW = 'path "ecommerce/data/shared/*" { capabilities = ["read"] }'


def test_sealed(broken: Broken) -> None:
    """Reads and logins answer 503, the seal status 200; afterwards the same token works."""
    token, _ = broken.token()
    with broken.vault.sealed() as fault:
        assert broken.read(token).status == 503
        assert "Vault is sealed" in broken.read(token).text
        assert broken.login().status == 503
        assert broken.health() == 503
        assert ask(broken.stack.node.address, "sys/seal-status").status == 200
        assert fault.ended is None
    assert broken.read(token).status == 200
    assert broken.notes.only("vault sealed").signature.statuses == {503}


def test_seal_is_noted_before_anybody_can_meet_it(broken: Broken) -> None:
    """Sealing takes a second, in which requests are refused."""
    token, _ = broken.token()
    refused: list[float] = []
    stop = threading.Event()

    def reading() -> None:
        while not stop.is_set():
            if broken.read(token).status != 200:
                refused.append(time.monotonic())

    thread = threading.Thread(target=reading)
    thread.start()
    try:
        with broken.vault.sealed() as fault:
            wait_until(lambda: bool(refused), "a read to be refused", timeout=10)
    finally:
        stop.set()
        thread.join(30)
    assert fault.ended is not None
    assert fault.began < min(refused)
    assert max(refused) < fault.ended + 0.5


def test_token_revoked(broken: Broken) -> None:
    dead, accessor = broken.token()
    alive, _ = broken.token()
    with broken.vault.token_revoked(accessor) as fault:
        answer = broken.read(dead)
        assert (answer.status, json.loads(answer.text)["errors"]) == (403, ["permission denied"])
        assert broken.read(alive).status == 200
    assert broken.read(dead).status == 403
    assert (fault.signature.token, fault.signature.lingers) == (accessor, True)
    broken.notes.only("token revoked")


def test_policy(broken: Broken) -> None:
    token, _ = broken.token()
    with broken.vault.policy("backend", NARROW):
        answer = broken.read(token)
        assert answer.status == 403
        assert "1 error occurred" in answer.text
        assert ask(broken.stack.node.address, "auth/token/lookup-self", token).status == 200
    assert broken.read(token).status == 200
    assert broken.notes.only("policy changed").detail == {"policy": "backend"}


def test_role(broken: Broken) -> None:
    before = json.loads(broken.login().text)["auth"]["lease_duration"]
    with broken.vault.role("backend", token_ttl="7s", token_num_uses=3):
        assert json.loads(broken.login().text)["auth"]["lease_duration"] == 7
    assert json.loads(broken.login().text)["auth"]["lease_duration"] == before
    token, _ = broken.token()
    assert [broken.read(token).status for _ in range(4)] == [200] * 4
    assert broken.notes.only("role changed").optional


def test_role_deleted(broken: Broken) -> None:
    """Logins and renewals fail and reads work; then the role is back with its role-id."""
    token, _ = broken.token()
    address = broken.stack.node.address
    path = "auth/approle/role/backend"
    before = broken.stack.operator.client.adapter.get(f"/v1/{path}")["data"]
    with broken.vault.role_deleted("backend"):
        assert broken.login().status == 400
        renewal = ask(address, "auth/token/renew-self", token, method="POST")
        assert (renewal.status, "does not exist" in renewal.text) == (500, True)
        assert broken.read(token).status == 200
    assert broken.stack.operator.client.adapter.get(f"/v1/{path}")["data"] == before
    assert approle.role_id(broken.stack.operator, "backend") == broken.role_id
    assert ask(address, "auth/token/renew-self", token, method="POST").status == 200
    assert broken.login().status == 400, "its secret-ids are gone for good"
    fresh = approle.new_secret_id(broken.stack.operator, "backend")
    assert broken.login(fresh.secret_id).status == 200
    broken.notes.only("role deleted")


def test_secret_id_destroyed(broken: Broken) -> None:
    token, _ = broken.token()
    other = approle.new_secret_id(broken.stack.operator, "backend")
    with broken.vault.secret_id_destroyed("backend", broken.secret_id.accessor):
        answer = broken.login()
        assert (answer.status, "invalid role or secret ID" in answer.text) == (400, True)
        assert broken.read(token).status == 200
        assert broken.login(other.secret_id).status == 200
    assert broken.login().status == 400
    assert broken.notes.only("secret-id destroyed").signature.lingers


def test_role_locked(broken: Broken) -> None:
    token, _ = broken.token()
    with broken.vault.role_locked("backend"):
        answer = broken.login()
        assert (answer.status, json.loads(answer.text)["errors"]) == (403, ["permission denied"])
        assert broken.read(token).status == 200
        locked = [found.role_id for found in approle.locked(broken.stack.operator)]
        assert locked == [broken.role_id]
    assert broken.login().status == 200
    assert approle.locked(broken.stack.operator) == []
    broken.notes.only("role locked")


def test_auth_mount_comes_back_whole(broken: Broken) -> None:
    """Until it is back with its role a login is a 403, never that of a bad secret-id."""
    seen: list[int] = []
    stop = threading.Event()

    def logging_in() -> None:
        while not stop.is_set():
            seen.append(broken.login().status)

    thread = threading.Thread(target=logging_in)
    with broken.vault.auth_mount_disabled("backend", broken.secret_id.secret_id):
        assert broken.login().status == 403
        thread.start()
        wait_until(lambda: bool(seen), "a login to be refused", timeout=10)
    try:
        wait_until(lambda: seen[-1] == 200, "a login to be accepted", timeout=10)
    finally:
        stop.set()
        thread.join(30)
    assert set(seen) == {403, 200}
    broken.notes.only("auth mount disabled")


@pytest.mark.parametrize("headers", [True, False])
def test_rate_limited(broken: Broken, headers: bool) -> None:
    """The third read in the interval is a 429, with or without Retry-After."""
    token, _ = broken.token()
    with broken.vault.rate_limited("ecommerce/", rate=2, interval=60.0, headers=headers):
        answers = [broken.read(token) for _ in range(3)]
        assert [answer.status for answer in answers] == [200, 200, 429]
        assert ("retry-after" in answers[2].headers) == headers
        assert broken.health() == 200
        assert broken.login().status == 200
    assert [broken.read(token).status for _ in range(4)] == [200] * 4
    broken.notes.only("rate limited")


def test_audit_unwritable(broken: Broken) -> None:
    """Everything is a 500 while health is green; afterwards the log continues."""
    token, _ = broken.token()
    log = broken.stack.node.audit_path
    assert log is not None
    before = log.read_text()
    with broken.vault.audit_unwritable():
        assert (broken.read(token).status, broken.login().status) == (500, 500)
        assert broken.health() == 200
    assert broken.read(token).status == 200
    assert log.read_text().startswith(before)
    assert len(log.read_text()) > len(before)
    assert [path.name for path in log.parent.glob("audit*")] == [log.name]
    broken.notes.only("audit log unwritable")


def test_audit_blocked(broken: Broken) -> None:
    """Requests hang while health is green; then all are answered and the log continues."""
    token, _ = broken.token()
    log = broken.stack.node.audit_path
    assert log is not None
    answers: list[Answer] = []

    def read() -> None:
        answers.append(broken.read(token, timeout=30.0))

    threads = [threading.Thread(target=read) for _ in range(20)]
    with broken.vault.audit_blocked():
        began = time.monotonic()
        for thread in threads:
            thread.start()
        with pytest.raises(TimeoutError):
            broken.read(token, timeout=1.0)
        health = ask(broken.stack.node.address, "sys/health")
        assert (health.status, health.seconds < 1.0) == (200, True)
        assert ask(broken.stack.node.address, "sys/seal-status").status == 200
        assert answers == []
        held = time.monotonic() - began
    for thread in threads:
        thread.join(30)
    assert [answer.status for answer in answers] == [200] * 20
    assert min(answer.seconds for answer in answers) > held / 2
    written = len(log.read_text())
    assert broken.read(token).status == 200
    assert len(log.read_text()) > written, "the audit log is a file again"
    assert [path.name for path in log.parent.glob("audit*")] == [log.name]
    broken.notes.only("audit log blocked")


def test_audit_faults_can_follow_each_other(broken: Broken) -> None:
    """Each begins with a log that is a plain file."""
    token, _ = broken.token()
    for verb in ("audit_blocked", "audit_unwritable", "audit_blocked"):
        with getattr(broken.vault, verb)():
            pass
        assert broken.read(token).status == 200
    assert all(fault.ended is not None for fault in broken.notes.faults)


Verb = Callable[[Broken], AbstractContextManager[Fault]]
UNDOABLE: dict[str, Verb] = {
    "sealed": lambda b: b.vault.sealed(),
    "policy": lambda b: b.vault.policy("backend", NARROW),
    "role": lambda b: b.vault.role("backend", token_ttl="7s"),
    "role_locked": lambda b: b.vault.role_locked("backend"),
    "rate_limited": lambda b: b.vault.rate_limited("ecommerce/", rate=1, interval=60.0),
    "audit_unwritable": lambda b: b.vault.audit_unwritable(),
    "audit_blocked": lambda b: b.vault.audit_blocked(),
    "server_paused": lambda b: b.processes.server_paused(b.stack.node),
}


def test_undone_when_the_block_raises(broken: Broken) -> None:
    token, _ = broken.token()
    for name, verb in UNDOABLE.items():
        with pytest.raises(LookupError, match="in the middle"), verb(broken):
            raise LookupError("in the middle")
        assert [broken.read(token).status for _ in range(3)] == [200] * 3, name
        answer = broken.login()
        assert (answer.status, json.loads(answer.text)["auth"]["lease_duration"]) == (200, 3600)
    assert len(broken.notes.faults) == len(UNDOABLE)
    assert all(fault.ended is not None for fault in broken.notes.faults)


def test_refused_verb_notes_nothing_in_force(broken: Broken) -> None:
    token, _ = broken.token()
    with pytest.raises(hvac.exceptions.VaultError), broken.vault.policy("backend", "nonsense {"):
        pytest.fail("the policy cannot be parsed")
    assert broken.read(token).status == 200
    assert broken.notes.faults == []


def test_audit_faults_need_an_audit_log(broken: Broken) -> None:
    class Elsewhere:
        audit_path = None
        name = "elsewhere"

    stack = type("Stack", (), {"node": Elsewhere(), "operator": broken.stack.operator})()
    faults = VaultFaults(stack, broken.notes)
    with pytest.raises(CapabilityMissing, match="elsewhere"), faults.audit_blocked():
        pytest.fail("there is no log to break")
    assert broken.notes.faults == []
