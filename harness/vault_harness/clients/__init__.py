"""Real clients of other people, judged and published: an adapter, a score and a page each.

``scenarios/clients/NAME/`` has all that is known of one: ``client.toml`` (what it is, how it is
made and run), its adapter, ``score.json`` (what a run came to) and ``notes.toml`` (why it breaks
what it breaks, by hand). ``docs/clients/`` is made from these, and from nothing else.
"""

from vault_harness.clients._client import Client, Note, find, known_clients
from vault_harness.clients._install import install, missing_tools
from vault_harness.clients._judge import (
    broken_down,
    differences,
    proved_nothing,
    settled,
    to_settle,
)
from vault_harness.clients._pages import PAGES, overview, page, pages

__all__ = [
    "Client",
    "Note",
    "find",
    "known_clients",
    "install",
    "missing_tools",
    "broken_down",
    "differences",
    "proved_nothing",
    "settled",
    "to_settle",
    "PAGES",
    "overview",
    "page",
    "pages",
]
