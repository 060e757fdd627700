"""Make the catalogue's scenarios a suite."""

from __future__ import annotations

from pathlib import Path

import pytest

from vault_harness.judge.plugin import begin_suite

CATALOGUE = Path(__file__).with_name("catalogue.toml")


@pytest.hookimpl(tryfirst=True)
def pytest_cmdline_main(config: pytest.Config) -> None:
    """Run side by side by default, with one seed for all, and refuse what is wrong at once."""
    begin_suite(config, CATALOGUE)
