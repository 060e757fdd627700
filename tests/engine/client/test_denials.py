from __future__ import annotations

import time

import pytest

from resilient_vault_client import PermissionDenied, VaultUnavailable
from tests.engine.client.lab import Lab, until
from tests.engine.client.route import http
from vault_harness.recorder.fault import RequestKind, Stub


def test_denied_path_costs_little(lab: Lab) -> None:
    client = lab.client(backoff_cap=60.0)
    client.get_secret(lab.path)
    time.sleep(1.1)  # a younger token is not replaced for a policy
    for _ in range(20):
        with pytest.raises(PermissionDenied) as denied:
            client.get_secret("ai/openai", "OPENAI_API_KEY", env_var_name="HOME")
        assert denied.value.outcome == "denied"

    assert lab.route.count("ai/openai") <= 2
    assert lab.route.count("login") <= 2
    assert lab.route.count("lookup-self") <= 1
    until(lambda: lab.tokens() == 1, "the old token to be given back")


def test_many_denied_paths_cost_one_login(lab: Lab) -> None:
    client = lab.client()
    client.get_secret(lab.path)
    time.sleep(1.1)  # a younger token is not replaced for a policy
    for number in range(10):
        with pytest.raises(PermissionDenied):
            client.get_secret(f"ai/path-{number}")

    assert lab.route.count("login") <= 2
    assert lab.value == client.get_secret(lab.path, "KEY")


def test_a_path_is_read_soon_after_it_is_allowed_again(lab: Lab) -> None:
    client = lab.client(backoff_cap=0.5)
    client.get_secret(lab.path)
    lab.vault.sys.create_or_update_policy(name=lab.role, policy='path "x" { capabilities = [] }')
    with pytest.raises(PermissionDenied):
        client.get_secret(lab.path)
    lab.vault.sys.create_or_update_policy(
        name=lab.role, policy='path "ecommerce/data/backend/*" { capabilities = ["read"] }'
    )

    def allowed() -> bool:
        try:
            return bool(client.get_secret(lab.path, "KEY") == lab.value)
        except PermissionDenied:
            return False

    until(allowed, "the path to be allowed", 2.5)


def test_role_that_gained_a_policy(lab: Lab) -> None:
    client = lab.client()
    client.get_secret(lab.path)
    lab.vault.sys.create_or_update_policy(
        name=f"{lab.role}-more", policy='path "ecommerce/data/ai/*" { capabilities = ["read"] }'
    )
    lab.make_role(token_policies=f"default,{lab.role},{lab.role}-more")
    time.sleep(1.1)  # a younger token is not replaced for a policy

    assert client.get_secret("ai/openai")
    assert lab.route.count("login") == 2
    until(lambda: lab.tokens() == 1, "the old token to be given back")


def test_outage_after_a_denial(lab: Lab) -> None:
    """A denial of a living token stands, even if the try with a new token is lost."""
    client = lab.client(timeout=1.5)
    client.get_secret(lab.path)
    time.sleep(1.1)  # a younger token is not replaced for a policy

    answered: list[str] = []

    def answer(_kind: RequestKind, path: str) -> Stub | None:
        if not path.endswith("ai/openai") or lab.route.count("login") < 2:
            return None
        answered.append(path)
        return http(503)

    with lab.route.answering(answer), pytest.raises(PermissionDenied):
        client.get_secret("ai/openai", "OPENAI_API_KEY", env_var_name="HOME")
    assert answered, "no second try was made"


def test_write_that_may_have_happened_after_a_denial(lab: Lab) -> None:
    """If a new token's write loses its answer, the error says that it may have happened."""
    client = lab.client()
    client.get_secret(lab.path)
    rule = 'path "ecommerce/data/ai/*" { capabilities = ["create", "update"] }'
    lab.vault.sys.create_or_update_policy(name=f"{lab.role}-more", policy=rule)
    lab.make_role(token_policies=f"default,{lab.role},{lab.role}-more")
    time.sleep(1.1)  # a younger token is not replaced for a policy

    with (
        lab.route.losing_answer("ecommerce/data/ai/openai", nth=2),
        pytest.raises(VaultUnavailable) as lost,
    ):
        client.put_secret("ai/openai", {"OPENAI_API_KEY": "second"})
    assert lost.value.sent
    written = lab.vault.read("ecommerce/data/ai/openai")
    assert written["data"]["data"]["OPENAI_API_KEY"] == "second"


def test_token_bound_to_other_addresses(lab: Lab) -> None:
    lab.make_role(token_bound_cidrs="10.9.9.9/32")
    client = lab.client()
    started = time.monotonic()
    while time.monotonic() - started < 1.2:
        with pytest.raises(PermissionDenied):
            client.get_secret(lab.path)
        time.sleep(0.02)  # the pace of an application

    assert lab.route.count("login") <= 4


def test_denial_is_not_an_outage(lab: Lab) -> None:
    client = lab.client()
    client.get_secret(lab.path)
    with pytest.raises(PermissionDenied):
        client.get_secret("ai/openai")

    assert client.health().ok
    assert "outage_began" not in lab.names()
