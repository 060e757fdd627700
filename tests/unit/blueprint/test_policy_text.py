from __future__ import annotations

import pytest

from vault_harness.local.policy import PolicyError, parse

HCL = """
# A comment, with { and "
path "shop/data/*" {            // to the end of the line
  capabilities = ["read", "list",]
  allowed_parameters = {
    "ttl" = ["1h", "2h"]
    "*"   = []
  }
  min_wrapping_ttl = "1m"
}
/* a longer
   comment */
path "shop/metadata/{{identity.entity.name}}/+" { policy = "read" }
path "shop/none" { capabilities = [] }
"""


def rules(text: str) -> list[tuple[str, set[str], int]]:
    return [(rule.path, set(rule.capabilities), rule.line) for rule in parse(text)]


def test_hcl() -> None:
    assert rules(HCL) == [
        ("shop/data/*", {"read", "list"}, 3),
        ("shop/metadata/{{identity.entity.name}}/+", set(), 13),
        ("shop/none", set(), 14),
    ]


def test_json() -> None:
    assert rules('{"path": {"a/*": {"capabilities": ["read"]}}}') == [("a/*", {"read"}, 1)]


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ('path "a" {\n capabilities = ["read"]', 2),
        ('\npath "a" { capabilities = ["raed"] }', 2),
        ('path "a"\n[ ]', 2),
        ("path a { }", 1),
        ('path "a" { capabilities ["read"] }', 1),
        ('path "a" { capabilities = ["read" "list"] }', 1),
        ('path "a" { capabilities = }', 1),
        ('path "a" {}\n\n@', 3),
        ('{"path": [}', 1),
        ("[]", 1),
    ],
)
def test_mistakes_have_a_line(text: str, line: int) -> None:
    """Vault refuses these too."""
    with pytest.raises(PolicyError) as caught:
        parse(text)

    assert caught.value.line == line
