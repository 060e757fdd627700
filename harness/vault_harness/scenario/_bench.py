"""One scenario's own Vault, proxy and recorder, and what an operator does there."""

from __future__ import annotations

import secrets as random
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from vault_harness.blueprint import Blueprint
from vault_harness.engine import Engine
from vault_harness.faults import Fault, NetworkFaults, ProcessFaults, Signature, VaultFaults
from vault_harness.files import write_private
from vault_harness.scenario._secrets import Secrets
from vault_harness.scenario.catalogue import Entry
from vault_harness.scenario.history import History
from vault_harness.scenario.recorder import Recorder
from vault_harness.scenario.verdict import NotExercised
from vault_harness.stack import Stack, launch
from vault_harness.subjects import SubjectSpec
from vault_harness.toxiproxy import Proxy, Toxiproxy
from vault_harness.vault import approle

ROLE = "backend"
PATH, KEY = "backend/django", "SECRET_KEY"


@dataclass(frozen=True, kw_only=True)
class Workplace:
    """What the scenarios of one process share: an engine, and one Toxiproxy server.

    Attributes:
        engine: Runs servers.
        toxiproxy: Control over the Toxiproxy server.
        listen: Gives a free address for a proxy, as the Toxiproxy server sees it.
        reachable: Turns that into one that a client here can use.
        directory: For files of scenarios.
        subject: Which client is tested.
        declared: Times that the command line declares for it; they win over its own.
        seed: Of the Toxiproxy server, to be printed on failure.
    """

    engine: Engine
    toxiproxy: Toxiproxy
    listen: Callable[[], str]
    reachable: Callable[[str], str]
    directory: Path
    subject: SubjectSpec
    declared: dict[str, float]
    seed: int


class Bench:
    """The servers of one scenario, with everything between them and a client.

    Attributes:
        entry: The scenario's data.
        history: What happened so far.
        secrets: What must not leak.
        directory: For files of this scenario.
        vault: Faults of Vault.
        network: Faults of the network.
        process: Faults of processes.
        stack: The Vault, its keyring and an operator's token.
        address: Where a client finds Vault: the proxy's base URL.
        product: Which server it is, with its version.
    """

    def __init__(self, workplace: Workplace, entry: Entry) -> None:
        self.entry = entry
        self.workplace = workplace
        self.history = History()
        self.secrets = Secrets()
        self.directory = workplace.directory / entry.id
        self.directory.mkdir(mode=0o700, parents=True)
        self._closing = ExitStack()
        try:
            self._set_up()
        except BaseException:
            self._closing.close()
            raise

    def _set_up(self) -> None:
        work = self.workplace
        self.stack: Stack = self._closing.enter_context(
            launch(
                work.engine,
                Blueprint.default(),
                directory=self.directory / "vault",
                storage=self.entry.storage,
                audit_raw=True,
                name=self.entry.id.lower(),
            )
        )
        self.recorder = Recorder(
            self.history,
            self.secrets,
            upstream=self.stack.node.address.split("//")[1],
            host=work.engine.bind_host(),
        )
        self._closing.callback(self.recorder.close)
        self.proxy: Proxy = work.toxiproxy.create(
            self.entry.id,  # a name that is the same in each run, so that a seed repeats it
            listen=work.listen(),
            upstream=work.engine.reachable_from_toxiproxy(self.recorder.port),
        )
        self._closing.callback(self.proxy.delete)
        self.address = f"http://{work.reachable(self.proxy.listen)}"
        status = self.stack.operator.seal_status()
        self.product = f"{status.product} {status.version}"
        self.vault = VaultFaults(self.stack, self.history)
        self.network = NetworkFaults(self.proxy, self.history)
        self.process = ProcessFaults(self.history)
        self.secrets.add("token", self.stack.keyring.root_token, "root token")
        for value in self.entry.environ.values():
            if value.startswith("canary-"):
                self.secrets.add("secret", value, "fallback")
        self._set_role()
        self.put("v1")

    def _set_role(self) -> None:
        parameters = {
            "token_ttl": f"{self.ttl:g}s",
            "token_max_ttl": f"{self.entry.max_ttl:g}s",
            **self.entry.role,
        }
        self.stack.operator.client.adapter.post(f"/v1/auth/approle/role/{ROLE}", json=parameters)
        self.role_id = approle.role_id(self.stack.operator, ROLE)
        self.new_secret_id()

    @property
    def ttl(self) -> float:
        """T: the token's TTL, seconds."""
        return self.entry.ttl

    def put(self, label: str, *, path: str = PATH, key: str = KEY) -> None:
        """Write a new value; reads are judged by its label from now on."""
        value = f"canary-{label}-{random.token_hex(12)}"
        self.secrets.add("secret", value, label if path == PATH else f"{path}:{label}")
        rotation = self.history.note_rotation(path, self.secrets.label(value) or label)
        self.stack.operator.client.secrets.kv.v2.create_or_update_secret(
            path, {key: value}, mount_point="ecommerce"
        )
        self.history.end_rotation(rotation)

    @contextmanager
    def changing(self, label: str, *, path: str, key: str) -> Iterator[None]:
        """Let somebody else change a value; the one that is there afterwards bears the label."""
        rotation = self.history.note_rotation(path, f"{path}:{label}")
        yield
        found = self.stack.operator.client.secrets.kv.v2.read_secret_version(
            path, mount_point="ecommerce", raise_on_deleted_version=True
        )
        self.secrets.add("secret", found["data"]["data"][key], f"{path}:{label}")
        self.history.end_rotation(rotation)

    def new_secret_id(self, *, deliver: bool = True) -> approle.SecretId:
        """Make a secret-id and, unless told otherwise, put it where the subject finds it."""
        made = approle.new_secret_id(self.stack.operator, ROLE)
        self.secrets.add("secret-id", made.secret_id)
        if deliver:
            self.deliver(made)
        return made

    def deliver(self, secret_id: approle.SecretId) -> None:
        """Put a secret-id where the subject finds it; a file is replaced by renaming."""
        self.secret_id = secret_id
        role_id_file, self.secret_id_file = approle.credential_files(ROLE, self.directory)
        write_private(role_id_file, self.role_id)
        write_private(self.secret_id_file, secret_id.secret_id)
        self.history.mark(f"{self.secrets.label(secret_id.secret_id)} delivered")

    def accessor(self) -> str:
        """The accessor of the token that the subject uses now.

        Raises:
            NotExercised: It has none.
        """
        login = self.history.last_token()
        if login is None or login.accessor is None:
            raise NotExercised("the subject never logged in, so there is no token to break")
        return login.accessor

    def tokens_alive(self) -> int:
        """How many tokens of the subject's role live in Vault."""
        client = self.stack.operator.client
        alive = 0
        for accessor in client.list("auth/token/accessors")["data"]["keys"]:
            try:
                data = client.auth.token.lookup_accessor(accessor)["data"]
            except Exception as error:  # noqa: BLE001 - it died between the list and the look
                self.history.mark(f"a token was gone when looked up: {type(error).__name__}")
                continue
            alive += bool((data.get("meta") or {}).get("role_name") == ROLE)
        return alive

    def issue_instead(self, **parameters: object) -> None:
        """From now on each accepted login is answered with another token of that role.

        The token is a real one of this Vault, made with these parameters of ``auth/token/create``;
        the one that the login made is revoked. For kinds of token that no AppRole can issue.
        """
        client = self.stack.operator.client

        def rewrite(body: dict[str, object]) -> dict[str, object]:
            auth = body["auth"]
            assert isinstance(auth, dict)
            order = {
                "policies": auth["policies"],
                "meta": auth["metadata"],
                "ttl": f"{self.ttl:g}s",
                "no_parent": True,
                **parameters,
            }
            made = client.adapter.post("/v1/auth/token/create", json=order)["auth"]
            client.auth.token.revoke_accessor(auth["accessor"])
            same = ("client_token", "accessor", "renewable", "lease_duration", "token_type")
            return {**body, "auth": {**auth, **{name: made[name] for name in same}}}

        self.recorder.rewrite_login = rewrite

    @contextmanager
    def condition(self, name: str, **marks: Any) -> Iterator[Fault]:
        """Something that is so without any fault, but must have touched the subject."""
        fault = self.history.begin_fault(name, Signature(**marks))
        try:
            yield fault
        finally:
            self.history.end_fault(fault)

    def close(self) -> None:
        """End everything that was begun here, the latest first."""
        self._closing.close()
