"""Run pytest as ``python -m pytest`` does, to judge a client in a folder.

It is run by its path and with ``-P``, so that pytest, which would warn that it cannot rewrite a
module, comes before the package. The working folder comes last on the path, where PYTHONPATH would
put it first: its ``secrets.py`` or ``token.py`` must not replace Python's.
"""

from __future__ import annotations

import contextlib
import os
import runpy
import signal
import sys
import traceback

CRASHED = 3
"""As `Outcome.CRASHED`, which cannot be imported here."""

if __name__ == "__main__":
    try:
        if os.environ.pop("HARNESS_INTERRUPTS", None) == "held":
            # Ignored until here, since Python's start would print a traceback.
            signal.signal(signal.SIGINT, signal.default_int_handler)
        sys.path.append(os.getcwd())  # noqa: PTH109 -- pathlib is slow to import, and pytest's turn
        runpy.run_module("pytest", run_name="__main__", alter_sys=True)
    except KeyboardInterrupt:  # pytest does not listen yet
        sys.stderr.write("interrupted before any test began: this is no pass\n")
        raise SystemExit(130) from None
    except Exception:  # noqa: BLE001 -- pytest catches those of a run; 1 means a failed test
        with contextlib.suppress(OSError):  # the terminal may be gone
            traceback.print_exc()
        raise SystemExit(CRASHED) from None
