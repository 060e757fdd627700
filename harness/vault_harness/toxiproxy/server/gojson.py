"""JSON as upstream's Go code reads and writes it.

Reading differs from Python's `json` in what callers depend on: keys match whatever their case, a
repeated key wins, ``null`` leaves the default, integers must be written as integers, text after the
first value is ignored, and a wrong type does not stop the reading of what comes after it.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Mapping
from typing import Literal

FieldType = Literal["string", "bool", "int64", "float32", "object", "any"]
INT64 = range(-(2**63), 2**63)


class BadBody(Exception):
    """The body is not JSON, or not of the wanted shape."""


class Number(str):
    """A number as it was written."""

    __slots__ = ()


class Object(list[tuple[str, object]]):
    """A JSON object: its pairs in order, repeated keys included."""

    __slots__ = ()


def _number(text: str) -> Number:
    return Number(text)


def _no_constant(text: str) -> object:
    raise BadBody(f"invalid character {text[0]!r} looking for beginning of value")


_decoder = json.JSONDecoder(
    object_pairs_hook=Object,
    parse_int=_number,
    parse_float=_number,
    parse_constant=_no_constant,
)


def parse(body: bytes) -> object:
    """The first JSON value of a body. Numbers are `Number`, objects are `Object`.

    Raises:
        BadBody: There is none.
    """
    text = body.decode("utf-8", "replace").lstrip(" \t\r\n")
    if not text:
        raise BadBody("EOF")
    try:
        value, _ = _decoder.raw_decode(text)
    except json.JSONDecodeError as error:
        if error.pos >= len(text.rstrip()) or error.msg.startswith("Unterminated"):
            raise BadBody("unexpected EOF") from None
        raise BadBody(f"invalid character {text[error.pos]!r} at byte {error.pos}") from None
    except RecursionError:
        raise BadBody("exceeded max depth") from None
    return value


def kind(value: object) -> str:
    """What Go calls the type of a JSON value."""
    if isinstance(value, Number):
        return "number"
    if isinstance(value, str):
        return "string"
    if isinstance(value, bool):
        return "bool"
    return "object" if isinstance(value, Object) else "array"


def fields(value: object, shape: Mapping[str, FieldType]) -> tuple[dict[str, object], str | None]:
    """Read an object's fields.

    Args:
        value: A parsed value; ``null`` is an empty object.
        shape: Wanted fields and their types; others are ignored.

    Returns:
        The fields that were there, not null and of the right type, and what is wrong with the first
        of the others.
    """
    found: dict[str, object] = {}
    if value is None:
        return found, None
    if not isinstance(value, Object):
        return found, f"json: cannot unmarshal {kind(value)} into an object"
    wrong: str | None = None
    names = {name.casefold(): name for name in shape}
    for key, item in value:
        name = names.get(key) or names.get(key.casefold())
        if name is None or item is None:
            continue
        try:
            found[name] = _convert(item, shape[name])
        except ValueError:
            shown = f"number {item}" if isinstance(item, Number) else kind(item)
            wrong = (
                wrong or f"json: cannot unmarshal {shown} into field {name} of type {shape[name]}"
            )
    return found, wrong


def _convert(item: object, wanted: FieldType) -> object:
    if wanted == "any":
        return item
    if isinstance(item, Number):
        if wanted == "int64":
            return _integer(item)
        if wanted == "float32":
            return float32(float(item))
    elif isinstance(item, str):
        if wanted == "string":
            # Half of a surrogate pair is no character; Go replaces it.
            return "".join("\ufffd" if _lone(c) else c for c in item) if _lone(item) else item
    elif isinstance(item, bool):
        if wanted == "bool":
            return item
    elif isinstance(item, Object) and wanted == "object":
        return item
    raise ValueError


def _lone(text: str) -> bool:
    return any("\ud800" <= character <= "\udfff" for character in text)


def _integer(text: Number) -> int:
    if len(text) > 20 or not text.lstrip("-").isdecimal():
        raise ValueError
    number = int(text)
    if number not in INT64:
        raise ValueError
    return number


def float32(number: float) -> float:
    """The nearest float32, as the shortest decimal that stands for it.

    Raises:
        ValueError: It is too large for one.
    """
    try:
        packed = struct.pack("<f", number)
    except OverflowError:
        raise ValueError from None
    nearest: float = struct.unpack("<f", packed)[0]
    if nearest in {float("inf"), float("-inf")}:
        raise ValueError
    for digits in range(1, 10):
        shorter = float(f"{nearest:.{digits}g}")
        try:
            if struct.pack("<f", shorter) == packed:
                return shorter
        except OverflowError:
            continue  # rounded up beyond the largest float32
    return nearest


def number(value: float) -> int | float:
    """A float as Go prints it: whole ones without a fraction."""
    return int(value) if value.is_integer() and abs(value) < 1e21 else value


def dump(value: object) -> bytes:
    """JSON without spaces, and with ``<``, ``>`` and ``&`` escaped."""
    text = json.dumps(value, ensure_ascii=False, separators=(",", ":"))
    for character in "<>&\u2028\u2029":
        if character in text:
            text = text.replace(character, f"\\u{ord(character):04x}")
    return text.encode()
