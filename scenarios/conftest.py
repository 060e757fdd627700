"""Make the catalogue's scenarios a suite."""

from __future__ import annotations

from pathlib import Path

import pytest

from vault_harness.judge.plugin import begin_suite, check_suite

CATALOGUE = Path(__file__).with_name("catalogue.toml")


@pytest.hookimpl(tryfirst=True)
def pytest_cmdline_main(config: pytest.Config) -> None:
    """Run side by side by default, with one seed for all."""
    begin_suite(config, CATALOGUE)


@pytest.hookimpl(tryfirst=True)
def pytest_configure(config: pytest.Config) -> None:
    """Refuse an invalid subject or declaration before anything starts."""
    check_suite(config, CATALOGUE)
