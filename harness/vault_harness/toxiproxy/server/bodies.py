"""Bodies of the API: what requests must have in them, and how proxies and toxics are shown."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import cast

from vault_harness.toxiproxy.server import gojson
from vault_harness.toxiproxy.server.gojson import FieldType
from vault_harness.toxiproxy.server.proxies import Proxy
from vault_harness.toxiproxy.server.toxics import Stage, Toxic

PROXY_SHAPE: dict[str, FieldType] = {
    "name": "string",
    "listen": "string",
    "upstream": "string",
    "enabled": "bool",
}
TOXIC_SHAPE: dict[str, FieldType] = {
    "name": "string",
    "type": "string",
    "stream": "string",
    "toxicity": "float32",
    "attributes": "object",
}
UPDATE_SHAPE: dict[str, FieldType] = {"toxicity": "float32", "attributes": "object"}


@dataclass
class Problem(Exception):
    """An error that the API answers with; `args` stays empty on purpose.

    Attributes:
        status: HTTP status.
        text: Upstream's words.
        proxies: Proxies that were made before it happened (populate only).
    """

    status: int
    text: str
    proxies: list[dict[str, object]] | None = field(default=None)


def bad_body(detail: object) -> Problem:
    """400 for a body that cannot be used."""
    return Problem(400, f"bad request body: {detail}")


def show_proxy(proxy: Proxy) -> dict[str, object]:
    """A proxy as the API shows it."""
    return {
        "name": proxy.name,
        "listen": proxy.listen,
        "upstream": proxy.upstream,
        "enabled": proxy.enabled,
        "toxics": [show_toxic(toxic) for toxic in proxy.all_toxics()],
    }


def show_toxic(toxic: Toxic) -> dict[str, object]:
    """A toxic as the API shows it."""
    return {
        "attributes": toxic.values,
        "name": toxic.name,
        "type": toxic.kind.type,
        "stream": toxic.stream,
        "toxicity": gojson.number(toxic.toxicity),
    }


def parse(body: bytes) -> object:
    """The JSON value of a body, or `Problem`."""
    try:
        return gojson.parse(body)
    except gojson.BadBody as error:
        raise bad_body(error) from None


def decode(body: bytes, shape: dict[str, FieldType]) -> dict[str, object]:
    """The fields of an object, or `Problem`."""
    entry, wrong = gojson.fields(parse(body), shape)
    if wrong is not None:
        raise bad_body(wrong)
    return entry


def decode_array(body: bytes) -> list[dict[str, object]]:
    """The proxies of an array, each with a name and an upstream, or `Problem`."""
    value = parse(body)
    if value is None:
        return []
    if not isinstance(value, list) or isinstance(value, gojson.Object):
        raise bad_body(f"json: cannot unmarshal {gojson.kind(value)} into an array of proxies")
    entries = []
    for item in value:
        entry, wrong = gojson.fields(item, PROXY_SHAPE)
        if wrong is not None:
            raise bad_body(wrong)
        entries.append(entry)
    for number, entry in enumerate(entries, 1):
        for required in ("name", "upstream"):
            if not entry.get(required):
                raise Problem(400, f"missing required field: {required} at proxy {number}")
    return entries


def attributes(
    kind: type[Stage], entry: dict[str, object], present: dict[str, int]
) -> tuple[dict[str, int], str | None]:
    """A toxic's attributes over the present ones, and what is wrong with the first that is."""
    found, wrong = gojson.fields(entry.get("attributes"), dict.fromkeys(kind.fields, "int64"))
    return {**present, **cast("dict[str, int]", found)}, wrong


def text(entry: dict[str, object], name: str, default: str = "") -> str:
    """A text field."""
    return cast("str", entry.get(name, default))


def toxicity(entry: dict[str, object], default: float) -> float:
    """The toxicity."""
    return cast("float", entry.get("toxicity", default))
