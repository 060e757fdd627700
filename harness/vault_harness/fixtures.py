"""Fixtures for tests of one's own: factories, to be given names in a ``conftest.py``.

::

    from vault_harness import fixtures

    vault_server = fixtures.vault_server()
    vault = fixtures.vault(blueprint="vault.toml")

Then a test has a real Vault to itself, and may break it::

    def test_checkout_survives_a_sealed_vault(vault):
        shop = Shop(vault.environ("shop"))
        vault.seal()
        assert shop.checkout() == "later"

The tests of a process share one server, in which each has a namespace of its own: that takes
milliseconds. A test that does something to the whole server (`Vault.seal`, `Vault.pause`, ...)
takes the server for itself at that moment, with everything in it, and the next test gets a new one.
"""

from __future__ import annotations

import contextlib
import itertools
from collections.abc import Callable, Iterator, Mapping
from functools import cached_property
from pathlib import Path
from typing import Any

import pytest

from vault_harness import dialect
from vault_harness.addresses import base_url
from vault_harness.blueprint import Blueprint
from vault_harness.engine import (
    Capability,
    Engine,
    Storage,
    ToxiproxyProcess,
    open_engine,
    run_directory,
)
from vault_harness.errors import CapabilityMissing, HarnessError, SettingsError, StackError
from vault_harness.faults import Fault, NetworkFaults, Signature
from vault_harness.settings import EngineChoice, Settings
from vault_harness.stack import Stack, launch
from vault_harness.toxiproxy import Attributes, Proxy, Stream, Toxic, Toxiproxy
from vault_harness.vault import Operator, apply, approle
from vault_harness.vault.kv import Kv

SMALL = """
name = "small"
[mounts.secret]
[policies.app]
rules = '''
path "secret/*" { capabilities = ["create", "read", "update", "delete", "list"] }
'''
[approles.app]
policies = ["app"]
token_ttl = "1h"
"""
"""What a Vault contains when no blueprint is given: a KV engine, and an AppRole that may use it."""

UNSEAL_SECONDS = 30.0
"""How long an unsealed server may take until it serves, on however busy a machine."""

_EMPTY = Blueprint(name="prepared", mounts={})


class VaultServer:
    """A prepared Vault server, which tests share until one takes it, and a Toxiproxy before it.

    Args:
        settings: Which engine, and where its programs are.
        storage: Of the servers: only ``raft`` survives `Vault.restart`.
        seed: Of the Toxiproxy server.
    """

    def __init__(self, settings: Settings, *, storage: Storage = "inmem", seed: int = 1) -> None:
        self._storage: Storage = storage
        self._seed = seed
        self._numbers = itertools.count(1)
        self._prepared: Stack | None = None
        self._guests: set[Vault] = set()
        self._closing = contextlib.ExitStack()
        self._directory = self._closing.enter_context(run_directory())
        self.engine: Engine = self._closing.enter_context(
            open_engine(settings, directory=self._directory / "engine")
        )

    @cached_property
    def toxiproxy(self) -> ToxiproxyProcess:
        """The Toxiproxy server, started when it is first asked for."""
        server = self.engine.toxiproxy(seed=self._seed)
        self._closing.callback(server.stop)
        return server

    @cached_property
    def namespaces(self) -> bool:
        """Whether its servers have namespaces."""
        status = self._prepare().operator.seal_status()
        return dialect.of_product(status.product).namespaces

    def number(self) -> int:
        """The next of 1, 2, 3, ...: for names that nobody else has."""
        return next(self._numbers)

    def enter(self, vault: Vault) -> Stack:
        """The prepared server, with one more guest."""
        stack = self._prepare()
        self._guests.add(vault)
        return stack

    def _prepare(self) -> Stack:
        if self._prepared is None:
            self._prepared = self.launch(_EMPTY)
        return self._prepared

    def leave(self, vault: Vault) -> None:
        """A guest has gone."""
        self._guests.discard(vault)

    def hand_over(self, vault: Vault) -> None:
        """Leave the prepared server to one of its guests; whoever comes next gets a new one.

        Raises:
            StackError: It has other guests.
            CapabilityMissing: It belongs to somebody else.
        """
        if self.engine.name == "external":
            raise CapabilityMissing(
                "this Vault is somebody else's: nothing is done to the whole server",
                looked_at=f"HARNESS_ENGINE=external, {self.engine.choice}",
                remedy="use the process or the docker engine for this test",
            )
        if others := self._guests - {vault}:
            raise StackError(
                "this would break the server under other fixtures",
                looked_at=f"{len(others) + 1} Vaults of one test on the same server",
                remedy="give one of them a server of its own: another fixtures.vault_server(), "
                "named in fixtures.vault(server=...)",
            )
        self._prepared = None
        self.leave(vault)

    def require_durable(self) -> None:
        """Check that its servers remember what they hold when they are restarted.

        Raises:
            CapabilityMissing: They do not.
        """
        if self._storage != "raft" or Capability.START not in self.engine.capabilities:
            raise CapabilityMissing(
                "a restart would lose all that this Vault holds",
                looked_at=f"{self._storage} storage, {self.engine.name} engine",
                remedy='make the server by fixtures.vault_server(storage="raft")',
            )

    def give_up(self, stack: Stack) -> None:
        """End a server that is not as it was; whoever comes next gets a new one."""
        if stack is self._prepared:
            self._prepared = None
        stack.close()

    def launch(self, blueprint: Blueprint) -> Stack:
        """A new server that contains a blueprint."""
        name = f"server-{self.number()}"
        return launch(
            self.engine,
            blueprint,
            directory=self._directory / name,
            storage=self._storage,
            name=name,
        )

    def close(self) -> None:
        """End everything."""
        if self._prepared is not None:
            self._prepared.close()
            self._prepared = None
        self._closing.close()


class Vault:
    """A Vault to work against and to break: a namespace, or a whole server.

    Attributes:
        blueprint: What it contained in the beginning.
        namespace: Its namespace, empty where it is a whole server without one.
        operator: Acts in it with a token that may do everything.
    """

    def __init__(self, server: VaultServer, blueprint: Blueprint, *, whole: bool = False) -> None:
        self.blueprint = blueprint
        self.namespace = ""
        self._server = server
        self._closing = contextlib.ExitStack()
        self._own = whole
        try:
            if whole:
                self._stack = server.launch(blueprint)
                self._closing.callback(self._stack.close)
                self.operator = self._stack.operator
            else:
                self._move_in()
        except BaseException:
            self.close()
            raise

    def __repr__(self) -> str:
        return f"<Vault {self.direct} {self.namespace}>"

    def _move_in(self) -> None:
        server = self._server
        self._stack = server.enter(self)
        self._closing.callback(self._move_out)
        root = self._stack.operator
        if server.namespaces:
            self.namespace = f"test-{server.number()}"
            root.request("POST", f"sys/namespaces/{self.namespace}")
        elif server.engine.name == "external":
            raise SettingsError(
                "a Vault of somebody else's is used only through namespaces, and it has none",
                looked_at=root.address,
                remedy="use the process or the docker engine, or an OpenBao",
            )
        else:
            self._take()
        self.operator = Operator(
            root.address, root.client.token, root.ca_cert, namespace=self.namespace or None
        )
        self._closing.callback(self.operator.close)
        # Audit devices belong to the server, which has its own.
        apply(self.operator, self.blueprint.model_copy(update={"audit": {}}), environ={})

    def _move_out(self) -> None:
        if self._own:
            self._stack.close()
            return
        try:
            if self.namespace:
                self._stack.operator.request("DELETE", f"sys/namespaces/{self.namespace}")
        except HarnessError:
            # The test has done something to the server by itself: nobody else shall have it.
            self._server.give_up(self._stack)
        self._server.leave(self)

    def _take(self) -> Stack:
        """The whole server, from now on for nobody else."""
        if not self._own:
            self._server.hand_over(self)
            self._own = True
        return self._stack

    def close(self) -> None:
        """Undo everything."""
        self._closing.close()

    # What a client needs.

    @property
    def direct(self) -> str:
        """Base URL of the server itself, past Toxiproxy."""
        return self._stack.node.address

    @property
    def address(self) -> str:
        """Base URL through Toxiproxy."""
        return base_url(self._server.toxiproxy.reachable(self.proxy.listen))

    @property
    def token(self) -> str:
        """A token that may do everything."""
        return str(self.operator.client.token)

    def environ(self, name: str = "", *, directory: Path | None = None) -> dict[str, str]:
        """The variables by which a client finds this Vault and logs in.

        Args:
            name: An AppRole or a service of the blueprint; by default the first AppRole.
            directory: Write the two ids to files there and name these (``VAULT_ROLE_ID_FILE``,
                ``VAULT_SECRET_ID_FILE``) instead of the ids themselves.

        Raises:
            SettingsError: There is no such AppRole.
        """
        variables = {
            "USE_VAULT": "true",
            "VAULT_ADDR": self.address,
            "VAULT_MOUNT_POINT": self.blueprint.mount,
        }
        if self.namespace:
            variables["VAULT_NAMESPACE"] = self.namespace
        role = self._role(name)
        if directory is not None:
            written = approle.write_credentials(self.operator, role, directory)
            variables["VAULT_ROLE_ID_FILE"] = str(written.role_id_file)
            variables["VAULT_SECRET_ID_FILE"] = str(written.secret_id_file)
        else:
            variables["VAULT_ROLE_ID"] = approle.role_id(self.operator, role)
            variables["VAULT_SECRET_ID"] = approle.new_secret_id(self.operator, role).secret_id
        return variables

    def _role(self, name: str) -> str:
        roles = self.blueprint.approles
        role = self.blueprint.services.get(name, name) or next(iter(roles), "")
        if role not in roles:
            raise SettingsError(
                f"there is no AppRole or service {name!r}",
                looked_at=f"the blueprint {self.blueprint.name}",
                remedy=f"name one of {', '.join([*roles, *self.blueprint.services]) or 'none'}",
            )
        return role

    # What it contains.

    def read(self, path: str, *, mount: str = "") -> dict[str, Any]:
        """The values of a secret; empty if it is missing or deleted."""
        return dict(self._kv(mount).read(path).data)

    def write(self, path: str, values: Mapping[str, Any], *, mount: str = "") -> None:
        """Store a new version of a secret."""
        kv = self._kv(mount)
        kv.write(path, values, cas=kv.read(path).version)

    def seed(self, secrets: Mapping[str, Mapping[str, Any]], *, mount: str = "") -> None:
        """Store several secrets: values by path."""
        for path, values in secrets.items():
            self.write(path, values, mount=mount)

    def delete(self, path: str, *, mount: str = "") -> None:
        """Delete the latest version of a secret, which can be undone."""
        kv = self._kv(mount)
        kv.delete(path, kv.read(path).version)

    def _kv(self, mount: str) -> Kv:
        return Kv(self.operator, mount or self.blueprint.mount)

    def revoke_tokens(self) -> int:
        """End every token that a client got by logging in; returns how many there were."""
        revoked = 0
        found = self.operator.request("LIST", "auth/token/accessors").get("data", {})
        for accessor in found.get("keys", []):
            looked_up = self.operator.request(
                "POST", "auth/token/lookup-accessor", accessor=accessor
            )
            if str(looked_up["data"]["path"]).startswith("auth/approle/"):
                self.operator.request("POST", "auth/token/revoke-accessor", accessor=accessor)
                revoked += 1
        return revoked

    # The network before it.

    @cached_property
    def proxy(self) -> Proxy:
        """The Toxiproxy proxy before it, made when it is first asked for."""
        server = self._server.toxiproxy
        proxy = Toxiproxy(server.api).create(
            self.namespace or self._stack.node.name,
            listen=server.listen(),
            upstream=self._stack.node.upstream,
        )
        self._closing.callback(proxy.delete)
        return proxy

    @property
    def network(self) -> NetworkFaults:
        """Faults of the network by name: ``with vault.network.slow(latency=0.2): ...``."""
        return NetworkFaults(self.proxy, _Unnoted())

    @contextlib.contextmanager
    def toxic(
        self, attributes: Attributes, stream: Stream = "downstream", toxicity: float = 1.0
    ) -> Iterator[Toxic]:
        """A toxic on its connections inside the ``with`` block."""
        with self.proxy.toxic(attributes, stream, toxicity) as toxic:
            yield toxic

    # The whole server.

    def seal(self) -> None:
        """Seal it: everything but the seal status answers 503."""
        self._take().operator.seal()

    def unseal(self) -> None:
        """Unseal it, and wait until it serves."""
        stack = self._take()
        stack.operator.unseal(stack.keyring, timeout=UNSEAL_SECONDS)

    @contextlib.contextmanager
    def sealed(self) -> Iterator[None]:
        """Sealed inside the ``with`` block."""
        self.seal()
        try:
            yield
        finally:
            self.unseal()

    def pause(self) -> None:
        """Freeze it: connections stay open, and nothing is answered."""
        self._take().node.pause()

    def resume(self) -> None:
        """Undo `pause`."""
        self._take().node.resume()

    @contextlib.contextmanager
    def paused(self) -> Iterator[None]:
        """Frozen inside the ``with`` block."""
        self.pause()
        try:
            yield
        finally:
            self.resume()

    def stop(self) -> None:
        """End the server: connections are refused."""
        self._take().node.stop()

    def restart(self) -> None:
        """End the server and start it again at the same address: it is sealed afterwards.

        Raises:
            CapabilityMissing: Its storage would forget everything.
        """
        self._server.require_durable()
        self._take().node.restart()


class _Unnoted:
    """A journal that nobody reads."""

    def begin_fault(
        self,
        name: str,
        signature: Signature,
        detail: Mapping[str, object] | None = None,
        *,
        optional: bool = False,
    ) -> Fault:
        """Note nothing."""
        return Fault(name, signature, detail or {}, optional=optional)

    def end_fault(self, fault: Fault) -> None:
        """Note nothing."""


Given = Blueprint | Path | str | None
"""A blueprint, the path of its file from pytest's root directory, or None for `SMALL`."""


def vault_server(
    *, engine: EngineChoice | None = None, storage: Storage = "inmem", seed: int = 1
) -> Callable[..., Any]:
    """A fixture for a whole run: the server that the tests share, and a Toxiproxy before it.

    Args:
        engine: How servers run; by default what ``HARNESS_ENGINE`` says.
        storage: ``raft`` for tests that restart the server; it takes seconds to start.
        seed: Of what Toxiproxy draws by chance.

    Returns:
        A fixture of a `VaultServer`.
    """

    @pytest.fixture(scope="session")
    def vault_server() -> Iterator[VaultServer]:
        """A prepared Vault server, and a Toxiproxy before it."""
        server = VaultServer(Settings.from_environment(engine=engine), storage=storage, seed=seed)
        try:
            yield server
        finally:
            server.close()

    return vault_server


def vault(blueprint: Given = None, *, server: str = "vault_server") -> Callable[..., Any]:
    """A fixture for one test: a Vault that nobody else uses.

    Args:
        blueprint: What it contains.
        server: Name of the fixture that `vault_server` made.

    Returns:
        A fixture of a `Vault`.
    """

    @pytest.fixture
    def vault(request: pytest.FixtureRequest) -> Iterator[Vault]:
        """A Vault that nobody else uses."""
        with contextlib.closing(
            Vault(request.getfixturevalue(server), _read(blueprint, request))
        ) as made:
            yield made

    return vault


def vault_stack(blueprint: Given = None, *, server: str = "vault_server") -> Callable[..., Any]:
    """A fixture for a whole run: a Vault on a server of its own, without a namespace.

    For tests that only read, or that need what a namespace cannot have.

    Args:
        blueprint: What it contains.
        server: Name of the fixture that `vault_server` made.

    Returns:
        A fixture of a `Vault`.
    """

    @pytest.fixture(scope="session")
    def vault_stack(request: pytest.FixtureRequest) -> Iterator[Vault]:
        """A Vault on a server of its own."""
        with contextlib.closing(
            Vault(request.getfixturevalue(server), _read(blueprint, request), whole=True)
        ) as made:
            yield made

    return vault_stack


def _read(given: Given, request: pytest.FixtureRequest) -> Blueprint:
    if isinstance(given, Blueprint):
        return given
    if given is None:
        return Blueprint.parse(SMALL, source=Path(__file__))
    return Blueprint.load(request.config.rootpath / given)
