"""Connections that end, die unnoticed, or are not taken; and handshakes."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from math import inf

from vault_harness.faults import Fault, Signature
from vault_harness.scenario.conditions import Condition
from vault_harness.scenario.helpers._ways import has_its_files
from vault_harness.scenario.history import History
from vault_harness.scenario.lab import KEY, Lab
from vault_harness.scenario.oracles import no_failed_read
from vault_harness.scenario.verdict import NotClaimed

LETS_GO = 0.3
"""Seconds in which a client sees that the connections which it keeps have ended."""


def end_connections(lab: Lab) -> None:
    """End all connections that the subject keeps, and let it see so before anybody reads.

    Whoever reads in that very moment may be served by one that ends: a client that does not repeat
    what it has sent loses that read, as over any connection that has died (NET-04).
    """
    lab.network.drop_connections()
    lab.watch(LETS_GO)


TOLD = tuple(f"backend/told/{number}" for number in range(1, 4))
"""A secret for each caller, that nobody has read before connections are said to end."""

NOT_TOLD = "backend/told/4"
"""One that nobody has read before that is over."""

AT_ONCE = 0.1
"""Seconds by which answers are late then: three are on their way at once, and need a connection
each.
"""

SAID_FOR = 1.2
"""Seconds in which connections are said to end."""


def connections_said_to_end(lab: Lab) -> None:
    """Three callers read while each answer says that its connection ends; no read may fail for it.

    As a gateway does that is about to go. Whoever has a new connection for each request keeps that
    without hearing of it. No memory has what nobody has read. When it is over something was asked
    for over a connection that stays.
    """
    paths = [] if has_its_files(lab) else TOLD
    for path in (*paths, NOT_TOLD):
        lab.put("v1", path=path, key=KEY)
    with ExitStack() as callers:
        with lab.http.say_goodbye("read", by=AT_ONCE) as said:
            for own in paths or (None,) * len(TOLD):
                callers.enter_context(lab.reading(every=0.4, path=own, key=own and KEY))
            lab.hold(said, SAID_FOR)
            lab.until(lambda: said.touched > 1, within=lab.reach)
        lab.watch(0.5)  # what was said last is heard by the next that is asked
    if paths:
        lab.client.read(NOT_TOLD, KEY)
    lab.until(
        lambda: bool(lab.history.find("read", since=said.end, where=lambda e: e.good)),
        within=lab.reach,
    )
    lab.require(
        "answers that said so, one of them after another",
        lambda _: f"{said.touched} did" if said.touched > 1 else "",
    )
    lab.judge_later(no_failed_read(since=said.began, until=lab.history.now()))


@contextmanager
def dead_connections(lab: Lab) -> Iterator[Fault]:
    """Connections that are open now never answer again, and do not end; new ones work.

    As when a firewall forgets an idle connection. Toxiproxy cannot do that: its toxics act on new
    connections too.

    Raises:
        NotClaimed: The subject keeps none open.
    """
    mark = Signature(unanswered=True, swallowed=True)
    fault = lab.history.begin_fault("idle connections dead", mark)
    if not lab.recorder.deafen():
        raise NotClaimed("the subject keeps no connection open between requests")
    try:
        yield fault
    finally:
        lab.history.end_fault(fault)


@contextmanager
def nobody_takes_connections(lab: Lab) -> Iterator[Fault | None]:
    """Open connections end, and a new one is neither taken nor refused while the block runs.

    As behind a firewall that drops what it does not let through, or where a machine has lost its
    power: to connect takes as long as the kernel tries, which is two minutes. Linux drops what asks
    for a connection where a listener has no room for another one. It leaves no witness but a call,
    as a refused connection does, so it need not be met.

    Yields:
        The fault; None where Toxiproxy does not listen on this machine, so that nobody can do so in
        its place.
    """
    with ExitStack() as undo:
        lab.proxy.disable()
        undo.callback(lab.proxy.enable)
        try:
            full = undo.enter_context(socket.create_server(lab.proxy.address, backlog=0))
        except OSError as error:
            undo.close()  # or connections would be refused, which is another fault
            lab.history.mark(f"connections are taken all the while: {type(error).__name__}")
            yield None
            return
        for _ in range(4):  # it takes one more than it is told to; the others wait as a client does
            waiting = undo.enter_context(socket.socket())
            waiting.setblocking(False)
            waiting.connect_ex(full.getsockname())
        mark = Signature(unanswered=True, answers_late=inf)
        fault = lab.history.begin_fault("nobody takes connections", mark, optional=True)
        try:
            yield fault
        finally:
            undo.close()  # what is promised for the time after it begins when it is over
            lab.history.end_fault(fault)


def handshakes_since(since: float) -> Condition:
    """At least one TLS handshake of the subject that ended after `since`, well or not."""

    def condition(history: History) -> str:
        ended = [one for one in list(history.handshakes) if one.at >= since]
        good = sum(one.protocol is not None for one in ended)
        return f"{good} good, {len(ended) - good} refused" if ended else ""

    return condition
