from __future__ import annotations

import subprocess
import sys

import pytest

from vault_harness.judge.plugin.suite import side_by_side
from vault_harness.local.engine import choice
from vault_harness.settings import Settings


@pytest.fixture
def docker(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pretend that a container engine answers and has the images."""
    monkeypatch.delenv("HARNESS_WORKERS", raising=False)
    monkeypatch.setattr(choice, "docker_state", lambda *_args, **_options: None)


@pytest.mark.usefixtures("docker")
def test_half_of_them_in_containers() -> None:
    processes = side_by_side(Settings(engine="process"))
    assert side_by_side(Settings(engine="docker")) == processes // 2
    assert side_by_side(Settings(engine="auto")) == processes


@pytest.mark.usefixtures("docker")
def test_all_where_no_container_engine_answers(monkeypatch: pytest.MonkeyPatch) -> None:
    """`auto` means processes."""
    monkeypatch.setattr(choice, "docker_state", lambda *_args, **_options: "nobody answers")
    assert side_by_side(Settings(engine="auto")) == side_by_side(Settings(engine="process"))


@pytest.mark.usefixtures("docker")
def test_a_number_that_was_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    assert side_by_side(Settings(engine="docker", workers=30)) == 30
    monkeypatch.setenv("HARNESS_WORKERS", "7")
    assert side_by_side(Settings(engine="docker")) == 7


@pytest.mark.parametrize("leases", [True, False])
def test_forks_load_nothing_again(leases: bool) -> None:
    """A scenario with leases has psycopg loaded before the forks."""
    pytest.importorskip("psycopg")
    script = (
        "import sys\n"
        "from vault_harness.judge.plugin.slots import load_for_forks\n"
        "assert 'psycopg' not in sys.modules\n"
        f"load_for_forks(leases={leases})\n"
        "print('psycopg' in sys.modules)\n"
    )
    told = subprocess.run([sys.executable, "-c", script], capture_output=True, check=True)
    assert told.stdout.decode().strip() == str(leases)
