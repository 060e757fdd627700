"""URLs with a password.

The readers of these URLs (redis-py, kombu, dj-database-url) use the standard library, and so does
this module. yarl would rewrite the rest of the URL.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal
from urllib.parse import quote, unquote, urlsplit

ServerKind = Literal["postgresql", "redis"]

_SCHEME = r"[a-z][a-z0-9+.-]*://"
_BETWEEN = re.compile(rf"([;,\s]+)(?={_SCHEME})", re.IGNORECASE)
_WORDS: Mapping[str, tuple[str, ...]] = {
    "postgresql": ("postg", "pgsql"),
    "redis": ("redis", "valkey", "sentinel"),
    "others": ("amqp", "mongo", "mysql", "mariadb", "http", "smtp", "ldap", "kafka", "nats", "ftp"),
}
"""Parts of schemes, since many libraries add their own."""


@dataclass(frozen=True)
class Login:
    """A URL with a password, at ``url[start:end]``.

    `user` is decoded, and "" if the URL names none.
    """

    url: str = field(repr=False)
    user: str
    start: int
    end: int

    def with_password(self, password: str) -> str:
        return f"{self.url[: self.start]}{quote(password, safe='')}{self.url[self.end :]}"


def fill(pieces: Sequence[str], values: Sequence[str]) -> str:
    """Join the pieces of a template with values between them.

    In a URL each value is percent-encoded, except scheme and host: no reader decodes a scheme, and
    an IPv6 address needs its brackets.
    """
    is_url = re.match(rf"(?:[a-z]+:)?{_SCHEME}", "x".join(pieces), re.IGNORECASE)
    text = pieces[0]
    for number, value in enumerate(values, 1):
        before, after = "".join(pieces[:number]), "".join(pieces[number:])
        host = pieces[number - 1].endswith(("//", "@")) and not re.match(r"[^/?#]*@", after)
        encode = is_url and "://" in before and not host
        text += (quote(value, safe="") if encode else value) + pieces[number]
    return text


def each(text: str) -> list[str]:
    """Return the URLs of a list such as Celery's ``redis://a;redis://b``, or the text itself."""
    return _BETWEEN.split(text)[::2]


def change_each(text: str, change: Callable[[str], str]) -> str:
    parts = _BETWEEN.split(text)
    parts[::2] = [change(url) for url in parts[::2]]
    return "".join(parts)


def find_login(url: str, password: str) -> Login | None:
    """Find where a URL has this password, encoded or as it is, which no client can read."""
    if not password:
        return None
    user, found = read_login(url)
    if found == password:
        userinfo = urlsplit(url).netloc.rpartition("@")[0]
        begin = url.find("://") + 3
        # urlsplit drops line breaks and tabs, which would shift the positions.
        if url.startswith(userinfo, begin):
            return Login(url, user, url.index(":", begin) + 1, begin + len(userinfo))
    raw = re.match(
        rf"{_SCHEME}([^:/?#@]*):({re.escape(password)})@[^@]*\Z", url, re.IGNORECASE | re.DOTALL
    )
    return Login(url, unquote(raw[1]), *raw.span(2)) if raw else None


def read_login(url: str) -> tuple[str, str]:
    """Return the user and the password in a URL, each "" if missing."""
    try:
        parts = urlsplit(url)
    except ValueError:  # such as brackets that are no IPv6 address
        return "", ""
    if not parts.scheme:
        return "", ""
    return unquote(parts.username or ""), unquote(parts.password or "")


def holds(text: str, password: str) -> bool:
    return len(password) >= _NO_CHANCE and (password in text or password in unquote(text))


_NO_CHANCE = 8
"""A shorter password may appear in other texts by chance."""


def server_of(url: str) -> str:
    scheme, separator, _ = url.lower().partition("://")
    if not separator:
        return ""
    return next((kind for kind, words in _WORDS.items() if any(w in scheme for w in words)), "")


def is_of_another(url: str, named: str, *, own: str, kind: ServerKind) -> bool:
    """Return whether a URL is for another account than ``own``, by its server or its user.

    ``own`` is "" for the server's default user. Poolers and hosts may extend a user's name
    (``app.project``, ``app@server``). A Redis without users accepts any.
    """
    if server_of(url) not in {"", kind}:
        return True
    return bool(own and named) and named != own and not named.startswith((f"{own}.", f"{own}@"))
