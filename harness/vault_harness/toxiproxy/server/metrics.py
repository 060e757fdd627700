"""Prometheus counters, with upstream's names and labels, but moving while connections live."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from vault_harness.toxiproxy.server.connections import Connection

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8; escaping=underscores"

Labels = tuple[str, str, str, str]
"""Direction, proxy, listener, upstream."""

_HANDLER_ERRORS = """\
# HELP promhttp_metric_handler_errors_total Total number of internal errors encountered by the \
promhttp metric handler.
# TYPE promhttp_metric_handler_errors_total counter
promhttp_metric_handler_errors_total{cause="encoding"} 0
promhttp_metric_handler_errors_total{cause="gathering"} 0
"""


class Counters:
    """Bytes of ended connections by label; live ones are added when somebody asks."""

    def __init__(self) -> None:
        self._received: defaultdict[Labels, int] = defaultdict(int)
        self._sent: defaultdict[Labels, int] = defaultdict(int)

    def closed(self, connection: Connection) -> None:
        """Keep what an ended connection has counted."""
        for labels, received, sent in _counts(connection):
            self._received[labels] += received
            self._sent[labels] += sent

    def text(self, live: Iterable[Connection], *, proxy_metrics: bool) -> str:
        """The counters in Prometheus' text format."""
        if not proxy_metrics:
            return _HANDLER_ERRORS
        received, sent = self._received.copy(), self._sent.copy()
        for connection in live:
            for labels, more_received, more_sent in _counts(connection):
                received[labels] += more_received
                sent[labels] += more_sent
        return (
            _HANDLER_ERRORS
            + _family("toxiproxy_proxy_received_bytes_total", received)
            + _family("toxiproxy_proxy_sent_bytes_total", sent)
        )


def _counts(connection: Connection) -> Iterator[tuple[Labels, int, int]]:
    for link in connection.links():
        yield (link.direction, *connection.labels), link.received, link.sent


def _family(name: str, values: dict[Labels, int]) -> str:
    if not values:
        return ""
    lines = [f"# HELP {name} ", f"# TYPE {name} counter"]
    for labels in sorted(values, key=lambda labels: (labels[0], labels[2], labels[1], labels[3])):
        direction, proxy, listener, upstream = (_escape(label) for label in labels)
        text = (
            f'direction="{direction}",listener="{listener}",proxy="{proxy}",upstream="{upstream}"'
        )
        lines.append(f"{name}{{{text}}} {_value(values[labels])}")
    return "\n".join(lines) + "\n"


def _escape(label: str) -> str:
    return label.replace("\\", "\\\\").replace("\n", "\\n").replace('"', '\\"')


def _value(count: int) -> str:
    if count < 1_000_000:
        return str(count)
    digits = str(count)
    fraction = digits[1:].rstrip("0")
    return f"{digits[0]}{'.' if fraction else ''}{fraction}e+{len(digits) - 1:02d}"
