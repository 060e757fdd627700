from __future__ import annotations

from pathlib import Path

import pytest

from vault_harness.errors import StackError
from vault_harness.local.dialect import OPENBAO, VAULT
from vault_harness.local.engine.configuration import check_product


def with_data(directory: Path) -> Path:
    (directory / "data").mkdir()
    (directory / "data" / "vault.db").touch()
    return directory


def test_the_same_product_goes_on(tmp_path: Path) -> None:
    check_product(tmp_path, OPENBAO, looked_at="x")
    check_product(with_data(tmp_path), OPENBAO, looked_at="x")


def test_the_other_product_is_refused(tmp_path: Path) -> None:
    check_product(tmp_path, OPENBAO, looked_at="x")
    with pytest.raises(StackError, match="written by OpenBao") as caught:
        check_product(with_data(tmp_path), VAULT, looked_at="the image v")
    assert "the image v" in caught.value.looked_at
    assert "destroy" not in caught.value.remedy


def test_without_data_the_choice_is_free(tmp_path: Path) -> None:
    """A start without data decides nothing."""
    check_product(tmp_path, OPENBAO, looked_at="x")
    check_product(tmp_path, VAULT, looked_at="x")
    with pytest.raises(StackError, match="written by HashiCorp Vault"):
        check_product(with_data(tmp_path), OPENBAO, looked_at="x")
