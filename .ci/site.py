"""Prepare the documents for the site: mkdocs calls this for each page."""

from __future__ import annotations

import re
from pathlib import PurePosixPath
from typing import Any

LINK = re.compile(r"\[([^\]]+)\]\((?!https?:|#)([^)\s]+)\)")


def on_page_markdown(markdown: str, *, page: Any, **_: object) -> str:
    """Keep only the text of a link to a file outside docs/: the site does not have that file."""
    folder = PurePosixPath(page.file.src_uri).parent
    return LINK.sub(lambda link: link[1] if leaves(folder / link[2]) else link[0], markdown)


def leaves(path: PurePosixPath) -> bool:
    """Return whether a path that begins in docs/ leads out of it."""
    depth = 0
    for step in path.parts:
        depth += -1 if step == ".." else 1
        if depth < 0:
            return True
    return False
