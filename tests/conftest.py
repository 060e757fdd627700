"""What holds in all tests: messages name tasks as ``invoke`` runs them, and no example is timed."""

from __future__ import annotations

import os

from hypothesis import settings


def pytest_configure() -> None:
    """Make remedies the same under pytest, ``./dev test`` and an editor; let machines be busy."""
    os.environ["HARNESS_RUNNER"] = "invoke"
    settings.register_profile("untimed", deadline=None)
    settings.load_profile("untimed")
