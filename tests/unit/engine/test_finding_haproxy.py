from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from vault_harness.errors import ProgramMissing
from vault_harness.local.programs import find_balancer


def test_it_is_found_on_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program = tmp_path / "haproxy"
    program.write_text("#!/bin/sh\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert find_balancer() == program


def test_without_it_the_remedy_names_packages(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "which", lambda *_args, **_more: None)
    with pytest.raises(ProgramMissing, match="apt install haproxy"):
        find_balancer()
