"""Show the stack live in the terminal, to see the effect of a fault."""

from __future__ import annotations

import contextlib
import os
import select
import sys
import threading
from collections.abc import Callable, Iterator
from dataclasses import asdict
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from vault_harness.cli.audit import stack_logs
from vault_harness.cli.command import command
from vault_harness.cli.common import local_stack
from vault_harness.cli.printing import say_json, say_on
from vault_harness.errors import HarnessError
from vault_harness.interrupts import until_ctrl_c
from vault_harness.namespaces import below

if TYPE_CHECKING:
    from rich.console import RenderableType
    from rich.text import Text

    from vault_harness.cli.live import Faults
    from vault_harness.local.stack.local import LocalStack
    from vault_harness.operator.audit import AuditEntry

_EVENTS = 8
_REFUSALS = 200
_SECONDS = 1.0


@command(
    "watch",
    group="every day",
    examples=("watch", "watch --lines", "watch --once", "watch --once --json"),
    help={
        "once": "print the table once, and end",
        "lines": "print each request and each change of what is broken as a line, until Ctrl-C",
        "json": "the same as data, once; for programs",
    },
)
def watch(once: bool = False, lines: bool = False, json: bool = False) -> None:
    """Show the stack live, and break and mend it with keys.

    Numbers come from the server's metrics, requests from its audit log. A key breaks something for
    10 seconds, h mends all, q or Ctrl-C ends it. Its end undoes what was broken with keys. In a
    pipe, or with TERM=dumb, the table is printed once.
    """
    from rich.console import Console
    from rich.live import Live

    from vault_harness.cli.live import Faults

    stack = local_stack()
    if json:
        say_json(_looked(stack))
        return
    if lines:
        _print_lines(stack)
        return
    console = Console()
    # FORCE_COLOR does not make a terminal of a pipe, and a dumb one would show nothing.
    if once or not sys.stdout.isatty() or console.is_dumb_terminal:
        console.print(_table(_looked(stack)))
        return
    with (
        until_ctrl_c(),
        _keys() as pressed,
        Faults() as faults,
        Live(_table(_looked(stack)), console=console, auto_refresh=False) as live,
    ):
        said = ""
        while (key := pressed()) != "q":
            said = _act(faults, key) if key else said
            live.update(_table(_looked(stack), _legend(faults, said)), refresh=True)


def _verbs() -> dict[str, str]:
    """Return the verbs that need at most a target, by keys."""
    from vault_harness.cli.live import VERBS

    plain = [path for path, task in VERBS.items() if not task.needed - {"target"}]
    return {str(number): path for number, path in enumerate(plain, start=1)}


@contextlib.contextmanager
def _keys() -> Iterator[Callable[[], str]]:
    """Yield a function that waits a second for a key; "" if none was pressed."""
    if not sys.stdin.isatty():
        nobody = threading.Event()
        yield lambda: "" if not nobody.wait(_SECONDS) else "q"
        return
    import termios
    import tty

    handle = sys.stdin.fileno()
    before = termios.tcgetattr(handle)

    def pressed() -> str:
        ready, _, _ = select.select([handle], [], [], _SECONDS)
        return (os.read(handle, 1).decode(errors="replace") or "q") if ready else ""

    tty.setcbreak(handle)  # Ctrl-C still ends it
    try:
        yield pressed
    finally:
        termios.tcsetattr(handle, termios.TCSADRAIN, before)


def _act(faults: Faults, key: str) -> str:
    from vault_harness.cli.live import VERBS

    try:
        if key == "h":
            return faults.heal()
        if (verb := _verbs().get(key)) is None:
            return f"the key {key!r} does nothing"
        return faults.put(verb, dict.fromkeys(VERBS[verb].needed, "any"), "10s")
    except HarnessError as error:
        return error.in_a_line


def _legend(faults: Faults, said: str) -> str:
    verbs = "  ".join(f"{key} {path.partition('.')[2]}" for key, path in _verbs().items())
    lines = [f"{verbs}  for 10 s;  h mends all  q ends"] if sys.stdin.isatty() else []
    lines += [f"broken from here: {one.text}" for one in faults.in_force()]
    return "\n".join([*lines, *([said] if said else [])])


def _print_lines(stack: LocalStack) -> None:
    from vault_harness.cli.live import Faults, Feed

    stack.endpoints()  # raises if nothing runs
    broken: set[str] = set()
    with until_ctrl_c(), Faults() as faults, Feed(stack, faults) as feed:
        for event in feed.events():
            for one in event["requests"]:
                when = datetime.fromtimestamp(one["time"], UTC).astimezone().strftime("%H:%M:%S")
                took = "" if one["ms"] is None else f"  {one['ms']} ms"
                words = (when, one["node"], one["status"], one["who"], one["what"], one["path"])
                say_on("  ".join(filter(None, words)) + took)
            now = {one["text"] for one in event["broken"]}
            for text in sorted(now - broken):
                say_on(f"broken: {text}")
            for text in sorted(broken - now):
                say_on(f"mended: {text}")
            broken = now


def _looked(stack: LocalStack) -> dict[str, Any]:
    """Collect values without an audited request; None is unknown."""
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


def _table(seen: dict[str, Any], below_it: str = "") -> RenderableType:
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
        # So that square brackets in Vault's words are shown.
        table.add_row(name, Text(_word(value)))
    if not seen["events"]:
        return Group(table, Text("no events"), *_texts(below_it))
    events = Table.grid(padding=(0, 2, 0, 0))
    for entry in seen["events"]:
        when = entry.time.astimezone().strftime("%H:%M:%S")
        cells = (when, entry.node, entry.status, entry.who, entry.operation)
        path = below(entry.namespace, entry.path)
        events.add_row(*map(Text, (*cells, path)))
    for column in events.columns[:-1]:
        column.no_wrap = True
    events.columns[-1].overflow = "fold"  # a path is never cut
    return Group(table, events, *_texts(below_it))


def _texts(text: str) -> list[Text]:
    from rich.text import Text

    return [Text(text)] if text else []


def _word(value: object) -> str:
    if value is None:
        return "unknown"
    if isinstance(value, bool):
        return "yes" if value else "no"
    return str(value)
