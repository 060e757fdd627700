"""Whether a write to a secret keeps the version before it."""

from __future__ import annotations

from contextlib import closing

import pytest

from tests.unit.vault.fake_vault import Serve
from vault_harness.local.vault.admin import VaultAdmin
from vault_harness.local.vault.kv import Kv


@pytest.mark.parametrize(
    ("of_mount", "of_secret", "keeps"),
    [(0, 0, True), (1, 0, False), (0, 1, False), (1, 5, True), (5, 1, True), (1, None, True)],
    ids=["ten", "one", "one of it", "more of it", "more of all", "nobody may know"],
)
def test_the_greater_number_counts(
    serve: Serve, of_mount: int, of_secret: int | None, *, keeps: bool
) -> None:
    """It is that of mount or secret; without either it is ten."""
    vault = serve()
    vault.answers = {
        "/v1/shop/config": (200, {"data": {"max_versions": of_mount}}, {}),
        "/v1/shop/metadata/database": (403, {"errors": ["permission denied"]}, {})
        if of_secret is None
        else (200, {"data": {"max_versions": of_secret}}, {}),
    }
    with closing(VaultAdmin(vault.address, "token")) as op:
        assert Kv(op, "shop").keeps_the_one_before("database") is keeps
