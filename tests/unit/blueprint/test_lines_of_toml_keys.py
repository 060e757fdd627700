"""TOML parsers do not give the line of a key."""

from __future__ import annotations

import pytest

from vault_harness.toml_lines import line_of

TEXT = '''\
name = "x"
text = """
[not.a.table]
key = 1
"""

[mounts."a.b"]
type = "kv"

[secrets.shop.'web/app']
KEY = { generate = 20 }
dotted.key = 1
list = [
  "a",
]

[[items]]
value = 1
'''


@pytest.mark.parametrize(
    ("path", "line"),
    [
        (("name",), 1),
        (("mounts", "a.b"), 7),
        (("mounts", "a.b", "type"), 8),
        (("secrets", "shop", "web/app", "KEY"), 11),
        (("secrets", "shop", "web/app", "KEY", "generate"), 11),
        (("secrets", "shop", "web/app", "dotted", "key"), 12),
        (("secrets", "shop", "web/app", "list", 0), 13),
        (("secrets", "shop", "web/app", "missing"), 10),
        (("items", 0, "value"), 18),
        (("nowhere",), 1),
        (("not", "a", "table"), 1),
    ],
)
def test_line(path: tuple[str | int, ...], line: int) -> None:
    """A missing key has the line of its nearest parent, else the first."""
    assert line_of(TEXT, path) == line
