"""The catalogue's scenarios are a suite of their own: side by side, with a JUnit file."""

from __future__ import annotations

from pathlib import Path

import pytest

from vault_harness.plugin import begin_suite, check_suite

CATALOGUE = Path(__file__).with_name("catalogue.toml")


@pytest.hookimpl(tryfirst=True)
def pytest_cmdline_main(config: pytest.Config) -> None:
    """Side by side unless told otherwise, one seed for all, and a JUnit file."""
    begin_suite(config, CATALOGUE)


@pytest.hookimpl(tryfirst=True)
def pytest_configure(config: pytest.Config) -> None:
    """Refuse a subject or a declaration that makes no sense before anything starts."""
    check_suite(config, CATALOGUE)
