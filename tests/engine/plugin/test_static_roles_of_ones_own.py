from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import psycopg
import pytest

from resilient_vault_client import VaultClient
from vault_harness.errors import BlueprintError, OperatorError, ProgramMissing
from vault_harness.fixtures import Vault
from vault_harness.local.blueprint import Blueprint, Database
from vault_harness.local.engine.process.postgresql import Postgresql
from vault_harness.local.programs import find_postgresql
from vault_harness.local.vault.apply import Applying, apply


@pytest.fixture(scope="module")
def postgresql() -> Iterator[Postgresql]:
    try:
        programs = find_postgresql()
    except ProgramMissing as missing:
        pytest.skip(str(missing))
    with Postgresql(programs) as server:
        with connect(server, server.user, server.password) as connection:
            connection.execute("CREATE ROLE shop LOGIN")
        yield server


def connect(server: Postgresql, user: str, password: str) -> psycopg.Connection[Any]:
    return psycopg.connect(
        host=server.host, port=server.port, dbname="postgres", user=user, password=password
    )


def settings(server: Postgresql, **more: Any) -> dict[str, Any]:
    """Settings with which Vault logs in and manages the password of ``shop``."""
    return {
        "connection_url": "postgresql://{{username}}:{{password}}@"
        f"{server.host}:{server.port}/postgres?sslmode=disable",
        "username": server.user,
        "password": server.password,
        "static_roles": {"app": {"username": "shop", "rotation_period": "1h"}},
        **more,
    }


def blueprint(**given: Any) -> Blueprint:
    database = Database.model_validate(given)
    return Blueprint(name="shop", mounts={}, databases={"shop": database})


def test_a_client_gets_a_password_that_works(vault: Vault, postgresql: Postgresql) -> None:
    vault.add_database("shop", **settings(postgresql))
    with VaultClient(environ=environ_of_a_reader(vault)) as client:
        credential = client.static_credential("database/static-creds/app")
    assert credential.username == "shop"
    connect(postgresql, credential.username, credential.password).close()


def environ_of_a_reader(vault: Vault) -> dict[str, str]:
    policy = 'path "database/static-creds/*" { capabilities = ["read"] }'
    vault.operator.request("POST", "sys/policies/acl/static", policy=policy)
    vault.operator.request("POST", "auth/approle/role/app", token_policies=["static"])
    return vault.environ("app")


def test_a_second_run_changes_nothing(vault: Vault, postgresql: Postgresql) -> None:
    given = settings(postgresql)
    vault.add_database("shop", **given)
    before = password(vault)
    changes = apply(vault.operator, blueprint(**given), environ={})
    assert [(one.kind, one.action) for one in changes] == [
        ("database", "unchanged"),
        ("static role", "unchanged"),
    ]
    assert password(vault) == before


def test_a_role_that_differs(vault: Vault, postgresql: Postgresql) -> None:
    vault.add_database("shop", **settings(postgresql))
    other = {"app": {"username": "shop", "rotation_period": "2h"}}
    wanted = blueprint(**settings(postgresql, static_roles=other))
    (_, left) = apply(vault.operator, wanted, environ={})
    assert (left.action, left.detail) == ("unchanged", "differs from the blueprint, left alone")
    (_, changed) = apply(vault.operator, wanted, Applying(overwrite=True), environ={})
    assert changed.action == "changed"
    role = vault.operator.request("GET", "database/static-roles/app")["data"]
    assert role["rotation_period"] == 7200


def test_a_password_from_the_environment(vault: Vault, postgresql: Postgresql) -> None:
    wanted = blueprint(**settings(postgresql, password={"env": "DB_PASSWORD"}))
    with pytest.raises(BlueprintError, match="DB_PASSWORD is not set"):
        apply(vault.operator, wanted, environ={})
    assert "database/" not in vault.operator.request("GET", "sys/mounts")["data"]
    apply(vault.operator, wanted, environ={"DB_PASSWORD": postgresql.password})
    assert password(vault)


def test_a_user_that_is_not_there(vault: Vault, postgresql: Postgresql) -> None:
    nobody = {"app": {"username": "nobody"}}
    with pytest.raises(OperatorError) as caught:
        vault.add_database("shop", **settings(postgresql, static_roles=nobody))
    assert "nobody" in str(caught.value)
    assert postgresql.password not in str(caught.value)


def password(vault: Vault) -> str:
    data = vault.operator.request("GET", "database/static-creds/app")["data"]
    return str(data["password"])
