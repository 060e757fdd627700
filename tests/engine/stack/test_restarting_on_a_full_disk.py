from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from vault_harness.errors import StackError
from vault_harness.local.stack.local import LocalStack
from vault_harness.settings import Settings


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    folder = tmp_path / "disk"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=64m", "tmpfs", str(folder)]
    if os.geteuid() != 0 or subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("nobody may mount a disk here")
    yield folder
    subprocess.run(["umount", "--lazy", str(folder)], check=True)


@pytest.fixture
def stack(small_disk: Path) -> Iterator[LocalStack]:
    ports = {"vault_port": 0, "proxy_port": 0, "toxiproxy_port": 0}
    made = LocalStack(
        Settings.from_environment(engine="process", data_dir=small_disk / "vault-data", **ports)
    )
    made.up()
    yield made
    (small_disk / "fill").unlink(missing_ok=True)
    made.destroy()


@pytest.mark.slow
def test_vault_is_not_ended(stack: LocalStack, small_disk: Path) -> None:
    left = 512 * 1024  # for what Vault writes meanwhile
    (small_disk / "fill").write_bytes(bytes(shutil.disk_usage(small_disk).free - left))
    before = stack.status().services["vault"]

    with pytest.raises(StackError, match="so it was not ended: No space left"):
        stack.restart()

    status = stack.status()
    assert (status.state, status.services["vault"]) == ("ready", before)
    (small_disk / "fill").unlink()
    stack.restart()
    stack.unseal()
    assert stack.status().services["vault"] != before
