from __future__ import annotations

from pathlib import Path

import pytest

from resilient_vault_client import AuthMountMissing, CredentialsMissing, CredentialsRejected
from tests.engine.client.lab import Lab, read_until, run, until
from vault_harness.judge.credentials import JwtIssuer


def token(lab: Lab, ttl: str = "30s") -> str:
    made = lab.vault.auth.token.create(policies=[lab.role], ttl=ttl, renewable=True)
    return str(made["auth"]["client_token"])


def by_token(lab: Lab, file: Path) -> dict[str, str]:
    lab.make_role()
    environ = lab.environ()
    known = {name: environ[name] for name in environ if "_ID" not in name}
    return {**known, "VAULT_TOKEN_FILE": str(file)}


def test_token_of_an_agent(lab: Lab, tmp_path: Path) -> None:
    """An agent's token is used without login or renewal, and outlives the client."""
    file = tmp_path / "token"
    file.write_text(token(lab, "2s") + "\n")
    client = lab.client(by_token(lab, file))
    assert client.get_secret(lab.path, "KEY") == lab.value
    kept = file.read_text().strip()
    client.close()

    assert lab.vault.auth.token.lookup(kept)["data"]["id"] == kept
    paths = [request.path for request in lab.route.requests]
    assert not [path for path in paths if "login" in path or "renew" in path or "revoke" in path]


def test_agent_that_replaces_its_token(lab: Lab, tmp_path: Path) -> None:
    file = tmp_path / "token"
    file.write_text(token(lab, "2s"))
    client = lab.client(by_token(lab, file))
    client.get_secret(lab.path)
    new = token(lab)
    file.write_text(new)

    def taken_over() -> bool:
        current = client._session().authenticator.current
        return current is not None and current.text == new

    seen = read_until(client, lab, taken_over, "the new token")
    assert {getattr(one, "source", None) for one in seen} == {"vault"}


def test_token_that_vault_refuses(lab: Lab, tmp_path: Path) -> None:
    file = tmp_path / "token"
    file.write_text("hvs.unknown")
    client = lab.client(by_token(lab, file))
    for _ in range(20):
        with pytest.raises(CredentialsRejected, match="refuses the token"):
            client.get_secret(lab.path)
    assert lab.route.count("lookup-self") <= 2
    file.write_text(token(lab))

    until(client.authenticate, "the new token", 4.0)
    assert client.get_secret(lab.path, "KEY") == lab.value


def test_no_token_yet(lab: Lab, tmp_path: Path) -> None:
    """Until the agent writes a token, the client waits without a request."""
    client = lab.client(by_token(lab, tmp_path / "token"))
    with pytest.raises(CredentialsMissing, match="VAULT_TOKEN_FILE"):
        client.get_secret(lab.path)
    assert lab.route.requests == []


def wrapped(lab: Lab) -> str:
    made = lab.vault.adapter.post(
        f"/v1/auth/approle/role/{lab.role}/secret-id", json={}, wrap_ttl="60s"
    )
    return str(made["wrap_info"]["token"])


def by_wrapping(lab: Lab, file: Path) -> dict[str, str]:
    lab.make_role(token_ttl="1s", token_max_ttl="1s")
    environ = lab.environ()
    del environ["VAULT_SECRET_ID"]
    file.write_text(wrapped(lab) + "\n")
    return {**environ, "VAULT_WRAPPED_SECRET_ID_FILE": str(file)}


def test_wrapped_secret_id(lab: Lab, tmp_path: Path) -> None:
    client = lab.client(by_wrapping(lab, tmp_path / "wrapped"))
    read_until(client, lab, lambda: lab.route.count("login") >= 2, "the second login")

    assert client.get_secret(lab.path, "KEY") == lab.value
    assert lab.route.count("unwrap") == 1


def test_wrapping_token_that_was_used(lab: Lab, tmp_path: Path) -> None:
    """A used wrapping token is an alarm, costs one request, and the next one is unwrapped."""
    file = tmp_path / "wrapped"
    environ = by_wrapping(lab, file)
    lab.vault.sys.unwrap(file.read_text().strip())
    client = lab.client(environ, backoff_cap=0.3)
    with pytest.raises(CredentialsMissing, match="stolen"):
        client.get_secret(lab.path)
    assert not client.authenticate()
    assert lab.route.count("sys/wrapping") == 1
    assert lab.route.count("login") == 0
    file.write_text(wrapped(lab))

    until(client.authenticate, "the login", 4.0)


def test_a_token_without_a_secret_id_is_not_unwrapped(lab: Lab, tmp_path: Path) -> None:
    file = tmp_path / "wrapped"
    environ = by_wrapping(lab, file)
    made = lab.vault.adapter.post("/v1/sys/wrapping/wrap", json={"secret_id": "x"}, wrap_ttl="60s")
    file.write_text(made["wrap_info"]["token"])
    client = lab.client(environ)
    with pytest.raises(CredentialsMissing, match="made by sys/wrapping/wrap"):
        client.get_secret(lab.path)
    assert lab.route.count("unwrap") == 0
    assert lab.route.count("login") == 0


def by_jwt(lab: Lab, issuer: JwtIssuer, file: Path) -> dict[str, str]:
    """Tokens live for a second."""
    lab.make_role()
    environ = lab.environ()
    issuer.add_role(lab.role, token_policies=[lab.role], token_ttl="1s", token_max_ttl="1s")
    file.write_text(issuer.issue())
    return {
        **{name: environ[name] for name in environ if "_ID" not in name},
        "VAULT_JWT_FILE": str(file),
        "VAULT_JWT_ROLE": lab.role,
        "VAULT_AUTH_MOUNT": f"jwt-{lab.role}",
    }


def test_jwt_that_its_issuer_replaces(lab: Lab, tmp_path: Path) -> None:
    """The JWT is read at each login, so that a withdrawn key costs nothing."""
    issuer = JwtIssuer(lab.stack.operator, mount=f"jwt-{lab.role}")
    file = tmp_path / "jwt"
    client = lab.client(by_jwt(lab, issuer, file))
    assert client.get_secret(lab.path, "KEY") == lab.value
    issuer.rotate()
    file.write_text(issuer.issue())
    issuer.trust_newest()
    before = lab.route.count("login")

    seen = read_until(client, lab, lambda: lab.route.count("login") > before, "another login")
    assert {getattr(one, "source", None) for one in seen} == {"vault"}


def test_jwt_that_vault_refuses(lab: Lab, tmp_path: Path) -> None:
    issuer = JwtIssuer(lab.stack.operator, mount=f"jwt-{lab.role}")
    file = tmp_path / "jwt"
    environ = by_jwt(lab, issuer, file)
    file.write_text("not.a.jwt")
    client = lab.client(environ)
    for _ in range(20):
        with pytest.raises(CredentialsRejected, match=r"rejects the JWT|rejected the JWT"):
            client.get_secret(lab.path)
    assert lab.route.count("login") <= 2
    file.write_text(issuer.issue())

    until(client.authenticate, "the login", 4.0)


def test_jwt_at_a_mount_that_is_not_there(lab: Lab, tmp_path: Path) -> None:
    issuer = JwtIssuer(lab.stack.operator, mount=f"jwt-{lab.role}")
    environ = by_jwt(lab, issuer, tmp_path / "jwt")
    client = lab.client({**environ, "VAULT_AUTH_MOUNT": "elsewhere"})
    with pytest.raises(AuthMountMissing, match="auth/elsewhere"):
        client.get_secret(lab.path)


def test_jwt_that_is_answered_as_if_there_were_no_mount(lab: Lab, tmp_path: Path) -> None:
    """If the mount refuses this machine's address, the mount is not called missing."""
    issuer = JwtIssuer(lab.stack.operator, mount=f"jwt-{lab.role}")
    environ = by_jwt(lab, issuer, tmp_path / "jwt")
    issuer.add_role(lab.role, token_policies=[lab.role], token_bound_cidrs="192.0.2.0/24")
    client = lab.client(environ)
    with pytest.raises(CredentialsRejected, match="token_bound_cidrs") as caught:
        client.get_secret(lab.path)
    assert caught.value.status == 403


FORKING = """
import os
from resilient_vault_client import VaultClient
vault = VaultClient()
vault.get_secret(os.environ["TEST_PATH"])
pid = os.fork()
if pid == 0:
    code = 1
    try:
        code = 0 if vault.get_secret(os.environ["TEST_PATH"]) else 2
        vault.close()
    finally:
        os._exit(code)
raise SystemExit(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
"""


def test_wrapped_secret_id_after_a_fork(lab: Lab, tmp_path: Path) -> None:
    environ = by_wrapping(lab, tmp_path / "wrapped") | {"TEST_PATH": lab.path}
    code, said, _ = run(FORKING, environ)

    assert code == 0, said
    assert lab.route.count("unwrap") == 1
    assert lab.route.count("login") == 2
