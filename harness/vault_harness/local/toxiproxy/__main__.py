"""Run the embedded Toxiproxy, with the real one's flags."""

from __future__ import annotations

import sys

from vault_harness.local.toxiproxy.server.main import main

if __name__ == "__main__":
    sys.exit(main())
