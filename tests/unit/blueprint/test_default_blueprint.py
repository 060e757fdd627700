"""The default blueprint is what the integration guide promises."""

from __future__ import annotations

import pytest

from vault_harness.local import policy
from vault_harness.local.blueprint import Blueprint
from vault_harness.operator.migrate import Place, VariableMap

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
AI_SERVICES = ("recommender", "search", "pricing", "chatbot", "fraud", "forecasting", "vision")


@pytest.fixture(scope="module")
def blueprint() -> Blueprint:
    return Blueprint.default()


def test_twelve_paths(blueprint: Blueprint) -> None:
    assert {path for _, path, _ in blueprint.paths()} == PATHS
    assert blueprint.mount == "ecommerce"


def test_roles_and_services(blueprint: Blueprint) -> None:
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
        **dict.fromkeys(AI_SERVICES, "ai-services"),
        "ai_services": "ai-services",
    }


def test_debug_is_off_and_migrates(blueprint: Blueprint) -> None:
    """A dotenv file's value replaces it."""
    assert blueprint.secrets["ecommerce"]["backend/django"]["DEBUG"].value == "False"
    assert VariableMap.guide().target("DEBUG") == Place("backend/django", "DEBUG")


@pytest.mark.parametrize(
    ("role", "forbidden"),
    [
        ("backend", ["ai/", "gateway/"]),
        ("ai-services", ["backend/", "gateway/", "shared/stripe", "shared/email"]),
        ("api-gateway", ["backend/", "ai/", "shared/stripe", "shared/aws"]),
    ],
)
def test_least_privilege(blueprint: Blueprint, role: str, forbidden: list[str]) -> None:
    rules = policy.parse(blueprint.policies[role].rules)
    for rule in rules:
        assert rule.capabilities <= {"read", "list"}
        _, _, path = rule.path.partition("/")
        for prefix in forbidden:
            assert not path.split("/", 1)[1].startswith(prefix)


def test_no_secret_is_literal(blueprint: Blueprint) -> None:
    words = ("KEY", "SECRET", "PASSWORD", "URL", "DSN", "BACKEND")
    for _, path, values in blueprint.paths():
        for key, value in values.items():
            if any(word in key for word in words):
                assert value.value is None, f"{path}:{key} is literal"


def test_variations_leave_the_original_alone(blueprint: Blueprint) -> None:
    short = blueprint.with_approle("backend", token_ttl="4s", token_max_ttl="10s")
    extra = short.with_secret("backend/extra", {"KEY": "value"})

    assert (short.approles["backend"].token_ttl, short.approles["backend"].token_max_ttl) == (4, 10)
    assert short.approles["backend"].policies == ("backend",)
    assert extra.secrets["ecommerce"]["backend/extra"]["KEY"].value == "value"
    assert blueprint.approles["backend"].token_ttl == 3600
    assert "backend/extra" not in blueprint.secrets["ecommerce"]
