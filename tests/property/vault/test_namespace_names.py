"""Whatever is taken for the name of a namespace stays one, wherever it is put together."""

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
    """It is the name between them, and that is its normal form."""
    assert namespaces.normal(f"{before}{name}{after}") == name


@given(st.text(max_size=20))
def test_what_is_taken_is_safe_and_normal(text: str) -> None:
    """A name that passes has no reserved part, and nothing that breaks a header or a URL."""
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
    """What a task exports may be in the next task's environment: nothing is added twice."""
    once = namespaces.joined(above, name)
    assert namespaces.joined(once, name) == once
    assert namespaces.normal(once) == once
    rest = namespaces.above(once, name)
    assert namespaces.below(rest, name) == once


@given(NAMES)
def test_its_levels_lead_to_it(name: str) -> None:
    """From the outside to the inside, each one part longer."""
    levels = namespaces.levels(name)
    assert [len(level.split("/")) for level in levels] == list(range(1, len(levels) + 1))
    assert (levels[-1] if levels else "") == name
    assert all(f"{name}/".startswith(f"{level}/") for level in levels)


@given(NAMES, st.sampled_from(["kv/data/a", "sys/mounts", "auth/token/lookup-self"]))
def test_nothing_of_a_namespace_is_the_whole_servers(name: str, path: str) -> None:
    """A path that begins with a namespace is that namespace's, whatever is called like it."""
    assert not namespaces.is_root_level(namespaces.below(name, path))
