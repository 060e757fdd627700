"""A new toxic needs only one new file."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from vault_harness.local.toxiproxy.server import toxics

NINTH = '''
"""``upper``: shouts."""

from vault_harness.local.toxiproxy.server.toxics import Stage


class Upper(Stage):
    """Makes letters large."""

    type = "upper"

    def work(self, data, when):
        """Change the chunk."""
        self.emit(bytes(data).upper(), when)
'''


def test_there_are_eight() -> None:
    """The registry has the eight toxics of the API."""
    assert set(toxics.registry()) == {
        "noop",
        "latency",
        "bandwidth",
        "slow_close",
        "timeout",
        "reset_peer",
        "slicer",
        "limit_data",
    }


def test_a_ninth_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A ninth toxic is found without any other change."""
    (tmp_path / "upper.py").write_text(NINTH)
    monkeypatch.setattr(toxics, "__path__", [*toxics.__path__, str(tmp_path)])
    try:
        found = toxics.registry()
        assert found["upper"].type == "upper"
        assert len(found) == 9
    finally:
        sys.modules.pop("vault_harness.local.toxiproxy.server.toxics.upper", None)


def test_every_toxic_says_what_its_attributes_mean() -> None:
    """The docstring of every toxic explains its attributes by name."""
    for kind in toxics.registry().values():
        assert kind.__doc__ is not None
        assert "Attributes" in kind.__doc__
        for field in kind.fields:
            assert f"{field}:" in kind.__doc__
