"""Text that stays text in Markdown, and in the HTML that it becomes.

A subject's name, or a line of a journal that somebody made by hand, must neither break a table nor
hide what comes after it, as ``<!--`` does on a page of a hosted job.
"""

from __future__ import annotations

import re

from vault_harness.report._moments import one_line

_MARKUP = re.compile(r"[\\`*\[\]|]")


def plain(text: str) -> str:
    """A text in one line, each letter of which is shown as it is."""
    text = one_line(text).replace("&", "&amp;").replace("<", "&lt;")
    return _MARKUP.sub(r"\\\g<0>", text)
