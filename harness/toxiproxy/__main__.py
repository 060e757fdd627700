"""``python -m harness.toxiproxy``: the embedded Toxiproxy server, with the real one's flags."""

from __future__ import annotations

import sys

from harness.toxiproxy.server.main import main

if __name__ == "__main__":
    sys.exit(main())
