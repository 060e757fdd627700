"""Records of recent connections, and Prometheus counters of all connections.

The counters have upstream's names and labels, but also count live connections.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Collection, Iterable

from vault_harness.local.toxiproxy.server.connection import Connection, Route

RECENT = 2000
"""For each proxy."""
CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8; escaping=underscores"
HANDLER_ERRORS = """\
# HELP promhttp_metric_handler_errors_total Total number of internal errors encountered by the \
promhttp metric handler.
# TYPE promhttp_metric_handler_errors_total counter
promhttp_metric_handler_errors_total{cause="encoding"} 0
promhttp_metric_handler_errors_total{cause="gathering"} 0
"""

Bytes = Counter[tuple[str, Route]]
"""By direction and route."""


class Traffic:
    """Remembers ended connections; live ones are added for each request."""

    def __init__(self) -> None:
        # For each proxy, so that many short connections of one do not displace others.
        self._recent: dict[str, deque[dict[str, object]]] = {}
        self._received: Bytes = Counter()
        self._sent: Bytes = Counter()

    def ended(self, connection: Connection) -> None:
        recent = self._recent.setdefault(connection.route.proxy, deque(maxlen=RECENT))
        recent.append(connection.record())
        _count(connection, self._received, self._sent)

    def records(
        self, live: Iterable[Connection], proxies: Collection[str] = ()
    ) -> list[dict[str, object]]:
        ended = [self._recent.get(name, ()) for name in proxies or self._recent]
        return [
            *(record for records in ended for record in records),
            *(one.record() for one in live if not proxies or one.route.proxy in proxies),
        ]

    def metrics(self, live: Iterable[Connection]) -> str:
        received, sent = Counter(self._received), Counter(self._sent)
        for connection in live:
            _count(connection, received, sent)
        return (
            HANDLER_ERRORS
            + _family("toxiproxy_proxy_received_bytes_total", received)
            + _family("toxiproxy_proxy_sent_bytes_total", sent)
        )


def _count(connection: Connection, received: Bytes, sent: Bytes) -> None:
    for link in connection.links:
        key = (link.direction, connection.route)
        # Also zero: upstream shows a direction without traffic, too.
        received[key] += link.source.received
        sent[key] += link.sink.sent


def _family(name: str, counts: Bytes) -> str:
    if not counts:
        return ""
    lines = []
    for (direction, route), count in counts.items():
        labels = {
            "direction": direction,
            "listener": route.listener,
            "proxy": route.proxy,
            "upstream": route.upstream,
        }
        text = ",".join(f'{label}="{_escape(value)}"' for label, value in labels.items())
        lines.append(f"{name}{{{text}}} {_number(count)}\n")
    return f"# HELP {name} \n# TYPE {name} counter\n" + "".join(sorted(lines))


def _escape(label: str) -> str:
    return label.replace("\\", "\\\\").replace("\n", "\\n").replace('"', '\\"')


def _number(count: int) -> str:
    if count < 1_000_000:
        return str(count)
    digits = str(count)  # from a million on, Go writes an exponent
    fraction = digits[1:].rstrip("0")
    return f"{digits[0]}{'.' if fraction else ''}{fraction}e+{len(digits) - 1:02d}"
