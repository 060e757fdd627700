"""The HTTP recorder of a stack: its orders, and their results."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence

import requests

from vault_harness.errors import StackError, named
from vault_harness.local.engine.ports import ask
from vault_harness.local.engine.provider import (
    RECORDER_NAME,
    RecorderEndpoint,
    ServiceState,
    StackProvider,
)
from vault_harness.local.stack.status import RecorderStatus, RequestFaultStatus

_ORDER_SECONDS = 5.0
_LOOK_SECONDS = 2.0


def give(recorder: RecorderEndpoint, order: Mapping[str, object], *, undo: bool = False) -> None:
    with requests.Session() as session:
        session.trust_env = False  # a proxy for the internet must not get this request
        try:
            answer = session.request(
                *("DELETE" if undo else "POST", f"{recorder.api}/faults"),
                json=dict(order),
                timeout=_ORDER_SECONDS,
            )
            said = "" if answer.ok else answer.text
        except requests.RequestException as error:
            said = type(error).__name__
    if said:
        raise StackError(
            f"the HTTP recorder refused an order: {said}",
            looked_at=recorder.api,
            remedy=f"{named('heal')} ends it, and the next order starts another; "
            f"{named('logs', RECORDER_NAME)} has its log",
        )


def through(provider: StackProvider) -> str | None:
    """Return ``host:port`` of the recorder that clients go through."""
    known = provider.known_recorder()
    return known.listen if known is not None else None


def end(provider: StackProvider) -> list[str]:
    return [f"ended {what}" for what in provider.stop_recorder()]


def look(provider: StackProvider, services: Sequence[ServiceState]) -> RecorderStatus | None:
    known = provider.known_recorder()
    if known is None:
        return None
    running = any(one.name == RECORDER_NAME and one.running for one in services)
    answer = ask(f"{known.api}/", timeout=_LOOK_SECONDS) if running else None
    if answer is None:
        return RecorderStatus(listen=known.listen, running=running, answers=False)
    told = json.loads(answer.body)
    return RecorderStatus(
        listen=known.listen,
        running=True,
        answers=True,
        faults=tuple(
            RequestFaultStatus(
                text=one["text"],
                order=one["order"],
                seen=one["seen"],
                acted=one["acted"],
                over=one["over"],
            )
            for one in told["faults"]
        ),
        defects=tuple(told["defects"]),
    )
