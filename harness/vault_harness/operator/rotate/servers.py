"""Find the database servers that the environment names.

psycopg and redis-py are optional (``pip install 'vault-harness[postgresql,redis]'``).
"""

from __future__ import annotations

from collections.abc import Mapping
from urllib.parse import SplitResult, urlsplit

from vault_harness.errors import SettingsError, without_frames
from vault_harness.operator.rotate.password_server import PasswordServer
from vault_harness.operator.rotate.postgresql import PostgreSQL
from vault_harness.operator.rotate.redis import Redis

POSTGRESQL_VARIABLE = "HARNESS_POSTGRESQL_URL"
REDIS_VARIABLE = "HARNESS_REDIS_URL"

_ENCODE = (
    "In the password, percent-encode / # ? [ ] @ : and %: "
    "python3 -c 'import getpass, urllib.parse as u; print(u.quote(getpass.getpass(), safe=\"\"))'"
)


@without_frames
def configured(kind: str, environ: Mapping[str, str]) -> PasswordServer | None:
    """Return the server that the environment names, or None.

    ``HARNESS_POSTGRESQL_URL=postgresql://[admin[:password]@]host:port/database`` and
    ``HARNESS_REDIS_URL=redis://[admin[:password]@]host:port``. Without a user, the rotated account
    changes its own password. Options after a ``?`` belong to the library, such as ``sslmode`` or
    ``ssl_ca_certs``.
    """
    variable = POSTGRESQL_VARIABLE if kind == "postgresql" else REDIS_VARIABLE
    url = environ.get(variable)
    if not url:
        return None
    parts = _parts(variable, url)
    schemes = {"postgresql", "postgres"} if kind == "postgresql" else {"redis", "rediss"}
    if parts.scheme not in schemes or not parts.hostname:
        raise SettingsError(
            f"{variable} is not the URL of a {kind} server",
            looked_at=f"scheme {parts.scheme or 'missing'}, host "
            f"{'given' if parts.hostname else 'missing'}",
            remedy=f"Write it as {min(schemes)}://host:port/, with user and password before the "
            "host if the account cannot change its own password.",
        )
    server: PostgreSQL | Redis = PostgreSQL(url) if kind == "postgresql" else Redis(url)
    unknown = server.unknown_options()
    if unknown:
        raise SettingsError(
            f"{variable} has options that this server does not know: {', '.join(unknown)}",
            looked_at="the text after its ?",
            remedy=f"Correct them, or leave them out. {server.OPTIONS}",
        )
    return server


def _parts(variable: str, url: str) -> SplitResult:
    """Split the URL, and check that each part can be read.

    The error shows no part, which may hold a piece of a password with special characters.
    """
    try:
        parts = urlsplit(url)
        split_wrongly = parts.port == 0 or parts.fragment or "@" in parts.path + parts.query
    except ValueError:  # not chained, since it quotes a part of the URL
        split_wrongly = True
    if split_wrongly:
        raise SettingsError(
            f"{variable} cannot be split into user, password, host, port and options",
            looked_at=f"the URL in {variable}, which may have a password in it and is not shown",
            remedy=f"Write it as scheme://user:password@host:port/. {_ENCODE}",
        )
    return parts
