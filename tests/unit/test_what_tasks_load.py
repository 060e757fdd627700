from __future__ import annotations

import subprocess
import sys

UNNEEDED = {"cryptography", "trustme", "docker", "psycopg", "rich", "jinja2", "pytest"}


def test_the_stack_is_there_without_them() -> None:
    """Most tasks load the stack."""
    script = (
        "import sys\n"
        "from vault_harness.local.stack.local import LocalStack\n"
        f"print(sorted({UNNEEDED!r} & sys.modules.keys()))\n"
    )
    ended = subprocess.run([sys.executable, "-c", script], check=True, capture_output=True)
    assert ended.stdout == b"[]\n"
