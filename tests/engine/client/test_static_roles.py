from __future__ import annotations

import secrets
from dataclasses import dataclass, field

import psycopg
import pytest

from resilient_vault_client import (
    ConfigurationError,
    Credential,
    PermissionDenied,
    RequestRefused,
    VaultClient,
    VaultUnavailable,
)
from tests.engine.client.lab import Lab, until
from tests.engine.client.route import http
from vault_harness.local.blueprint import Blueprint, Database
from vault_harness.local.engine.process.postgresql import Postgresql
from vault_harness.local.vault.apply import apply


@dataclass
class Role:
    """A static role, and a policy that lets a client ask for it."""

    lab: Lab
    server: Postgresql
    name: str = field(default_factory=lambda: f"static{secrets.token_hex(4)}")

    @property
    def path(self) -> str:
        return f"{self.name}/static-creds/{self.name}"

    def set_up(self) -> None:
        server = self.server
        with self._connect(server.user, server.password) as connection:
            connection.execute(f"CREATE ROLE {self.name} LOGIN".encode())
        database = Database.model_validate(
            {
                "mount": self.name,
                "connection_url": "postgresql://{{username}}:{{password}}@"
                f"{server.host}:{server.port}/postgres?sslmode=disable",
                "username": server.user,
                "password": server.password,
                "static_roles": {self.name: {"username": self.name}},
            }
        )
        blueprint = Blueprint(name=self.name, mounts={}, databases={self.name: database})
        apply(self.lab.stack.operator, blueprint, environ={})
        policy = f'path "{self.name}/static-creds/*" {{ capabilities = ["read"] }}'
        self.lab.vault.sys.create_or_update_policy(name=self.name, policy=policy)

    def client(self, *, policy: bool = True) -> VaultClient:
        policies = ["default", self.lab.role, *([self.name] if policy else [])]
        self.lab.make_role(token_policies=",".join(policies))
        return self.lab.client(cache_ttl=60.0, timeout=1.0)

    def rotate(self) -> None:
        """Rotate the password, as an operator does."""
        self.lab.stack.operator.request("POST", f"{self.name}/rotate-role/{self.name}")

    def accepts(self, credential: Credential) -> bool:
        try:
            self._connect(credential.username, credential.password).close()
        except psycopg.OperationalError:
            return False
        return True

    def _connect(self, user: str, password: str) -> psycopg.Connection[tuple[object, ...]]:
        server = self.server
        return psycopg.connect(
            host=server.host, port=server.port, dbname="postgres", user=user, password=password
        )


@pytest.fixture
def role(lab: Lab, server: Postgresql) -> Role:
    """A static role whose password is rotated by hand."""
    made = Role(lab, server)
    made.set_up()
    return made


def test_the_password_works(role: Role) -> None:
    credential = role.client().static_credential(role.path)
    assert credential.username == role.name
    assert role.accepts(credential)
    assert (credential.source, credential.stale) == ("vault", False)
    assert credential.password not in repr(credential)


def test_it_is_remembered(role: Role) -> None:
    client = role.client()
    client.static_credential(role.path)
    again = client.static_credential(role.path)
    assert again.source == "cache"
    assert again.age > 0


def test_a_refused_password_is_replaced(role: Role) -> None:
    client = role.client()
    old = client.static_credential(role.path)
    role.rotate()
    assert not role.accepts(client.static_credential(role.path))
    new = client.static_credential(role.path, failed=old.password)
    assert role.accepts(new)
    assert client.static_credential(role.path).password == new.password


def test_a_late_report_asks_for_nothing(role: Role) -> None:
    client = role.client()
    old = client.static_credential(role.path)
    role.rotate()
    new = client.static_credential(role.path, failed=old.password)
    late = client.static_credential(role.path, failed=old.password)
    assert (late.source, late.password) == ("cache", new.password)


def test_a_password_is_read_again_after_its_ttl(role: Role) -> None:
    """A password is read again after its `ttl`, even within the cache time."""
    settings = {"username": role.name, "db_name": role.name, "rotation_period": "5s"}
    ask = role.lab.stack.operator.request
    ask("POST", f"{role.name}/static-roles/{role.name}", **settings)
    client = role.client()
    first = client.static_credential(role.path)
    until(
        lambda: client.static_credential(role.path).password != first.password,
        "another password",
        timeout=20.0,
    )
    assert role.accepts(client.static_credential(role.path))


def test_in_an_outage_the_last_password_is_marked_stale(role: Role) -> None:
    """It serves until the database refuses it."""
    client = role.client()
    old = client.static_credential(role.path)
    client._session().static.expire(role.path)  # expired
    with role.lab.route.refusing():
        last = client.static_credential(role.path)
        assert (last.password, last.stale) == (old.password, True)
        assert "served_stale" in role.lab.names()
        for failed in (old.password, None):
            with pytest.raises(VaultUnavailable):
                client.static_credential(role.path, failed=failed)


def test_foreign_json_is_an_outage(role: Role) -> None:
    client = role.client()
    old = client.static_credential(role.path)
    client._session().static.expire(role.path)  # expired
    with role.lab.route.answering(http(200, '{"notice": "maintenance"}')):
        last = client.static_credential(role.path)
    assert (last.password, last.stale) == (old.password, True)


def test_a_policy_denies(role: Role) -> None:
    client = role.client(policy=False)
    for _ in range(2):
        with pytest.raises(PermissionDenied) as caught:
            client.static_credential(role.path)
        assert caught.value.path == role.path


def test_a_missing_role_is_no_static_role(role: Role) -> None:
    client = role.client()
    with pytest.raises(RequestRefused, match="unknown role"):
        client.static_credential(f"{role.name}/static-creds/nobody")
    with pytest.raises(ConfigurationError, match="is not a static role"):
        client.static_credential(f"ecommerce/data/{role.lab.path}")
    off = VaultClient(environ={"USE_VAULT": "false"})
    with pytest.raises(ConfigurationError, match="USE_VAULT"):
        off.static_credential(role.path)
