"""A home that is closed to its user, as root's in a container that runs as a number."""

from __future__ import annotations

from pathlib import Path

import pytest

from vault_harness.cli import run
from vault_harness.engine.docker import _client
from vault_harness.errors import EngineUnavailable


@pytest.fixture
def closed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A home in which nothing can be seen."""
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
    """Its sockets cannot be used either: docker is not here, which is no error."""
    monkeypatch.setattr(_client, "_SOCKETS", (Path("~/.docker/run/docker.sock"),))
    with pytest.raises(EngineUnavailable, match="no container engine here"):
        _client._knock()


def test_no_settings_of_tasks_are_looked_for_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ours have none."""
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / ".vault-harness-tasks.yaml").mkdir()  # cannot be read, by root either
    with pytest.raises(SystemExit) as ended:
        run(["--list"])
    assert not ended.value.code
