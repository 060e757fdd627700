"""Faults of single requests on the running stack, by what they are for and their count."""

from __future__ import annotations

from collections.abc import Mapping

from vault_harness.boundary import without_frames
from vault_harness.stack import _recording, _way
from vault_harness.stack._local import LocalStack


class RequestFaults:
    """The verbs behind the tasks. Each holds the stack while it works; `LocalStack.heal` undoes it.

    Args:
        stack: One that is up.
    """

    def __init__(self, stack: LocalStack) -> None:
        self._stack = stack

    @without_frames
    def set(self, order: Mapping[str, object]) -> None:
        """Let a fault be in force from now on, beside those that are; one about the same goes.

        The first one starts an HTTP recorder and leads Toxiproxy to it. Connections that are open
        end once then.

        Args:
            order: As `vault_harness.faults.Order.to_json` gives it.

        Raises:
            NotUp: The stack does not run.
            CapabilityMissing: Its engine cannot run a recorder.
            EngineError: The recorder could not be started.
            StackError: It takes no order.
        """
        with self._stack.held():
            endpoints = self._stack.endpoints()
            recorder = _recording.able(self._stack.provider()).start_recorder()
            # Before clients are led there: it is in force from their first request on.
            _recording.give(recorder, order)
            _way.ensure_proxies(endpoints, through=recorder.listen)
