"""The HTTP recorder of a stack, on demand: what it was ordered, and what has come of it."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence

import requests

from vault_harness.commands import named
from vault_harness.engine import (
    RECORDER_NAME,
    RecorderEndpoint,
    RecordingProvider,
    ServiceState,
    StackProvider,
    ask,
)
from vault_harness.errors import CapabilityMissing, StackError
from vault_harness.stack._status import RecorderStatus, RequestFaultStatus

_ORDER_SECONDS = 5.0
_LOOK_SECONDS = 2.0


def able(provider: StackProvider) -> RecordingProvider:
    """The same provider, which can run a recorder.

    Raises:
        CapabilityMissing: It cannot.
    """
    if isinstance(provider, RecordingProvider):
        return provider
    raise CapabilityMissing(
        f"the {provider.name} engine has no faults of single requests",
        looked_at="HARNESS_ENGINE",
        remedy="HARNESS_ENGINE=process for a stack in another folder (HARNESS_DATA_DIR); "
        f"{named('break.latency')}, {named('break.slow')} and {named('break.cut')} work here too",
    )


def give(recorder: RecorderEndpoint, order: Mapping[str, object]) -> None:
    """Let a recorder have an order.

    Raises:
        StackError: It does not take it, or does not answer.
    """
    with requests.Session() as session:
        session.trust_env = False  # a proxy for the way out is not for a recorder next door
        try:
            answer = session.post(
                f"{recorder.api}/faults", json=dict(order), timeout=_ORDER_SECONDS
            )
            said = "" if answer.status_code == requests.codes.created else answer.text
        except requests.RequestException as error:
            said = type(error).__name__
    if said:
        raise StackError(
            f"the HTTP recorder took no order: {said}",
            looked_at=recorder.api,
            remedy=f"{named('heal')} ends it, and the next order starts another; "
            f"{named('logs', RECORDER_NAME)} has its log",
        )


def through(provider: StackProvider) -> str | None:
    """``host:port`` of the recorder that clients are led to, while one is known."""
    known = provider.known_recorder() if isinstance(provider, RecordingProvider) else None
    return known.listen if known is not None else None


def end(provider: StackProvider) -> list[str]:
    """End the recorder, if there is one; returns what was done, for a person."""
    if not isinstance(provider, RecordingProvider):
        return []
    return [f"ended {what}" for what in provider.stop_recorder()]


def look(provider: StackProvider, services: Sequence[ServiceState]) -> RecorderStatus | None:
    """The state of a recorder that was started; None if none was."""
    known = provider.known_recorder() if isinstance(provider, RecordingProvider) else None
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
