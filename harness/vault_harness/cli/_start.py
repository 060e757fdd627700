"""A program: pytest, as ``python -m pytest`` would run it, for whoever judges a client in a folder.

Run by its path and with ``-P``, so that nothing of the package is imported before pytest, which
warns of what it cannot rewrite any more. Modules are looked for in the working folder last: it may
have a ``secrets.py`` or a ``token.py``, which must not stand for Python's. By PYTHONPATH it would,
whose folders come before Python's own.
"""

from __future__ import annotations

import contextlib
import os
import runpy
import signal
import sys
import traceback

CRASHED = 3
"""`vault_harness.report.outcome.Outcome.CRASHED`, of which nothing may be imported here."""

if __name__ == "__main__":
    try:
        if os.environ.pop("HARNESS_INTERRUPTS", None) == "held":
            # Ignored until here: while Python itself starts it would print a traceback.
            signal.signal(signal.SIGINT, signal.default_int_handler)
        sys.path.append(os.getcwd())  # noqa: PTH109 -- pathlib is slow to import, and pytest's turn
        runpy.run_module("pytest", run_name="__main__", alter_sys=True)
    except KeyboardInterrupt:  # pytest does not listen yet
        sys.stderr.write("interrupted before any test began: this is no pass\n")
        raise SystemExit(130) from None
    except Exception:  # noqa: BLE001 -- pytest takes those of a run only, and with 1 a test has failed
        with contextlib.suppress(OSError):  # of a terminal that is gone
            traceback.print_exc()
        raise SystemExit(CRASHED) from None
