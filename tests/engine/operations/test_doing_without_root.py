from __future__ import annotations

import base64
import stat
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from vault_harness.errors import KeyringMissing, OperatorError
from vault_harness.local.stack.launching import Stack
from vault_harness.local.vault import approle
from vault_harness.local.vault.admin import VaultAdmin, alive
from vault_harness.local.vault.apply import apply
from vault_harness.local.vault.keyring import Keyring
from vault_harness.local.vault.kv import Kv
from vault_harness.local.vault.root import generate_root, revoke_root
from vault_harness.local.vault.tokens import (
    OPERATOR_TOKEN_NAME,
    admin_with_token,
    install_operator,
    needing_root,
    operator_token,
)
from vault_harness.operator.rotate import known_targets, rotate_secret, rotate_secret_id


@pytest.fixture
def keyring_path(stack: Stack, tmp_path: Path) -> Path:
    directory = tmp_path / "vault-data"
    directory.mkdir(mode=0o700)
    stack.keyring.save(directory / "init.json")
    return directory / "init.json"


@pytest.fixture
def op(stack: Stack, keyring_path: Path) -> VaultAdmin:
    """The operator after root was revoked."""
    revoke_root(stack.operator, keyring_path, stack.blueprint.mounts, keyring_path.parent)
    return admin_with_token(stack.node.address, Keyring.load(keyring_path), keyring_path.parent)


def test_the_root_token_is_dead_and_out_of_the_keyring(stack: Stack, keyring_path: Path) -> None:
    revoke_root(stack.operator, keyring_path, ["ecommerce"], keyring_path.parent)
    assert alive(stack.operator) is None
    assert Keyring.load(keyring_path) == stack.keyring.without_root()
    token_file = keyring_path.parent / OPERATOR_TOKEN_NAME
    assert stat.S_IMODE(token_file.stat().st_mode) == 0o600


def test_the_operator_does_the_days_work(stack: Stack, op: VaultAdmin, keyring_path: Path) -> None:
    directory = keyring_path.parent
    kv = Kv(op)
    assert len(list(kv.paths())) == 12
    kv.write("backend/new", {"A": "1"}, cas=0)
    kv.delete("backend/new", 1)
    op.request("POST", "ecommerce/undelete/backend/new", versions=[1])
    op.request("POST", "ecommerce/destroy/backend/new", versions=[1])
    op.request("DELETE", "ecommerce/metadata/backend/new")
    rotate_secret(kv, known_targets()["jwt"], directory)
    for role in stack.blueprint.approles:
        rotate_secret_id(op, role, directory)
    assert approle.locked(op) == []
    assert {change.action for change in apply(op, stack.blueprint, environ={})} == {"unchanged"}


@pytest.mark.parametrize(
    ("method", "path", "body"),
    [
        ("POST", "sys/policies/acl/operator", {"policy": 'path "*" { capabilities = ["sudo"] }'}),
        ("POST", "auth/approle/role/mine", {"token_policies": ["root"]}),
        ("POST", "auth/token/create", {"policies": ["root"]}),
        ("POST", "sys/mounts/mine", {"type": "kv"}),
        ("DELETE", "sys/mounts/ecommerce", {}),
        ("DELETE", "sys/audit/file", {}),
        ("POST", "sys/storage/raft/snapshot-force", {}),
        ("DELETE", "auth/approle/role/backend", {}),
    ],
)
def test_the_operator_may_not_make_itself_more(
    op: VaultAdmin, method: str, path: str, body: dict[str, Any]
) -> None:
    with pytest.raises(OperatorError, match="denied"):
        op.request(method, path, **body)


def test_a_change_that_needs_root_says_how_to_get_it(stack: Stack, op: VaultAdmin) -> None:
    other = stack.blueprint.with_policy("more", 'path "a" { capabilities = ["read"] }')
    with pytest.raises(OperatorError, match="root is revoked") as refusal, needing_root(op, "X"):
        apply(op, other, environ={})
    assert refusal.value.remedy == "invoke root.generate, then X, then invoke root.revoke"


def test_root_comes_back_from_the_unseal_keys(op: VaultAdmin, keyring_path: Path) -> None:
    assert generate_root(op, keyring_path, keyring_path.parent)
    token = Keyring.load(keyring_path).root_token
    found = alive(op.with_token(token))
    assert found is not None
    assert found["policies"] == ["root"]
    assert not generate_root(op, keyring_path, keyring_path.parent)
    assert Keyring.load(keyring_path).root_token == token


def test_revoking_twice_is_no_error(stack: Stack, op: VaultAdmin, keyring_path: Path) -> None:
    stack.keyring.save(keyring_path)
    assert revoke_root(stack.operator, keyring_path, ["ecommerce"], keyring_path.parent).before
    assert Keyring.load(keyring_path).root_token == ""
    assert alive(op) is not None


def test_a_token_that_is_no_root_is_not_revoked(stack: Stack, keyring_path: Path) -> None:
    """The task stops before it changes anything."""
    other = install_operator(stack.operator, ["ecommerce"], keyring_path.parent)
    with pytest.raises(OperatorError, match="not a root token"):
        revoke_root(other, keyring_path, ["ecommerce"], keyring_path.parent)
    assert alive(other) is not None


def test_wrong_unseal_keys_are_named_and_leave_no_attempt(
    op: VaultAdmin, keyring_path: Path
) -> None:
    right = Keyring.load(keyring_path)
    wrong = tuple(base64.b64encode(bytes([n]) * 33).decode() for n in range(5))
    replace(right, keys=wrong).save(keyring_path)
    with pytest.raises(OperatorError, match="did not take the unseal keys"):
        generate_root(op, keyring_path, keyring_path.parent)
    right.save(keyring_path)
    assert generate_root(op, keyring_path, keyring_path.parent)


def test_an_attempt_of_another_user_is_left_alone(op: VaultAdmin, keyring_path: Path) -> None:
    """Only --cancel ends it."""
    op.request("PUT", "sys/generate-root-token/attempt")
    with pytest.raises(OperatorError, match="somebody is making a root token"):
        generate_root(op, keyring_path, keyring_path.parent)
    assert generate_root(op, keyring_path, keyring_path.parent, cancel=True)
    op.request("PUT", "sys/generate-root-token/attempt")
    assert not generate_root(op, keyring_path, keyring_path.parent, cancel=True)
    assert not op.request("GET", "sys/generate-root-token/attempt")["data"]["started"]


def test_without_any_token_the_error_says_how_to_get_one(
    stack: Stack, op: VaultAdmin, keyring_path: Path
) -> None:
    (keyring_path.parent / OPERATOR_TOKEN_NAME).unlink()
    with pytest.raises(
        KeyringMissing, match="no valid root token and no valid operator's"
    ) as refusal:
        admin_with_token(op.address, Keyring.load(keyring_path), keyring_path.parent)
    assert "invoke root.generate" in refusal.value.remedy
    with pytest.raises(OperatorError, match="only with an operator's token") as refused:
        generate_root(VaultAdmin(op.address), keyring_path, keyring_path.parent)
    assert "disable_unauthed_generate_root_endpoints" in refused.value.remedy


@pytest.mark.slow  # a process that dies for each step
def test_a_kill_after_any_step_leaves_a_good_token(
    stack: Stack, keyring_path: Path, killable: Callable[..., Any]
) -> None:
    arguments = {"address": stack.node.address, "keyring": str(keyring_path)}
    for task in ("root_revoke", "root_generate") * 2:
        step, killed = 1, True
        while killed:
            killed = killable(task, step, **arguments).killed
            op = admin_with_token(
                stack.node.address, Keyring.load(keyring_path), keyring_path.parent
            )
            assert alive(op) is not None
            ended = killable(task, **arguments)
            assert ended.error is None
            if killed:  # back to the start of this task
                other = "root_generate" if task == "root_revoke" else "root_revoke"
                assert killable(other, **arguments).error is None
            step += 1
        assert step > 3
    assert operator_token(keyring_path.parent)
