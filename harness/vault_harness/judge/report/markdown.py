"""Text that stays text in Markdown, and in the HTML that is made of it.

A subject's name, or a journal edited by hand, must neither break a table nor hide what follows, as
``<!--`` does on the page of a hosted job.
"""

from __future__ import annotations

import re

from vault_harness.judge.report.timing import one_line

_MARKUP = re.compile(r"[\\`*\[\]|]")


def plain(text: str) -> str:
    """Return a text in one line, with each character shown as it is."""
    text = one_line(text).replace("&", "&amp;").replace("<", "&lt;")
    return _MARKUP.sub(r"\\\g<0>", text)
