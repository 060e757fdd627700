"""URLs that log in with a password: found, and given another one."""

from __future__ import annotations

from typing import Any
from urllib.parse import quote, unquote, urlsplit, urlunsplit

from vault_harness.vault.rotate._password_server import Account


def with_urls(data: dict[str, Any], account: Account) -> dict[str, Any]:
    """The same secret with the password exchanged in every URL that logs in with it."""
    return {
        key: _in_url(value, account) if isinstance(value, str) else value
        for key, value in data.items()
    }


def _in_url(value: str, account: Account) -> str:
    try:
        parts = urlsplit(value)
        password = parts.password
    except ValueError:
        return value  # brackets that are not an IPv6 address: not a URL
    if not parts.scheme or not password or unquote(password) != account.old:
        return value
    head, _, host = parts.netloc.rpartition("@")
    user = head.partition(":")[0]
    netloc = f"{user}:{quote(account.new, safe='')}@{host}"
    return urlunsplit(parts._replace(netloc=netloc))
