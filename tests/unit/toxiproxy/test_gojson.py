"""JSON as Go reads it: contract section 2.5."""

from __future__ import annotations

import pytest

from vault_harness.toxiproxy.server import gojson

SHAPE: dict[str, gojson.FieldType] = {
    "name": "string",
    "enabled": "bool",
    "count": "int64",
    "share": "float32",
    "inner": "object",
}


def _read(body: bytes) -> tuple[dict[str, object], str | None]:
    return gojson.fields(gojson.parse(body), SHAPE)


def test_keys_match_in_any_case() -> None:
    """And the last one wins."""
    assert _read(b'{"NAME":"a","Name":"b","nAmE":"c"}') == ({"name": "c"}, None)


def test_null_is_not_there() -> None:
    """Neither as a field nor as a whole."""
    assert _read(b'{"name":null}') == ({}, None)
    assert _read(b"null") == ({}, None)


@pytest.mark.parametrize("text", [b"1.0", b"1e2", b"9223372036854775808", b'"1"', b"true", b"[1]"])
def test_what_is_no_integer(text: bytes) -> None:
    """Even if it stands for one."""
    found, wrong = _read(b'{"count":%b,"name":"read on"}' % text)
    assert found == {"name": "read on"}
    assert wrong is not None
    assert "count" in wrong


@pytest.mark.parametrize("number", [0, -1, 2**63 - 1, -(2**63)])
def test_integers_up_to_64_bits(number: int) -> None:
    """As they are."""
    assert _read(b'{"count":%d}' % number) == ({"count": number}, None)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("0.123456789", 0.12345679),
        ("1", 1.0),
        ("0.1", 0.1),
        ("1e-45", 1e-45),
        ("3.4028235e38", 3.4028235e38),
    ],
)
def test_float32(text: str, value: float) -> None:
    """Rounded, and the shortest number that stands for it."""
    assert _read(b'{"share":%b}' % text.encode()) == ({"share": value}, None)


@pytest.mark.parametrize("text", ["1e39", "-1e39", "1e400"])
def test_too_large_for_float32(text: str) -> None:
    """Is an error, not infinity."""
    found, wrong = _read(b'{"share":%b}' % text.encode())
    assert (found, wrong is None) == ({}, False)


@pytest.mark.parametrize(
    ("body", "text"),
    [
        (b"", "EOF"),
        (b" \n\t", "EOF"),
        (b'{"a"', "unexpected EOF"),
        (b'"abc', "unexpected EOF"),
        (b"[1,", "unexpected EOF"),
    ],
)
def test_bodies_that_end_too_early(body: bytes, text: str) -> None:
    """In Go's words."""
    with pytest.raises(gojson.BadBody, match=f"^{text}$"):
        gojson.parse(body)


@pytest.mark.parametrize(
    "body",
    [b"nope", b"NaN", b"Infinity", b"-Infinity", b"{'a':1}", b"{,}", b"\xff", b"[" * 100_000],
)
def test_bodies_that_are_no_json(body: bytes) -> None:
    """Python's extensions are none either."""
    with pytest.raises(gojson.BadBody):
        gojson.parse(body)


def test_what_follows_the_first_value_is_ignored() -> None:
    """Whatever it is."""
    assert gojson.parse(b' {"name":"a"} {{{') == [("name", "a")]


def test_a_lone_surrogate_is_replaced() -> None:
    """It is no character, and could not be written back."""
    assert _read(b'{"name":"a\\ud800b"}') == ({"name": "a\ufffdb"}, None)
    assert _read(b'{"name":"\\ud83d\\ude00"}') == ({"name": "\U0001f600"}, None)


def test_invalid_utf8_is_replaced() -> None:
    """Byte by byte."""
    assert _read(b'{"name":"a\xffb"}') == ({"name": "a\ufffdb"}, None)


def test_dump_has_no_spaces_and_escapes_html() -> None:
    """As Go writes it."""
    value = {"a": [1, None, True], "b": "<é&>\u2028"}
    expected = '{"a":[1,null,true],"b":"\\u003cé\\u0026\\u003e\\u2028"}'
    assert gojson.dump(value) == expected.encode()


@pytest.mark.parametrize(
    ("value", "text"), [(1.0, b"1"), (0.5, b"0.5"), (-2.0, b"-2"), (1e21, b"1e+21")]
)
def test_whole_floats_have_no_fraction(value: float, text: bytes) -> None:
    """Unless they are huge."""
    assert gojson.dump(gojson.number(value)) == text
