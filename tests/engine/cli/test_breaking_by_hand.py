"""The first look at what a client does: break the stack of every day by hand, and heal it."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

import pytest
import requests

pytestmark = [
    pytest.mark.slow,  # each test types several commands
    pytest.mark.xdist_group("breaking by hand"),  # they share a stack
]

Checkout = Any  # of conftest.py


@pytest.fixture
def proxy(checkout: Checkout) -> Iterator[str]:
    """The way that clients take, healed afterwards."""
    yield checkout.proxy()
    checkout.run("heal")


def health(proxy: str, *, timeout: float = 10.0) -> int:
    """What Vault's health says through the proxy."""
    return requests.get(f"{proxy}/v1/sys/health", timeout=timeout).status_code


def test_latency(checkout: Checkout, proxy: str) -> None:
    """Answers come late by what was said, and in time again once healed; twice is once."""
    checkout.run("break.latency", "5000")
    assert "./dev heal" in checkout.run("break", "latency", "400")
    began = time.monotonic()
    assert health(proxy) == 200
    assert 0.4 <= time.monotonic() - began < 5.0
    assert "removed" in checkout.run("heal")
    assert "toxic" not in checkout.run("status")


def test_slow(checkout: Checkout, proxy: str) -> None:
    """At nothing a second nothing arrives."""
    checkout.run("break.slow", "0")
    with pytest.raises(requests.Timeout):
        health(proxy, timeout=0.5)
    checkout.run("heal")
    assert health(proxy) == 200


def test_cut(checkout: Checkout, proxy: str) -> None:
    """New connections are refused; status says that this is on purpose and what undoes it."""
    checkout.run("break.cut")
    with pytest.raises(requests.ConnectionError):
        health(proxy)
    assert "./dev heal" in checkout.run("status")
    assert "enabled" in checkout.run("heal")
    assert health(proxy) == 200


def test_seal(checkout: Checkout, proxy: str) -> None:
    """Vault answers 503 until it is healed."""
    checkout.run("break.seal")
    assert health(proxy) == 503
    assert "unsealed Vault" in checkout.run("heal")
    assert health(proxy) == 200


def test_nothing_is_broken(checkout: Checkout, proxy: str) -> None:
    """Healing what is whole says so."""
    assert checkout.run("heal") == "nothing was broken\n"


def test_revoke(checkout: Checkout, proxy: str) -> None:
    """The role's tokens are dead, another role's and its next login are not."""
    url, token = f"{proxy}/v1/auth/token/lookup-self", checkout.login()
    assert requests.get(url, headers={"X-Vault-Token": token}, timeout=10).status_code == 200
    checkout.run("break.revoke", "api-gateway")
    assert requests.get(url, headers={"X-Vault-Token": token}, timeout=10).status_code == 200
    printed = checkout.run("break.revoke", "backend")
    assert requests.get(url, headers={"X-Vault-Token": token}, timeout=10).status_code == 403
    assert token not in printed
    again = checkout.login()
    assert requests.get(url, headers={"X-Vault-Token": again}, timeout=10).status_code == 200


def test_revoking_of_a_role_that_is_not_there(checkout: Checkout) -> None:
    """The roles that are there are named."""
    assert "backend" in checkout.run("break.revoke", "nobody", code=2)


def test_seeding_asks_before_values_go(checkout: Checkout) -> None:
    """Without an answer nothing is replaced, nor in a dry run, nor where access alone is wanted."""
    before = checkout.value("backend/django")
    assert "nobody is there to answer" in checkout.run("seed", "--overwrite", code=2)
    assert "would replace" in checkout.run("seed", "--overwrite", "--dry-run")
    checkout.run("seed", "--only", "access")
    checkout.run("seed")
    assert checkout.value("backend/django") == before
    checkout.run("seed", "--overwrite", "--yes")
    assert checkout.value("backend/django") != before


def test_vault_takes_all_words_after_it(checkout: Checkout) -> None:
    """The guide's own form, with options and words that have blanks."""
    assert "backend/" in checkout.run("vault", "kv", "list", "ecommerce/")
    path = "ecommerce/backend/by-hand"
    checkout.run("vault", "kv", "put", path, "A=two words")
    assert checkout.run("vault", "kv", "get", "-field=A", path).strip() == "two words"
    checkout.run("vault", "kv", "get", "ecommerce/nowhere", code=2)


def test_a_log_line_is_printed_as_it_is(checkout: Checkout) -> None:
    """What a server printed is not rewritten, whatever command it speaks of."""
    log = next(path for path in checkout.data_dir.rglob("*.log") if "vault" in path.name)
    with log.open("a") as lines:
        lines.write("somebody may invoke seed here\n")
    assert "somebody may invoke seed here" in checkout.run("logs")


def test_destroy_says_first_what_would_go(checkout: Checkout, proxy: str) -> None:
    """A dry run names the keys and the servers, and touches neither."""
    said = checkout.run("destroy", "--dry-run")
    assert f"would remove {checkout.data_dir / 'init.json'}" in said
    assert "would remove Vault" in said
    assert health(proxy) == 200
    assert (checkout.data_dir / "init.json").is_file()
