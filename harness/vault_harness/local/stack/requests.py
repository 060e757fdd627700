"""Faults of single requests on the running stack, chosen by path and count."""

from __future__ import annotations

from collections.abc import Mapping

from vault_harness.boundary import without_frames
from vault_harness.local.stack import client_path, recording
from vault_harness.local.stack.local import LocalStack


class RequestFaults:
    """The operations behind the tasks, under the stack's lock. `LocalStack.heal` undoes them."""

    def __init__(self, stack: LocalStack) -> None:
        self._stack = stack

    @without_frames
    def set(self, order: Mapping[str, object]) -> None:
        """Add a fault to those in force; it replaces one of the same target.

        The first fault starts an HTTP recorder and leads Toxiproxy to it. That closes open
        connections once. `order` comes from `vault_harness.judge.faults.Order.to_json`.
        """
        with self._stack.held():
            endpoints = self._stack.endpoints()
            recorder = recording.able(self._stack.provider()).start_recorder()
            # Before clients are led there, so that it affects their first request.
            recording.give(recorder, order)
            client_path.ensure_proxies(endpoints, through=recorder.listen)

    @without_frames
    def undo(self, order: Mapping[str, object]) -> None:
        """End the fault of an order, and leave the others; it may be gone already."""
        with self._stack.held():
            recorder = recording.able(self._stack.provider()).known_recorder()
            if recorder is not None:
                recording.give(recorder, order, undo=True)
