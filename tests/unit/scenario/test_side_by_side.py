"""How many scenarios run at once, before the client's cost is known."""

from __future__ import annotations

import subprocess
import sys

import pytest

from vault_harness.engine import _choose
from vault_harness.plugin._suite import side_by_side
from vault_harness.settings import Settings


@pytest.fixture
def docker(monkeypatch: pytest.MonkeyPatch) -> None:
    """A container engine that answers and has the images."""
    monkeypatch.delenv("HARNESS_WORKERS", raising=False)
    monkeypatch.setattr(_choose, "docker_state", lambda *_args, **_options: None)


@pytest.mark.usefixtures("docker")
def test_half_of_them_in_containers() -> None:
    """Whether docker was asked for or found."""
    processes = side_by_side(Settings(engine="process"))
    assert side_by_side(Settings(engine="docker")) == processes // 2
    assert side_by_side(Settings(engine="auto")) == processes // 2


@pytest.mark.usefixtures("docker")
def test_all_where_no_container_engine_answers(monkeypatch: pytest.MonkeyPatch) -> None:
    """`auto` then means processes."""
    monkeypatch.setattr(_choose, "docker_state", lambda *_args, **_options: "nobody answers")
    assert side_by_side(Settings(engine="auto")) == side_by_side(Settings(engine="process"))


@pytest.mark.usefixtures("docker")
def test_a_number_that_was_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is taken as it is, from wherever it came."""
    assert side_by_side(Settings(engine="docker", workers=30)) == 30
    monkeypatch.setenv("HARNESS_WORKERS", "7")
    assert side_by_side(Settings(engine="docker")) == 7


@pytest.mark.parametrize("leases", [True, False])
def test_forks_load_nothing_anew(leases: bool) -> None:
    """What their scenarios log in at a database by is there before them, if one of them does."""
    pytest.importorskip("psycopg")
    script = (
        "import sys\n"
        "from vault_harness.scenario.shared import load_for_forks\n"
        "assert 'psycopg' not in sys.modules\n"
        f"load_for_forks(leases={leases})\n"
        "print('psycopg' in sys.modules)\n"
    )
    told = subprocess.run([sys.executable, "-c", script], capture_output=True, check=True)
    assert told.stdout.decode().strip() == str(leases)
