"""Make connections end, die unnoticed, or wait unaccepted."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

from vault_harness.judge.conditions import Condition
from vault_harness.judge.faults.network import CUT
from vault_harness.judge.helpers.calls import has_its_files
from vault_harness.judge.lab import KEY, Lab
from vault_harness.judge.oracles import no_failed_read
from vault_harness.judge.verdict import NotClaimed
from vault_harness.recorder.fault import Fault, Signature, noted
from vault_harness.recorder.history import History

LETS_GO = 0.3
"""Seconds in which a client notices that its connections have ended."""


def end_connections(lab: Lab) -> None:
    """End all connections, and let the subject notice that before the next read.

    A read at that moment may be lost, as over any dead connection (NET-04).
    """
    lab.network.drop_connections()
    lab.watch(LETS_GO)


TOLD = tuple(f"backend/told/{number}" for number in range(1, 4))
"""Secrets that nobody reads before, so that no cache has them."""

NOT_TOLD = "backend/told/4"

AT_ONCE = 0.1
"""Seconds by which answers are late, so that three reads need three connections."""

SAID_FOR = 1.2
"""Seconds of these announcements."""


def connections_said_to_end(lab: Lab) -> None:
    """Let three callers read while each answer announces the end of its connection.

    A gateway does this before it stops, and no read may fail because of it. Afterwards a read must
    come over a connection that stays open.
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
        lab.watch(0.5)  # the last announcement takes effect at the next request
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
    """Make all open connections silent for good, without ending them; new ones work.

    A firewall that forgets idle connections does this. Toxiproxy cannot, since its toxics act on
    new connections too.
    """
    mark = Signature(unanswered=True, swallowed=True)
    with noted(lab.history, "idle connections dead", mark) as fault:
        if not lab.recorder.deafen():
            raise NotClaimed("the subject keeps no connection open between requests")
        yield fault


@contextmanager
def connections_not_accepted(lab: Lab) -> Iterator[Fault | None]:
    """End open connections; while the block runs, neither accept nor refuse new ones.

    A firewall that drops packets does this, and a machine without power. Linux drops attempts if a
    listener's backlog is full, so an attempt takes as long as the client's kernel tries. Attempts
    cannot be observed, so the fault need not be met.

    Yields:
        The fault; None if Toxiproxy does not listen on this machine.
    """
    with ExitStack() as undo:
        lab.proxy.disable()
        undo.callback(lab.proxy.enable)
        try:
            full = undo.enter_context(socket.create_server(lab.proxy.address, backlog=0))
        except OSError as error:
            undo.close()  # refused connections are another fault
            lab.history.mark(f"connections are taken all the while: {type(error).__name__}")
            yield None
            return
        for _ in range(4):  # the kernel accepts one more than the backlog; the others wait
            waiting = undo.enter_context(socket.socket())
            waiting.setblocking(False)
            waiting.connect_ex(full.getsockname())
        fault = lab.history.begin_fault("nobody takes connections", CUT, optional=True)
        try:
            yield fault
        finally:
            undo.close()  # the fault ends when its cause is gone
            lab.history.end_fault(fault)


def handshakes_since(since: float) -> Condition:
    """Require a TLS handshake, good or refused, that ended after `since`."""

    def condition(history: History) -> str:
        ended = [one for one in list(history.handshakes) if one.at >= since]
        good = sum(one.protocol is not None for one in ended)
        return f"{good} good, {len(ended) - good} refused" if ended else ""

    return condition
