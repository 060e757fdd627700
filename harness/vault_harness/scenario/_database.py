"""A scenario's database: Vault makes users in it, and the harness logs in as what it is given."""

from __future__ import annotations

import secrets as random
from typing import TYPE_CHECKING, Any

from vault_harness.engine import Postgresql
from vault_harness.faults import Signature
from vault_harness.files import encodable
from vault_harness.scenario._secrets import Secrets
from vault_harness.scenario.history import History
from vault_harness.subjects import Credential
from vault_harness.vault import Operator

if TYPE_CHECKING:
    import psycopg

MOUNT = "database"
"""Where Vault's database engine is."""

CREDENTIALS, READ_ONLY = f"{MOUNT}/creds/app", f"{MOUNT}/creds/readonly"
"""Where a client asks it for a user: two roles, whose users are in groups of their own."""

POLICY = "scenario-database"
"""The policy by which it may."""

CONNECT_SECONDS = 3.0
"""Seconds that a login may take; PostgreSQL answers in some milliseconds."""

# The second and third are said to one whose user is dropped while it comes in.
_REFUSED = ("authentication failed", "does not exist", "cache lookup failed for role")

# As Vault's documentation of the plugin has it, and a group by which a scenario knows its own.
_CREATE = (
    "CREATE ROLE \"{{{{name}}}}\" WITH LOGIN PASSWORD '{{{{password}}}}' "
    "VALID UNTIL '{{{{expiration}}}}' IN ROLE {group}"
)

# Its own would take rights from the user first that it never had: on the database, and on what is
# in it. PostgreSQL refuses that where scenarios do it at the same moment ("tuple concurrently
# updated"), and Vault tries again ten seconds later.
_DROP = 'DROP ROLE IF EXISTS "{{name}}"'


class Database:
    """Two groups of users in a PostgreSQL server that several scenarios share.

    Args:
        server: The server.
        history: Where logins are noted.
        secrets: Gives credentials their labels.
    """

    def __init__(self, server: Postgresql, history: History, secrets: Secrets) -> None:
        self._server = server
        self._history = history
        self._secrets = secrets
        mark = random.token_hex(6)
        self._groups = {path: f"scenario_{mark}_{_role(path)}" for path in (CREDENTIALS, READ_ONLY)}
        self._admin = self._connect(server.user, server.password)
        for group in self._groups.values():
            self._admin.execute(f"CREATE ROLE {group} NOLOGIN".encode())
        secrets.add("secret", server.password, "password of the database's administrator")

    # Vault's side

    def mount(self, operator: Operator, *, ttl: float, max_ttl: float) -> None:
        """Let Vault make users whose leases live so many seconds."""
        self._operator = operator
        server = self._server
        operator.request("POST", f"sys/mounts/{MOUNT}", type="database")
        operator.request(
            "POST",
            f"{MOUNT}/config/app",
            plugin_name="postgresql-database-plugin",
            allowed_roles=",".join(map(_role, self._groups)),
            connection_url="postgresql://{{username}}:{{password}}@"
            f"{server.host}:{server.port}/postgres?sslmode=disable",
            username=server.user,
            password=server.password,
        )
        for path, group in self._groups.items():
            operator.request(
                "POST",
                f"{MOUNT}/roles/{_role(path)}",
                db_name="app",
                default_ttl=f"{ttl:.0f}s",
                max_ttl=f"{max_ttl:.0f}s",
                creation_statements=[_CREATE.format(group=group)],
                revocation_statements=[_DROP],
            )

    def lives(self, path: str, seconds: float) -> None:
        """Let what is leased at a path from now on live so long, with each renewal too.

        Args:
            path: Where.
            seconds: How long; Vault counts whole ones.
        """
        role, ttl = f"{MOUNT}/roles/{_role(path)}", f"{round(seconds)}s"
        self._operator.request("POST", role, default_ttl=ttl)
        # It breaks nothing; but what comes after it is no time before any fault.
        told = self._history.begin_fault(f"{path} lives {ttl}", Signature(), optional=True)
        self._history.end_fault(told)

    # The database's side

    def accepts(self, credential: Credential) -> bool:
        """Log in with what the subject handed out; whether the database let it in.

        Raises:
            psycopg.OperationalError: It could not be asked, which is no fault of the subject.
        """
        import psycopg

        began = self._history.now()
        # Half of a character is in nobody's name: it is refused, as any wrong one is.
        user, password = encodable(credential.username), encodable(credential.password)
        accepted = bool(user and password)  # else the library would put in some of its own
        try:
            if accepted:
                self._connect(user, password).close()
        except psycopg.OperationalError as error:
            if not any(words in str(error) for words in _REFUSED):
                raise
            accepted = False
        label = self._secrets.label(credential.password) or "unknown"
        self._history.note_use(began, label, accepted=accepted)
        return accepted

    def users(self, path: str | None = None) -> set[str]:
        """The users that Vault has made in this scenario, and not removed by now.

        Args:
            path: Where they were leased; anywhere, if None.
        """
        groups = list(self._groups.values()) if path is None else [self._groups[path]]
        found = self._admin.execute(
            "SELECT r.rolname FROM pg_auth_members m JOIN pg_roles r ON r.oid = m.member "
            "JOIN pg_roles g ON g.oid = m.roleid WHERE g.rolname = ANY(%s)",
            (groups,),
        )
        return {str(row[0]) for row in found.fetchall()}

    def close(self) -> None:
        """End the connection; what is left of the groups goes with the server."""
        self._admin.close()

    def _connect(self, user: str, password: str) -> psycopg.Connection[Any]:
        import psycopg

        return psycopg.connect(
            host=self._server.host,
            port=self._server.port,
            dbname="postgres",
            user=user,
            password=password,
            autocommit=True,
            connect_timeout=int(CONNECT_SECONDS),
        )


def allow(operator: Operator, role: str) -> None:
    """Let tokens that an AppRole gets from now on ask for users."""
    rules = "\n".join(
        f'path "{path}" {{ capabilities = ["read"] }}' for path in (CREDENTIALS, READ_ONLY)
    )
    operator.client.sys.create_or_update_policy(POLICY, rules)
    path = f"/v1/auth/approle/role/{role}"
    policies = operator.client.adapter.get(path)["data"]["token_policies"]
    operator.client.adapter.post(path, json={"token_policies": [*policies, POLICY]})


def _role(path: str) -> str:
    """The name of the role whose users are leased there."""
    return path.rpartition("/")[2]
