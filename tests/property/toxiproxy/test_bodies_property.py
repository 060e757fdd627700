"""Whatever is sent as a body, reading it ends in a value or in `BadBody`."""

from __future__ import annotations

import json
import random
import struct

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from vault_harness.toxiproxy.server import gojson
from vault_harness.toxiproxy.server.toxics.slicer import cut

JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=20,
)
SHAPE: dict[str, gojson.FieldType] = {
    "name": "string",
    "enabled": "bool",
    "count": "int64",
    "share": "float32",
    "inner": "object",
}


@given(st.binary())
@example(b"\xef\xbb\xbf{}")
@example(b'"\\ud800"')
@example(b"1" * 5000)
def test_any_bytes(body: bytes) -> None:
    """A value that can be read as an object and written again, or `BadBody`."""
    try:
        value = gojson.parse(body)
    except gojson.BadBody:
        return
    found, wrong = gojson.fields(value, SHAPE)
    assert (wrong is None) or isinstance(wrong, str)
    gojson.dump(found | {"wrong": wrong})


@settings(max_examples=40, deadline=None)
@given(JSON, st.binary(max_size=5))
def test_any_json(value: object, rest: bytes) -> None:
    """Is read, whatever follows it after a space."""
    gojson.parse(json.dumps(value).encode() + b" " + rest)


@settings(max_examples=40, deadline=None)
@given(JSON)
def test_what_is_written_means_the_same(value: object) -> None:
    """To any reader of JSON."""
    assert json.loads(gojson.dump(value)) == json.loads(json.dumps(value))


@settings(max_examples=40, deadline=None)
@given(st.dictionaries(st.sampled_from(list(SHAPE)), JSON))
def test_fields_have_their_types(value: dict[str, object]) -> None:
    """Nothing of another type gets through."""
    found, _ = gojson.fields(gojson.parse(json.dumps(value).encode()), SHAPE)
    kinds = {"name": str, "enabled": bool, "count": int, "share": float, "inner": gojson.Object}
    for name, item in found.items():
        assert type(item) is kinds[name]


@given(st.floats(width=32, allow_nan=False, allow_infinity=False))
def test_float32_is_exact_and_short(value: float) -> None:
    """The same float32, in at most nine digits."""
    shown = gojson.float32(value)
    assert struct.pack("<f", shown) == struct.pack("<f", value)
    assert gojson.float32(shown) == shown


@given(
    length=st.integers(1, 40_000),
    average=st.integers(1, 5000),
    share=st.floats(0, 1),
    seed=st.integers(),
)
def test_cuts_cover_everything(length: int, average: int, share: float, seed: int) -> None:
    """In order, to the end, with no piece longer than allowed; none is negative."""
    variation = int(average * share)
    ends = cut(length, average, variation, random.Random(seed) if variation else None)
    assert ends == sorted(ends)
    assert ends[-1] == length
    sizes = [end - start for start, end in zip([0, *ends], ends, strict=False)]
    assert max(sizes) <= average + variation
    assert ends == cut(length, average, variation, random.Random(seed) if variation else None)


@pytest.mark.parametrize("average", [1, 2, 3, 10])
def test_the_largest_variation_ends(average: int) -> None:
    """At the bound of what is accepted, for a whole chunk."""
    for seed in range(5):
        ends = cut(32 * 1024, average, average, random.Random(seed))
        assert ends[-1] == 32 * 1024
