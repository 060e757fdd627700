from __future__ import annotations

import secrets
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import psycopg
import pytest

from resilient_vault_client import (
    ConfigurationError,
    Credential,
    InvalidPath,
    PermissionDenied,
    VaultClient,
    VaultError,
)
from tests.engine.client.lab import Lab, run, until
from vault_harness.local.engine.process.postgresql import Postgresql

# From Vault's documentation of its PostgreSQL plugin.
_CREATE = "CREATE ROLE \"{{name}}\" WITH LOGIN PASSWORD '{{password}}' VALID UNTIL '{{expiration}}'"


@dataclass
class Database:
    """A database engine in Vault whose users belong to one test.

    `changes` is what a pool was told.
    """

    lab: Lab
    server: Postgresql
    name: str = field(default_factory=lambda: f"db{secrets.token_hex(4)}")
    changes: list[Credential] = field(default_factory=list)

    @property
    def path(self) -> str:
        return f"{self.name}/creds/app"

    def set_up(self, *, ttl: int, max_ttl: int) -> None:
        """Mount the engine, with a role whose leases live that many seconds."""
        ask, server = self.lab.stack.operator.request, self.server
        self._admin(f"CREATE ROLE {self.name} NOLOGIN")
        ask("POST", f"sys/mounts/{self.name}", type="database")
        ask(
            "POST",
            f"{self.name}/config/app",
            plugin_name="postgresql-database-plugin",
            allowed_roles="app",
            connection_url="postgresql://{{username}}:{{password}}@"
            f"{server.host}:{server.port}/postgres?sslmode=disable",
            username=server.user,
            password=server.password,
        )
        ask(
            "POST",
            f"{self.name}/roles/app",
            db_name="app",
            default_ttl=f"{ttl}s",
            max_ttl=f"{max_ttl}s",
            creation_statements=[f"{_CREATE} IN ROLE {self.name}"],
        )
        policy = f'path "{self.path}" {{ capabilities = ["read"] }}'
        self.lab.vault.sys.create_or_update_policy(name=self.name, policy=policy)

    def client(self, *, policy: bool = True, renew: bool = True, **role: Any) -> VaultClient:
        policies = ["default", self.lab.role, *([self.name] if policy else [])]
        self.lab.make_role(**{"token_policies": ",".join(policies), **role})
        return self.lab.client(renew=renew)

    def users(self) -> set[str]:
        found = self._admin(
            "SELECT member::regrole::text FROM pg_auth_members WHERE roleid = %s::regrole",
            self.name,
        )
        return {row[0].strip('"') for row in found}

    def accepts(self, credential: Credential) -> bool:
        try:
            self._connect(credential.username, credential.password).close()
        except psycopg.OperationalError:
            return False
        return True

    def revoke(self) -> None:
        """Revoke every lease, as an operator does after an incident."""
        self.lab.vault.adapter.put(f"/v1/sys/leases/revoke-prefix/{self.name}", json={})
        until(lambda: not self.users(), "the users to be gone")

    def _connect(self, user: str, password: str) -> psycopg.Connection[Any]:
        return psycopg.connect(
            host=self.server.host,
            port=self.server.port,
            dbname="postgres",
            user=user,
            password=password,
            autocommit=True,
        )

    def _admin(self, statement: str, *values: str) -> list[tuple[Any, ...]]:
        with self._connect(self.server.user, self.server.password) as connection:
            cursor = connection.execute(statement.encode(), values)
            return cursor.fetchall() if cursor.description else []


@pytest.fixture
def database(lab: Lab, server: Postgresql) -> Iterator[Database]:
    """Leases that live 4 s, 60 s at most."""
    made = Database(lab, server)
    made.set_up(ttl=4, max_ttl=60)
    yield made
    lab.vault.adapter.put(f"/v1/sys/leases/revoke-prefix/{made.name}", json={})


def test_one_credential_for_all(database: Database) -> None:
    client = database.client()
    first = client.lease(database.path).current()
    second = client.lease(f"/{database.path}/").current()
    assert first == second
    assert database.users() == {first.username}
    assert database.accepts(first)


def test_a_password_is_shown_nowhere(database: Database, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("DEBUG")
    lease = database.client().lease(database.path)
    credential = lease.current()
    until(lambda: "lease_renewed" in database.lab.names(), "a renewal")
    shown = f"{lease!r} {credential!r} {credential} {database.lab.events} {caplog.text}"
    assert credential.username not in shown
    assert credential.password not in shown


@pytest.mark.slow
def test_it_is_renewed_beyond_its_first_life(database: Database) -> None:
    client = database.client()
    lease = client.lease(database.path, on_change=database.changes.append)
    first = lease.current()
    until(lambda: database.lab.names().count("lease_renewed") >= 4, "four renewals")
    assert lease.current() == first
    assert database.accepts(first)
    assert database.changes == []


def test_it_is_replaced_before_its_maximum(lab: Lab, server: Postgresql) -> None:
    """Near its max TTL the pool gets another credential while the first still works."""
    database = Database(lab, server)
    database.set_up(ttl=3, max_ttl=5)
    lease = database.client().lease(database.path, on_change=database.changes.append)
    first = lease.current()
    until(lambda: bool(database.changes), "a new credential")
    assert database.accepts(first)
    assert database.accepts(lease.current())
    assert database.changes == [lease.current()]
    assert lease.current() != first


def test_it_is_replaced_with_its_token(database: Database) -> None:
    client = database.client(token_ttl="3s", token_max_ttl="4s")
    lease = client.lease(database.path, on_change=database.changes.append)
    first = lease.current()
    until(lambda: bool(database.changes), "a new credential")
    assert database.accepts(first)
    assert database.accepts(lease.current())
    until(lambda: database.users() == {lease.current().username}, "the first one to be given back")


def test_a_revoked_lease_is_found_by_its_renewal(database: Database) -> None:
    """It costs exactly one new credential."""
    client = database.client()
    lease = client.lease(database.path, on_change=database.changes.append)
    lease.current()
    database.revoke()
    until(lambda: bool(database.changes), "a new credential")
    assert database.accepts(lease.current())
    assert database.users() == {lease.current().username}
    assert database.lab.names().count("leased") == 2


def test_a_refused_login_brings_another_at_once(database: Database) -> None:
    lease = database.client().lease(database.path)
    first = lease.current()
    database.revoke()
    lease.failed(first.username)
    second = lease.current()
    lease.failed(first.username)
    assert lease.current() == second
    assert database.accepts(second)


def test_refusal_after_refusal_is_no_storm(database: Database) -> None:
    """A database that refuses each new user is not filled with users."""
    lease = database.client().lease(database.path)
    for _ in range(50):
        lease.failed(lease.current().username)
    assert len(database.users()) <= 3


def test_an_engine_that_fails_renewals_costs_one_a_life(database: Database) -> None:
    """A renewal that fails with 400 keeps the living lease until its end is near."""
    database.lab.stack.operator.request(
        "POST", f"{database.name}/roles/app", renew_statements=["SELECT no_such_function()"]
    )
    lease = database.client().lease(database.path, on_change=database.changes.append)
    first = lease.current()
    until(lambda: "lease_renewal_failed" in database.lab.names(), "a renewal that fails")
    assert lease.current() == first
    assert database.accepts(first)
    until(lambda: bool(database.changes), "a new credential")
    assert database.accepts(lease.current())
    assert "lease_lost" not in database.lab.names()


def test_health_reports_a_lease_that_ended(database: Database) -> None:
    """If no credential can be made, the client is healthy until the last lease ends."""
    client = database.client()
    lease = client.lease(database.path)
    lease.current()
    database.lab.vault.delete(f"{database.name}/roles/app")
    assert client.health().ok
    until(lambda: not client.health().ok, "the client to say so")
    assert f"the lease of {database.path} has ended" in " ".join(client.health().reasons)
    with pytest.raises(VaultError):
        lease.current()


def test_without_a_thread_a_call_renews_what_is_due(database: Database) -> None:
    lease = database.client(renew=False).lease(database.path)
    first = lease.current()

    def renewed() -> bool:
        assert lease.current() == first
        return "lease_renewed" in database.lab.names()

    until(renewed, "a renewal")
    assert database.accepts(first)


def test_close_gives_them_back(database: Database) -> None:
    client = database.client()
    client.lease(database.path).current()
    assert database.users()
    client.close()
    until(lambda: not database.users(), "the user to be gone", timeout=5.0)


def test_a_policy_that_forbids(database: Database) -> None:
    client = database.client(policy=False)
    with pytest.raises(PermissionDenied):
        client.lease(database.path).current()
    with pytest.raises(ConfigurationError, match="get_secret"):
        client.lease(f"ecommerce/data/{database.lab.path}").current()
    with pytest.raises(InvalidPath):
        client.lease("database/../sys")


def test_a_callback_that_raises_does_no_harm(database: Database) -> None:
    client = database.client()

    def careless(credential: Credential) -> None:
        database.changes.append(credential)
        raise RuntimeError("a pool's own mistake")

    lease = client.lease(database.path, on_change=careless)
    first = lease.current()
    lease.failed(first.username)
    until(lambda: bool(database.changes), "the pool to be told")
    assert lease.current() != first


def test_a_child_process_has_credentials_of_its_own(database: Database) -> None:
    database.lab.make_role(token_policies=f"default,{database.name}")
    code, said, _ = run(
        f"""
import os
from resilient_vault_client import VaultClient
client = VaultClient()
lease = client.lease({database.path!r})
mine = lease.current().username
pid = os.fork()
if not pid:
    other = lease.current().username
    client.close()
    os._exit(other == mine)
assert os.waitpid(pid, 0)[1] == 0
assert lease.current().username == mine
client.close()
""",
        database.lab.environ(),
    )
    assert code == 0, said
    until(lambda: not database.users(), "both to be given back", timeout=5.0)
