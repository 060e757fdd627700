"""Migrate a seal in processes that die without cleanup, one for each input line.

A line is a JSON list: the target, the step after which to die, and whether no node migrates. The
output is each step, and then how the process ended.

Each process is a fork of this one, which has done all imports: they take half a second.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import traceback

from vault_harness.errors import DeadlineExceeded
from vault_harness.local.engine.seal import SealKind
from vault_harness.local.stack.local import LocalStack
from vault_harness.local.vault import cluster
from vault_harness.settings import Settings

ENDED = "ended:"
"""Comes before the exit code of a process, which is negative for a signal."""


def tell(line: str) -> None:
    """Print and flush, since this process may be about to die."""
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


def refuse(*_: object, **__: object) -> None:
    """Refuse, as nodes do that cannot migrate."""
    raise DeadlineExceeded("they did not become active", looked_at="here", remedy="look")


def migrate_and_die(target: SealKind, step: str) -> None:
    def checkpoint(reached: str) -> None:
        tell(reached)
        if reached == step:
            os.kill(os.getpid(), signal.SIGKILL)

    LocalStack(Settings.from_environment()).migrate_seal(target, checkpoint=checkpoint)


def main() -> None:
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
