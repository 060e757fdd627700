from __future__ import annotations

import threading
import time
from pathlib import Path

import pytest

from resilient_vault_client import (
    AuthenticationFailed,
    AuthMountMissing,
    CredentialsMissing,
    CredentialsRejected,
    RoleLocked,
    VaultError,
    VaultUnavailable,
)
from resilient_vault_client.events import LoginFailed
from tests.engine.client.lab import Lab, read_until, until
from tests.engine.client.route import http
from vault_harness.local.vault import approle


def lose_token(lab: Lab, client: object) -> None:
    """Revoke the client's token, so that the next read needs a login."""
    lab.vault.auth.token.revoke_accessor(lab.accessor(client))  # type: ignore[arg-type]  # a VaultClient


def files(lab: Lab, directory: Path) -> tuple[dict[str, str], Path]:
    """Variables that name files instead of ids, and the secret-id's file."""
    environ = lab.environ()
    role, secret = directory / "role-id", directory / "secret-id"
    role.write_text(environ.pop("VAULT_ROLE_ID") + "\n")
    secret.write_text(environ.pop("VAULT_SECRET_ID") + "\n")
    return {**environ, "VAULT_ROLE_ID_FILE": str(role), "VAULT_SECRET_ID_FILE": str(secret)}, secret


def test_rotated_secret_id_file_is_read_at_the_next_login(lab: Lab, tmp_path: Path) -> None:
    lab.make_role()
    environ, file = files(lab, tmp_path)
    client = lab.client(environ)
    client.get_secret(lab.path)
    old = lab.secret_id
    new = approle.new_secret_id(lab.stack.operator, lab.role)
    fresh = tmp_path / "new"
    fresh.write_text(new.secret_id)
    fresh.replace(file)
    assert old is not None
    approle.destroy(lab.stack.operator, lab.role, old.accessor)

    assert lab.value == client.get_secret(lab.path, "KEY")
    lose_token(lab, client)
    assert lab.value == client.get_secret(lab.path, "KEY")
    assert lab.route.count("login") == 2


@pytest.mark.parametrize("content", ["", "\n", "0f3d6a1c-77aa-4b", "two words", "\xff\xfe"])
def test_half_written_file_is_not_used(lab: Lab, tmp_path: Path, content: str) -> None:
    """While the file is malformed the last good id is used."""
    lab.make_role()
    environ, file = files(lab, tmp_path)
    client = lab.client(environ)
    client.get_secret(lab.path)
    file.write_bytes(content.encode("latin-1"))
    lose_token(lab, client)

    assert lab.value == client.get_secret(lab.path, "KEY")
    file.unlink()
    lose_token(lab, client)
    assert lab.value == client.get_secret(lab.path, "KEY")


def test_no_login_without_an_id(lab: Lab, tmp_path: Path) -> None:
    """An empty file at the start is an error without a request, until it is filled."""
    lab.make_role()
    environ, file = files(lab, tmp_path)
    good = file.read_text()
    file.write_text("")
    client = lab.client(environ, backoff_cap=0.3)
    assert not client.authenticate()
    with pytest.raises(CredentialsMissing, match="VAULT_SECRET_ID_FILE"):
        client.get_secret(lab.path)
    assert lab.route.count("login") == 0

    file.write_text(good)
    until(client.authenticate, "the login", 3.0)


def test_rejected_secret_id_is_left_alone(lab: Lab) -> None:
    lab.make_role()
    environ = lab.environ(VAULT_SECRET_ID="5c1d2ad3-aaaa-bbbb-cccc-0123456789ab")
    client = lab.client(environ)
    end = time.monotonic() + 1.0
    while time.monotonic() < end:
        with pytest.raises(CredentialsRejected) as rejected:
            client.get_secret(lab.path)
        time.sleep(0.02)  # the pace of an application

    assert lab.route.count("login") == 1
    assert rejected.value.outcome == "denied"
    assert rejected.value.retry_in is not None
    health = client.health()
    assert not health.ok
    assert health.credentials_rejected


def test_new_secret_id_after_failures(lab: Lab, tmp_path: Path) -> None:
    lab.make_role()
    environ, file = files(lab, tmp_path)
    good = file.read_text()
    file.write_text("5c1d2ad3-aaaa-bbbb-cccc-0123456789ab")
    client = lab.client(environ)
    with pytest.raises(CredentialsRejected):
        client.get_secret(lab.path)
    file.write_text(good)

    def reads() -> bool:
        try:
            return bool(client.get_secret(lab.path, "KEY") == lab.value)
        except AuthenticationFailed:
            return False

    until(reads, "a read", 4.0)
    assert [r for r in approle.locked(lab.stack.operator) if r.role_id == good] == []


def test_destroyed_secret_id_serves_the_last_good_value(lab: Lab) -> None:
    lab.make_role(token_ttl="1s", token_max_ttl="1s")
    client = lab.client()
    client.get_secret(lab.path)
    assert lab.secret_id is not None
    approle.destroy(lab.stack.operator, lab.role, lab.secret_id.accessor)
    until(lambda: client.read(lab.path, "KEY").stale, "a stale answer")

    assert lab.value == client.get_secret(lab.path, "KEY")
    assert lab.route.count("login") <= 4
    assert "login_failed" in lab.names()


def test_a_locked_role_is_not_reported_as_a_bad_secret_id(lab: Lab) -> None:
    lab.make_role()
    environ = lab.environ()
    for _ in range(6):
        with pytest.raises(Exception, match=r"invalid|denied"):
            lab.vault.auth.approle.login(environ["VAULT_ROLE_ID"], "bad", use_token=False)
    client = lab.client(environ, backoff_cap=0.5)
    with pytest.raises(RoleLocked, match="locked"):
        client.get_secret(lab.path)
    assert client.health().role_locked
    errors = [event.error for event in lab.events if isinstance(event, LoginFailed)]
    assert RoleLocked in {type(error) for error in errors}
    approle.unlock(lab.stack.operator, environ["VAULT_ROLE_ID"])

    until(client.authenticate, "the login", 2.5)
    assert not client.health().role_locked


def test_a_missing_auth_mount_is_not_reported_as_a_locked_role(lab: Lab) -> None:
    """Both answer 403."""
    client = lab.client(auth_mount="elsewhere")
    with pytest.raises(AuthMountMissing, match="auth/elsewhere"):
        client.get_secret(lab.path)
    for _ in range(5):
        with pytest.raises(AuthMountMissing):
            client.get_secret(lab.path)

    # One login, and one request that finds the reason.
    assert lab.route.count("login") <= 3


def test_lost_answer_to_a_login(lab: Lab) -> None:
    """A login whose answer is lost has spent a use, so it is not repeated blindly."""
    lab.make_role(secret_id_num_uses=2)
    client = lab.client(timeout=1.0)
    with lab.route.black_hole(), pytest.raises(VaultError):
        client.get_secret(lab.path)
    assert lab.route.count("login") == 1

    until(client.authenticate, "the second login", 4.0)
    assert lab.route.count("login") == 2


def test_refused_connection_is_no_login(lab: Lab) -> None:
    """A login that never reached Vault is repeated within the call."""
    client = lab.client(timeout=1.0)
    with lab.route.refusing():
        assert not client.authenticate()
    until(client.authenticate, "the login", 4.0)

    assert lab.route.count("login") == 1


def test_environment_is_read_at_each_login(lab: Lab) -> None:
    lab.make_role()
    environ = lab.environ()
    client = lab.client(environ)
    client.get_secret(lab.path)
    old = lab.secret_id
    assert old is not None
    environ["VAULT_SECRET_ID"] = approle.new_secret_id(lab.stack.operator, lab.role).secret_id
    approle.destroy(lab.stack.operator, lab.role, old.accessor)
    lose_token(lab, client)

    assert lab.value == client.get_secret(lab.path, "KEY")


def test_secret_id_that_the_server_repeats(lab: Lab, caplog: pytest.LogCaptureFixture) -> None:
    lab.make_role()
    environ = lab.environ()
    canary = environ["VAULT_SECRET_ID"]
    told = http(400, '{"errors":["invalid secret_id \\"' + canary + '\\""]}')
    client = lab.client(environ)
    with (
        lab.route.answering(lambda _, path: told if "login" in path else None),
        pytest.raises(CredentialsRejected) as rejected,
    ):
        client.get_secret(lab.path)

    assert canary not in str(rejected.value)
    assert canary not in caplog.text
    assert canary not in " ".join(str(event) for event in lab.events)


def test_one_use_secret_id(lab: Lab) -> None:
    lab.make_role(secret_id_num_uses=1, token_ttl="1s")
    client = lab.client()
    seen = read_until(client, lab, lambda: lab.route.count("renew") == 2, "two renewals")

    assert {"vault"} == {getattr(one, "source", None) for one in seen}
    assert lab.route.count("login") == 1


@pytest.mark.parametrize(
    ("status", "expected"), [(404, AuthMountMissing), (405, AuthenticationFailed)]
)
def test_strange_answer_to_a_login(
    lab: Lab, status: int, expected: type[AuthenticationFailed]
) -> None:
    """An odd answer to a login is neither a missing secret nor a bad id."""
    client = lab.client()
    with (
        lab.route.answering(http(status, '{"errors":[]}')),
        pytest.raises(AuthenticationFailed) as failed,
    ):
        client.get_secret(lab.path)

    assert type(failed.value) is expected
    assert not client.health().credentials_rejected


def test_client_that_is_closed_during_its_login(lab: Lab) -> None:
    """It revokes the new token."""
    client = lab.client()
    outcome: list[object] = []

    def log_in() -> None:
        try:
            outcome.append(client.authenticate())
        except VaultError as error:
            outcome.append(error)

    thread = threading.Thread(target=log_in)
    with lab.route.slow(0.5):
        thread.start()
        until(lambda: lab.route.count("login") == 1, "the login to be under way")
        client.close()
        thread.join(10)

    assert outcome
    until(lambda: lab.tokens() == 0, "the token's end")


def test_testing_mode(lab: Lab) -> None:
    client = lab.client(testing=True)
    client.get_secret(lab.path)
    with lab.route.refusing():
        started = time.monotonic()
        for _ in range(20):
            with pytest.raises(VaultUnavailable):
                client.get_secret("backend/other")
        assert time.monotonic() - started < 3.0  # one normal call would wait longer
    assert client.read(lab.path, "KEY").source == "vault"
    assert not client._session().renewer.alive
