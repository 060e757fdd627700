"""Show the containers of a stack: their states and logs."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from vault_harness.local.engine.provider import HOLDER_NAME, ServiceState


def state_of(name: str, container: Any, *, node: bool, away: str) -> ServiceState:
    """Return the state of a server, given its container or None.

    `away` says why the engine could not be asked; empty if it answered.
    """
    if container is None:
        return ServiceState(
            name=name, running=False, detail=away, node=node, aside=name == HOLDER_NAME
        )
    return ServiceState(
        name=name,
        running=container.status in {"running", "paused"},
        paused=container.status == "paused",
        detail=f"container {container.name}, {container.status}",
        node=node,
        aside=name == HOLDER_NAME,
    )


def log_lines(container: Any, tail: int | str, follow: bool) -> Iterator[str]:
    """Yield the last lines of a container's log, and new ones if `follow` is set."""
    if not follow:
        text: bytes = container.logs(tail=tail)
        yield from text.decode(errors="replace").splitlines()
        return
    stream = container.logs(stream=True, follow=True, tail=tail)
    try:
        rest = b""
        for part in stream:
            *whole, rest = (rest + part).split(b"\n")
            yield from (line.decode(errors="replace") for line in whole)
    finally:
        stream.close()
