"""JSON as the API reads and writes it: contract section 2.5."""

from __future__ import annotations

import pytest

from vault_harness.local.toxiproxy.server import bodies
from vault_harness.local.toxiproxy.server.bodies import Problem

SHAPE: bodies.Shape = {"name": str, "enabled": bool, "count": int, "share": float, "inner": dict}


def _read(body: bytes) -> tuple[dict[str, object], str | None]:
    return bodies.fields(bodies.parse(body), SHAPE)


def test_keys_match_in_any_case() -> None:
    """The last one wins."""
    assert _read(b'{"NAME":"a","Name":"b","nAmE":"c"}') == ({"name": "c"}, None)


def test_null_is_not_there() -> None:
    """Neither a field nor the whole is."""
    assert _read(b'{"name":null}') == ({}, None)
    assert _read(b"null") == ({}, None)


@pytest.mark.parametrize("text", [b"1.0", b"1e2", b"9223372036854775808", b'"1"', b"true", b"[1]"])
def test_what_is_no_integer(text: bytes) -> None:
    """The other fields are read."""
    found, wrong = _read(b'{"count":%b,"name":"read on"}' % text)
    assert found == {"name": "read on"}
    assert wrong is not None
    assert "count" in wrong


@pytest.mark.parametrize("number", [0, -1, 2**63 - 1, -(2**63)])
def test_integers_up_to_64_bits(number: int) -> None:
    assert _read(b'{"count":%d}' % number) == ({"count": number}, None)


@pytest.mark.parametrize("text", [b"1e39", b"-1e39", b"1e400", b"true", b'"1"', b"1" + b"0" * 400])
def test_what_is_no_number(text: bytes) -> None:
    """Only finite numbers are."""
    found, wrong = _read(b'{"share":%b}' % text)
    assert (found, wrong is None) == ({}, False)


@pytest.mark.parametrize("body", [b"", b" \n\t"])
def test_an_empty_body(body: bytes) -> None:
    """It is refused in Go's words."""
    with pytest.raises(Problem) as caught:
        bodies.parse(body)
    assert (caught.value.status, caught.value.text) == (400, "bad request body: EOF")


@pytest.mark.parametrize(
    "body",
    [
        *(b"nope", b"NaN", b"Infinity", b"-Infinity", b"{'a':1}", b"{,}", b"\xff", b"[" * 100_000),
        *(b'{"a"', b'"abc', b"[1,", b"1" * 5000),
    ],
)
def test_bodies_that_are_no_json(body: bytes) -> None:
    """Python accepts some of these forms."""
    with pytest.raises(Problem) as caught:
        bodies.parse(body)
    assert caught.value.status == 400


def test_what_follows_the_first_value_is_ignored() -> None:
    assert bodies.parse(b' {"name":"a"} {{{') == {"name": "a"}


def test_a_lone_surrogate_is_replaced() -> None:
    """It could not be written back."""
    assert _read(b'{"name":"a\\ud800b"}') == ({"name": "a\ufffdb"}, None)
    assert _read(b'{"name":"\\ud83d\\ude00"}') == ({"name": "\U0001f600"}, None)


def test_invalid_utf8_is_replaced() -> None:
    assert _read(b'{"name":"a\xffb"}') == ({"name": "a\ufffdb"}, None)


def test_dump_has_no_spaces_and_escapes_html() -> None:
    """Go's does the same."""
    value = {"a": [1, None, True], "b": "<é&>\u2028"}
    expected = '{"a":[1,null,true],"b":"\\u003cé\\u0026\\u003e\\u2028"}'
    assert bodies.dump(value) == expected.encode()


def test_a_toxicity_keeps_eight_decimals() -> None:
    """Upstream's float32 has about as many."""
    assert bodies.toxicity({"toxicity": 0.123456789}, 1.0) == 0.12345679
    assert bodies.toxicity({}, 0.5) == 0.5
