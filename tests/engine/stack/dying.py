"""Migrates a seal in processes that die without a goodbye, one for each line that comes in.

A line is a target, the step after which to die, and whether no node goes over, as a JSON list. What
goes out is each step that was told, and then how the process ended.

Each is a fork of this one, which has imported everything and done nothing else. A process that
begins anew computes for half a second before its first step.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import traceback

from vault_harness.engine import SealKind
from vault_harness.errors import DeadlineExceeded
from vault_harness.settings import Settings
from vault_harness.stack import LocalStack
from vault_harness.vault import cluster

ENDED = "ended:"
"""Before the exit code of a process, negative for a signal."""


def tell(line: str) -> None:
    """To whoever asked, at once: this process may be about to die."""
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


def refuse(*_: object, **__: object) -> None:
    """As nodes that do not go over."""
    raise DeadlineExceeded("they did not become active", looked_at="here", remedy="look")


def migrate_and_die(target: SealKind, step: str) -> None:
    """Migrate; the process is killed after a step."""

    def checkpoint(reached: str) -> None:
        tell(reached)
        if reached == step:
            os.kill(os.getpid(), signal.SIGKILL)

    LocalStack(Settings.from_environment()).migrate_seal(target, checkpoint=checkpoint)


def main() -> None:
    """Until nobody asks for more."""
    for line in sys.stdin:
        target, step, refused = json.loads(line)
        child = os.fork()
        if not child:
            if refused:
                cluster.migrate_seal = refuse  # type: ignore[assignment] # this process ends
            try:
                migrate_and_die(target, step)
            except BaseException:  # noqa: BLE001 -- a fork never goes on with this loop
                traceback.print_exc()
            os._exit(1)
        _, status = os.waitpid(child, 0)
        tell(f"{ENDED}{os.waitstatus_to_exitcode(status)}")


if __name__ == "__main__":
    main()
