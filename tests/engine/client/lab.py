from __future__ import annotations

import os
import secrets
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from resilient_vault_client import Event, VaultClient
from resilient_vault_client._deadline import Deadline
from tests.engine.client.route import Route
from tests.running import ran
from vault_harness.local.stack.launching import Stack
from vault_harness.local.vault import approle
from vault_harness.waiting import wait_until

ROOT = Path(__file__).parents[3]

POLICY = 'path "ecommerce/data/backend/*" { capabilities = ["create", "update", "read"] }'


@dataclass
class Lab:
    """A role, a secret and a route to the Vault of `stack` for one test.

    `value` is the value of key ``KEY`` at `path`.
    """

    stack: Stack
    route: Route
    path: str = field(default_factory=lambda: f"backend/{secrets.token_hex(4)}")
    value: str = field(default_factory=lambda: f"secret-value-{secrets.token_hex(8)}")
    role: str = field(default_factory=lambda: f"role-{secrets.token_hex(4)}")
    events: list[Event] = field(default_factory=list)
    clients: list[VaultClient] = field(default_factory=list)
    secret_id: approle.SecretId | None = None
    made: bool = False

    @property
    def vault(self) -> Any:
        """An hvac client with the root token, past the route of clients."""
        return self.stack.operator.client

    def set_up(self) -> None:
        self.vault.sys.create_or_update_policy(name=self.role, policy=POLICY)
        self.put(KEY=self.value)

    def put(self, **data: Any) -> None:
        self.vault.secrets.kv.v2.create_or_update_secret(
            path=self.path, secret=data, mount_point="ecommerce"
        )

    def make_role(self, **options: Any) -> None:
        """Make or change the AppRole; tokens live 30 s unless told otherwise."""
        options = {"token_ttl": "30s", "token_policies": f"default,{self.role}", **options}
        self.stack.operator.request("POST", f"auth/approle/role/{self.role}", **options)
        self.made = True

    def environ(self, **more: str) -> dict[str, str]:
        self.secret_id = approle.new_secret_id(self.stack.operator, self.role)
        return {
            "VAULT_ADDR": self.route.address,
            "VAULT_MOUNT_POINT": "ecommerce",
            "VAULT_ROLE_ID": approle.role_id(self.stack.operator, self.role),
            "VAULT_SECRET_ID": self.secret_id.secret_id,
            "VAULT_CLIENT_TIMEOUT": "3",
            "VAULT_CACHE_TTL": "0.3",
            **more,
        }

    def client(self, environ: dict[str, str] | None = None, **options: Any) -> VaultClient:
        """Return a client that is closed after the test. Make the role if there is none."""
        if environ is None:
            if not self.made:
                self.make_role()
            environ = self.environ()
        options.setdefault("on_event", self.events.append)
        client = VaultClient(environ=environ, **options)
        self.clients.append(client)
        return client

    def names(self) -> list[str]:
        return [event.name for event in list(self.events)]

    def accessor(self, client: VaultClient) -> str:
        token = client._session().authenticator.current
        assert token is not None
        known = client._session()._api.look_up(token.text, Deadline(5.0))
        return str(known["data"]["accessor"])

    def tokens(self) -> int:
        keys = self.vault.auth.token.list_accessors()["data"]["keys"]
        alive = 0
        for key in keys:
            try:
                data = self.vault.auth.token.lookup_accessor(key)["data"]
            except Exception:  # noqa: BLE001, S112 - a token may end between the two requests
                continue
            alive += (data.get("meta") or {}).get("role_name") == self.role
        return alive


def run(script: str, environ: dict[str, str], timeout: float = 30.0) -> tuple[int, str, float]:
    """Run a program that uses the client; return exit code, output and seconds."""
    started = time.monotonic()
    done = ran(
        [sys.executable, "-W", "error", "-c", script],
        env={**environ, "PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT / "harness")},
        timeout=timeout,
    )
    return done.returncode, done.stdout + done.stderr, time.monotonic() - started


def until(condition: Callable[[], bool], what: str, timeout: float = 15.0) -> None:
    wait_until(condition, what, timeout=timeout)


def keep_reading(client: VaultClient, lab: Lab, seconds: float, every: float = 0.05) -> list[Any]:
    """Return secrets and errors in order."""
    end = time.monotonic() + seconds
    return read_until(client, lab, lambda: time.monotonic() >= end, "the time's end", every)


def read_until(
    client: VaultClient,
    lab: Lab,
    condition: Callable[[], bool],
    what: str,
    every: float = 0.05,
    timeout: float = 30.0,
) -> list[Any]:
    """Return secrets and errors in order."""
    end = time.monotonic() + timeout
    seen: list[Any] = []
    while not condition():
        assert time.monotonic() < end, f"waited {timeout} s for {what}"
        try:
            seen.append(client.read(lab.path, "KEY"))
        except Exception as error:  # noqa: BLE001 - whatever it is, the test looks at it
            seen.append(error)
        time.sleep(every)  # the pace of an application
    return seen
