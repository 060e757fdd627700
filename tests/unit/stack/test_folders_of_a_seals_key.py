"""Which seal a stack has, and where its key is."""

from __future__ import annotations

from pathlib import Path

import pytest

from vault_harness.errors import SettingsError, StackError
from vault_harness.local.stack import sealing
from vault_harness.local.stack.choice import open_provider
from vault_harness.local.stack.record import StackRecordFile
from vault_harness.settings import Settings


def key_below(folder: Path) -> Path:
    data_dir = folder / "vault data"
    settings = Settings(engine="process", data_dir=data_dir)
    provider = open_provider(settings, StackRecordFile(data_dir))
    told = sealing.key_at_hand("static", provider, data_dir, new=True)
    return Path(str(told["current_key"]).removeprefix("file://"))


@pytest.mark.parametrize("name", ["100% mine", "two\nlines", "50%"])
def test_a_folder_that_makes_no_url_is_refused(tmp_path: Path, name: str) -> None:
    """Nothing is made."""
    with pytest.raises(SettingsError, match="does not find its seal's key"):
        key_below(tmp_path / name)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", ["my%20project", "a b", "it's #1?", "Größe"])
def test_any_other(tmp_path: Path, name: str) -> None:
    (tmp_path / name).mkdir()
    assert key_below(tmp_path / name) == tmp_path / name / "vault data" / "seal" / "static.key"


def test_a_seal_is_exchanged_only_by_its_migration(tmp_path: Path) -> None:
    """The stanza beside the key tells the seal, even if the record is lost."""
    sealing.write_stanza(tmp_path, {"static": {}})
    assert sealing.chosen_seal(tmp_path, "transit") == "transit", "there is no data yet"
    (tmp_path / "vault" / "data").mkdir(parents=True)
    (tmp_path / "vault" / "data" / "vault.db").touch()
    assert sealing.chosen_seal(tmp_path, None) == "static"
    with pytest.raises(StackError, match="has the seal static, and transit is asked for"):
        sealing.chosen_seal(tmp_path, "transit")
