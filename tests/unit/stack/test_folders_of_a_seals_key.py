"""A server is told of its seal's key by a URL of its file, which not every folder's name allows."""

from __future__ import annotations

from pathlib import Path

import pytest

from vault_harness.engine import open_provider
from vault_harness.errors import SettingsError
from vault_harness.settings import Settings
from vault_harness.stack import _sealing
from vault_harness.stack.record import StackRecordFile


def key_below(folder: Path) -> Path:
    """The file that a new stack's static seal has there."""
    data_dir = folder / "vault data"
    settings = Settings(engine="process", data_dir=data_dir)
    provider = open_provider(settings, StackRecordFile(data_dir))
    told = _sealing.key_at_hand("static", provider, data_dir, new=True)
    return Path(str(told["current_key"]).removeprefix("file://"))


@pytest.mark.parametrize("name", ["100% mine", "two\nlines", "50%"])
def test_one_that_makes_no_url(tmp_path: Path, name: str) -> None:
    """The server would take the name for the key, and complain of its length; nothing is made."""
    with pytest.raises(SettingsError, match="does not find its seal's key"):
        key_below(tmp_path / name)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", ["my%20project", "a b", "it's #1?", "Größe"])
def test_any_other(tmp_path: Path, name: str) -> None:
    """It is read as it is written, and no letter of it is changed."""
    (tmp_path / name).mkdir()
    assert key_below(tmp_path / name) == tmp_path / name / "vault data" / "seal" / "static.key"
