from __future__ import annotations

import http.client
import json
import time
from collections.abc import Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass, field

import pytest

from vault_harness.judge.faults import NetworkFaults, ProcessFaults, VaultFaults
from vault_harness.local.engine.shape import Engine
from vault_harness.local.stack.launching import Stack
from vault_harness.local.toxiproxy.client import Proxy, Toxiproxy
from vault_harness.local.vault import approle
from vault_harness.recorder.fault import Fault, Signature

PATH = "ecommerce/data/backend/django"


@dataclass
class Notes:
    """A journal that is a list."""

    faults: list[Fault] = field(default_factory=list)

    def begin_fault(
        self,
        name: str,
        signature: Signature,
        detail: Mapping[str, object] | None = None,
        *,
        optional: bool = False,
    ) -> Fault:
        fault = Fault(name, signature, dict(detail or {}), time.monotonic(), optional=optional)
        self.faults.append(fault)
        return fault

    def end_fault(self, fault: Fault) -> None:
        fault.ended = time.monotonic()

    def only(self, name: str) -> Fault:
        """Return the only noted fault, which has this name and is undone."""
        (fault,) = self.faults
        assert fault.name == name
        assert fault.ended is not None
        return fault


@dataclass(frozen=True)
class Answer:
    status: int
    text: str
    headers: Mapping[str, str]
    seconds: float


def ask(
    address: str,
    path: str,
    token: str = "",
    *,
    method: str = "GET",
    body: str | None = None,
    timeout: float = 10.0,
) -> Answer:
    """Send one request on a new connection. Errors of `http.client` are passed on."""
    began = time.monotonic()
    connection = http.client.HTTPConnection(address.removeprefix("http://"), timeout=timeout)
    with closing(connection):
        connection.request(method, f"/v1/{path}", body, {"X-Vault-Token": token} if token else {})
        response = connection.getresponse()
        text = response.read().decode()
        headers = {name.lower(): value for name, value in response.getheaders()}
    return Answer(response.status, text, headers, time.monotonic() - began)


@dataclass
class Broken:
    """A Vault to break, and a backend's credentials."""

    stack: Stack
    notes: Notes
    vault: VaultFaults
    processes: ProcessFaults
    role_id: str
    secret_id: approle.SecretId

    def login(self, secret_id: str | None = None) -> Answer:
        given = {"role_id": self.role_id, "secret_id": secret_id or self.secret_id.secret_id}
        return ask(
            self.stack.node.address, "auth/approle/login", method="POST", body=json.dumps(given)
        )

    def token(self) -> tuple[str, str]:
        auth = json.loads(self.login().text)["auth"]
        return auth["client_token"], auth["accessor"]

    def read(self, token: str, *, timeout: float = 10.0) -> Answer:
        return ask(self.stack.node.address, PATH, token, timeout=timeout)

    def health(self) -> int:
        return ask(self.stack.node.address, "sys/health").status


def broken_vault(stack: Stack) -> Broken:
    notes = Notes()
    return Broken(
        stack,
        notes,
        VaultFaults(stack, notes),
        ProcessFaults(notes),
        approle.role_id(stack.operator, "backend"),
        approle.new_secret_id(stack.operator, "backend"),
    )


@pytest.fixture
def broken(stack: Stack) -> Broken:
    return broken_vault(stack)


@dataclass
class Line:
    """A proxy before a shared Vault."""

    proxy: Proxy
    notes: Notes
    network: NetworkFaults
    address: str
    token: str
    toxiproxy: Toxiproxy

    def read(self, *, timeout: float = 10.0) -> Answer:
        return ask(self.address, PATH, self.token, timeout=timeout)


@pytest.fixture(scope="session")
def shared_toxiproxy(engine: Engine) -> Iterator[Toxiproxy]:
    server = engine.toxiproxy(seed=1)
    yield Toxiproxy(server.api)
    server.stop()


@pytest.fixture
def line(
    shared: Stack, shared_toxiproxy: Toxiproxy, request: pytest.FixtureRequest
) -> Iterator[Line]:
    proxy = shared_toxiproxy.create(request.node.name, upstream=shared.node.upstream)
    notes = Notes()
    yield Line(
        proxy,
        notes,
        NetworkFaults(proxy, notes),
        f"http://{proxy.listen}",
        shared.keyring.root_token,
        shared_toxiproxy,
    )
    proxy.delete()
