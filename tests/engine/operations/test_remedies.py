"""Whatever the doctor proposes mends what it was proposed for, and loses no value on the way.

Every kind of trouble is made in a real stack; the remedy is run in a shell as it is printed, in the
very state that it was printed for. Kinds are walked as data: one without a state is a failure.
"""

from __future__ import annotations

import contextlib
import http.server
import json
import os
import shlex
import signal
import ssl
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import trustme

from vault_harness import dialect
from vault_harness.certificates import Authority
from vault_harness.commands import named
from vault_harness.engine import Engine, NodeSpec, PortLease, TlsFiles
from vault_harness.errors import OperatorError
from vault_harness.settings import Settings, resources
from vault_harness.stack import LocalStack, Stack, StackRecord
from vault_harness.toxiproxy import Latency, Toxiproxy
from vault_harness.vault import Keyring, Operator, apply, approle
from vault_harness.vault.doctor import KINDS, DockerView, Finding, Patient, examine, look_at_docker
from vault_harness.vault.kv import Kv
from vault_harness.vault.namespace import Namespace
from vault_harness.vault.root import generate_root, operator_token, revoke_root
from vault_harness.waiting import wait_until

RUNNER = f"{sys.executable} -m vault_harness"
PASSPHRASE = "a passphrase of the test"

pytestmark = pytest.mark.slow  # each remedy is a command or two, a process each


@dataclass
class World:
    """A stack of one's own with data in it, a backup of its keys, and a shell in its folder.

    Attributes:
        directory: Where the shell is; the data directory is in it, with a blank in its name.
        root: A token that reads everything, whatever happens to the keyring.
        variables: What a state puts into the shell's environment.
        known_address: Where Vault was last, whatever happens to the record.
    """

    directory: Path
    root: str = ""
    variables: dict[str, str] = field(default_factory=dict)
    known_address: str = ""

    @property
    def data_dir(self) -> Path:
        """The data directory."""
        return self.directory / "vault data"

    @property
    def environment(self) -> dict[str, str]:
        """That of the shell."""
        kept = {k: v for k, v in os.environ.items() if not k.startswith(("VAULT_", "BAO_"))}
        return {
            **kept,
            "HARNESS_RUNNER": RUNNER,
            "HARNESS_DATA_DIR": str(self.data_dir),
            "HARNESS_ENGINE": "process",
            "HARNESS_VAULT_PORT": "0",
            "HARNESS_PROXY_PORT": "0",
            "HARNESS_TOXIPROXY_PORT": "0",
            "HARNESS_BACKUP_PASSPHRASE": PASSPHRASE,
            **self.variables,
        }

    @property
    def stack(self) -> LocalStack:
        """The same stack in this process."""
        ports = {"vault_port": 0, "proxy_port": 0, "toxiproxy_port": 0}
        return LocalStack(
            Settings.from_environment(engine="process", data_dir=self.data_dir, **ports)
        )

    @contextlib.contextmanager
    def op(self) -> Iterator[Operator]:
        """Root, by the token that the test keeps."""
        endpoints = StackRecord.load(self.data_dir).endpoints
        ca_cert = endpoints.ca_cert if endpoints is not None else None
        with contextlib.closing(Operator(self.address, self.root, ca_cert, timeout=2.0)) as root:
            yield root

    @property
    def address(self) -> str:
        """Where its Vault is."""
        endpoints = StackRecord.load(self.data_dir).endpoints
        return endpoints.vault if endpoints is not None else self.known_address

    def sh(self, command: str, *, code: int | None = 0) -> str:
        """Run a line in a shell; gives what it printed."""
        done = subprocess.run(
            ["/bin/bash", "-c", command],
            cwd=self.directory,
            env=self.environment,
            capture_output=True,
            text=True,
            stdin=subprocess.DEVNULL,
            timeout=120,
            check=False,
        )
        said = f"{command}: {done.returncode}\n{done.stdout}{done.stderr}"
        assert code is None or done.returncode == code, said
        return done.stdout or done.stderr

    def troubles(self, before: str = "") -> list[tuple[str, str]]:
        """What the doctor finds wrong in that shell: kinds with remedies, as they are found."""
        first = f"{before} && " if before else ""
        printed = self.sh(f"{first}{RUNNER} doctor --json", code=None)
        assert "[\n" in printed, printed
        findings = json.loads(printed[printed.index("[\n") :])
        return [(each["kind"], each["remedy"]) for each in findings if each["state"] == "bad"]

    def values(self) -> set[tuple[str, ...]]:
        """Every value that Vault has, at whatever mount, and every unseal key that is here.

        Raises:
            OperatorError: Vault cannot be read now.
        """
        found: set[tuple[str, ...]] = set()
        for file in self.data_dir.glob("init.json*"):
            with contextlib.suppress(ValueError, KeyError):
                told = json.loads(file.read_text())
                keys = told.get("unseal_keys_b64") or told["recovery_keys_b64"]
                found |= {("unseal key", key) for key in keys}
        with self.op() as op:
            for mount, body in op.request("GET", "sys/mounts")["data"].items():
                if body["type"] == "kv" and (body["options"] or {}).get("version") == "2":
                    kv = Kv(op, mount)
                    for path in kv.paths():
                        data = kv.read(path).data
                        found |= {(path, key, str(value)) for key, value in data.items()}
                elif body["type"] == "kv":
                    for path in _listed(op, mount):
                        data = op.request("GET", f"{mount}{path}")["data"]
                        found |= {(path, key, str(value)) for key, value in data.items()}
                elif body["type"] == "transit":
                    found |= {("transit", key) for key in _listed(op, f"{mount}keys")}
        return found

    def pause(self, service: str) -> None:
        """Freeze one of its servers."""
        pid = StackRecord.load(self.data_dir).services[service]["pid"]
        os.kill(int(pid), signal.SIGSTOP)


def _listed(op: Operator, path: str) -> list[str]:
    return [str(key) for key in op.request("LIST", path).get("data", {}).get("keys", [])]


@pytest.fixture(scope="module")
def worlds(tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[World]]:
    """The stack that the tests share; one that is not healthy any more is given up."""
    shared: list[World] = []
    yield shared
    for each in shared:
        each.sh(f"{RUNNER} destroy --yes", code=None)


@pytest.fixture
def world(worlds: list[World], tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """A healthy stack with somebody's own values in it; each state is mended before the next."""
    if not worlds:
        worlds.append(_new_world(tmp_path_factory.mktemp("a folder")))
    world = worlds[0]
    yield world
    world.variables.clear()
    try:
        _back_to_health(world)
    except BaseException:
        worlds.remove(world)
        world.sh(f"{RUNNER} destroy --yes", code=None)
        raise


def _new_world(directory: Path) -> World:
    made = World(directory)
    made.sh(f"{RUNNER} up && {RUNNER} seed && {RUNNER} backup.keys")
    made.root = Keyring.load(made.data_dir / "init.json").root_token
    with made.op() as op:
        kv = Kv(op)
        for path in kv.paths():
            now = kv.read(path)
            own = {key: f"somebody's own {path} {key}" for key in now.data}
            kv.write(path, own, cas=now.version)
    assert made.troubles() == []
    return made


@pytest.fixture
def other(tmp_path: Path) -> Iterator[World]:
    """A folder in which nothing was started yet."""
    made = World(tmp_path)
    yield made
    made.sh(f"{RUNNER} destroy --yes", code=None)


# -- states: each makes one kind of trouble ------------------------------------------------------

Make = Callable[[World], None]
STATES: dict[str, Make] = {}


def makes(kind: str) -> Callable[[Make], Make]:
    """Register a function as the maker of a kind of trouble."""

    def register(make: Make) -> Make:
        STATES[kind] = make
        return make

    return register


def request(world: World, method: str, path: str, **body: object) -> None:
    """One request as root."""
    with world.op() as op:
        op.request(method, path, **body)


def fail_logins(world: World) -> None:
    """Six bad secret-ids lock the role backend."""
    with world.op() as op:
        role_id = approle.role_id(op, "backend")
        for _ in range(6):
            with pytest.raises(OperatorError), op.asking("log in") as client:
                client.auth.approle.login(role_id, "wrong", use_token=False)


def files_of(world: World) -> tuple[Path, Path]:
    """The two files of the role backend."""
    return approle.credential_files("backend", world.data_dir)


def without_token(world: World) -> None:
    """Root revoked, and the operator's token lost: what `restore.keys` brings back is taken now."""
    world.sh(f"{RUNNER} root.revoke && {RUNNER} backup.keys")
    world.root = operator_token(world.data_dir)
    (world.data_dir / "operator-token").unlink()


@makes("record-lost")
def _(world: World) -> None:
    (world.data_dir / "stack.json").unlink()


@makes("not-running")
def _(world: World) -> None:
    for service in StackRecord.load(world.data_dir).services.values():
        os.kill(int(service["pid"]), signal.SIGKILL)


@makes("frozen")
def _(world: World) -> None:
    world.pause("vault")


@makes("refused")
def _(world: World) -> None:
    record = StackRecord.load(world.data_dir)
    assert record.endpoints is not None
    lease = PortLease()
    moved = replace(record.endpoints.node, address=f"http://127.0.0.1:{lease.port}")
    lease.release()
    record.endpoints = replace(record.endpoints, nodes=(moved,))
    record.save(world.data_dir)


@makes("toxiproxy-silent")
def _(world: World) -> None:
    world.pause("toxiproxy")


@makes("obstacle")
def _(world: World) -> None:
    endpoints = StackRecord.load(world.data_dir).endpoints
    assert endpoints is not None
    proxy = Toxiproxy(endpoints.toxiproxy).proxy("vault")
    proxy.add(Latency(latency=1), name="left-over")
    proxy.disable()


@makes("keyring-missing")
def _(world: World) -> None:
    (world.data_dir / "init.json").unlink()


@makes("keyring-broken")
def _(world: World) -> None:
    (world.data_dir / "init.json").write_text("{}")


@makes("keyring-unlike")
def _(world: World) -> None:
    Keyring(("b3RoZXI=",), 1, "t").save(world.data_dir / "init.json")


@makes("open-to-others")
def _(world: World) -> None:
    world.data_dir.chmod(0o755)
    for name in ("init.json", "backend-secret-id"):
        (world.data_dir / name).chmod(0o644)


@makes("sealed")
def _(world: World) -> None:
    world.stack.seal()


@makes("sealed-without-keys")
def _(world: World) -> None:
    world.stack.seal()
    (world.data_dir / "init.json").unlink()


@makes("environment-token")
def _(world: World) -> None:
    world.variables["VAULT_TOKEN"] = "s.of-yesterday"


@makes("mount-missing")
def _(world: World) -> None:
    with world.op() as op:
        op.request("POST", "sys/remount", **{"from": "ecommerce", "to": "elsewhere"})


@makes("mount-unversioned")
def _(world: World) -> None:
    put_other_mount(world, type="kv", options={"version": "1"})
    request(world, "POST", "ecommerce/own", A="somebody's own")


@makes("mount-other")
def _(world: World) -> None:
    put_other_mount(world, type="transit")
    request(world, "POST", "ecommerce/keys/somebodys-own")


def put_other_mount(world: World, **body: object) -> None:
    """Something else where the secrets' mount should be; the secrets are moved out of the way."""
    with world.op() as op:
        op.request("POST", "sys/remount", **{"from": "ecommerce", "to": "put-away"})
        mounted = lambda: "put-away/" in op.request("GET", "sys/mounts")["data"]  # noqa: E731
        wait_until(mounted, "the mount to be moved", timeout=10)
        op.request("POST", "sys/mounts/ecommerce", **body)


@makes("mount-of-environment")
def _(world: World) -> None:
    world.variables["VAULT_MOUNT_POINT"] = "secret"


@makes("audit-log-gone")
def _(world: World) -> None:
    log = world.stack.provider().audit_path
    assert log is not None
    log.unlink()


@makes("policy-missing")
def _(world: World) -> None:
    request(world, "DELETE", "sys/policies/acl/backend")


@makes("policy-unlike")
def _(world: World) -> None:
    text = 'path "other" { capabilities = ["read"] }'
    request(world, "POST", "sys/policies/acl/backend", policy=text)


@makes("role-missing")
def _(world: World) -> None:
    request(world, "DELETE", "auth/approle/role/backend")


@makes("role-unlike")
def _(world: World) -> None:
    request(world, "POST", "auth/approle/role/backend", token_policies=["default"])


@makes("role-locked")
def _(world: World) -> None:
    fail_logins(world)


@makes("role-id-missing")
def _(world: World) -> None:
    files_of(world)[0].unlink()


@makes("role-id-wrong")
def _(world: World) -> None:
    files_of(world)[0].write_text("another's")


@makes("secret-id-missing")
def _(world: World) -> None:
    files_of(world)[1].unlink()


@makes("secret-id-bad")
def _(world: World) -> None:
    files_of(world)[1].write_text("of yesterday")


@makes("ids-bad")
def _(world: World) -> None:
    role_id = files_of(world)[0].read_text()
    world.variables |= {"VAULT_ROLE_ID": role_id, "VAULT_SECRET_ID": "of yesterday"}


@makes("secret-missing")
def _(world: World) -> None:
    request(world, "DELETE", "ecommerce/metadata/ai/openai")


@makes("secret-deleted")
def _(world: World) -> None:
    request(world, "DELETE", "ecommerce/data/ai/openai")


@makes("secret-destroyed")
def _(world: World) -> None:
    request(world, "DELETE", "ecommerce/metadata/ai/openai")
    request(world, "POST", "ecommerce/data/ai/openai", data={"OPENAI_API_KEY": "x"})
    request(world, "POST", "ecommerce/destroy/ai/openai", versions=[1])


@makes("secret-destroyed-after-another")
def _(world: World) -> None:
    with world.op() as op:
        kv = Kv(op)
        now = kv.read("ai/openai")
        newer = kv.write("ai/openai", {**now.data, "MORE": "x"}, cas=now.version)
        op.request("POST", "ecommerce/destroy/ai/openai", versions=[newer])


@makes("secret-incomplete")
def _(world: World) -> None:
    request(world, "POST", "ecommerce/data/backend/redis", data={"REDIS_PASSWORD": "own"})


@makes("no-token-for-root")
def _(world: World) -> None:
    without_token(world)


@makes("login-refused")
def _(world: World) -> None:
    without_token(world)
    files_of(world)[1].write_text("of yesterday")


@makes("login-denied")
def _(world: World) -> None:
    fail_logins(world)
    without_token(world)


@makes("ids-missing")
def _(world: World) -> None:
    without_token(world)
    files_of(world)[1].unlink()


# Kinds whose state is made below in a way of its own.
APART = {
    *("never-started", "uninitialised", "no-token", "audit-off", "audit-off-by-configuration"),
    *("engine-away", "image-missing", "image-outdated", "data-gone", "certificate", "not-vault"),
    *("clock", "ids-of-nobody", "refused-elsewhere"),
    *("certificate-ends", "certificate-ends-elsewhere"),
    *("client-certificate-missing", "client-certificate-ends"),
    "seal-half-migrated",
    *("namespaces-none", "namespace-missing", "namespace-elsewhere", "namespace-sealed"),
}


def test_every_kind_of_trouble_has_a_state() -> None:
    """A new kind without a state that makes it is not checked, and so a failure."""
    assert set(STATES) | APART == set(KINDS)
    assert not set(STATES) & APART


@pytest.mark.parametrize("kind", STATES)
def test_the_remedy_mends_and_loses_nothing(world: World, kind: str) -> None:
    """In the state of its finding: run as printed, the finding is gone and every value is there."""
    before = world.values()
    world.known_address = world.address
    STATES[kind](world)
    # Some states are made of a value that goes; where nobody can read, none went.
    with contextlib.suppress(OperatorError):
        before = world.values()
    found = world.troubles()
    last = max((at for at, (name, _) in enumerate(found) if name == kind), default=None)
    assert last is not None, found
    # What comes first is mended first, as the doctor says; another kind may rest on it.
    after = world.troubles(" && ".join(remedy for _, remedy in found[: last + 1]))
    assert kind not in dict(after), after
    assert before - world.values() == set()


def _back_to_health(world: World) -> None:
    """Whatever a state left beside its own kind, by the remedies that the doctor names."""
    with contextlib.suppress(OperatorError), world.op() as op:
        mounts = op.request("GET", "sys/mounts").get("data", {})
        away = next((m for m in ("put-away/", "elsewhere/") if m in mounts), None)
        if "ecommerce-transit/" in mounts:
            op.request("DELETE", "sys/mounts/ecommerce-transit")
        if away is not None:
            op.request("DELETE", "sys/mounts/ecommerce")
            op.request("POST", "sys/remount", **{"from": away, "to": "ecommerce"})
    rounds = 0
    while found := world.troubles():
        world.sh(found[0][1])
        rounds += 1
        assert rounds < 6, found
    keyring = Keyring.load(world.data_dir / "init.json")
    if not keyring.root_token:
        world.sh(f"{RUNNER} root.generate")
        keyring = Keyring.load(world.data_dir / "init.json")
    world.root = keyring.root_token


# -- kinds that want a Vault of their own, or something that is not here --------------------------


def test_a_namespace_that_a_blueprint_names(other: World) -> None:
    """Not there yet: `seed` makes it, as root where root is revoked; what is beside it stays."""
    text = (resources() / "blueprints" / "ecommerce.toml").read_text()
    text = text.replace("../policies", str(resources() / "policies"))
    (other.directory / "shop.toml").write_text(
        text.replace("\nname =", '\nnamespace = "a"\nname =')
    )
    other.sh(f"{RUNNER} up && {RUNNER} seed")
    other.root = Keyring.load(other.data_dir / "init.json").root_token
    before = other.values()
    other.variables["HARNESS_BLUEPRINT"] = "shop.toml"
    other.sh(f"{RUNNER} root.revoke")
    found = other.troubles()
    assert [kind for kind, _ in found] == ["namespace-missing"]
    assert other.troubles(found[0][1]) == []
    other.sh(f"{RUNNER} root.generate")
    other.root = Keyring.load(other.data_dir / "init.json").root_token
    assert before - other.values() == set()


def test_a_namespace_of_nobody_and_a_sealed_one(other: World) -> None:
    """No task of ours makes the one or opens the other: there is advice, and nothing is changed."""
    other.sh(f"{RUNNER} up && {RUNNER} seed")
    other.root = Keyring.load(other.data_dir / "init.json").root_token
    other.variables["VAULT_NAMESPACE"] = "nowhere"
    ((kind, advice),) = other.troubles()
    assert (kind, "correct VAULT_NAMESPACE" in advice) == ("namespace-elsewhere", True)
    with other.op() as op:
        key = Namespace.create(op, "shut")
        key.seal()
    other.variables["VAULT_NAMESPACE"] = "shut"
    ((kind, advice),) = other.troubles()
    assert (kind, "namespace unseal -namespace=root shut" in advice) == ("namespace-sealed", True)


def test_a_server_without_namespaces(
    other: World, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """HashiCorp Vault has them as Enterprise only; said once, and nothing that rests on it."""
    other.sh(f"{RUNNER} up && {RUNNER} seed")
    monkeypatch.setattr(dialect, "has_namespaces", lambda _product, _version: False)
    patient = Patient(
        data_dir=other.data_dir,
        blueprint=other.stack.blueprint(),
        addresses=(other.address,),
        namespace="team-a",
    )
    bad = [finding for finding in examine(patient) if finding.bad]
    assert [finding.kind for finding in bad] == ["namespaces-none"]
    assert "unset VAULT_NAMESPACE" in bad[0].remedy


def test_nothing_was_started_yet(other: World) -> None:
    """An empty folder: `up` is what mends it."""
    found = other.troubles()
    assert [kind for kind, _ in found] == ["never-started"]
    assert "never-started" not in dict(other.troubles(found[0][1]))


def test_started_and_never_initialised(other: World) -> None:
    """A server that somebody started by hand, or a task that was ended."""
    other.stack.provider().start()
    found = dict(other.troubles())
    assert "uninitialised" not in dict(other.troubles(found["uninitialised"]))


def test_the_data_directory_is_gone_while_vault_runs(other: World) -> None:
    """Nobody is told to start anew what would then be lost; put back, all is well."""
    other.sh(f"{RUNNER} up && {RUNNER} seed")
    away = other.directory / "put away"
    other.data_dir.rename(away)
    try:
        ((kind, advice),) = other.troubles()
        assert kind == "data-gone"
        assert RUNNER not in advice
    finally:
        if other.data_dir.exists():
            other.data_dir.rename(other.directory / "made by looking")
        away.rename(other.data_dir)
    assert other.troubles() == []


_KILLED = """
import os, signal
from vault_harness.settings import Settings
from vault_harness.stack import LocalStack

def checkpoint(step):
    if step == "gave the keys":
        os.kill(os.getpid(), signal.SIGKILL)

LocalStack(Settings.from_environment()).migrate_seal("static", checkpoint=checkpoint)
"""


def test_a_seal_that_was_half_exchanged(other: World) -> None:
    """The doctor says so first, and what it names finishes it with every value and key."""
    other.sh(f"{RUNNER} up && {RUNNER} seed")
    other.root = Keyring.load(other.data_dir / "init.json").root_token
    before = other.values()
    other.sh(f"{sys.executable} -c {shlex.quote(_KILLED)}", code=-signal.SIGKILL)

    (kind, remedy), *_ = other.troubles()

    assert (kind, remedy) == ("seal-half-migrated", f"{RUNNER} seal.migrate static")
    other.sh(remedy)
    assert other.troubles() == []
    assert other.values() == before


@pytest.fixture
def patient(stack: Stack, tmp_path: Path) -> Patient:
    """A healthy Vault in this process, and a data directory for it."""
    data_dir = tmp_path / "vault-data"
    data_dir.mkdir(mode=0o700)
    stack.keyring.save(data_dir / "init.json")
    for role in stack.blueprint.approles:
        approle.write_credentials(stack.operator, role, data_dir)
    return Patient(data_dir=data_dir, blueprint=stack.blueprint, addresses=(stack.node.address,))


def kinds(patient: Patient) -> dict[str, Finding]:
    """What is wrong, by kind."""
    return {each.kind: each for each in examine(patient) if each.bad}


def opened(engine: Engine, patient: Patient, **wanted: Any) -> tuple[Operator, Keyring, Patient]:
    """A seeded Vault of another configuration, with its keyring in the data directory."""
    directory = patient.data_dir.parent / "server"
    node = engine.node(NodeSpec(name="server", directory=directory, **wanted))
    node.start()
    op = Operator(node.address)
    keyring = op.init()
    op.unseal(keyring)
    keyring.save(patient.keyring_path)
    root = op.with_token(keyring.root_token)
    apply(root, patient.blueprint, environ={})
    for role in patient.blueprint.approles:
        approle.write_credentials(root, role, patient.data_dir)
    return root, keyring, replace(patient, addresses=(node.address,))


def test_the_unseal_keys_alone_make_a_root_token(engine: Engine, patient: Patient) -> None:
    """A server that takes them without a token beside, as HashiCorp Vault does."""
    lease = PortLease()
    listener = {
        "address": f"127.0.0.1:{lease.port}",
        "tls_disable": True,
        "disable_unauthed_generate_root_endpoints": False,
    }
    lease.release()
    root, keyring, here = opened(
        engine, patient, port=lease.port, extra={"listener": {"tcp": listener}}
    )
    before = Kv(root).read("backend/django").data
    root.request("POST", "auth/token/revoke-self")
    found = kinds(here)["no-token"]
    assert named("root.generate") == found.remedy
    generate_root(Operator(here.addresses[0]), here.keyring_path, here.data_dir)
    assert "no-token" not in kinds(here)
    made = Keyring.load(here.keyring_path)
    assert made.keys == keyring.keys
    assert Kv(root.with_token(made.root_token)).read("backend/django").data == before


@pytest.mark.parametrize("by_api", [True, False])
def test_nothing_is_audited(
    engine: Engine, patient: Patient, monkeypatch: pytest.MonkeyPatch, by_api: bool
) -> None:
    """Where the API makes devices, seeding mends it; elsewhere no command of ours is named."""
    extra = {"unsafe_allow_api_audit_creation": True} if by_api else {}
    root, _, here = opened(engine, patient, audit=False, extra=extra)
    if by_api:
        monkeypatch.setattr(dialect, "of_seal_status", lambda _status: dialect.VAULT)
    found = kinds(here)
    assert list(found) == ["audit-off" if by_api else "audit-off-by-configuration"]
    if by_api:
        before = Kv(root).read("backend/django").data
        assert found["audit-off"].remedy == named("seed")
        apply(root, here.blueprint, environ={}, audit_path="audit.log")
        assert kinds(here) == {}
        assert Kv(root).read("backend/django").data == before


@pytest.mark.parametrize("life", [timedelta(days=13), -timedelta(minutes=1)], ids=["near", "over"])
def test_a_certificate_near_its_end(other: World, life: timedelta) -> None:
    """Near its end or past it, the doctor proposes the renewal, which keeps every value."""
    other.sh(f"{RUNNER} up --tls && {RUNNER} seed")
    other.root = Keyring.load(other.data_dir / "init.json").root_token
    before = other.values()
    assert other.troubles() == []
    authority = Authority.load(other.stack.authority_directory)
    authority.issue(other.data_dir / "tls", "127.0.0.1", life=life)
    other.stack.provider().reload_vault()
    wait_until(lambda: other.troubles() != [], "the doctor to meet that certificate", timeout=60)
    ((kind, remedy),) = other.troubles()
    assert (kind, remedy) == ("certificate-ends", f"{RUNNER} tls.renew")
    other.sh(remedy)
    assert other.troubles() == []
    assert other.values() == before


def test_what_a_client_shows_is_gone_or_near_its_end(other: World) -> None:
    """Of a service and of the tasks themselves, whom Vault then refuses: the renewal mends it."""
    other.sh(f"{RUNNER} up --client-certs && {RUNNER} seed")
    other.root = Keyring.load(other.data_dir / "init.json").root_token
    before = other.values()
    assert other.troubles() == []
    authority = Authority.load(other.stack.authority_directory / "clients")
    own, service = (
        other.data_dir / "tls" / "operator.pem",
        other.data_dir / "backend-certificate.pem",
    )
    for days, broken in (
        (timedelta(days=13), "ends"),
        (-timedelta(minutes=1), "ends"),
        (None, "missing"),
    ):
        for file, name in ((service, "backend"), (own, "operator")):
            file.unlink() if days is None else authority.issue_client(file, name, life=days)
            ((kind, remedy),) = other.troubles()
            assert (kind, remedy) == (f"client-certificate-{broken}", f"{RUNNER} tls.renew")
            other.sh(remedy)
            assert other.troubles() == []
    assert other.values() == before


def test_a_certificate_of_others_near_its_end(
    engine: Engine, patient: Patient, tmp_path: Path
) -> None:
    """Somebody else's Vault is renewed by somebody else, and until then it is told each time."""
    authority = Authority()
    tls = TlsFiles.within(tmp_path / "tls")
    node = engine.node(NodeSpec(name="theirs", directory=tmp_path / "theirs", tls=tls))
    authority.issue(tmp_path / "tls", *node.hosts, life=timedelta(days=15))
    node.start()
    theirs = replace(patient, engine="external", addresses=(node.address,), ca_cert=tls.ca)
    assert "certificate-ends-elsewhere" not in kinds(theirs)
    in_two_days = replace(theirs, now=lambda: datetime.now(UTC) + timedelta(days=2))
    found = kinds(in_two_days)["certificate-ends-elsewhere"]
    assert not found.runnable


def test_what_no_command_mends_names_none(
    patient: Patient, monkeypatch: pytest.MonkeyPatch, https_address: str, http_address: str
) -> None:
    """Advice for a person is no command of ours, which somebody would paste."""
    monkeypatch.setenv("DOCKER_HOST", "unix:///nonexistent/docker.sock")
    docker = Settings.from_environment(engine="docker")
    later = datetime.now(UTC) + timedelta(hours=1)
    ids = {"VAULT_ROLE_ID": "of another Vault", "VAULT_SECRET_ID": "x"}
    states = {
        "engine-away": replace(patient, engine="docker", docker=lambda: look_at_docker(docker)),
        "clock": replace(patient, now=lambda: later),
        "certificate": replace(patient, addresses=(https_address,)),
        "not-vault": replace(patient, addresses=(http_address,)),
        "ids-of-nobody": replace(patient, environ=ids),
    }
    for kind, state in states.items():
        found = kinds(state)
        assert list(found) == [kind]
        assert not found[kind].runnable
        assert named("").strip() not in found[kind].remedy.split()


@pytest.mark.parametrize("kind", ["image-missing", "image-outdated"])
def test_images_are_built_anew(patient: Patient, kind: str) -> None:
    """The remedy is named; it wants a container engine, and touches no Vault but by `down`."""
    view = DockerView(
        True,
        line="some/image:1",
        **{
            "image-missing": {"missing_images": ("some/image:1",)},
            "image-outdated": {"outdated_images": ("some/image:1",)},
        }[kind],
    )
    found = kinds(replace(patient, engine="docker", docker=lambda: view))
    assert found[kind].remedy.startswith(named("images"))
    assert "destroy" not in found[kind].remedy


@pytest.fixture
def http_address() -> Iterator[str]:
    """A server that is not Vault."""
    yield from _page(None)


@pytest.fixture
def https_address() -> Iterator[str]:
    """The same with a certificate that nobody trusts."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    trustme.CA().issue_cert("127.0.0.1").configure_cert(context)
    yield from _page(context)


def _page(context: ssl.SSLContext | None) -> Iterator[str]:
    class Page(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.end_headers()
            self.wfile.write(b"<html>hello</html>")

        def log_message(self, *args: object) -> None:
            """Nothing."""

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Page) as server:
        if context is not None:
            server.socket = context.wrap_socket(server.socket, server_side=True)
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http{'s' if context else ''}://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


def test_a_remedy_under_the_operators_token_makes_root_for_itself(
    patient: Patient, stack: Stack
) -> None:
    """With root revoked, what needs root is framed by making and revoking it."""
    revoke_root(stack.operator, patient.keyring_path, ["ecommerce"], patient.data_dir)
    text = 'path "other" { capabilities = ["read"] }'
    keyring = Keyring.load(patient.keyring_path)
    assert keyring.root_token == ""
    op = Operator(stack.node.address, operator_token(patient.data_dir))
    generate_root(op, patient.keyring_path, patient.data_dir)
    root = op.with_token(Keyring.load(patient.keyring_path).root_token)
    root.request("POST", "sys/policies/acl/backend", policy=text)
    revoke_root(root, patient.keyring_path, ["ecommerce"], patient.data_dir)
    commands = kinds(patient)["policy-unlike"].remedy.split(" && ")
    access = named("seed", "--only", "access")
    assert commands == [named("root.generate"), access, named("root.revoke")]
