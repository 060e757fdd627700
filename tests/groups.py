"""Give all tests of a file that has a group to one worker.

pytest-xdist marks a group in the names of its tests, which pytest 9.2 no longer allows:
``--dist loadgroup`` spread every group without a message. A group here is always one file.
"""

from __future__ import annotations

import functools
from pathlib import Path

from xdist.scheduler import LoadScopeScheduling  # type: ignore[import-untyped]

_MARK = "pytest.mark.xdist_group("


class ByFileOfAGroup(LoadScopeScheduling):  # type: ignore[misc]  # xdist has no types
    def _split_scope(self, nodeid: str) -> str:
        return scope_of(nodeid, Path(self.config.rootpath))


def scope_of(nodeid: str, root: Path) -> str:
    """Return the test's file if that has a group, or the test alone."""
    file, _, _ = nodeid.partition("::")
    return file if _has_a_group(root / file) else nodeid


@functools.cache
def _has_a_group(file: Path) -> bool:
    return _MARK in file.read_text(encoding="utf-8")
