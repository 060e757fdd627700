"""A home that its user cannot read, as root's in a container with another user."""

from __future__ import annotations

from pathlib import Path

import pytest

from vault_harness.cli import run
from vault_harness.errors import EngineUnavailable
from vault_harness.local.engine import docker_client


@pytest.fixture
def closed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    exists = Path.exists

    def seen(path: Path, **how: bool) -> bool:
        if tmp_path in path.parents:
            raise PermissionError(13, "Permission denied", str(path))
        return exists(path, **how)

    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("DOCKER_HOST", raising=False)
    monkeypatch.setattr(Path, "exists", seen)
    return tmp_path


def test_no_engine_is_found_there(closed: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A docker socket there counts as missing."""
    monkeypatch.setattr(docker_client, "_SOCKETS", (Path("~/.docker/run/docker.sock"),))
    with pytest.raises(EngineUnavailable, match="no container engine here"):
        docker_client._knock()


def test_no_settings_of_tasks_are_looked_for_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / ".vault-harness-tasks.yaml").mkdir()  # unreadable even for root
    with pytest.raises(SystemExit) as ended:
        run(["--list"])
    assert not ended.value.code
