from __future__ import annotations

import contextlib
from pathlib import Path

import pytest

from vault_harness.errors import OperatorError
from vault_harness.local.policy import parse
from vault_harness.local.stack.launching import Stack
from vault_harness.local.vault import approle
from vault_harness.local.vault.admin import VaultAdmin
from vault_harness.local.vault.kv import Kv
from vault_harness.operator.audit import Filter, hashes_of_roles, joined_entries, report
from vault_harness.operator.audit.reports import best_rule


@pytest.fixture
def log(stack: Stack) -> Path:
    assert stack.node.audit_path is not None
    return stack.node.audit_path


def log_in(stack: Stack, role: str) -> VaultAdmin:
    made = approle.new_secret_id(stack.operator, role)
    with stack.operator.asking("log in") as client:
        answer = client.auth.approle.login(
            approle.role_id(stack.operator, role), made.secret_id, use_token=False
        )
    return stack.operator.with_token(answer["auth"]["client_token"])


def test_the_log_shows_which_role_did_what(stack: Stack, log: Path) -> None:
    backend = log_in(stack, "backend")
    Kv(backend).read("backend/django")
    Kv(backend).read("backend/nothing")
    with pytest.raises(OperatorError):
        Kv(backend).read("ai/openai")
    role_id = approle.role_id(stack.operator, "backend")
    with pytest.raises(OperatorError), stack.operator.asking("log in") as client:
        client.auth.approle.login(role_id, "wrong", use_token=False)
    roles = hashes_of_roles(stack.operator)
    found = joined_entries({"": log}, Filter(who="backend"), roles=roles)
    assert [(entry.operation, entry.path, entry.status) for entry in found] == [
        ("update", "auth/approle/login", "ok"),
        ("read", "ecommerce/data/backend/django", "ok"),
        ("read", "ecommerce/data/backend/nothing", "missing"),
        ("read", "ecommerce/data/ai/openai", "denied"),
        ("update", "auth/approle/login", "failed"),
    ]


def test_wrapped_logins_and_reads_count_as_successes(stack: Stack, log: Path) -> None:
    role_id = approle.role_id(stack.operator, "backend")
    secret_id = approle.new_secret_id(stack.operator, "backend").secret_id
    ids = {"role_id": role_id, "secret_id": secret_id}
    with stack.operator.asking("log in") as client:
        client.adapter.post("/v1/auth/approle/login", json=ids, wrap_ttl="60s")
    backend = log_in(stack, "backend")
    for path in ("backend/django", "ai/openai"):
        with contextlib.suppress(OperatorError), backend.asking("read") as client:
            client.adapter.get(f"/v1/ecommerce/data/{path}", wrap_ttl="60s")
    roles = hashes_of_roles(stack.operator)
    found = joined_entries({"": log}, Filter(who="backend"), roles=roles)
    assert [(entry.path, entry.status) for entry in found] == [
        ("auth/approle/login", "ok"),
        ("auth/approle/login", "ok"),
        ("ecommerce/data/backend/django", "ok"),
        ("ecommerce/data/ai/openai", "denied"),
    ]


def test_no_value_and_no_token_leaves_the_log(stack: Stack, log: Path) -> None:
    backend = log_in(stack, "backend")
    value = str(Kv(backend).read("backend/django").data["SECRET_KEY"])
    text = "\n".join(str(entry) for entry in joined_entries({"": log}))
    assert "hmac-sha256" not in text
    assert value not in text
    assert backend.client.token not in text


def test_the_proposed_policy_does_what_was_done_and_no_more(stack: Stack, log: Path) -> None:
    backend = Kv(log_in(stack, "backend"))
    backend.read("backend/django")
    backend.read("backend/database")
    backend.read("shared/stripe")
    found = report(stack.operator, [log])
    proposal = next(each for each in found.proposals if each.policy == "backend")
    stack.operator.request("POST", "sys/policies/acl/backend", policy=proposal.text)
    for path in ("backend/django", "backend/database", "shared/stripe"):
        assert backend.read(path).state == "present"
    for path in ("backend/redis", "shared/aws"):
        with pytest.raises(OperatorError, match="denied"):
            backend.read(path)
    assert "ecommerce/data/shared/*: used only for ecommerce/data/shared/stripe" in proposal.reasons


def test_unused_roles_and_policies_are_named(stack: Stack, log: Path) -> None:
    stack.operator.request("POST", "sys/policies/acl/old", policy='path "a" { policy = "read" }')
    Kv(log_in(stack, "backend")).read("backend/django")
    found = report(stack.operator, [log])
    assert found.unused_roles == ("ai-services", "api-gateway")
    assert "old" in found.unused_policies
    assert found.roles["backend"].logins == 1


@pytest.mark.parametrize(
    "patterns",
    [
        ["a/*", "a/b/*"],
        ["a/*", "a/b/c"],
        ["a/+/c", "a/*"],
        ["+/b/c", "a/*"],
        ["a/+/c", "a/b/*"],
        ["a/+/c", "+/+/c"],
        ["a/b*", "a/+/c"],
        ["+/b/*", "+/+/c"],
        ["+/b/c", "+/+/*"],
    ],
)
def test_the_same_rule_decides_here_and_in_vault(shared: Stack, patterns: list[str]) -> None:
    """Of two rules that fit a path, ours is the rule that the server applies."""
    capabilities = ["read", "delete"]
    text = "".join(
        f'path "{pattern}" {{ capabilities = ["{capability}"] }}\n'
        for pattern, capability in zip(patterns, capabilities, strict=True)
    )
    name = "rules-" + "".join(c if c.isalnum() else "-" for c in "".join(patterns))
    shared.operator.request("POST", f"sys/policies/acl/{name}", policy=text)
    body = {"policies": [name], "no_default_policy": True}
    token = shared.operator.request("POST", "auth/token/create", **body)["auth"]["client_token"]
    asked = {"token": token, "paths": ["a/b/c"]}
    (applied,) = shared.operator.request("POST", "sys/capabilities", **asked)["data"]["a/b/c"]
    best = best_rule(parse(text), "a/b/c")
    assert best is not None
    assert best.capabilities == {applied}
