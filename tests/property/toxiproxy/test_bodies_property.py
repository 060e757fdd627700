"""Any body is read as a value or is a 400."""

from __future__ import annotations

import json
import random

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from vault_harness.local.toxiproxy.server import bodies
from vault_harness.local.toxiproxy.server.toxics import cut

JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=20,
)
SHAPE: bodies.Shape = {"name": str, "enabled": bool, "count": int, "share": float, "inner": dict}


@given(st.binary())
@example(b"\xef\xbb\xbf{}")
@example(b'"\\ud800"')
@example(b"1" * 5000)
@example(b'{"share":1%b}' % (b"0" * 400))
def test_any_bytes(body: bytes) -> None:
    """Any bytes are an object that can be written again, or a 400."""
    try:
        value = bodies.parse(body)
    except bodies.Problem as problem:
        value = {"name": problem.text}
    found, wrong = bodies.fields(value, SHAPE)
    assert (wrong is None) or isinstance(wrong, str)
    bodies.dump({**found, "inner": None, "wrong": wrong})


@given(JSON, st.binary(max_size=5))
def test_any_json(value: object, rest: bytes) -> None:
    """Anything may follow it after a space."""
    assert bodies.parse(json.dumps(value).encode() + b" " + rest) == value


@given(JSON)
def test_any_json_reader_reads_the_same_value(value: object) -> None:
    assert json.loads(bodies.dump(value)) == value


@given(st.dictionaries(st.sampled_from(list(SHAPE)), JSON))
def test_fields_have_their_types(value: dict[str, object]) -> None:
    found, _ = bodies.fields(value, SHAPE)
    for name, item in found.items():
        assert type(item) is SHAPE[name] or (name == "share" and type(item) is int)


@given(
    length=st.integers(1, 40_000),
    average=st.integers(1, 5000),
    share=st.floats(0, 1),
    seed=st.integers(),
)
def test_cuts_cover_everything(length: int, average: int, share: float, seed: int) -> None:
    """No piece is negative or too long."""
    variation = int(average * share)
    ends = cut(length, average, variation, random.Random(seed) if variation else None)
    assert ends == sorted(ends)
    assert ends[-1] == length
    sizes = [end - start for start, end in zip([0, *ends], ends, strict=False)]
    assert max(sizes) <= average + variation
    assert ends == cut(length, average, variation, random.Random(seed) if variation else None)


@pytest.mark.parametrize("average", [1, 2, 3, 10])
def test_the_largest_variation_ends(average: int) -> None:
    for seed in range(2):
        ends = cut(32 * 1024, average, average, random.Random(seed))
        assert ends[-1] == 32 * 1024
