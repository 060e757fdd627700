"""The report to look at: one page that needs nothing but a browser.

`render` turns one journal, or several side by side, into a single HTML text. Everything is in it:
style, script and data; it can be opened from a file, sent by mail, and kept as an artifact.
"""

from __future__ import annotations

from vault_harness.report.html._page import render, write_page

__all__ = ["render", "write_page"]
