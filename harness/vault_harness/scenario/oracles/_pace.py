"""The standing oracle on loops without a pause: what nobody needs to send, whatever has happened.

A storm is much less, and is looked for in faults (`no_request_storm`). What a client is driven to
by a secret that is gone, or by a new token, goes on while nothing is broken, and nobody counts it.
"""

from __future__ import annotations

from bisect import bisect_right
from math import inf

from vault_harness.scenario.history import History
from vault_harness.scenario.oracles._base import Oracle, requests
from vault_harness.scenario.oracles._requests import A_SECRET, _unbidden, kept_unasked
from vault_harness.scenario.verdict import Finding

OF_ITS_OWN = 20
"""Requests in any second of a client's own, whoever calls: four times the peak of a storm."""

FOR_A_CALL = 6
"""Requests in any second for each call that goes on in it: as many as a call has tries."""

FROM_LOOK_TO_LOOK = 0.1
"""Seconds from one second that is looked at to the next: a loop is in all of them."""


def loops_have_pauses() -> Oracle:
    """In no second is sent what nothing but a loop without a pause sends.

    `OF_ITS_OWN` for each client, and for each child of one, `FOR_A_CALL` for each call that goes on
    in that second, and as many as it keeps of secrets that nobody asks for. It holds for silence.
    """
    promise = (
        f"no loop without a pause (at most {OF_ITS_OWN} requests a second of the client's own, "
        f"and {FOR_A_CALL} for each call)"
    )

    def oracle(history: History) -> list[Finding]:
        sent = sorted(_unbidden(history.find()), key=lambda e: e.came)
        times = [e.came for e in sent]
        own, looked = OF_ITS_OWN * _clients(history), -inf
        for number, at in enumerate(times):
            over = bisect_right(times, at + 1.0)
            if at < looked or over - number <= own:
                continue
            looked = at + FROM_LOOK_TO_LOOK
            most = own + _asked_for(history, at, at + 1.0)
            if over - number > most:
                text = f"{over - number} requests in one second, {most} are allowed: "
                text += requests(sent[number:over])
                # Told by when it was too much: a second that begins before a fault ends in it.
                return [Finding(promise, text, sent[number + most].began, rests_on=())]
        return []

    return oracle


def _clients(history: History) -> int:
    """How many are at work, each start of one and each child counted."""
    return max(history.clients, len(history.calls("start"))) + len(history.calls("fork"))


def _asked_for(history: History, since: float, until: float) -> int:
    """Requests for the calls that go on in that time, and for what is kept fresh for nobody."""
    calls = history.calls(until=until, where=lambda o: o.ended is None or o.ended >= since)
    kept = kept_unasked(history, since, until) * history.clients
    return FOR_A_CALL * len(calls) + A_SECRET * kept
