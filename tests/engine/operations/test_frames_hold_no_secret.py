"""No error of the operator's functions holds a secret, in its text or in a frame.

Every function that the tasks call runs in every state that can be made here. Each error is walked:
its texts and notes, its causes, and all locals of all frames with what they hold.
"""

from __future__ import annotations

import errno
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest

from tests.walking import places
from vault_harness import files
from vault_harness.local.blueprint import Blueprint
from vault_harness.local.engine.ports import PortLease
from vault_harness.local.engine.shape import Engine, NodeSpec
from vault_harness.local.stack.launching import Stack, launch
from vault_harness.local.vault import approle
from vault_harness.local.vault.admin import VaultAdmin
from vault_harness.local.vault.apply import Applying, apply
from vault_harness.local.vault.keyring import Keyring
from vault_harness.local.vault.kv import Kv
from vault_harness.local.vault.root import generate_root, prove_keys, revoke_root
from vault_harness.local.vault.tokens import admin_with_token, install_operator
from vault_harness.operator.audit import report
from vault_harness.operator.backup import (
    Backup,
    Keys,
    Lock,
    Opener,
    backup_keys,
    make_backup,
    new_identity,
    open_keys_file,
    restore,
    restore_keys,
    restore_seal_key,
    take_contents,
)
from vault_harness.operator.doctor import Patient, examine
from vault_harness.operator.migrate import (
    ClientSettings,
    VariableMap,
    make_plan,
    migrate,
    parse,
    previous_versions,
    read,
    undo,
)
from vault_harness.operator.rotate import (
    configured,
    known_targets,
    roll_back,
    rotate_secret,
    rotate_secret_id,
)
from vault_harness.operator.rotate.rotation import How

VALUE = "value-of-a-secret-4711"
PASSPHRASE = "passphrase-of-a-backup-4711"
PRIVATE, PUBLIC = new_identity()
DATABASE = known_targets()["database"]


@dataclass
class Case:
    """The arguments of the functions, and the secrets that no error may hold."""

    op: VaultAdmin
    keyring: Keyring
    directory: Path
    backup: Backup
    blueprint: Blueprint
    checkpoint: Callable[[str], None] = lambda _step: None
    servers: Callable[[str], Any] = lambda _kind: None
    secrets: set[str] = field(default_factory=set)

    @property
    def kv(self) -> Kv:
        return Kv(self.op)

    @property
    def keyring_path(self) -> Path:
        return self.directory / "init.json"

    @property
    def env_file(self) -> Path:
        return self.directory / ".env"


def _migrate(case: Case) -> object:
    plan = make_plan(
        case.kv,
        read(case.env_file),
        VariableMap.guide(),
        written=previous_versions(case.kv, case.directory),
        overwrite=True,
    )
    settings = ClientSettings(
        case.op.address, "backend", case.directory / "role", case.directory / "id", "ecommerce"
    )
    return migrate(
        case.kv,
        plan,
        case.env_file,
        settings,
        data_dir=case.directory,
        checkpoint=case.checkpoint,
    )


def _rotate(case: Case) -> object:
    return rotate_secret(
        case.kv, DATABASE, case.directory, How(servers=case.servers, checkpoint=case.checkpoint)
    )


def _restore(case: Case) -> object:
    opened = case.backup.open(Opener(identities=(PRIVATE,)))
    return restore([case.op], case.keyring_path, opened, checkpoint=case.checkpoint)


DOINGS: dict[str, Callable[[Case], object]] = {
    "migrate": _migrate,
    "undo": lambda c: undo(c.kv, c.env_file, data_dir=c.directory, checkpoint=c.checkpoint),
    "parse": lambda _c: parse(f"A='{VALUE}\nB={VALUE}\nC"),
    "rotate": _rotate,
    "roll back": lambda c: roll_back(
        c.kv, DATABASE, c.directory, How(servers=c.servers, checkpoint=c.checkpoint)
    ),
    "rotate secret-id": lambda c: rotate_secret_id(
        c.op, "backend", c.directory, checkpoint=c.checkpoint
    ),
    "write credentials": lambda c: approle.write_credentials(
        c.op, "backend", c.directory, renew=True
    ),
    "look up": lambda c: approle.lookup(
        c.op, "backend", (c.directory / "backend-secret-id").read_text()
    ),
    "seed": lambda c: apply(
        c.op, c.blueprint, Applying(overwrite=True), environ={"DB_PASSWORD": VALUE}
    ),
    "write": lambda c: c.kv.write("backend/django", {"SECRET_KEY": VALUE}, cas=99),
    "backup": lambda c: make_backup(
        c.op,
        Keys(c.keyring, "operator-token-4711"),
        c.directory / "backups",
        Lock(passphrase=PASSPHRASE),
        mounts=["ecommerce"],
        checkpoint=c.checkpoint,
    ),
    "backup keys": lambda c: backup_keys(
        Keys(c.keyring),
        c.directory / "backups",
        Lock(recipients=(PUBLIC,)),
        checkpoint=c.checkpoint,
    ),
    "contents": lambda c: take_contents(c.op, ["ecommerce"]),
    "restore": _restore,
    "restore keys": lambda c: restore_keys(
        Keys(replace(c.keyring, keys=c.keyring.keys[:2], threshold=1), "operator-token-4711"),
        c.keyring_path,
        op=c.op,
    ),
    "restore the seal's key": lambda c: restore_seal_key(
        Keys(c.keyring, static_key="static-key-4711"), c.directory
    ),
    "open with the wrong key": lambda c: c.backup.open_keys(
        Opener(identities=(new_identity()[0],))
    ),
    "open with the wrong passphrase": lambda c: open_keys_file(
        c.backup.directory / "keyring.age", Opener(passphrase=PASSPHRASE)
    ),
    "open what is not keys": lambda c: open_keys_file(
        c.backup.directory / "snapshot.age", Opener(identities=(PRIVATE,))
    ),
    "make root": lambda c: generate_root(
        c.op, c.keyring_path, c.directory, checkpoint=c.checkpoint
    ),
    "prove keys": lambda c: prove_keys(c.op, c.keyring_path, c.directory),
    "revoke root": lambda c: revoke_root(
        c.op, c.keyring_path, ["ecommerce"], c.directory, checkpoint=c.checkpoint
    ),
    "install operator": lambda c: install_operator(c.op, ["ecommerce"], c.directory),
    "who acts": lambda c: admin_with_token(c.op.address, Keyring.load(c.keyring_path), c.directory),
    "load keyring": lambda c: Keyring.load(c.keyring_path),
    "unseal": lambda c: c.op.unseal(c.keyring, timeout=1.0),
    "migrate the seal": lambda c: c.op.migrate_seal(c.keyring, timeout=1.0),
    "audit report": lambda c: report(c.op, [c.directory / "audit.log"]),
    "doctor": lambda c: examine(
        Patient(data_dir=c.directory, blueprint=c.blueprint, addresses=(c.op.address,))
    ),
    "server's URL": lambda _c: configured(
        "postgresql", {"HARNESS_POSTGRESQL_URL": f"mysql://u:{VALUE}@h/"}
    ),
}

Disturb = Callable[[Case, pytest.MonkeyPatch], None]


def _closed(case: Case, patch: pytest.MonkeyPatch) -> None:
    lease = PortLease()
    lease.release()
    case.op = VaultAdmin(f"http://127.0.0.1:{lease.port}", str(case.op.client.token))


def _dead_token(case: Case, patch: pytest.MonkeyPatch) -> None:
    case.op = case.op.with_token("s.dead-token-4711")


def _weak_token(case: Case, patch: pytest.MonkeyPatch) -> None:
    made = case.op.request("POST", "auth/token/create", policies=["ai-services"])["auth"]
    case.secrets.add(made["client_token"])
    case.op = case.op.with_token(made["client_token"])


def _full_disk(case: Case, patch: pytest.MonkeyPatch) -> None:
    def full(path: Path, content: str | bytes) -> None:
        raise OSError(errno.ENOSPC, "No space left on device", str(path))

    patch.setattr(files, "write_private", full)


def _broken_keyring(case: Case, patch: pytest.MonkeyPatch) -> None:
    text = case.keyring_path.read_text().replace("unseal_threshold", "threshold")
    case.keyring_path.write_text(text)


def _bug(case: Case, patch: pytest.MonkeyPatch) -> None:
    def wrong(step: str) -> None:
        raise RuntimeError(f"a bug after {step}")

    case.checkpoint = wrong


def _interrupt(case: Case, patch: pytest.MonkeyPatch) -> None:
    def stop(step: str) -> None:
        raise KeyboardInterrupt

    case.checkpoint = stop


def _refusing_server(case: Case, patch: pytest.MonkeyPatch) -> None:
    lease = PortLease()
    lease.release()
    url = f"postgresql://admin:{VALUE}@127.0.0.1:{lease.port}/postgres"
    case.servers = lambda kind: configured(kind, {"HARNESS_POSTGRESQL_URL": url})


def _sealed(case: Case, patch: pytest.MonkeyPatch) -> None:
    case.op.seal()


STATES: dict[str, Disturb] = {
    "healthy": lambda _case, _patch: None,
    "Vault away": _closed,
    "dead token": _dead_token,
    "weak token": _weak_token,
    "full disk": _full_disk,
    "broken keyring": _broken_keyring,
    "a bug": _bug,
    "Ctrl-C": _interrupt,
    "a server that refuses": _refusing_server,
    "sealed": _sealed,  # last, since it seals the whole Vault
}


@pytest.fixture(scope="module")
def backup(engine: Engine, tmp_path_factory: pytest.TempPathFactory) -> Backup:
    directory = tmp_path_factory.mktemp("backed-up")
    with launch(
        engine, Blueprint.default(), NodeSpec(directory=directory, storage="raft")
    ) as other:
        return make_backup(
            other.operator,
            Keys(other.keyring),
            directory / "b",
            Lock(recipients=(PUBLIC,)),
            mounts=["ecommerce"],
        )


@pytest.fixture
def case(stack: Stack, tmp_path: Path, backup: Backup) -> Case:
    directory = tmp_path / "vault-data"
    directory.mkdir(mode=0o700)
    stack.keyring.save(directory / "init.json")
    (directory / ".env").write_text(f"DB_PASSWORD={VALUE}\n")
    approle.write_credentials(stack.operator, "backend", directory)
    kv = Kv(stack.operator)
    for path in kv.paths():
        now = kv.read(path)
        kv.write(path, {key: f"{VALUE}-{key}" for key in now.data}, cas=now.version)
    secrets = {VALUE, PASSPHRASE, PRIVATE, "operator-token-4711", "dead-token-4711"}
    secrets.add("static-key-4711")
    secrets |= {*stack.keyring.keys, stack.keyring.root_token}
    secrets.add((directory / "backend-secret-id").read_text())
    return Case(stack.operator, stack.keyring, directory, backup, stack.blueprint, secrets=secrets)


@pytest.mark.slow  # a Vault for each state
@pytest.mark.parametrize("state", STATES)
def test_no_frame_of_any_error_holds_a_secret(
    case: Case, monkeypatch: pytest.MonkeyPatch, state: str
) -> None:
    STATES[state](case, monkeypatch)
    raised = []
    for name, doing in DOINGS.items():
        error = _error_of(doing, case)
        if error is None:
            continue
        raised.append(name)
        found = places(error, case.secrets, of=__file__)
        assert found == [], f"{name}: {error}"
    # Five fail in any state. A state in which no more fail would show nothing.
    assert len(raised) > (5 if state == "healthy" else 7), raised


def _error_of(doing: Callable[[Case], object], case: Case) -> BaseException | None:
    try:
        doing(case)
    except (Exception, KeyboardInterrupt) as error:  # noqa: BLE001 -- whatever it raises
        return error
    return None
