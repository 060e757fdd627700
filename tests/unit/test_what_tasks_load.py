"""A task begins soon: it loads nothing that most tasks have no use for."""

from __future__ import annotations

import subprocess
import sys

import pytest


@pytest.mark.parametrize(
    "unneeded", ["cryptography", "trustme", "docker", "psycopg", "rich", "jinja2", "pytest"]
)
def test_the_stack_is_there_without_it(unneeded: str) -> None:
    """What stands behind `status`, `seal` and most other tasks."""
    script = (
        "import sys\n"
        "from vault_harness.stack import LocalStack\n"
        f"sys.exit({unneeded!r} in sys.modules)\n"
    )
    assert subprocess.run([sys.executable, "-c", script], check=False).returncode == 0
