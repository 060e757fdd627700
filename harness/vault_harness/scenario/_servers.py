"""One scenario's own Vault, proxy and recorder, and what an operator does there."""

from __future__ import annotations

import secrets as random
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from functools import cache
from pathlib import Path
from typing import Any

from vault_harness.addresses import base_url, host_and_port, joined
from vault_harness.blueprint import Blueprint
from vault_harness.certificates import client_context
from vault_harness.closable import Closable
from vault_harness.dialect import OPENBAO, of_product
from vault_harness.engine import Capability, Node, Postgresql
from vault_harness.errors import ScenarioDefect
from vault_harness.faults import (
    Fault,
    HttpFaults,
    NetworkFaults,
    ProcessFaults,
    Signature,
    VaultFaults,
)
from vault_harness.files import write_private
from vault_harness.programs import find_postgresql
from vault_harness.scenario._clock import ClientClock
from vault_harness.scenario._database import Database, allow
from vault_harness.scenario._heartbeat import Heartbeat
from vault_harness.scenario._holder import KeyHolder
from vault_harness.scenario._name import MovingName
from vault_harness.scenario._secrets import Secrets
from vault_harness.scenario._spent import Spent
from vault_harness.scenario.catalogue import Entry
from vault_harness.scenario.environment import Environment
from vault_harness.scenario.history import History
from vault_harness.scenario.observations import GONE
from vault_harness.scenario.recorder import Recorder
from vault_harness.scenario.tls import ScenarioTls, Wire
from vault_harness.scenario.verdict import NotClaimed
from vault_harness.stack import Link, Stack, launch, launch_cluster
from vault_harness.toxiproxy import Latency, Proxy
from vault_harness.vault import apply, approle
from vault_harness.vault.namespace import Namespace

ROLE, MOUNT = "backend", "ecommerce"
PATH, KEY = "backend/django", "SECRET_KEY"

WRITTEN = "backend/written-at-last"
"""What the closing act has a client write that says it can."""

_NOWHERE = 9
"""A port to which nothing is led before it is known where to."""


def blueprint_of(entry: Entry) -> Blueprint:
    """What the Vault of a scenario contains."""
    return Blueprint.load(entry.blueprint) if entry.blueprint else platform()


@cache
def platform() -> Blueprint:
    """The e-commerce platform's blueprint, read and checked once for all scenarios."""
    return Blueprint.default()


class Servers(Closable):
    """The servers of one scenario, with everything between them and a client.

    Attributes:
        entry: The scenario's data.
        history: What happened so far.
        secrets: What must not leak.
        directory: For files of this scenario.
        vault: Faults of Vault.
        network: Faults of the network.
        http: Faults of single requests, by what they are for and by their count.
        process: Faults of processes.
        spent: What its time goes into.
        stack: The Vault, its keyring and an operator's token.
        operator: Who acts where the client works: in its namespace, if it has one.
        namespace: That namespace.
        may_write: Whether its role may write `WRITTEN`.
        address: Where a client finds Vault: the proxy's base URL.
        product: Which server it is, with its version.
        wire: What is spoken between client and Vault.
    """

    def __init__(
        self, environment: Environment, entry: Entry, *, directory: Path | None = None
    ) -> None:
        self.entry = entry
        self.environment = environment
        self.history = History()
        self.secrets = Secrets()
        self.spent = Spent()
        self.directory = environment.directory / entry.id if directory is None else directory
        self.directory.mkdir(mode=0o700, parents=True)
        self._closing = ExitStack()
        self._storage: Postgresql | None = None
        self._links: dict[str, Proxy] = {}
        try:
            with self.spent.on("the servers' start"):
                self._set_up()
        except BaseException:
            self._closing.close()
            raise

    def _set_up(self) -> None:
        work, entry = self.environment, self.entry
        self._holder: KeyHolder | None = None
        self._clock = ClientClock(self.directory, self.history) if entry.clock else None
        self._name = MovingName(self.directory, work.subject.kind) if entry.named else None
        self.wire: Wire = entry.wire or work.wire
        self._tls = (
            ScenarioTls(self.directory / "tls", http2=self.wire == "h2")
            if self.wire != "plain"
            else None
        )
        self._closing.enter_context(Heartbeat(self.history))
        self.stack: Stack = self._closing.enter_context(self._launch(blueprint_of(entry)))
        leader = self.stack.leader() if entry.nodes > 1 else self.stack.node
        self.recorder = Recorder(
            self.history,
            self.secrets,
            upstream=joined(leader.address),
            host=work.engine.bind_host(),
            upstream_tls=client_context(leader.ca_cert)
            if leader.address.startswith("https:")
            else None,
        )
        self._closing.callback(self.recorder.close)
        self.proxy: Proxy = work.toxiproxy.create(
            entry.id,  # a name that is the same in each run, so that a seed repeats it
            listen=work.listen(),
            upstream=work.engine.reachable_from_toxiproxy(self.recorder.port),
        )
        self._closing.callback(self.proxy.delete)
        entrance = work.reachable(self.proxy.listen)
        if entry.direct:
            entrance = f"{work.engine.bind_host()}:{self.recorder.port}"
        self.address = base_url(entrance, tls=self._tls is not None)
        if self._name is not None:
            self.address = self._name.begin(self.address)
        if self._tls is not None:
            self._tls.begin(self.recorder, host_and_port(self.address)[0], "localhost")
        self._move_in()
        status = self.stack.operator.seal_status()
        self.product = f"{status.product} {status.version}"
        self.vault = VaultFaults(self.stack, self.history, namespace=self.namespace)
        self.network = NetworkFaults(self.proxy, self.history)
        self.http = HttpFaults(self.recorder, self.history)
        self.process = ProcessFaults(self.history)
        self.secrets.add("token", self.stack.keyring.root_token, "root token")
        for value in entry.environ.values():
            if value.startswith("canary-"):
                self.secrets.add("secret", value, "fallback")
        self._learn_what_is_there()
        self._set_role()
        self._allow_one_write()
        self._database: Database | None = None
        if entry.lease_ttl is not None and self._can_have_a_database:
            allow(self.stack.operator, entry.approle)
        self.put("v1")

    def prepare_database(self, *, leases: bool) -> None:
        """See to it that there is a database, if the scenario has leases.

        Not before it is known that the subject claims them: a server of its own costs a second.

        Args:
            leases: Whether it does; else a scenario that goes on without a database has none.
        """
        entry = self.entry
        if entry.lease_ttl is None or self._database is not None:
            return
        if not entry.needs_postgresql and not (leases and self._can_have_a_database):
            return
        database = Database(self.environment.postgresql.server(), self.history, self.secrets)
        self._closing.callback(database.close)
        database.mount(self.stack.operator, ttl=entry.lease_ttl, max_ttl=entry.lease_max_ttl)
        self._database = database

    @property
    def _can_have_a_database(self) -> bool:
        """Whether a scenario that goes on without a database has one here; any other has one."""
        can = Capability.DATABASE in self.environment.engine.capabilities
        return self.entry.needs_postgresql or (can and not self.environment.postgresql.lacking())

    @property
    def has_database(self) -> bool:
        """Whether leases can be asked for, of a scenario that goes on without them too."""
        return self._database is not None

    @property
    def database(self) -> Database:
        """The PostgreSQL of this scenario, and Vault's engine for it.

        Raises:
            ScenarioDefect: Its entry has no ``lease_ttl``, or no subject was started that leases.
        """
        if self._database is None:
            raise ScenarioDefect(
                f"{self.entry.id} has no database",
                looked_at="lease_ttl of its entry, and whether a subject was started",
                remedy="give its entry a lease_ttl, and start the subject before",
            )
        return self._database

    def _launch(self, blueprint: Blueprint) -> Stack:
        engine, name = self.environment.engine, self.entry.id.lower()
        authority = self._tls.authority if self._tls is not None else None
        directory = self.directory / "vault"
        extra = dict(self.entry.server)
        if self.entry.seal == "transit":
            holder = KeyHolder(
                self.environment,
                f"{name}-holder",
                directory=self.directory / "holder",
                client=directory,
                closing=self._closing,
            )
            self._holder, extra["seal"] = holder, holder.seal
        if self.entry.nodes > 1:
            return launch_cluster(
                engine,
                blueprint,
                directory=directory,
                count=self.entry.nodes,
                audit_raw=True,
                name=name,
                authority=authority,
                link=self._new_link if self.entry.links else None,
            )
        outside = self.entry.storage == "postgresql"
        return launch(
            engine,
            blueprint,
            directory=directory,
            storage="inmem" if self.entry.storage == "postgresql" else self.entry.storage,
            audit_raw=True,
            name=name,
            extra={**extra, **(self._storage_outside() if outside else {})},
            authority=authority,
        )

    def _new_link(self, node: str) -> Link:
        """A proxy on the way to a node's cluster listener, which is told later where that is."""
        work = self.environment
        upstream = work.engine.reachable_from_toxiproxy(_NOWHERE)
        made = work.toxiproxy.create(f"link to {node}", listen=work.listen(), upstream=upstream)
        self._closing.callback(made.delete)
        self._links[node] = made
        return Link(made, work.reachable_from_nodes(made.listen))

    @contextmanager
    def link_is_late(self, node: Node, by: float) -> Iterator[Fault]:
        """What the other nodes send to this one arrives so many seconds late, its data too.

        Args:
            node: A node of a cluster whose entry has `links`.
            by: Seconds; less than raft's time-out for a leader, 1 s here.
        """
        # A read of what the leader has and this node has not got yet.
        mark = Signature(statuses=frozenset({404}), kinds=frozenset({"read"}))
        with self._links[node.name].toxic(Latency(latency=int(by * 1000)), stream="upstream"):
            fault = self.history.begin_fault("link to a standby late", mark, {"by": by})
            try:
                yield fault
            finally:
                self.history.end_fault(fault)

    def _storage_outside(self) -> dict[str, object]:
        """Configuration of a server that keeps its data in a PostgreSQL of the scenario's own.

        Raises:
            NotClaimed: HashiCorp Vault makes no tables there by itself.
        """
        engine = self.environment.engine
        if engine.dialect is not OPENBAO:
            raise NotClaimed("only OpenBao makes its tables in a PostgreSQL by itself")
        server = self._closing.enter_context(Postgresql(find_postgresql(), host=engine.bind_host()))
        self.secrets.add("secret", server.password, "password of the storage")
        self._storage = server
        url = f"postgres://{server.user}:{server.password}@{server.host}:{server.port}/postgres"
        return {"storage": {"postgresql": {"connection_url": f"{url}?sslmode=disable"}}}

    @property
    def storage(self) -> Postgresql:
        """The PostgreSQL in which Vault keeps its data.

        Raises:
            ScenarioDefect: The scenario's entry names another storage.
        """
        if self._storage is None:
            raise ScenarioDefect(
                f"{self.entry.id} has no storage outside",
                looked_at="its entry's storage",
                remedy='give its entry storage = "postgresql"',
            )
        return self._storage

    @property
    def holder(self) -> KeyHolder:
        """The Vault that holds this one's key.

        Raises:
            ScenarioDefect: The scenario's entry does not ask for it.
        """
        if self._holder is None:
            raise ScenarioDefect(
                f"{self.entry.id} has no holder of a key",
                looked_at="its entry's seal",
                remedy='give its entry seal = "transit"',
            )
        return self._holder

    def _move_in(self) -> None:
        """Take a namespace of the scenario's own, if its entry names one."""
        self.namespace: Namespace | None = None
        self.operator = self.stack.operator
        if not self.entry.namespace:
            return
        status = self.operator.seal_status()
        if not of_product(status.product).namespaces:
            raise NotClaimed(f"{status.product} {status.version} has no namespaces")
        self.namespace = Namespace.create(self.stack.operator, self.entry.namespace)
        self._closing.callback(self.namespace.operator.close)
        self.operator = self.namespace.operator
        # Audit devices belong to the server, which has its own.
        inside = self.stack.blueprint.model_copy(update={"audit": {}})
        apply(self.operator, inside, environ={}, stored=self.stack.secrets.learn)
        self.recorder.namespace = self.entry.namespace

    @property
    def tls(self) -> ScenarioTls:
        """The TLS between client and Vault.

        Raises:
            ScenarioDefect: There is none: the scenario's entry does not name such a `wire`.
        """
        if self._tls is None:
            raise ScenarioDefect(
                f"{self.entry.id} is about TLS, and speaks none",
                looked_at="its entry's wire",
                remedy='give its entry wire = "tls", or "h2"',
            )
        return self._tls

    @property
    def clock(self) -> ClientClock:
        """The wall clock of the subject's process.

        Raises:
            ScenarioDefect: The scenario's entry does not ask for it.
        """
        if self._clock is None:
            raise ScenarioDefect(
                f"{self.entry.id} sets no clock",
                looked_at="whether its entry has clock = true",
                remedy="give its entry clock = true",
            )
        return self._clock

    @property
    def name(self) -> MovingName:
        """The name by which the subject finds Vault.

        Raises:
            ScenarioDefect: The scenario's entry does not ask for one.
        """
        if self._name is None:
            raise ScenarioDefect(
                f"{self.entry.id} moves no name",
                looked_at="whether its entry has named = true",
                remedy="give its entry named = true",
            )
        return self._name

    def _set_role(self) -> None:
        parameters = {
            "token_ttl": f"{self.ttl:.0f}s",
            "token_max_ttl": f"{self.entry.max_ttl:.0f}s",
            **self.entry.role,
        }
        path = f"/v1/auth/approle/role/{self.entry.approle}"
        self.operator.client.adapter.post(path, json=parameters)
        self.role_id = approle.role_id(self.operator, self.entry.approle)
        self.new_secret_id()

    def _allow_one_write(self) -> None:
        """Let the role write `WRITTEN`, by the policy of its name, which all its tokens have.

        A blueprint may have none that is called so: then nobody is asked to write.
        """
        name, blueprint = self.entry.approle, self.stack.blueprint
        role = blueprint.approles.get(name)
        self.may_write = role is not None and name in role.policies
        if self.may_write:
            policies, may = self.operator.client.sys, '["create", "update", "patch", "read"]'
            rules = policies.read_policy(name)["data"]["rules"]
            rules += f'\npath "{self.entry.mount}/data/{WRITTEN}" {{ capabilities = {may} }}\n'
            policies.create_or_update_policy(name, rules)

    @property
    def ttl(self) -> float:
        """T: the token's TTL, seconds."""
        return self.entry.ttl

    # Secrets

    def _learn_what_is_there(self) -> None:
        """Know every value that the blueprint put into Vault, by a label."""
        for mount, path, values in self.stack.blueprint.paths():
            if mount != self.entry.mount:
                continue
            label = "seeded" if path == self.entry.path else f"{path}:seeded"
            for key, value in self.stack.secrets[mount, path].items():
                plain = key in values and values[key].value is not None
                self.secrets.add_value(path, key, str(value), label, secret=not plain)
            self.history.end_rotation(self.history.note_rotation(path, label))

    def _stored(self, path: str) -> dict[str, object]:
        """What Vault has at a path now."""
        found = self._kv.read_secret_version(
            path, mount_point=self.entry.mount, raise_on_deleted_version=True
        )
        stored: dict[str, object] = found["data"]["data"]
        return stored

    @property
    def _kv(self) -> Any:
        return self.operator.client.secrets.kv.v2

    def put(
        self,
        label: str,
        *,
        path: str | None = None,
        key: str | None = None,
        value: str | None = None,
        also: Mapping[str, str] | None = None,
    ) -> str:
        """Write a new version of a secret; reads are judged by its label from now on.

        Args:
            label: Of its values; ``PATH:label`` for another secret than the scenario's own.
            path: Which secret; the scenario's own by default.
            key: Which key of it.
            value: What to write; a new random value by default.
            also: Further keys and values, known by the same label: each as its own key's.

        Returns:
            The label by which a read's value is known.
        """
        path, key = path or self.entry.path, key or self.entry.key
        made = f"canary-{label}-{random.token_hex(12)}" if value is None else value
        data = {key: made, **(also or {})}
        name = self.secrets.add_value(path, key, made, self._value_label(path, label))
        for other, further in (also or {}).items():
            self.secrets.add_value(path, other, further, name)
        rotation = self.history.note_rotation(path, name)
        self._kv.create_or_update_secret(path, data, mount_point=self.entry.mount)
        self.history.end_rotation(rotation)
        return name

    def delete(self, path: str) -> None:
        """Delete the latest version of a secret; no value of it is right from now on."""
        rotation = self.history.note_rotation(path, GONE)
        self._kv.delete_latest_version_of_secret(path, mount_point=self.entry.mount)
        self.history.end_rotation(rotation)

    @contextmanager
    def changing(self, label: str, *, path: str, key: str) -> Iterator[None]:
        """Let somebody else change a value; the one that is there afterwards bears the label."""
        rotation = self.history.note_rotation(path, self._value_label(path, label))
        yield
        self.secrets.add_value(path, key, str(self._stored(path)[key]), rotation.value)
        self.history.end_rotation(rotation)

    def _value_label(self, path: str, label: str) -> str:
        return label if path == self.entry.path else f"{path}:{label}"

    # Credentials

    def new_secret_id(self, *, deliver: bool = True) -> approle.SecretId:
        """Make a secret-id and, unless told otherwise, put it where the subject finds it."""
        made = approle.new_secret_id(self.operator, self.entry.approle)
        self.secrets.add("secret-id", made.secret_id)
        if deliver:
            self.deliver(made)
        return made

    def deliver(self, secret_id: approle.SecretId) -> None:
        """Put a secret-id where the subject finds it; a file is replaced by renaming."""
        self.secret_id = secret_id
        role_id_file, self.secret_id_file = approle.credential_files(
            self.entry.approle, self.directory
        )
        write_private(role_id_file, self.role_id)
        write_private(self.secret_id_file, secret_id.secret_id)
        self.history.mark(f"{self.secrets.label(secret_id.secret_id)} delivered")

    @contextmanager
    def condition(self, name: str, **marks: Any) -> Iterator[Fault]:
        """Something that is so without any fault, but must have touched the subject.

        Args:
            name: What that is, for the report.
            marks: By which answers it is known, as `Signature` has them; ``optional=True`` where it
                need not have.
        """
        optional: bool = marks.pop("optional", False)
        fault = self.history.begin_fault(name, Signature(**marks), optional=optional)
        try:
            yield fault
        finally:
            self.history.end_fault(fault)

    def close(self) -> None:
        """End everything that was begun here, the latest first."""
        self._closing.close()
