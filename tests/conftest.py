"""What holds in all tests: messages name tasks as ``invoke`` runs them, whoever runs the tests."""

from __future__ import annotations

import os


def pytest_configure() -> None:
    """Make remedies the same under pytest, ``./dev test`` and an editor."""
    os.environ["HARNESS_RUNNER"] = "invoke"
