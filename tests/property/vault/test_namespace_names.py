"""A valid namespace name stays valid, however it is combined."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from vault_harness import namespaces

PARTS = st.from_regex(r"[A-Za-z0-9._~-]{1,12}", fullmatch=True).filter(
    lambda part: part not in namespaces.RESERVED | {".", ".."}
)
NAMES = st.lists(PARTS, max_size=4).map("/".join)
SLASHES = st.text("/", max_size=3)


@given(NAMES, SLASHES, SLASHES)
def test_slashes_at_its_ends_mean_nothing(name: str, before: str, after: str) -> None:
    assert namespaces.normal(f"{before}{name}{after}") == name


@given(st.text(max_size=20))
def test_a_valid_name_is_safe_in_a_header(text: str) -> None:
    """It has no reserved part; it is safe in a URL too."""
    try:
        name = namespaces.normal(text)
    except ValueError:
        return
    assert namespaces.normal(name) == name
    assert name.isascii()
    assert not set(name) & set(" \t\r\n?#%\\*+")
    assert not set(name.split("/")) & (namespaces.RESERVED | {".", ".."})


@given(NAMES, NAMES)
def test_put_together_once_and_again(above: str, name: str) -> None:
    """A name that a task exported is not added twice by the next task."""
    once = namespaces.joined(above, name)
    assert namespaces.joined(once, name) == once
    assert namespaces.normal(once) == once
    rest = namespaces.above(once, name)
    assert namespaces.below(rest, name) == once


@given(NAMES)
def test_its_levels_lead_to_it(name: str) -> None:
    levels = namespaces.levels(name)
    assert [len(level.split("/")) for level in levels] == list(range(1, len(levels) + 1))
    assert (levels[-1] if levels else "") == name
    assert all(f"{name}/".startswith(f"{level}/") for level in levels)


@given(NAMES, st.sampled_from(["kv/data/a", "sys/mounts", "auth/token/lookup-self"]))
def test_nothing_of_a_namespace_is_the_whole_servers(name: str, path: str) -> None:
    """A path may look like a server's path."""
    assert not namespaces.is_root_level(namespaces.below(name, path))
