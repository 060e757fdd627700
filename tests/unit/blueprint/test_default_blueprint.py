"""The e-commerce blueprint says what the integration guide promises."""

from __future__ import annotations

import pytest

from vault_harness import policy
from vault_harness.blueprint import Blueprint

PATHS = {
    "backend/django",
    "backend/database",
    "backend/redis",
    "backend/celery",
    "gateway/api",
    "ai/openai",
    "ai/anthropic",
    "ai/huggingface",
    "shared/stripe",
    "shared/aws",
    "shared/email",
    "shared/monitoring",
}


@pytest.fixture(scope="module")
def blueprint() -> Blueprint:
    """The default one."""
    return Blueprint.default()


def test_twelve_paths(blueprint: Blueprint) -> None:
    """Every path of the guide is there, and no other."""
    assert {path for _, path, _ in blueprint.paths()} == PATHS
    assert blueprint.mount == "ecommerce"


def test_roles_and_services(blueprint: Blueprint) -> None:
    """Three AppRoles with renewable hour-long tokens serve five services."""
    assert set(blueprint.approles) == {"backend", "api-gateway", "ai-services"}
    for role in blueprint.approles.values():
        assert role.token_ttl == 3600
        assert role.token_max_ttl > role.token_ttl
        assert role.secret_id_ttl > 0
    assert blueprint.services == {
        "backend": "backend",
        "celery_worker": "backend",
        "celery_beat": "backend",
        "api_gateway": "api-gateway",
        "ai_services": "ai-services",
    }


@pytest.mark.parametrize(
    ("role", "forbidden"),
    [
        ("backend", ["ai/", "gateway/"]),
        ("ai-services", ["backend/", "gateway/", "shared/stripe", "shared/email"]),
        ("api-gateway", ["backend/", "ai/", "shared/stripe", "shared/aws"]),
    ],
)
def test_least_privilege(blueprint: Blueprint, role: str, forbidden: list[str]) -> None:
    """A role reads its own and the shared paths it needs, writes nothing, and no more."""
    rules = policy.parse(blueprint.policies[role].rules)
    for rule in rules:
        assert rule.capabilities <= {"read", "list"}
        _, _, path = rule.path.partition("/")
        for prefix in forbidden:
            assert not path.split("/", 1)[1].startswith(prefix)


def test_no_secret_is_literal(blueprint: Blueprint) -> None:
    """What a person could abuse is generated or comes from outside, never from a file in git."""
    words = ("KEY", "SECRET", "PASSWORD", "URL", "DSN", "BACKEND")
    for _, path, values in blueprint.paths():
        for key, value in values.items():
            if any(word in key for word in words):
                assert value.value is None, f"{path}:{key} is literal"


def test_variations_leave_the_original_alone(blueprint: Blueprint) -> None:
    """A scenario may shorten a token's life without harm to the next."""
    short = blueprint.with_approle("backend", token_ttl="4s", token_max_ttl="10s")
    extra = short.with_secret("backend/extra", {"KEY": "value"})

    assert (short.approles["backend"].token_ttl, short.approles["backend"].token_max_ttl) == (4, 10)
    assert short.approles["backend"].policies == ("backend",)
    assert extra.secrets["ecommerce"]["backend/extra"]["KEY"].value == "value"
    assert blueprint.approles["backend"].token_ttl == 3600
    assert "backend/extra" not in blueprint.secrets["ecommerce"]
