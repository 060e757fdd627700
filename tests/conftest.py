"""How tasks are named, and how many examples a property is tried with."""

from __future__ import annotations

import os
import subprocess
import zlib

import pytest
from hypothesis import settings


def pytest_configure(config: pytest.Config) -> None:
    """Name tasks in remedies as ``invoke`` does, and choose the number of examples.

    The quick tests try a property with a quarter of the examples, unless ``--hypothesis-profile
    full`` is given. No example has a deadline.
    """
    os.environ["HARNESS_RUNNER"] = "invoke"
    settings.register_profile("quick", deadline=None, max_examples=25)
    settings.register_profile("full", deadline=None)
    quick = config.option.markexpr == "not slow"
    chosen = config.getoption("--hypothesis-profile", None)
    settings.load_profile(chosen or ("quick" if quick else "full"))


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the option with which CI runs a share of the slow tests after a very large change."""
    parser.addoption(
        "--share",
        type=int,
        default=1,
        metavar="N",
        help="run one test of N; each day has others",
    )


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Put the longest tests first, so that no worker runs one alone at the end."""
    share = config.getoption("--share")
    if share > 1:
        # By the day of the commit: a commit that mends a test of the share runs that test again.
        command = ["git", "-C", str(config.rootpath), "log", "-1", "--format=%cs"]
        day = subprocess.run(command, check=True, capture_output=True).stdout
        kept = [item for item in items if zlib.crc32(day + item.nodeid.encode()) % share == 0]
        config.hook.pytest_deselected(items=[item for item in items if item not in set(kept)])
        items[:] = kept
    items.sort(key=lambda item: item.get_closest_marker("long") is None)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: object) -> object | None:
    """Keep the tests of a group on one worker if ``--dist loadgroup`` asks for it."""
    if config.getvalue("dist") != "loadgroup":
        return None
    from tests.groups import ByFileOfAGroup

    return ByFileOfAGroup(config, log)
