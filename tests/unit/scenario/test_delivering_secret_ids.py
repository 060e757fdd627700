from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from scenarios.test_sid import _one_for_each_turn
from vault_harness.errors import OperatorError


def test_a_failure_to_make_a_secret_id_ends_the_scenario() -> None:
    def new_secret_id() -> None:
        raise OperatorError("Vault does not answer")

    lab: Any = SimpleNamespace(new_secret_id=new_secret_id, ttl=8.0)
    with pytest.raises(OperatorError, match="does not answer"), _one_for_each_turn(lab):
        pass
