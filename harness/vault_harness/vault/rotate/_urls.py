"""URLs that log in with a password: found, and given another one.

Of two accounts that have the same password, as on many a developer's machine, only the one that is
rotated gets another: a URL that says otherwise whose it is stays as it is.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from urllib.parse import quote, unquote, urlsplit, urlunsplit

from vault_harness.vault.rotate._password_server import Account
from vault_harness.vault.rotate._targets import ServerKind


def with_urls(
    data: dict[str, Any], account: Account, kind: ServerKind | None = None
) -> dict[str, Any]:
    """The same secret with the password exchanged in every URL that logs in with it.

    Args:
        data: The secret.
        account: Whose password it is.
        kind: Of which server; None for a value that no server knows.
    """
    return {
        key: _in_url(value, account, kind) if isinstance(value, str) else value
        for key, value in data.items()
    }


def holds(value: object, password: str) -> bool:
    """Whether a value is a password, or has it in it: in a URL, or in words of another kind."""
    if not isinstance(value, str) or not password:
        return False
    if len(password) < _NO_CHANCE:
        return value == password
    return any(form in value for form in {password, quote(password), quote(password, safe="")})


_NO_CHANCE = 8
"""Letters of a password that is found within a text by no chance."""

_WORDS: Mapping[str, tuple[str, ...]] = {
    "postgresql": ("postg", "pgsql"),
    "redis": ("redis", "valkey"),
    "others": ("amqp", "mongo", "mysql", "mariadb", "http", "smtp", "ldap", "kafka", "nats", "ftp"),
}
"""What is in the schemes of URLs for a kind of server. Many a library has one of its own."""


def _is_of_another(scheme: str, user: str, account: Account, kind: ServerKind) -> bool:
    """Whether a URL says that it is not for this account: by its server, or by its user.

    Poolers and hosts want more behind a user's name (``app.project``, ``app@server``); a Redis of
    before there were users takes any.
    """
    words = [word for other, some in _WORDS.items() if other != kind for word in some]
    if any(word in scheme for word in words) and not any(word in scheme for word in _WORDS[kind]):
        return True
    own = account.user
    return bool(own and user) and user != own and not user.startswith((f"{own}.", f"{own}@"))


def _in_url(value: str, account: Account, kind: ServerKind | None) -> str:
    try:
        parts = urlsplit(value)
        password = parts.password
    except ValueError:
        return value  # brackets that are not an IPv6 address: not a URL
    if not parts.scheme or not password or unquote(password) != account.old:
        return value
    head, _, host = parts.netloc.rpartition("@")
    user = head.partition(":")[0]
    if kind is not None and _is_of_another(parts.scheme, unquote(user), account, kind):
        return value
    netloc = f"{user}:{quote(account.new, safe='')}@{host}"
    return urlunsplit(parts._replace(netloc=netloc))
