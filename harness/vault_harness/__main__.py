"""Entry point of ``python -m vault_harness TASK`` and of the console script ``vault-harness``."""

from __future__ import annotations

import os
import signal
import sys


def main() -> None:
    try:
        from vault_harness.cli import run

        if os.environ.pop("HARNESS_INTERRUPTS", None) == "held":
            # ./dev ignores Ctrl-C until here, because an import would print a traceback.
            signal.signal(signal.SIGINT, signal.default_int_handler)
        run(sys.argv[1:])
    except KeyboardInterrupt:
        # Each task reports its own interrupt.
        sys.stderr.write("interrupted before anything was done\n")
        raise SystemExit(130) from None


if __name__ == "__main__":
    main()
