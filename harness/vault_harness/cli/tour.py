"""For newcomers: a tour of five minutes in the terminal, and the documents."""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

from vault_harness.cli.command import command
from vault_harness.cli.common import settings
from vault_harness.cli.printing import say, table
from vault_harness.cli.running import run_child
from vault_harness.errors import SettingsError, named
from vault_harness.waiting import wait_until

if TYPE_CHECKING:
    from resilient_vault_client import VaultClient
    from vault_harness.fixtures import Vault

_SCENARIO = "SEA-01"
_AGAIN_SECONDS = 30.0
_PATH, _KEY = "backend/django", "SECRET_KEY"


@command(
    "tour",
    group="every day",
    examples=("tour", "tour --report /tmp/tour"),
    help={"report": "where the report of the last step goes, default report/tour"},
)
def tour(report: str = "report/tour") -> None:
    """See a Vault break and a client survive, in five minutes.

    The tour has a Vault of its own in memory, which ends with it. It touches no stack and no data
    directory. In a terminal it waits for Enter before each step.
    """
    from resilient_vault_client import VaultClient
    from vault_harness.fixtures import Vault, VaultServer
    from vault_harness.local.blueprint import Blueprint

    _step("1. Start a Vault in memory, and put the secrets of an example shop into it.")
    server = VaultServer(settings(engine="process"))
    try:
        began = time.monotonic()
        vault = Vault(server, Blueprint.default(), whole=True)
        try:
            say(f"   {vault.direct} serves, {time.monotonic() - began:.1f} s later")
            with VaultClient(environ=vault.environ("backend"), timeout=2.0) as client:
                _break(vault, client)
        finally:
            vault.close()
    finally:
        server.close()
    _step("5. Judge the client: one of more than a hundred scenarios.")
    say(f"   {named('scenarios', '--only', _SCENARIO, '--report', report)}")
    words = ["scenarios", "--only", _SCENARIO, "--report", report]
    code = run_child([sys.executable, "-m", "vault_harness", *words], env=os.environ)
    page = Path(report).absolute() / "index.html"
    if _asks() and page.exists():
        import webbrowser

        webbrowser.open(page.as_uri())
    say()
    say(f"next: {named('up')} and {named('seed')}, for a Vault that stays")
    say(f"      {named('try', './my-application')}, for an application of yours")
    if code:
        raise SystemExit(code)


def _break(vault: Vault, client: VaultClient) -> None:
    _step("2. Let a client log in with its AppRole, and read a secret.")
    _read(client)
    _step("3. Seal Vault. It answers 503 to everything.")
    with vault.sealed():
        _read(client)
    say("   unsealed again")
    _read_again(client)
    _step("4. Revoke the client's token, as an operator would; then cut the network.")
    say(f"   {vault.revoke_tokens()} token revoked; the client gets 403, and logs in again")
    _read_again(client)
    with vault.network.down():
        say("   connections are refused")
        _read(client)
    say("   the network is back")
    _read_again(client)


def _read(client: VaultClient) -> None:
    began = time.monotonic()
    secret = client.read(_PATH, _KEY)
    source = "the last good value, from memory" if secret.stale else "a value from Vault"
    say(f"   read {_PATH}: {source}, after {time.monotonic() - began:.2f} s")


def _read_again(client: VaultClient) -> None:
    """Wait until the client asks Vault again; after an outage it pauses."""
    began = time.monotonic()
    wait_until(
        lambda: not client.read(_PATH, _KEY).stale,
        "the client to read from Vault again",
        timeout=_AGAIN_SECONDS,
    )
    say(f"   read {_PATH}: a value from Vault again, {time.monotonic() - began:.2f} s later")


def _step(text: str) -> None:
    say()
    say(text)
    if _asks():
        try:
            input("   [Enter] ")
        except EOFError:
            say()


def _asks() -> bool:
    return bool(sys.stdin and sys.stdin.isatty() and sys.stdout.isatty())


@command(
    "docs",
    group="every day",
    takes=("name",),
    examples=("docs", "docs judge", "docs how-to/tls"),
    help={"name": "a document of the list, or the end of its name; without a name all are listed"},
)
def docs(name: str | None = None) -> None:
    """List the documents, or print one."""
    from vault_harness.settings import documents

    folder = documents()
    there = {
        file.relative_to(folder).with_suffix("").as_posix(): file
        for file in sorted(folder.rglob("*.md"))
    }
    texts = {each: file.read_text(encoding="utf-8") for each, file in there.items()}
    if name is None:
        titles = {each: text.partition("\n")[0] for each, text in texts.items()}
        say(table([(each, title.removeprefix("# ")) for each, title in titles.items()]))
        return
    asked = name.removeprefix("docs/").removesuffix(".md")
    alike = [each for each in texts if each.rpartition("/")[2] == asked]
    if asked not in texts and len(alike) == 1:
        asked = alike[0]
    if asked not in texts:
        raise SettingsError(
            f"there is no document {name}",
            looked_at=str(folder),
            remedy=f"take one of {', '.join(texts)}",
        )
    say(texts[asked].rstrip("\n"))
