from __future__ import annotations

import contextlib
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from vault_harness.certificates import Authority
from vault_harness.local.blueprint import Blueprint
from vault_harness.local.engine.shape import Engine, NodeSpec
from vault_harness.local.stack.launching import Stack, launch
from vault_harness.local.vault.keyring import Keyring
from vault_harness.local.vault.root import revoke_root
from vault_harness.local.vault.tokens import admin_with_token
from vault_harness.operator.doctor import CheckResult, Deployment, State
from vault_harness.operator.practices import PRACTICES, go_through

BROAD = 'path "*" { capabilities = ["read"] }'


def deployed(stack: Stack, folder: Path) -> Deployment:
    """A stack whose keys are not on this machine."""
    return Deployment(
        operator=stack.operator,
        addresses=(stack.node.address,),
        keyring=folder / "init.json",
        backups=folder / "vault-backups",
    )


def look(deployment: Deployment, name: str) -> CheckResult:
    return next(each for each in go_through(deployment) if each.name == name)


def test_fresh_stack(stack: Stack, tmp_path: Path) -> None:
    standing = {each.name: each.state for each in go_through(deployed(stack, tmp_path))}
    assert list(standing) == list(PRACTICES)
    assert {name for name, each in standing.items() if each is State.GOOD} >= {
        *("key shares", "secret-ids", "token lives", "lockout", "rotation", "monitoring")
    }
    assert {name for name, each in standing.items() if each is State.BAD} >= {
        *("root token", "audit", "TLS", "HA", "auto-unseal", "backups")
    }


def test_everything_broken_has_a_remedy(shared: Stack, tmp_path: Path) -> None:
    found = go_through(deployed(shared, tmp_path))
    assert [each.name for each in found if each.state is State.BAD and not each.remedy] == []
    assert [each.name for each in found if each.state is State.GOOD and each.remedy] == []


def test_certificates_near_their_end(engine: Engine, tmp_path: Path) -> None:
    """From two weeks before its end one is reported, also the tasks' own."""
    with launch(
        engine, Blueprint.default(), NodeSpec(directory=tmp_path / "vault"), authority=Authority()
    ) as stack:
        deployment = deployed(stack, tmp_path)
        found = look(deployment, "TLS")
        assert (found.state, "clients show" in found.seen) == (State.GOOD, False)
        found = look(replace(deployment, now=deployment.now + timedelta(days=77)), "TLS")
        assert found.state is State.BAD
        assert "tls.renew" in found.remedy
        nobody = replace(deployment, addresses=("https://127.0.0.1:1",))
        assert look(nobody, "TLS").state is State.UNKNOWN
        own = tmp_path / "vault-tls" / "operator.pem"
        Authority().issue_client(own, "operator", life=timedelta(days=20))
        found = look(deployment, "TLS")
        assert found.state is State.GOOD
        assert "clients show" in found.seen
        found = look(replace(deployment, now=deployment.now + timedelta(days=7)), "TLS")
        assert found.state is State.BAD
        assert "tasks' own" in found.seen
        assert "tls.renew" in found.remedy


def test_keys_beside_their_vault(shared: Stack, tmp_path: Path) -> None:
    """Shares that lie together count as one key."""
    shared.keyring.save(tmp_path / "init.json")
    found = look(deployed(shared, tmp_path), "key shares")
    assert found.state is State.BAD
    assert "5 of 5 keys lie together" in found.seen


def test_root_token_that_is_gone(stack: Stack, tmp_path: Path) -> None:
    """The operator's token sees that no root token is left, and all else that root sees."""
    assert look(deployed(stack, tmp_path), "root token").state is State.BAD
    keyring = tmp_path / "init.json"
    stack.keyring.save(keyring)
    revoke_root(stack.operator, keyring, stack.blueprint.mounts, tmp_path)
    narrow = admin_with_token(stack.node.address, Keyring.load(keyring), tmp_path)
    with contextlib.closing(narrow):
        found = go_through(replace(deployed(stack, tmp_path), operator=narrow))
    assert found[0].name == "root token"
    assert found[0].state is State.GOOD, found[0]
    untold = [each for each in found if each.state is State.UNKNOWN]
    assert {each.name for each in untold} <= {"policies", "HA"}, untold


@pytest.mark.parametrize(
    ("name", "spoil"), [("secret-ids", {"secret_id_ttl": 0}), ("token lives", {"token_ttl": 7200})]
)
def test_lives_without_an_end(
    stack: Stack, tmp_path: Path, name: str, spoil: dict[str, object]
) -> None:
    stack.operator.request("POST", "auth/approle/role/ai-services", **spoil)
    found = look(deployed(stack, tmp_path), name)
    assert found.state is State.BAD
    assert "ai-services" in f"{found.seen} {found.remedy}"


def test_policy_for_everything(stack: Stack, tmp_path: Path) -> None:
    """A right over all paths is reported without an audit log."""
    deployment = deployed(stack, tmp_path)
    assert look(deployment, "policies").state is State.UNKNOWN
    stack.operator.request("POST", "sys/policies/acl/ai-services", policy=BROAD)
    found = look(deployment, "policies")
    assert found.state is State.BAD
    assert "ai-services grants everything" in found.seen


def test_lockout_that_was_switched_off(stack: Stack, tmp_path: Path) -> None:
    """Without the lockout a secret-id can be guessed."""
    stack.operator.request(
        "POST", "sys/auth/approle/tune", user_lockout_config={"lockout_disable": True}
    )
    assert look(deployed(stack, tmp_path), "lockout").state is State.BAD


def test_old_values(shared: Stack, tmp_path: Path) -> None:
    deployment = deployed(shared, tmp_path)
    later = replace(deployment, now=deployment.now + timedelta(days=91))
    found = look(later, "rotation")
    assert found.state is State.BAD
    assert "days old" in found.seen


def test_token_that_may_see_nothing(shared: Stack, tmp_path: Path) -> None:
    """A token without rights gets no error, and no practice counts as kept."""
    answer = shared.operator.request("POST", "auth/token/create", policies=["default"], ttl="60s")
    blind = shared.operator.with_token(answer["auth"]["client_token"])
    found = go_through(replace(deployed(shared, tmp_path), operator=blind))
    unseen = {each.name for each in found if each.state is State.UNKNOWN}
    assert unseen >= {"root token", "audit", "secret-ids", "token lives", "policies", "rotation"}
