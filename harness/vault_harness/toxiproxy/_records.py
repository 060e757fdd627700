"""What a Toxiproxy server has seen of a proxy's traffic."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, kw_only=True)
class Connection:
    """One client's connection through a proxy, alive or ended. Only the embedded server tells.

    Attributes:
        id: Unique while the proxy exists.
        proxy: Name of the proxy.
        client: ``ip:port`` of the client.
        opened: Unix seconds.
        closed: Unix seconds, or None while it lives.
        bytes_upstream: Bytes delivered to the server.
        bytes_downstream: Bytes delivered to the client.
        received_upstream: Bytes that the client sent, delivered or not.
        received_downstream: Bytes that the server sent, delivered or not.
        toxics: Names of the toxics that had an effect on it, in that order.
        end: How it ended, or None while it lives.
    """

    id: str
    proxy: str
    client: str
    opened: float
    closed: float | None
    bytes_upstream: int
    bytes_downstream: int
    received_upstream: int
    received_downstream: int
    toxics: tuple[str, ...]
    end: str | None

    @classmethod
    def read(cls, record: Mapping[str, Any]) -> Connection:
        """From what ``GET /harness/connections`` shows."""
        return cls(**{**record, "toxics": tuple(record["toxics"])})


@dataclass(frozen=True, kw_only=True)
class Traffic:
    """Bytes of one proxy, from the metrics that every Toxiproxy server can have.

    The real server counts a connection only when it has ended.

    Attributes:
        received_upstream: Bytes that clients sent.
        sent_upstream: Bytes delivered to the server.
        received_downstream: Bytes that the server sent.
        sent_downstream: Bytes delivered to clients.
    """

    received_upstream: int = 0
    sent_upstream: int = 0
    received_downstream: int = 0
    sent_downstream: int = 0


_SAMPLE = re.compile(r"toxiproxy_proxy_(received|sent)_bytes_total\{(.*)\} (\S+)")
_LABEL = re.compile(r'(\w+)="((?:[^"\\]|\\.)*)"')


def traffic(metrics: str, proxy: str) -> Traffic:
    """Add up a proxy's counters over all addresses that it has had."""
    sums: dict[str, int] = {}
    for kind, labels, value in _SAMPLE.findall(metrics):
        found = {name: re.sub(r"\\(.)", _unescape, text) for name, text in _LABEL.findall(labels)}
        if found.get("proxy") == proxy:
            key = f"{kind}_{found['direction']}"
            sums[key] = sums.get(key, 0) + int(float(value))
    return Traffic(**sums)


def _unescape(match: re.Match[str]) -> str:
    return "\n" if match[1] == "n" else match[1]
