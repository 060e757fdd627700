from __future__ import annotations

import tempfile
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from vault_harness.local.vault.kept import Kept

NAMES = st.text(st.characters(codec="utf-8", exclude_characters="\0"), min_size=1, max_size=20)


def test_each_text_is_kept_once(tmp_path: Path) -> None:
    """Two texts of one second have two files."""
    kept = Kept(tmp_path / "vault-data")
    one, other = (kept.keep("policy", "backend", text) for text in ("one", "other"))
    assert (one.read_text(), other.read_text()) == ("one", "other")
    assert kept.keep("policy", "backend", "one") == one
    assert {each.stat().st_mode & 0o777 for each in (one, other)} == {0o600}
    assert one.parent.stat().st_mode & 0o777 == 0o700


def test_a_policy_is_not_taken_for_one_whose_name_is_longer(tmp_path: Path) -> None:
    """`backend-2` is not taken for `backend`."""
    kept = Kept(tmp_path)
    longer = kept.keep("policy", "backend-2", "text")
    assert kept.keep("policy", "backend", "text") != longer


@given(name=NAMES, other=NAMES)
def test_no_name_leads_elsewhere(name: str, other: str) -> None:
    """Its files are in the two folders and its own."""
    with tempfile.TemporaryDirectory() as folder:
        kept = Kept(Path(folder))
        copy, adopted = kept.keep("policy", name, name), kept.adopt(name, name)
        assert copy.resolve().parent == (Path(folder) / "replaced").resolve()
        assert adopted.resolve().parent == (Path(folder) / "adopted").resolve()
        assert kept.adopted(name) == name
        assert kept.adopted(other) == (other if other == name else "")
