"""The database servers that the environment names.

They are spoken to through the clients' own libraries, psycopg and redis-py, which are optional
parts of this package (``pip install 'vault-harness[postgresql,redis]'``).
"""

from __future__ import annotations

from collections.abc import Mapping
from urllib.parse import urlsplit

from vault_harness.boundary import without_frames
from vault_harness.errors import SettingsError
from vault_harness.vault.rotate._password_server import PasswordServer
from vault_harness.vault.rotate._postgresql import PostgreSQL
from vault_harness.vault.rotate._redis import Redis

POSTGRESQL_VARIABLE = "HARNESS_POSTGRESQL_URL"
REDIS_VARIABLE = "HARNESS_REDIS_URL"


@without_frames
def configured(kind: str, environ: Mapping[str, str]) -> PasswordServer | None:
    """The server that the environment names, or None.

    ``HARNESS_POSTGRESQL_URL=postgresql://[admin[:password]@]host:port/database`` and
    ``HARNESS_REDIS_URL=redis://[admin[:password]@]host:port``. Without a user the account that is
    rotated changes its own password, with the old one from Vault.

    Raises:
        SettingsError: The URL makes no sense.
    """
    variable = POSTGRESQL_VARIABLE if kind == "postgresql" else REDIS_VARIABLE
    url = environ.get(variable)
    if not url:
        return None
    parts = urlsplit(url)
    schemes = {"postgresql", "postgres"} if kind == "postgresql" else {"redis", "rediss"}
    if parts.scheme not in schemes or not parts.hostname:
        raise SettingsError(
            f"{variable} is not the URL of a {kind} server",
            looked_at=f"scheme {parts.scheme or 'missing'}, host {parts.hostname or 'missing'}",
            remedy=f"Write it as {min(schemes)}://host:port/, with user and password before the "
            "host if the account cannot change its own password.",
        )
    return PostgreSQL(url) if kind == "postgresql" else Redis(url)
