"""A task starts quickly: it loads nothing that most tasks do not use."""

from __future__ import annotations

import subprocess
import sys

import pytest


@pytest.mark.parametrize(
    "unneeded", ["cryptography", "trustme", "docker", "psycopg", "rich", "jinja2", "pytest"]
)
def test_the_stack_is_there_without_it(unneeded: str) -> None:
    """The stack, which most tasks load, does not load this module."""
    script = (
        "import sys\n"
        "from vault_harness.local.stack.local import LocalStack\n"
        f"sys.exit({unneeded!r} in sys.modules)\n"
    )
    assert subprocess.run([sys.executable, "-c", script], check=False).returncode == 0
