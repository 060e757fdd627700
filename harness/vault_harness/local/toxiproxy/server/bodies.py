"""Bodies of the API: required fields of requests, and how proxies and toxics are shown.

Reading is as lenient as upstream's Go: keys match in any case, ``null`` means the default, unknown
keys and text after the first value are ignored. Integers must be written as integers.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from vault_harness.local.toxiproxy.server.proxy import Proxy
from vault_harness.local.toxiproxy.server.stage import Stage, Toxic

Shape = Mapping[str, type]

PROXY: Shape = {"name": str, "listen": str, "upstream": str, "enabled": bool}
TOXIC: Shape = {"name": str, "type": str, "stream": str, "toxicity": float, "attributes": dict}
TOXIC_UPDATE: Shape = {"toxicity": float, "attributes": dict}

INT64 = range(-(2**63), 2**63)
FLOAT32_MAX = (2 - 2**-23) * 2.0**127
TOXICITY_DIGITS = 8
"""About as many decimals as upstream's float32 has."""
ESCAPED = str.maketrans({character: f"\\u{ord(character):04x}" for character in "<>&\u2028\u2029"})
"""Characters that Go escapes, so that an answer is safe in a web page."""


@dataclass
class Problem(Exception):
    """An error that the API answers with. `proxies` were made before it (populate only)."""

    status: int
    text: str
    proxies: list[dict[str, object]] | None = None


def bad_body(detail: object) -> Problem:
    return Problem(400, f"bad request body: {detail}")


def parse(body: bytes) -> object:
    text = body.decode("utf-8", "replace").lstrip(" \t\r\n")
    if not text:
        raise bad_body("EOF")
    try:
        value, _ = json.JSONDecoder(parse_constant=_no_constant).raw_decode(text)
    except (ValueError, RecursionError) as error:
        raise bad_body(error) from None
    return value


def fields(value: object, shape: Shape) -> tuple[dict[str, Any], str | None]:
    """Return the known, valid and non-null fields, and the first error."""
    found: dict[str, Any] = {}
    if value is None:
        return found, None
    if not isinstance(value, dict):
        return found, f"json: cannot unmarshal {_kind(value)} into an object"
    wrong: str | None = None
    for key, item in value.items():
        name = key if key in shape else key.lower()
        if name not in shape or item is None:
            continue
        if _fits(item, shape[name]):
            found[name] = _characters(item) if isinstance(item, str) else item
        else:
            wrong = wrong or f"json: cannot unmarshal {_kind(item)} into field {name}"
    return found, wrong


def decode(body: bytes, shape: Shape) -> dict[str, Any]:
    return _checked(parse(body), shape)


def decode_proxies(body: bytes) -> list[dict[str, Any]]:
    value = parse(body)
    if value is None:
        return []
    if not isinstance(value, list):
        raise bad_body(f"json: cannot unmarshal {_kind(value)} into an array of proxies")
    entries = [_checked(item, PROXY) for item in value]
    for number, entry in enumerate(entries, 1):
        require(entry, f" at proxy {number}")
    return entries


def require(entry: Mapping[str, object], where: str = "") -> None:
    for name in ("name", "upstream"):
        if not entry.get(name):
            raise Problem(400, f"missing required field: {name}{where}")


def attributes(
    kind: type[Stage], entry: Mapping[str, object], present: Mapping[str, int]
) -> tuple[dict[str, int], str | None]:
    found, wrong = fields(entry.get("attributes"), dict.fromkeys(kind.fields, int))
    return {**present, **found}, wrong


def toxicity(entry: Mapping[str, float], default: float) -> float:
    return round(float(entry.get("toxicity", default)), TOXICITY_DIGITS)


def show_proxy(proxy: Proxy) -> dict[str, object]:
    return {
        "name": proxy.name,
        "listen": proxy.listen,
        "upstream": proxy.upstream,
        "enabled": proxy.enabled,
        "toxics": [show_toxic(toxic) for toxic in proxy.all_toxics()],
    }


def show_toxic(toxic: Toxic) -> dict[str, object]:
    share = toxic.toxicity
    return {
        "attributes": toxic.values,
        "name": toxic.name,
        "type": toxic.kind.type,
        "stream": toxic.stream,
        "toxicity": int(share) if share.is_integer() else share,
    }


def dump(value: object) -> bytes:
    """Return JSON without spaces, escaped as Go does it."""
    text = json.dumps(value, ensure_ascii=False, separators=(",", ":"), allow_nan=False)
    return text.translate(ESCAPED).encode()


def _checked(value: object, shape: Shape) -> dict[str, Any]:
    entry, wrong = fields(value, shape)
    if wrong is not None:
        raise bad_body(wrong)
    return entry


def _fits(item: object, wanted: type) -> bool:
    if isinstance(item, int | float) and not isinstance(item, bool) and wanted is float:
        return abs(item) <= FLOAT32_MAX
    return type(item) is wanted and (wanted is not int or item in INT64)


def _characters(text: str) -> str:
    # Go replaces half of a surrogate pair, which is no character.
    return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")


def _kind(value: object) -> str:
    kinds = {str: "string", bool: "bool", list: "array", dict: "object"}
    return kinds.get(type(value), f"number {value}")


def _no_constant(name: str) -> object:
    raise ValueError(f"invalid character {name[0]!r} looking for beginning of value")
