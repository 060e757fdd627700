"""A live table of the stack, to see the effect of a fault."""

from __future__ import annotations

import contextlib
import json as json_module
import time
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from vault_harness.cli.audit import stack_logs
from vault_harness.cli.command import command
from vault_harness.cli.common import local_stack
from vault_harness.cli.console import say
from vault_harness.interrupts import until_ctrl_c
from vault_harness.namespaces import below

if TYPE_CHECKING:
    from rich.console import RenderableType

    from vault_harness.local.stack.local import LocalStack
    from vault_harness.operator.audit import AuditEntry

_EVENTS = 8
_REFUSALS = 200
_SECONDS = 1.0


@command(
    "watch",
    group="every day",
    examples=("watch", "watch --once", "watch --once --json"),
    help={
        "once": "print the table once, and end",
        "json": "the same as data, once; for programs",
    },
)
def watch(once: bool = False, json: bool = False) -> None:
    """Show seal, leader, leases, refusals and events, live.

    Ctrl-C ends it. Numbers come from the server's metrics, events and refusals from its audit log.
    In a pipe, or with TERM=dumb, the table is printed once.
    """
    import sys

    from rich.console import Console
    from rich.live import Live

    stack = local_stack()
    if json:
        say(json_module.dumps(_looked(stack), indent=2, default=str))
        return
    console = Console()
    # FORCE_COLOR does not make a terminal of a pipe, and a dumb terminal would show nothing.
    if once or not sys.stdout.isatty() or console.is_dumb_terminal:
        console.print(_table(_looked(stack)))
        return
    with (
        until_ctrl_c(),
        Live(_table(_looked(stack)), console=console, auto_refresh=False) as live,
    ):
        while True:
            time.sleep(_SECONDS)
            live.update(_table(_looked(stack)), refresh=True)


def _looked(stack: LocalStack) -> dict[str, Any]:
    """Collect the values without a request that Vault audits; an unknown value is None."""
    from vault_harness.errors import HarnessError
    from vault_harness.local.vault.metrics import Numbers, numbers
    from vault_harness.operator.audit import Filter, last_joined

    status = stack.status(inside=False)
    endpoints = stack.known_endpoints()
    ca_cert = endpoints.ca_cert if endpoints else None
    found = numbers(status.address, ca_cert=ca_cert) if status.address else Numbers()
    logs = stack_logs(stack)
    events: list[AuditEntry] = []
    refused: int | None = None
    failed_logins: int | None = None
    if any(log.is_file() for log in logs.values()):
        with contextlib.suppress(HarnessError):
            wanted = Filter(namespace=status.namespace or None)
            newest = last_joined(logs, _REFUSALS, wanted)
            events = newest[-_EVENTS:]
            bad = [entry for entry in newest if entry.status in {"denied", "failed"}]
            refused = len(bad)
            failed_logins = sum(entry.is_login for entry in bad)
    toxics = [
        f"{proxy.name}: {toxic.type} {toxic.stream}"
        for proxy in status.proxies
        for toxic in proxy.toxics
    ]
    faults = status.recorder.faults if status.recorder else ()
    return {
        "state": status.state,
        "address": status.address,
        "sealed": status.sealed,
        "namespace": status.namespace,
        **asdict(found),
        "refused": refused,
        "failed_logins": failed_logins,
        "toxics": toxics,
        "requests": [f"{one.text}; acted on {one.acted} of {one.seen}" for one in faults],
        "obstacles": list(status.obstacles),
        "events": events,
    }


def _table(seen: dict[str, Any]) -> RenderableType:
    from rich.console import Group
    from rich.table import Table
    from rich.text import Text

    table = Table(title=f"Vault {seen['address'] or ''}".strip(), show_header=False)
    rows = (
        ("state", seen["state"]),
        ("sealed", seen["sealed"]),
        *((("namespace", seen["namespace"]),) if seen["namespace"] else ()),
        ("leader", seen["leader"]),
        ("tokens made", seen["tokens"]),
        ("leases", seen["leases"]),
        ("requests inside", seen["in_flight"]),
        ("not audited", seen["unaudited"]),
        (f"refused, of the last {_REFUSALS} requests", seen["refused"]),
        ("failed logins among them", seen["failed_logins"]),
        ("toxics", "\n".join(seen["toxics"]) or "none"),
        ("faults of requests", "\n".join(seen["requests"]) or "none"),
        ("in the way", "\n".join(seen["obstacles"]) or "nothing"),
    )
    for name, value in rows:
        # Text, so that square brackets in Vault's words are shown.
        table.add_row(name, Text(_word(value)))
    if not seen["events"]:
        return Group(table, Text("no events"))
    events = Table.grid(padding=(0, 2, 0, 0))
    for entry in seen["events"]:
        when = entry.time.astimezone().strftime("%H:%M:%S")
        cells = (when, entry.node, entry.status, entry.who, entry.operation)
        path = below(entry.namespace, entry.path)
        events.add_row(*map(Text, (*cells, path)))
    for column in events.columns[:-1]:
        column.no_wrap = True
    events.columns[-1].overflow = "fold"  # a path is never cut
    return Group(table, events)


def _word(value: object) -> str:
    if value is None:
        return "unknown"
    if isinstance(value, bool):
        return "yes" if value else "no"
    return str(value)
