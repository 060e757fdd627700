"""The database servers that the environment names.

They are spoken to through the clients' own libraries, psycopg and redis-py, which are optional
parts of this package (``pip install 'vault-harness[postgresql,redis]'``).
"""

from __future__ import annotations

from collections.abc import Mapping
from urllib.parse import SplitResult, urlsplit

from vault_harness.boundary import without_frames
from vault_harness.errors import SettingsError
from vault_harness.vault.rotate._password_server import PasswordServer
from vault_harness.vault.rotate._postgresql import PostgreSQL
from vault_harness.vault.rotate._redis import Redis

POSTGRESQL_VARIABLE = "HARNESS_POSTGRESQL_URL"
REDIS_VARIABLE = "HARNESS_REDIS_URL"

_ENCODE = (
    "If the password has one of / # ? [ ] @ : or % in it, percent-encode it: "
    "python3 -c 'import getpass, urllib.parse as u; print(u.quote(getpass.getpass(), safe=\"\"))'"
)


@without_frames
def configured(kind: str, environ: Mapping[str, str]) -> PasswordServer | None:
    """The server that the environment names, or None.

    ``HARNESS_POSTGRESQL_URL=postgresql://[admin[:password]@]host:port/database`` and
    ``HARNESS_REDIS_URL=redis://[admin[:password]@]host:port``. Without a user the account that is
    rotated changes its own password, with the old one from Vault. Options after a ``?`` are those
    of the library: ``sslmode``, ``sslrootcert``, ...; ``ssl_ca_certs``, ...

    Raises:
        SettingsError: The URL makes no sense.
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
            f"{variable} has options that are none of this server's: {', '.join(unknown)}",
            looked_at="what stands after its ?",
            remedy=f"Correct them, or leave them out. {server.OPTIONS}",
        )
    return server


def _parts(variable: str, url: str) -> SplitResult:
    """The URL's parts, each of which can be read.

    The error has none of them: where a password ends in the wrong place, any may be a piece of it.
    """
    try:
        parts = urlsplit(url)
        split_wrongly = parts.port == 0 or parts.fragment or "@" in parts.path + parts.query
    except ValueError:  # whose text quotes what it stumbled over
        split_wrongly = True
    if split_wrongly:
        raise SettingsError(
            f"{variable} cannot be taken apart into user, password, host, port and options",
            looked_at=f"the URL in {variable}, which may have a password in it and is not shown",
            remedy=f"Write it as scheme://user:password@host:port/. {_ENCODE}",
        )
    return parts
