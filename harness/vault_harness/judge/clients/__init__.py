"""Keep the published clients: an adapter, a score and a page each.

``scenarios/clients/NAME/`` has ``client.toml`` (what the client is, and how it is made and run),
its adapter, ``score.json`` (the result of its runs) and ``notes.toml`` (why it breaks promises,
written by hand). ``docs/clients/`` is made from these files only.
"""

from vault_harness.judge.clients.client import (
    QUIET_RUNS,
    Client,
    Note,
    broken_down,
    differences,
    find,
    install,
    known_clients,
    missing_tools,
    proved_nothing,
    score_of_client,
)
from vault_harness.judge.clients.score_page import PAGES, overview, page, pages

__all__ = [
    "Client",
    "Note",
    "find",
    "known_clients",
    "install",
    "missing_tools",
    "QUIET_RUNS",
    "broken_down",
    "differences",
    "proved_nothing",
    "score_of_client",
    "PAGES",
    "overview",
    "page",
    "pages",
]
