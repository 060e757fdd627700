"""Typed control over any Toxiproxy server, and an embedded server of our own.

::

    tp = Toxiproxy("http://127.0.0.1:8474")
    proxy = tp.create("vault", upstream="127.0.0.1:8200")
    with proxy.toxic(Latency(latency=100, jitter=10), stream="downstream"):
        ...                                     # every answer takes 100 ms longer
    with proxy.disabled():
        ...                                     # connections are cut and refused

``python -m vault_harness.toxiproxy`` runs the embedded server, whose parts are in
`vault_harness.toxiproxy.server`. Names are imported when they are first used, so that the server
starts without the client's libraries.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from vault_harness.toxiproxy._client import Proxy, Toxic, Toxiproxy
    from vault_harness.toxiproxy._consumer import Refused, Unreachable
    from vault_harness.toxiproxy._records import Connection, Traffic
    from vault_harness.toxiproxy._toxics import (
        Attributes,
        Bandwidth,
        Latency,
        LimitData,
        Noop,
        ResetPeer,
        Slicer,
        SlowClose,
        Stream,
        Timeout,
    )

__all__ = [
    "Toxiproxy",
    "Proxy",
    "Toxic",
    "Noop",
    "Latency",
    "Bandwidth",
    "SlowClose",
    "Timeout",
    "ResetPeer",
    "Slicer",
    "LimitData",
    "Attributes",
    "Stream",
    "Connection",
    "Traffic",
    "Refused",
    "Unreachable",
]

_HOMES = {
    **dict.fromkeys(("Toxiproxy", "Proxy", "Toxic"), "_client"),
    **dict.fromkeys(("Refused", "Unreachable"), "_consumer"),
    **dict.fromkeys(("Connection", "Traffic"), "_records"),
}


def __getattr__(name: str) -> object:
    """Import a public name when it is first asked for."""
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    import importlib

    value: object = getattr(
        importlib.import_module(f"{__name__}.{_HOMES.get(name, '_toxics')}"), name
    )
    globals()[name] = value
    return value
