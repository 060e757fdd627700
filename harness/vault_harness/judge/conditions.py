"""Conditions: what must have happened for a verdict to mean anything."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from vault_harness.judge.logs import INTERVAL, LogLine
from vault_harness.judge.verdict import TOO_SLOW, Seen
from vault_harness.recorder.fault import Fault, RequestKind
from vault_harness.recorder.history import History
from vault_harness.recorder.observations import Exchange, Operation, Touch


@dataclass(frozen=True)
class Sighting:
    """What a condition saw.

    Attributes:
        text: The evidence, or what was missing.
        too_slow: Whether only a slow machine is to blame, so that the scenario runs again.
    """

    met: bool
    text: str
    too_slow: bool = False


Condition = Callable[[History], "Sighting | str | bool | None"]


def look(name: str, condition: Condition, history: History) -> Seen:
    found = condition(history)
    if isinstance(found, Sighting):
        if found.met:
            return Seen(name, f"{name}: {found.text}", True)
        text = f"{name}: not seen, {found.text}"
        return Seen(name, f"{TOO_SLOW}: {text}" if found.too_slow else text, False)
    if found:
        return Seen(name, name if found is True else f"{name}: {found}", True)
    return Seen(name, f"{name}: not seen", False)


def renewals(count: int, *, since: float = 0.0) -> Condition:
    return _granted(count, "renew", since)


def logins(count: int, *, since: float = 0.0) -> Condition:
    return _granted(count, "login", since)


def _granted(count: int, kind: RequestKind, since: float) -> Condition:
    def condition(history: History) -> Sighting:
        found = history.find(kind, since=since, where=lambda e: e.good)
        return Sighting(len(found) >= count, f"{_when(found)} of at least {count}")

    return condition


def _when(exchanges: list[Exchange]) -> str:
    shown = ", ".join(f"+{exchange.began:.2f} s" for exchange in exchanges[:4])
    more = f" and {len(exchanges) - 4} more" if len(exchanges) > 4 else ""
    return f"{len(exchanges)} ({shown}{more})" if exchanges else "0"


def readers_refused(count: int, *, since: float = 0.0) -> Condition:
    """Require different callers that each had a request of their own answered 403.

    The recorder does not know the caller. Each refusal is attributed to a caller whose read was in
    progress, and no caller gets two.
    """

    def condition(history: History) -> Sighting:
        refusals = history.find("read", "metadata", since=since, where=lambda e: e.status == 403)
        free = sorted(
            history.calls("read", "read_cached"),
            key=lambda o: o.ended if o.ended is not None else float("inf"),
        )
        met: set[int] = set()
        for refusal in refusals:
            mine = next((o for o in free if o.caller not in met and _under_way(o, refusal)), None)
            if mine is not None:
                met.add(mine.caller)
        text = f"{len(met)} of at least {count} callers ({len(refusals)} reads answered 403)"
        return Sighting(len(met) >= count, text)

    return condition


def _under_way(operation: Operation, exchange: Exchange) -> bool:
    ended = operation.ended if operation.ended is not None else float("inf")
    return operation.began <= exchange.began <= ended


def versions_served(count: int) -> Condition:
    def condition(history: History) -> Sighting:
        served: dict[str, set[str]] = {}
        for read in history.calls("read", "read_cached", where=lambda o: o.good):
            if read.value:
                served.setdefault(read.path, set()).add(read.value)
        most = max(served.values(), key=len, default=set())
        names = f" ({', '.join(sorted(most))})" if most else ""
        return Sighting(len(most) >= count, f"{len(most)} of at least {count}{names}")

    return condition


WAITED_OUT = 0.4
"""Seconds for which a call must wait in a fault to count as held up: many times a normal read."""

AFTERMATH = 1.0
"""Seconds after a fault in which traces of it may still appear, such as a late answer."""


_FAILED = re.compile(
    r"connection refused|connection reset|deadline exceeded|timed out|i/o timeout"
    r"|ECONNREFUSED|ECONNRESET",
    re.IGNORECASE,
)
"""How Go, Python, Java, Rust and JavaScript log a request without an answer."""


def evidence_of(
    history: History, fault: Fault, accessors: dict[str, str], log: Sequence[LogLine] = ()
) -> str | None:
    """Return how a fault is known to have touched the subject, or None.

    `log` is that of a subject that renders files, and so has no calls.
    """
    mark = fault.signature
    until = history.now() if mark.lingers or fault.ended is None else fault.ended + AFTERMATH
    for exchange in list(history.exchanges):
        if (exchange.ended or until) < fault.began or exchange.began > until:
            continue
        if found := _mark_on(exchange, fault, accessors):
            return f"{fault.name}: {found} at +{exchange.began:.2f} s"
    if mark.refused and (refused := _refused(history, fault, until)):
        return f"{fault.name}: {refused}"
    if mark.turned_away and (opened := _turned_away(history, fault)):
        return f"{fault.name}: {opened}"
    if mark.swallowed and (swallowed := _swallowed(history, fault, until)):
        return f"{fault.name}: {swallowed}"
    for toxic in mark.toxics:
        if count := sum(
            _at_that_time(touch, fault, until) for touch in history.touches if touch.toxic == toxic
        ):
            return f"{fault.name}: toxic {toxic} acted on {count} connection{'s' * (count > 1)}"
    if mark.toxics and not history.touches_known and (passed := _passed(history, fault, until)):
        return f"{fault.name}: {passed}"
    if mark.unanswered and (suffered := _suffered(history, fault, until) or _logged(log, fault)):
        return f"{fault.name}: {suffered}"
    return None


def _suffered(history: History, fault: Fault, until: float) -> str | None:
    late = fault.signature.late
    for operation in history.calls(until=until):
        what = f"{operation.verb} at +{operation.began:.2f} s"
        over = (operation.ended or until) >= fault.began
        if over and (operation.outcome not in ("ok", None) or operation.value == "fallback"):
            how = operation.outcome if operation.value != "fallback" else "with the fallback"
            return f"{what} ended {how}"
        if late and over and (operation.ended or until) - operation.began >= late:
            return f"{what} came late"
        if (waited := _overlap(operation, fault, until)) >= WAITED_OUT:
            return f"{what} waited {waited:.1f} s"
    return None


def _refused(history: History, fault: Fault, until: float) -> str | None:
    for handshake in list(history.handshakes):
        if handshake.refused and fault.began <= handshake.at <= until:
            return f"handshake refused at +{handshake.at:.2f} s ({handshake.refused})"
    return None


def _turned_away(history: History, fault: Fault) -> str | None:
    """Find a connection that was opened during the fault and never used."""
    used = {exchange.connection for exchange in list(history.exchanges)}
    end = history.now() if fault.ended is None else fault.ended
    for number, at in enumerate(list(history.connections), start=1):
        if fault.began <= at <= end and number not in used:
            return f"a connection at +{at:.2f} s found nobody"
    return None


def _swallowed(history: History, fault: Fault, until: float) -> str | None:
    for one in list(history.swallowed):
        if fault.began <= one.at <= until:
            return f"what came over connection {one.connection} at +{one.at:.2f} s was not heard"
    return None


def _logged(log: Sequence[LogLine], fault: Fault) -> str | None:
    """A line seen right after the fault began may have been written before."""
    begun = fault.began + INTERVAL
    for line in log:
        within = begun <= line.at and (fault.ended is None or line.at <= fault.ended)
        if within and (failed := _FAILED.search(line.text)):
            return f"its log says {failed.group().lower()} at +{line.at:.2f} s"
    return None


def _passed(history: History, fault: Fault, until: float) -> str | None:
    """Find an answer that passed the toxic.

    A real Toxiproxy does not say on which connections a toxic acted. But every answer that passed
    the recorder at that time has passed the toxic.
    """
    for exchange in list(history.exchanges):
        if exchange.ended is not None and fault.began <= exchange.ended <= (fault.ended or until):
            return f"an answer to {exchange.kind} passed its toxic at +{exchange.ended:.2f} s"
    return None


def _at_that_time(touch: Touch, fault: Fault, until: float) -> bool:
    """A later toxic may have the same name."""
    return touch.opened <= until and (touch.closed is None or touch.closed >= fault.began)


def _overlap(operation: Operation, fault: Fault, until: float) -> float:
    if operation.verb in ("start", "close", "health"):
        return 0.0
    ended = min(operation.ended or until, fault.ended or until)
    return ended - max(operation.began, fault.began)


def _mark_on(exchange: Exchange, fault: Fault, accessors: dict[str, str]) -> str | None:
    mark = fault.signature
    if mark.kinds and exchange.kind not in mark.kinds:
        return None
    if mark.token is not None and accessors.get(exchange.token or "") != mark.token:
        return None
    if mark.interference is not None and mark.interference == exchange.interference:
        if exchange.by == "stub":
            return f"{exchange.kind} answered {exchange.status} in Vault's place"
        return f"{exchange.kind} was met"
    if mark.stubbed and exchange.by == "stub":
        return f"{exchange.kind} answered {exchange.status} in Vault's place"
    if exchange.by == "vault" and exchange.status in mark.statuses:
        return f"{exchange.kind} answered {exchange.status}"
    if mark.unanswered and (exchange.closed is not None or exchange.status is None):
        return f"{exchange.kind} got no answer"
    if mark.late and exchange.ended is not None and exchange.ended - exchange.began >= mark.late:
        return f"{exchange.kind} took {exchange.ended - exchange.began:.1f} s"
    return None
