from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

Checkout = Any  # of conftest.py


@pytest.mark.slow
def test_the_tour_goes_on_without_a_terminal(checkout: Checkout, tmp_path: Path) -> None:
    before = checkout.run("status")
    # It starts a Vault and runs a scenario, which takes minutes on a busy machine.
    said = checkout.run("tour", "--report", str(tmp_path / "report"), timeout=600)
    assert said.count("a value from Vault") == 4
    assert said.count("the last good value, from memory") == 2
    assert "1 token revoked" in said
    assert (tmp_path / "report" / "index.html").is_file()
    assert checkout.run("status") == before
