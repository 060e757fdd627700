"""What holds in all tests: messages name tasks as ``invoke`` runs them, and no example is timed."""

from __future__ import annotations

import os

import pytest
from hypothesis import settings


def pytest_configure() -> None:
    """Make remedies the same under pytest, ``./dev test`` and an editor; let machines be busy."""
    os.environ["HARNESS_RUNNER"] = "invoke"
    settings.register_profile("untimed", deadline=None)
    settings.load_profile("untimed")


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with what takes minutes: at the end, one worker would run it and the others be idle."""
    items.sort(key=lambda item: item.get_closest_marker("long") is None)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: object) -> object | None:
    """Keep the tests of a group together, where that is asked for (``--dist loadgroup``)."""
    if config.getvalue("dist") != "loadgroup":
        return None
    from tests.groups import ByFileOfAGroup

    return ByFileOfAGroup(config, log)
