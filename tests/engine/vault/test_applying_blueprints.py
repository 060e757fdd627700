from __future__ import annotations

from pathlib import Path
from typing import Any

import hvac
import hvac.exceptions
import pytest

from vault_harness.errors import BlueprintError, OperatorError, VaultIsSealed
from vault_harness.local.blueprint import Blueprint
from vault_harness.local.engine.shape import Engine, NodeSpec
from vault_harness.local.stack.launching import Stack, launch
from vault_harness.local.vault import approle
from vault_harness.local.vault.apply import Applying, Change, apply, values_replaced
from vault_harness.local.vault.keyring import Keyring


def read(stack: Stack, path: str, mount: str = "ecommerce") -> dict[str, Any]:
    data = stack.operator.client.secrets.kv.v2.read_secret_version(
        path, mount_point=mount, raise_on_deleted_version=True
    )
    return dict(data["data"]["data"])


def write(stack: Stack, path: str, **values: str) -> None:
    stack.operator.client.secrets.kv.v2.create_or_update_secret(
        path, values, mount_point="ecommerce"
    )


def actions(changes: list[Change]) -> dict[str, str]:
    return {f"{change.kind} {change.name}": change.action for change in changes}


def login(stack: Stack, role: str) -> hvac.Client:
    client = hvac.Client(url=stack.node.address)
    client.auth.approle.login(
        role_id=approle.role_id(stack.operator, role),
        secret_id=approle.new_secret_id(stack.operator, role).secret_id,
    )
    return client


def test_everything_is_created_once(stack: Stack) -> None:
    """The first time everything is created (the server has the audit device), then nothing."""
    first = actions(list(stack.changes))
    assert first.pop("audit file") == "unchanged"
    assert set(first.values()) == {"created"}

    before = read(stack, "backend/django")
    second = actions(apply(stack.operator, stack.blueprint, environ={}))
    assert set(second.values()) == {"unchanged"}
    assert second.keys() == first.keys() | {"audit file"}
    assert read(stack, "backend/django") == before


def test_the_result_has_the_stored_values(stack: Stack) -> None:
    """With other people's keys; its repr hides them."""
    assert {path: dict(stack.secrets["ecommerce", path]) for path in values(stack)} == values(stack)
    assert read(stack, "backend/django")["SECRET_KEY"] not in repr(stack.secrets)

    write(stack, "backend/database", DB_PASSWORD="mine", EXTRA="theirs")
    told = {}
    apply(
        stack.operator,
        stack.blueprint,
        Applying(stored=lambda _, path, its: told.update({path: dict(its)})),
        environ={},
    )
    assert told == values(stack)


def test_a_changed_value_is_kept(stack: Stack) -> None:
    write(stack, "backend/database", DB_PASSWORD="mine", EXTRA="theirs")

    changes = actions(apply(stack.operator, stack.blueprint, environ={}))

    values = read(stack, "backend/database")
    assert (values["DB_PASSWORD"], values["EXTRA"]) == ("mine", "theirs")
    assert values["DB_HOST"] == "postgres"
    assert {name for name, action in changes.items() if action != "unchanged"} == {
        "secret ecommerce/backend/database"
    }


def test_overwrite_restores_all_that_is_written(stack: Stack) -> None:
    """Literal values are restored, generated ones are new, policies and roles are as written."""
    secret_key = read(stack, "backend/django")["SECRET_KEY"]
    write(stack, "backend/database", DB_HOST="elsewhere", EXTRA="theirs")
    stack.operator.request("POST", "sys/policies/acl/backend", policy='path "x" {}')
    stack.operator.request("POST", "auth/approle/role/backend", token_ttl=7)

    kept = apply(stack.operator, stack.blueprint, environ={})
    assert {change.detail for change in kept if change.kind in {"policy", "approle"}} == {
        "",
        "differs from the blueprint, left alone",
    }
    changes = actions(apply(stack.operator, stack.blueprint, Applying(overwrite=True), environ={}))

    assert read(stack, "backend/django")["SECRET_KEY"] != secret_key
    assert read(stack, "backend/database")["DB_HOST"] == "postgres"
    assert read(stack, "backend/database")["EXTRA"] == "theirs"
    role = stack.operator.request("GET", "auth/approle/role/backend")["data"]
    assert role["token_ttl"] == 3600
    assert changes["policy backend"] == changes["approle backend"] == "changed"
    assert changes["policy api-gateway"] == "unchanged"


def values(stack: Stack) -> dict[str, dict[str, Any]]:
    return {path: read(stack, path, mount) for mount, path, _ in stack.blueprint.paths()}


def test_access_is_put_right_and_no_value_touched(stack: Stack) -> None:
    write(stack, "backend/database", DB_PASSWORD="real, and nowhere else")
    stack.operator.request("POST", "sys/policies/acl/backend", policy='path "x" {}')
    stack.operator.request("POST", "auth/approle/role/backend", token_policies=[])
    stack.operator.request("DELETE", "sys/policies/acl/ai-services")
    before = values(stack)

    planned = apply(stack.operator, stack.blueprint, Applying(what="access", dry=True), environ={})
    assert stack.operator.request("GET", "sys/policies/acl/ai-services") == {}
    done = apply(stack.operator, stack.blueprint, Applying(what="access"), environ={})

    assert planned == done
    assert {name: action for name, action in actions(done).items() if action != "unchanged"} == {
        "policy backend": "changed",
        "policy ai-services": "created",
        "approle backend": "changed",
    }
    assert values(stack) == before
    assert values_replaced(done) == 0
    login(stack, "backend").secrets.kv.v2.read_secret_version(
        "backend/database", mount_point="ecommerce", raise_on_deleted_version=True
    )


def test_a_dry_run_says_which_values_would_be_replaced(stack: Stack) -> None:
    write(stack, "backend/database", **{**read(stack, "backend/database"), "DB_HOST": "mine"})
    before = values(stack)

    gentle = apply(stack.operator, stack.blueprint, Applying(dry=True), environ={})
    harsh = apply(stack.operator, stack.blueprint, Applying(overwrite=True, dry=True), environ={})

    assert values(stack) == before
    assert values_replaced(gentle) == 0
    (database,) = [change for change in harsh if change.name == "ecommerce/backend/database"]
    assert "DB_HOST" in database.replaces
    assert "DB_NAME" not in database.replaces, "its value is the blueprint's"
    apply(stack.operator, stack.blueprint, Applying(overwrite=True), environ={})
    replaced = [
        key
        for path, keys in before.items()
        for key in keys
        if values(stack)[path][key] != keys[key]
    ]
    assert values_replaced(harsh) == len(replaced) > 10


def test_a_write_that_did_nothing_is_an_error(stack: Stack) -> None:
    """A 404 of a write means that nothing was written."""
    for method in ("POST", "PUT", "DELETE"):
        with pytest.raises(OperatorError, match="no handler for route"):
            stack.operator.request(method, "nowhere/data/x", data={"KEY": "value"})
    assert stack.operator.request("GET", "ecommerce/data/nothing") == {}


def test_a_secret_id_that_cannot_be_looked_up_is_not_called_bad(stack: Stack) -> None:
    """A sealed Vault cannot look it up: an error, and no new secret-id."""
    secret_id = approle.new_secret_id(stack.operator, "backend").secret_id
    assert approle.lookup(stack.operator, "backend", secret_id) is not None
    assert approle.lookup(stack.operator, "backend", "another") is None
    stack.operator.seal()

    with pytest.raises(VaultIsSealed):
        approle.lookup(stack.operator, "backend", secret_id)


def test_templates_are_filled_with_what_is_in_vault(stack: Stack) -> None:
    password = read(stack, "backend/redis")["REDIS_PASSWORD"]

    assert read(stack, "backend/redis")["REDIS_URL"] == f"redis://:{password}@redis:6379/0"
    broker = read(stack, "backend/celery")["CELERY_BROKER_URL"]
    assert broker == f"redis://:{password}@redis:6379/1"


def test_values_from_the_environment(engine: Engine, tmp_path: Path) -> None:
    """A variable wins over a generated value; an empty one does not count."""
    environ = {"OPENAI_API_KEY": "from-outside", "ANTHROPIC_API_KEY": ""}
    blueprint = Blueprint.default()
    with launch(engine, blueprint, NodeSpec(directory=tmp_path / "v"), environ=environ) as stack:
        assert read(stack, "ai/openai") == {"OPENAI_API_KEY": "from-outside"}
        assert read(stack, "ai/anthropic")["ANTHROPIC_API_KEY"].startswith("sk-ant-local-")


def test_a_scenario_never_gets_real_keys(
    engine: Engine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A developer's own variables are not read unless they are passed."""
    monkeypatch.setenv("OPENAI_API_KEY", "a-real-key-that-costs-money")
    with launch(engine, Blueprint.default(), NodeSpec(directory=tmp_path / "vault")) as stack:
        assert "real" not in read(stack, "ai/openai")["OPENAI_API_KEY"]


def test_a_missing_variable_stops_before_the_first_write(stack: Stack) -> None:
    text = 'name = "x"\n[mounts.fresh]\n[secrets.fresh."a"]\nKEY = { env = "NOT_SET_ANYWHERE" }\n'
    source = stack.node.audit_path
    assert source is not None
    file = source.with_name("x.toml")
    file.write_text(text)

    with pytest.raises(BlueprintError, match="NOT_SET_ANYWHERE") as caught:
        apply(stack.operator, Blueprint.load(file), environ={})

    assert caught.value.cause.startswith(f"{file}:4: secrets.fresh.a.KEY")
    assert "fresh/" not in stack.operator.request("GET", "sys/mounts")["data"]


def test_a_mount_of_another_kind_is_not_touched(stack: Stack) -> None:
    stack.operator.request("POST", "sys/mounts/old", type="kv", options={"version": "1"})
    blueprint = Blueprint.parse('name = "x"\n[mounts.old]\n', source=Path("x.toml"))

    with pytest.raises(OperatorError, match="not a KV v2 engine"):
        apply(stack.operator, blueprint, environ={})


def test_a_deleted_secret_comes_back(stack: Stack) -> None:
    kv = stack.operator.client.secrets.kv.v2
    kv.delete_latest_version_of_secret("backend/django", mount_point="ecommerce")
    kv.delete_metadata_and_all_versions("gateway/api", mount_point="ecommerce")

    changes = actions(apply(stack.operator, stack.blueprint, environ={}))

    assert changes["secret ecommerce/backend/django"] == "created"
    assert changes["secret ecommerce/gateway/api"] == "created"
    assert len(read(stack, "backend/django")["SECRET_KEY"]) == 50


@pytest.mark.parametrize(
    ("role", "allowed", "denied"),
    [
        ("backend", ["backend/django", "shared/stripe", "shared/monitoring"], ["ai/openai"]),
        (
            "ai-services",
            ["ai/openai", "ai/huggingface", "shared/aws", "shared/monitoring"],
            ["backend/django", "backend/database", "shared/stripe", "gateway/api"],
        ),
        ("api-gateway", ["gateway/api", "shared/monitoring"], ["backend/django", "ai/openai"]),
    ],
)
def test_each_role_reads_its_own_and_no_more(
    stack: Stack, role: str, allowed: list[str], denied: list[str]
) -> None:
    client = login(stack, role)
    kv = client.secrets.kv.v2

    for path in allowed:
        found = kv.read_secret_version(path, mount_point="ecommerce", raise_on_deleted_version=True)
        assert found["data"]["data"]
    for path in denied:
        with pytest.raises(hvac.exceptions.Forbidden):
            kv.read_secret_version(path, mount_point="ecommerce", raise_on_deleted_version=True)
    with pytest.raises(hvac.exceptions.Forbidden):
        kv.create_or_update_secret(allowed[0], {"x": "y"}, mount_point="ecommerce")


def test_tokens_are_renewable_for_an_hour(stack: Stack) -> None:
    looked_up = login(stack, "backend").auth.token.lookup_self()["data"]

    assert looked_up["renewable"] is True
    assert 3500 < looked_up["ttl"] <= 3600
    assert set(looked_up["policies"]) == {"default", "backend"}


def test_credentials_are_written_once(stack: Stack, tmp_path: Path) -> None:
    """Working ids are kept; destroyed or foreign ids are replaced."""
    folder = tmp_path / "ids"
    first = approle.write_credentials(stack.operator, "backend", folder)
    secret_id = first.secret_id_file.read_text()
    assert first.written
    assert first.secret_id_file.stat().st_mode & 0o777 == 0o600

    assert not approle.write_credentials(stack.operator, "backend", folder).written
    assert first.secret_id_file.read_text() == secret_id

    known = approle.lookup(stack.operator, "backend", secret_id)
    assert known is not None
    for _ in range(2):  # one that is gone is no error
        approle.destroy(stack.operator, "backend", known["secret_id_accessor"])
    assert approle.lookup(stack.operator, "backend", secret_id) is None
    assert approle.write_credentials(stack.operator, "backend", folder).written
    assert first.secret_id_file.read_text() != secret_id

    renewed = approle.write_credentials(stack.operator, "backend", folder, renew=True)
    assert renewed.written
    assert len(approle.accessors(stack.operator, "backend")) == 2
    assert approle.accessors(stack.operator, "ai-services") == []


def test_a_locked_role_is_listed_and_unlocked(stack: Stack) -> None:
    role_id = approle.role_id(stack.operator, "backend")
    good = approle.new_secret_id(stack.operator, "backend").secret_id
    client = hvac.Client(url=stack.node.address)
    for _ in range(5):
        with pytest.raises(hvac.exceptions.InvalidRequest):
            client.auth.approle.login(role_id=role_id, secret_id="wrong")
    with pytest.raises(hvac.exceptions.Forbidden):
        client.auth.approle.login(role_id=role_id, secret_id=good)

    assert [role.role_id for role in approle.locked(stack.operator)] == [role_id]
    assert approle.unlock(stack.operator, role_id)
    assert not approle.unlock(stack.operator, role_id)
    client.auth.approle.login(role_id=role_id, secret_id=good)


def test_seal_and_unseal(stack: Stack) -> None:
    before = read(stack, "backend/django")
    stack.operator.seal()
    status = stack.operator.seal_status()
    assert (status.initialised, status.sealed, status.shares, status.threshold) == (
        True,
        True,
        5,
        3,
    )

    with pytest.raises(OperatorError, match="is sealed"):
        stack.operator.request("GET", "sys/mounts")
    for wrong in (["AAAA" * 11] * 3, ["AAAA" * 11, "BBBB" * 11, "CCCC" * 11]):
        with pytest.raises(OperatorError, match="do not unseal"):
            stack.operator.unseal(Keyring(tuple(wrong), 3, ""))

    stack.operator.unseal(stack.keyring)
    stack.operator.unseal(stack.keyring)
    assert read(stack, "backend/django") == before


def test_init_happens_once(stack: Stack) -> None:
    with pytest.raises(OperatorError, match="already initialized"):
        stack.operator.init()
