"""Two settings with the same port are refused before anything is made."""

from __future__ import annotations

from pathlib import Path

import pytest

from vault_harness.errors import SettingsError
from vault_harness.local.stack.local import LocalStack
from vault_harness.settings import Settings


@pytest.mark.parametrize(
    ("ports", "named"),
    [
        ({"vault_port": 8201}, "HARNESS_VAULT_PORT and HARNESS_PROXY_PORT"),
        ({"toxiproxy_port": 8200}, "HARNESS_VAULT_PORT and HARNESS_TOXIPROXY_PORT"),
        ({"proxy_port": 9, "toxiproxy_port": 9}, "HARNESS_PROXY_PORT and HARNESS_TOXIPROXY_PORT"),
    ],
    ids=["of a default", "of another default", "both set"],
)
def test_the_same_port_twice(tmp_path: Path, ports: dict[str, int], named: str) -> None:
    settings = {"engine": "process", "data_dir": tmp_path / "data", "vault_port": 8200}
    settings |= {"proxy_port": 8201, "toxiproxy_port": 8474, **ports}
    stack = LocalStack(Settings.from_environment(**settings))
    with pytest.raises(SettingsError, match=f"{named} are the same port"):
        stack.up()
    assert not (tmp_path / "data").exists()
