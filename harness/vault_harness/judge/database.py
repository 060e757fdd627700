"""Run what a scenario may have beside its Vault: a database, and a holder of its unseal key."""

from __future__ import annotations

import secrets as random
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vault_harness.addresses import base_url
from vault_harness.files import encodable, private_directory
from vault_harness.judge.environment import Environment
from vault_harness.judge.subjects import Credential
from vault_harness.local.blueprint import Blueprint
from vault_harness.local.engine.process.postgresql import Postgresql
from vault_harness.local.engine.shape import NodeSpec
from vault_harness.local.stack.launching import launch, transit_seal
from vault_harness.local.toxiproxy.client import Proxy
from vault_harness.local.vault.admin import VaultAdmin
from vault_harness.recorder.fault import Signature
from vault_harness.recorder.history import History
from vault_harness.recorder.secrets import Secrets

if TYPE_CHECKING:
    import psycopg

MOUNT = "database"

CREDENTIALS, READ_ONLY = f"{MOUNT}/creds/app", f"{MOUNT}/creds/readonly"
"""Each role has its own group."""

SCHEDULED, BY_HAND = f"{MOUNT}/static-creds/app", f"{MOUNT}/static-creds/reports"
"""Passwords of two static users; Vault rotates the first one on schedule."""

NO_SCHEDULE = 86400
"""Seconds; only an operator rotates that role."""

POLICY = "scenario-database"

CONNECT_SECONDS = 3.0
"""Seconds that a login may take; PostgreSQL answers in a few milliseconds."""

# PostgreSQL gives the second or third message if the user is dropped during the login.
_REFUSED = ("authentication failed", "does not exist", "cache lookup failed for role")

# From Vault's documentation, plus a group that marks this scenario's users.
_CREATE = (
    "CREATE ROLE \"{{{{name}}}}\" WITH LOGIN PASSWORD '{{{{password}}}}' "
    "VALID UNTIL '{{{{expiration}}}}' IN ROLE {group}"
)

# Vault's default statement first revokes rights that the user never had. PostgreSQL refuses that if
# several scenarios do it at once ("tuple concurrently updated"), and Vault waits ten seconds before
# it tries again.
_DROP = 'DROP ROLE IF EXISTS "{{name}}"'


@dataclass(frozen=True)
class Password:
    """The password of a static role, and when Vault set it, on the history's clock."""

    label: str
    since: float


class Database:
    """Two groups of users in a PostgreSQL server that several scenarios share."""

    def __init__(self, server: Postgresql, history: History, secrets: Secrets) -> None:
        self._server = server
        self._history = history
        self._secrets = secrets
        mark = random.token_hex(6)
        self._groups = {path: f"scenario_{mark}_{_role(path)}" for path in (CREDENTIALS, READ_ONLY)}
        self._users = {path: f"static_{mark}_{_role(path)}" for path in (SCHEDULED, BY_HAND)}
        self._admin = self._connect(server.user, server.password)
        for group in self._groups.values():
            self._admin.execute(f"CREATE ROLE {group} NOLOGIN".encode())
        secrets.add("secret", server.password, "password of the database's administrator")

    def mount(self, operator: VaultAdmin) -> None:
        self._operator = operator
        server = self._server
        operator.request("POST", f"sys/mounts/{MOUNT}", type="database")
        operator.request(
            "POST",
            f"{MOUNT}/config/app",
            plugin_name="postgresql-database-plugin",
            allowed_roles="*",
            connection_url="postgresql://{{username}}:{{password}}@"
            f"{server.host}:{server.port}/postgres?sslmode=disable",
            username=server.user,
            password=server.password,
        )

    def add_roles(self, *, ttl: float, max_ttl: float) -> None:
        """TTLs are in seconds."""
        for path, group in self._groups.items():
            self._operator.request(
                "POST",
                f"{MOUNT}/roles/{_role(path)}",
                db_name="app",
                default_ttl=f"{ttl:.0f}s",
                max_ttl=f"{max_ttl:.0f}s",
                creation_statements=[_CREATE.format(group=group)],
                revocation_statements=[_DROP],
            )

    def add_static_roles(self, *, period: float) -> None:
        """Let Vault rotate one of two passwords every `period` seconds."""
        for path, user in self._users.items():
            self._admin.execute(f"CREATE ROLE {user} LOGIN".encode())
            seconds = period if path == SCHEDULED else NO_SCHEDULE
            self._operator.request(
                "POST",
                f"{MOUNT}/static-roles/{_role(path)}",
                db_name="app",
                username=user,
                rotation_period=f"{seconds:.0f}s",
            )

    def user(self, path: str) -> str:
        return self._users[path]

    def password(self, path: str) -> Password:
        found = self._operator.client.adapter.get(f"/v1/{path}")["data"]
        label = self._secrets.add("credential", found["password"])
        set_at = datetime.fromisoformat(found["last_vault_rotation"])
        return Password(label, self._history.wall(set_at.timestamp()))

    def lives(self, path: str, seconds: float) -> None:
        """Set the life of a role's future leases and renewals, in seconds."""
        role, ttl = f"{MOUNT}/roles/{_role(path)}", f"{round(seconds)}s"
        self._operator.request("POST", role, default_ttl=ttl)
        # This breaks nothing, but from now on nothing counts as "before any fault".
        told = self._history.begin_fault(f"{path} lives {ttl}", Signature(), optional=True)
        self._history.end_fault(told)

    def accepts(self, credential: Credential) -> bool:
        """Return whether the database accepts the subject's credential.

        `psycopg.OperationalError` is raised if the database does not answer.
        """
        connection = self.connect(credential)
        if connection is not None:
            connection.close()
        return connection is not None

    def connect(self, credential: Credential) -> psycopg.Connection[Any] | None:
        """Log in like `accepts` and stay; return None if the database refused it."""
        import psycopg

        began = self._history.now()
        # PostgreSQL refuses an invalid character like a wrong name, but psycopg would raise.
        user, password = encodable(credential.username), encodable(credential.password)
        connection = None
        try:
            if user and password:  # psycopg would replace empty values by its own defaults
                connection = self._connect(user, password)
        except psycopg.OperationalError as error:
            if not any(words in str(error) for words in _REFUSED):
                raise
        label = self._secrets.label(credential.password) or "unknown"
        self._history.note_use(began, label, accepted=connection is not None)
        return connection

    def users(self, path: str | None = None) -> set[str]:
        """Return the users that Vault made here (for one role) and has not removed."""
        groups = list(self._groups.values()) if path is None else [self._groups[path]]
        found = self._admin.execute(
            "SELECT r.rolname FROM pg_auth_members m JOIN pg_roles r ON r.oid = m.member "
            "JOIN pg_roles g ON g.oid = m.roleid WHERE g.rolname = ANY(%s)",
            (groups,),
        )
        return {str(row[0]) for row in found.fetchall()}

    def close(self) -> None:
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


def allow(operator: VaultAdmin, role: str) -> None:
    paths = (CREDENTIALS, READ_ONLY, SCHEDULED, BY_HAND)
    rules = "\n".join(f'path "{path}" {{ capabilities = ["read"] }}' for path in paths)
    operator.client.sys.create_or_update_policy(POLICY, rules)
    path = f"/v1/auth/approle/role/{role}"
    policies = operator.client.adapter.get(path)["data"]["token_policies"]
    operator.client.adapter.post(path, json={"token_policies": [*policies, POLICY]})


def _role(path: str) -> str:
    return path.rpartition("/")[2]


_TOKEN = "holder-token"  # noqa: S105 - the name of its file


class KeyHolder:
    """A second, empty Vault with a key in its transit engine.

    Args:
        client: Folder of the Vault that is unsealed; the holder's token is stored there.

    Attributes:
        seal: The seal stanza of the Vault that is unsealed.
    """

    def __init__(
        self,
        environment: Environment,
        name: str,
        *,
        directory: Path,
        client: Path,
        closing: ExitStack,
    ) -> None:
        empty = Blueprint(name="key-holder", mounts={})
        holder = closing.enter_context(
            launch(environment.engine, empty, NodeSpec(directory=directory, name=name))
        )
        self._proxy: Proxy = environment.toxiproxy.create(
            name,
            listen=environment.listen(),
            upstream=holder.node.upstream,
        )
        closing.callback(self._proxy.delete)
        stanza = transit_seal(
            holder.operator,
            private_directory(client) / _TOKEN,
            address=base_url(environment.reachable_from_nodes(self._proxy.listen)),
        )
        # The name is relative, since a container sees the server's folder under another path.
        self.seal: Mapping[str, Any] = {"transit": {**stanza, "token": f"file://{_TOKEN}"}}

    @contextmanager
    def away(self) -> Iterator[None]:
        """Cut all connections to the holder."""
        with self._proxy.disabled():
            yield
