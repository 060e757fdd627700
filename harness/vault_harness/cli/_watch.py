"""One live table of the stack: what a person looks at while something is broken."""

from __future__ import annotations

import contextlib
import json as json_module
import time
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from vault_harness.cli._audit import stack_logs
from vault_harness.cli._command import command
from vault_harness.cli._common import local_stack
from vault_harness.cli._console import say
from vault_harness.interrupts import until_ctrl_c

if TYPE_CHECKING:
    from rich.console import RenderableType

    from vault_harness.stack import LocalStack

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

    Ctrl-C ends it. Numbers are the server's own metrics, events are its audit log's. Where no
    terminal draws it anew (a pipe, TERM=dumb) it is printed once.
    """
    import sys

    from rich.console import Console
    from rich.live import Live

    stack = local_stack()
    if json:
        say(json_module.dumps(_looked(stack), indent=2))
        return
    console = Console()
    # FORCE_COLOR makes no terminal of a pipe; one that cannot go back a line would show nothing.
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
    """Everything that is shown, as plain data; what could not be had is None or empty."""
    from vault_harness.errors import HarnessError
    from vault_harness.vault.audit import Filter, last_joined
    from vault_harness.vault.metrics import Numbers, numbers

    status = stack.status()
    endpoints = stack.known_endpoints()
    ca_cert = endpoints.ca_cert if endpoints else None
    found = numbers(status.address, ca_cert=ca_cert) if status.address else Numbers()
    logs = stack_logs(stack)
    events: list[str] = []
    refused: int | None = None
    if any(log.is_file() for log in logs.values()):
        with contextlib.suppress(HarnessError):
            wanted = Filter(namespace=status.namespace or None)
            newest = last_joined(logs, _REFUSALS, wanted)
            events = [str(entry) for entry in newest[-_EVENTS:]]
            refused = sum(entry.status in {"denied", "failed"} for entry in newest)
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
        "namespace_trouble": status.namespace_trouble,
        **asdict(found),
        "refused": refused,
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
        *(_namespace(seen) if seen["namespace"] else ()),
        ("leader", seen["leader"]),
        ("tokens made", seen["tokens"]),
        ("leases", seen["leases"]),
        ("failed logins", seen["failed_logins"]),
        ("requests inside", seen["in_flight"]),
        ("not audited", seen["unaudited"]),
        (f"refused, of the last {_REFUSALS} requests", seen["refused"]),
        ("toxics", "\n".join(seen["toxics"]) or "none"),
        ("faults of requests", "\n".join(seen["requests"]) or "none"),
        ("in the way", "\n".join(seen["obstacles"]) or "nothing"),
    )
    for name, value in rows:
        # Text: what Vault says is shown as it is, square brackets and all.
        table.add_row(name, Text(_word(value)))
    events = [Text(line, no_wrap=True, overflow="ellipsis") for line in seen["events"]]
    return Group(table, *(events or [Text("no events")]))


def _namespace(seen: dict[str, Any]) -> tuple[tuple[str, str]]:
    """Whose events and refusals these are; numbers are the whole server's."""
    return (("namespace", f"{seen['namespace']} {seen['namespace_trouble']}".strip()),)


def _word(value: object) -> str:
    if value is None:
        return "unknown"
    if isinstance(value, bool):
        return "yes" if value else "no"
    return str(value)
