"""Make the page of a report, which needs only a browser.

`render` turns one or more journals into a single HTML text that contains style, script and data. It
can be opened from a file, sent by mail, and kept as an artifact.
"""

from vault_harness.judge.report.html.page import render, write_page

__all__ = ["render", "write_page"]
