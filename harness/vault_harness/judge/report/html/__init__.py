"""Make the page of a report, one HTML file that needs only a browser."""

from vault_harness.judge.report.html.page import render, write_page

__all__ = ["render", "write_page"]
