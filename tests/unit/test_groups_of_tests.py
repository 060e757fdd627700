from __future__ import annotations

import re
import sys
from pathlib import Path

import pytest

from tests.groups import scope_of
from tests.running import ran

ROOT = Path(__file__).parents[2]

GROUP = """
import os
import pytest
pytestmark = pytest.mark.xdist_group("of one worker")

@pytest.mark.parametrize("n", range(12))
def test_it(n):
    pass
"""

CONFTEST = """
from tests.groups import ByFileOfAGroup

def pytest_xdist_make_scheduler(config, log):
    return ByFileOfAGroup(config, log)
"""


def test_a_file_with_a_group_is_one_scope() -> None:
    """A test without a group is one, too."""
    file = "tests/contract/toxiproxy/test_golden_transcript.py"
    assert scope_of(f"{file}::test_x[a::b]", ROOT) == file
    assert scope_of("tests/conftest.py::test_x", ROOT) == "tests/conftest.py::test_x"


@pytest.mark.slow  # only CI runs tests by group
def test_one_worker_has_the_whole_group(tmp_path: Path) -> None:
    """``--dist loadgroup`` asks for it."""
    (tmp_path / "conftest.py").write_text(CONFTEST)
    (tmp_path / "test_group.py").write_text(GROUP)
    ended = ran(
        [
            *(sys.executable, "-m", "pytest", "-c", "/dev/null", "--rootdir", str(tmp_path)),
            *("-p", "no:cacheprovider", "-v", "-n", "3", "--dist", "loadgroup", str(tmp_path)),
        ],
        cwd=ROOT,
    )
    workers = re.findall(r"\[(gw\d)\]", ended.stdout)
    assert len(workers) == 12, ended.stdout + ended.stderr
    assert len(set(workers)) == 1
