"""Which tests one worker has to run, one after the other: those of a file with a group.

pytest-xdist tells a group by a name that it gives each of its tests anew, which pytest 9.2 does not
let it do any more: ``--dist loadgroup`` went on without a word, and spread every group. Here the
file is the group, since all of a file's tests are of one.
"""

from __future__ import annotations

import functools
from pathlib import Path

from xdist.scheduler import LoadScopeScheduling  # type: ignore[import-untyped]

_MARK = "pytest.mark.xdist_group("


class ByFileOfAGroup(LoadScopeScheduling):  # type: ignore[misc]  # it has no types
    """Gives a file whose tests have a group to one worker, and each other test to any."""

    def _split_scope(self, nodeid: str) -> str:
        return scope_of(nodeid, Path(self.config.rootpath))


def scope_of(nodeid: str, root: Path) -> str:
    """What a test is run together with: its file, or nothing but itself."""
    file, _, _ = nodeid.partition("::")
    return file if _has_a_group(root / file) else nodeid


@functools.cache
def _has_a_group(file: Path) -> bool:
    return _MARK in file.read_text(encoding="utf-8")
