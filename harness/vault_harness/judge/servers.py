"""Hold one scenario's own Vault, proxy and recorder, and act as its operator."""

from __future__ import annotations

import secrets as random
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, closing, contextmanager
from functools import cache
from pathlib import Path
from typing import Any, TypeVar

from vault_harness.addresses import base_url, host_and_port, joined
from vault_harness.certificates import client_context
from vault_harness.closable import Closable
from vault_harness.errors import OperatorError, ScenarioDefect
from vault_harness.files import write_private
from vault_harness.judge.catalogue import Entry
from vault_harness.judge.database import Database, KeyHolder, allow
from vault_harness.judge.environment import Environment, Spent, Wire
from vault_harness.judge.faults import HttpFaults, NetworkFaults, ProcessFaults, VaultFaults
from vault_harness.judge.faults.network import MovingName, ScenarioTls
from vault_harness.judge.faults.process import ClientClock
from vault_harness.judge.verdict import NotClaimed
from vault_harness.local.blueprint import Blueprint
from vault_harness.local.dialect import OPENBAO, of_product
from vault_harness.local.engine.process.postgresql import Postgresql
from vault_harness.local.engine.shape import Capability, Node, NodeSpec
from vault_harness.local.programs import find_postgresql
from vault_harness.local.stack.launching import Link, Stack, launch, launch_cluster
from vault_harness.local.toxiproxy.client import Proxy
from vault_harness.local.toxiproxy.toxics import Latency
from vault_harness.local.vault import approle
from vault_harness.local.vault.apply import Applying, apply
from vault_harness.local.vault.namespace import Namespace
from vault_harness.recorder.fault import Fault, Signature, noted
from vault_harness.recorder.history import History
from vault_harness.recorder.observations import GONE
from vault_harness.recorder.recorder import CLEAR, Recorder, Tls
from vault_harness.recorder.secrets import Secrets
from vault_harness.waiting import wait_until

ROLE, MOUNT = "backend", "ecommerce"
PATH, KEY = "backend/django", "SECRET_KEY"

WRITTEN = "backend/written-at-last"
"""The closing act has a client write it."""

_NOWHERE = 9
"""Port of a proxy's upstream until the real upstream is known."""

_Thing = TypeVar("_Thing")


def blueprint_of(entry: Entry) -> Blueprint:
    return Blueprint.load(entry.blueprint) if entry.blueprint else platform()


@cache
def platform() -> Blueprint:
    return Blueprint.default()


class Servers(Closable):
    """The servers of one scenario, and everything between them and a client.

    Attributes:
        operator: Acts in the client's namespace, if there is one.
        may_write: Whether the client's role may write `WRITTEN`.
        address: The URL at which a client finds Vault.
    """

    secret_id: approle.SecretId

    def __init__(
        self, environment: Environment, entry: Entry, *, directory: Path | None = None
    ) -> None:
        self.entry = entry
        self.environment = environment
        self.history = History(witness=environment.witness)
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
        self.stack: Stack = self._closing.enter_context(self._launch(blueprint_of(entry)))
        leader = self.stack.leader() if entry.nodes > 1 else self.stack.node
        self.recorder = Recorder(
            self.history,
            self.secrets,
            upstream=joined(leader.address),
            listen=(work.engine.bind_host(), 0),
            tls=Tls(vault=client_context(leader.ca_cert))
            if leader.address.startswith("https:")
            else CLEAR,
        )
        self._closing.callback(self.recorder.close)
        self.proxy: Proxy = work.toxiproxy.create(
            entry.id,  # the same in each run, since the faults of a seed depend on it
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
        if entry.logs_in and self._can_have_a_database:
            allow(self.stack.operator, entry.approle)
        self.put("v1")

    def prepare_database(self, *, leases: bool) -> None:
        """Start the database if the scenario needs it, or if it is optional and `leases` is true.

        The subject's claims must be known, since a server of its own costs a second.
        """
        entry = self.entry
        if not entry.logs_in or self._database is not None:
            return
        if not entry.needs_postgresql and not (leases and self._can_have_a_database):
            return
        database = Database(self.environment.postgresql.server(), self.history, self.secrets)
        self._closing.callback(database.close)
        database.mount(self.stack.operator)
        if entry.lease_ttl is not None:
            database.add_roles(ttl=entry.lease_ttl, max_ttl=entry.lease_max_ttl)
        if entry.rotation_period is not None:
            database.add_static_roles(period=entry.rotation_period)
        self._database = database

    @property
    def _can_have_a_database(self) -> bool:
        """Return whether the scenario needs a database, or could have one on this machine."""
        can = Capability.DATABASE in self.environment.engine.capabilities
        return self.entry.needs_postgresql or (can and not self.environment.postgresql.lacking())

    @property
    def has_database(self) -> bool:
        return self._database is not None

    def _given(self, thing: _Thing | None, lacks: str, looked_at: str, wanted: str) -> _Thing:
        """Return what the scenario's entry asks for; raise `ScenarioDefect` if it does not."""
        if thing is None:
            raise ScenarioDefect(
                f"{self.entry.id} {lacks}", looked_at=looked_at, remedy=f"give its entry {wanted}"
            )
        return thing

    @property
    def database(self) -> Database:
        return self._given(
            self._database,
            "has no database",
            "lease_ttl and rotation_period of its entry, and the start of a subject",
            "one of them, and start the subject before",
        )

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
            NodeSpec(
                directory=directory,
                storage="inmem" if self.entry.storage == "postgresql" else self.entry.storage,
                audit_raw=True,
                name=name,
                extra={**extra, **(self._storage_outside() if outside else {})},
            ),
            authority=authority,
        )

    def _new_link(self, node: str) -> Link:
        """The proxy's upstream is set later."""
        work = self.environment
        upstream = work.engine.reachable_from_toxiproxy(_NOWHERE)
        made = work.toxiproxy.create(f"link to {node}", listen=work.listen(), upstream=upstream)
        self._closing.callback(made.delete)
        self._links[node] = made
        return Link(made, work.reachable_from_nodes(made.listen))

    @contextmanager
    def link_is_late(self, node: Node, by: float) -> Iterator[Fault]:
        """Delay what other nodes send to this node, its data included. The entry needs `links`.

        `by` is in seconds, below raft's leader time-out of 1 s.
        """
        # The node answers 404 for data that has not arrived.
        mark = Signature(statuses=frozenset({404}), kinds=frozenset({"read"}))
        with (
            self._links[node.name].toxic(Latency(latency=int(by * 1000)), stream="upstream"),
            noted(self.history, "link to a standby late", mark, {"by": by}) as fault,
        ):
            yield fault

    @contextmanager
    def no_forwarding_to(self, leader: Node) -> Iterator[Fault]:
        """Cut the standbys' way to the leader, so that they redirect. The entry needs `links`."""
        name = "standbys cannot forward"
        with self._links[leader.name].disabled():
            fault = self.history.begin_fault(name, Signature(statuses=frozenset({307})))
            try:
                yield fault
            except BaseException:
                self.history.end_fault(fault)
                raise
        wait_until(
            lambda: all(map(self._forwards, self.stack.nodes)),
            f"standbys to forward to {leader.name}",
            timeout=150.0,  # a standby tries again after up to two minutes
        )
        self.history.end_fault(fault)

    def _forwards(self, node: Node) -> bool:
        with closing(self.stack.operator_at(node)) as operator:
            try:
                operator.request("PUT", "sys/policies/acl/forwarded", policy="# a write")
            except OperatorError:
                return False
        return True

    def _storage_outside(self) -> dict[str, object]:
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
        return self._given(
            self._storage, "has no storage outside", "its entry's storage", 'storage = "postgresql"'
        )

    @property
    def holder(self) -> KeyHolder:
        return self._given(
            self._holder, "has no holder of a key", "its entry's seal", 'seal = "transit"'
        )

    def _move_in(self) -> None:
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
        # Audit devices belong to the whole server.
        inside = self.stack.blueprint.model_copy(update={"audit": {}})
        apply(self.operator, inside, Applying(stored=self.stack.secrets.learn), environ={})
        self.recorder.namespace = self.entry.namespace

    @property
    def tls(self) -> ScenarioTls:
        return self._given(
            self._tls, "is about TLS, and speaks none", "its entry's wire", 'wire = "tls", or "h2"'
        )

    @property
    def clock(self) -> ClientClock:
        return self._given(
            self._clock, "sets no clock", "whether its entry has clock = true", "clock = true"
        )

    @property
    def name(self) -> MovingName:
        return self._given(
            self._name, "moves no name", "whether its entry has named = true", "named = true"
        )

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
        """Return T, the token's TTL in seconds."""
        return self.entry.ttl

    def _learn_what_is_there(self) -> None:
        for mount, path, values in self.stack.blueprint.paths():
            if mount != self.entry.mount:
                continue
            label = "seeded" if path == self.entry.path else f"{path}:seeded"
            for key, value in self.stack.secrets[mount, path].items():
                plain = key in values and values[key].value is not None
                self.secrets.add_value(path, key, str(value), label, secret=not plain)
            self.history.end_rotation(self.history.note_rotation(path, label))

    def _stored(self, path: str) -> dict[str, object]:
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
        """Write a new version of a secret, which reads must return from now on; return its label.

        The label of another secret than the default is ``PATH:label``. Keys in `also` get the same
        label.
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
        rotation = self.history.note_rotation(path, GONE)
        self._kv.delete_latest_version_of_secret(path, mount_point=self.entry.mount)
        self.history.end_rotation(rotation)

    @contextmanager
    def changing(self, label: str, *, path: str, key: str) -> Iterator[None]:
        """Label the value that the block writes."""
        rotation = self.history.note_rotation(path, self._value_label(path, label))
        yield
        self.secrets.add_value(path, key, str(self._stored(path)[key]), rotation.value)
        self.history.end_rotation(rotation)

    def _value_label(self, path: str, label: str) -> str:
        return label if path == self.entry.path else f"{path}:{label}"

    def new_secret_id(self, *, deliver: bool = True) -> approle.SecretId:
        made = approle.new_secret_id(self.operator, self.entry.approle)
        self.secrets.add("secret-id", made.secret_id)
        if deliver:
            self.deliver(made)
        return made

    @contextmanager
    def ids_of(self, role: str) -> Iterator[None]:
        """Give another role's ids to clients that start while the block runs."""
        role_id, secret_id = self.role_id, self.secret_id
        self.role_id = approle.role_id(self.operator, role)
        self.secret_id = approle.new_secret_id(self.operator, role)
        self.secrets.add("secret-id", self.secret_id.secret_id)
        try:
            yield
        finally:
            self.role_id, self.secret_id = role_id, secret_id

    def deliver(self, secret_id: approle.SecretId) -> None:
        """Put a secret-id where the subject finds it; the file is replaced by renaming."""
        self.secret_id = secret_id
        role_id_file, self.secret_id_file = approle.credential_files(
            self.entry.approle, self.directory
        )
        write_private(role_id_file, self.role_id)
        write_private(self.secret_id_file, secret_id.secret_id)
        self.history.mark(f"{self.secrets.label(secret_id.secret_id)} delivered")

    @contextmanager
    def condition(self, name: str, **marks: Any) -> Iterator[Fault]:
        """Record a situation that is no fault, but must touch the subject.

        `marks` are fields of its `Signature`. With ``optional=True`` it need not touch the subject.
        """
        optional: bool = marks.pop("optional", False)
        with noted(self.history, name, Signature(**marks), optional=optional) as fault:
            yield fault

    def at_the_end(self, function: Callable[..., object], *given: object) -> None:
        self._closing.callback(function, *given)

    def close(self) -> None:
        self._closing.close()
