"""Who delivers secret-ids beside a scenario says so when there are none."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from scenarios.test_sid import _one_for_each_turn
from vault_harness.errors import OperatorError


def test_a_postman_who_can_make_none_is_heard() -> None:
    """Its client would have to log in with a spent one, and fail for that."""

    def new_secret_id() -> None:
        raise OperatorError("Vault does not answer")

    lab: Any = SimpleNamespace(new_secret_id=new_secret_id, ttl=8.0)
    with pytest.raises(OperatorError, match="does not answer"), _one_for_each_turn(lab):
        pass
