from __future__ import annotations

import contextlib
import json
import os
import signal
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from tests.running import ran
from vault_harness.errors import OperatorError
from vault_harness.local.stack.local import LocalStack
from vault_harness.local.stack.record import StackRecord
from vault_harness.local.vault.admin import VaultAdmin
from vault_harness.local.vault.keyring import Keyring
from vault_harness.local.vault.kv import Kv
from vault_harness.settings import Settings

RUNNER = f"{sys.executable} -m vault_harness"
PASSPHRASE = "a passphrase of the test"


@dataclass
class World:
    """A stack with data, a backup of its keys, and a shell in its folder.

    The data directory in `directory` has a blank in its name. `root` reads everything even without
    the keyring. `variables` are added to the shell's environment. `known_address` is the last
    address of Vault.
    """

    directory: Path
    root: str = ""
    variables: dict[str, str] = field(default_factory=dict)
    known_address: str = ""

    @property
    def data_dir(self) -> Path:
        return self.directory / "vault data"

    @property
    def environment(self) -> dict[str, str]:
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
        ports = {"vault_port": 0, "proxy_port": 0, "toxiproxy_port": 0}
        return LocalStack(
            Settings.from_environment(engine="process", data_dir=self.data_dir, **ports)
        )

    @contextlib.contextmanager
    def op(self) -> Iterator[VaultAdmin]:
        """Return root, with the token that the test keeps."""
        endpoints = StackRecord.load(self.data_dir).endpoints
        ca_cert = endpoints.ca_cert if endpoints is not None else None
        with contextlib.closing(VaultAdmin(self.address, self.root, ca_cert, timeout=2.0)) as root:
            yield root

    @property
    def address(self) -> str:
        endpoints = StackRecord.load(self.data_dir).endpoints
        return endpoints.vault if endpoints is not None else self.known_address

    def begin(self, up: str = "up") -> None:
        self.sh(f"{RUNNER} {up} && {RUNNER} seed")
        self.keep_root()

    def keep_root(self) -> None:
        self.root = Keyring.load(self.data_dir / "init.json").root_token

    def sh(self, command: str, *, code: int | None = 0) -> str:
        done = ran(["/bin/bash", "-c", command], cwd=self.directory, env=self.environment)
        said = f"{command}: {done.returncode}\n{done.stdout}{done.stderr}"
        assert code is None or done.returncode == code, said
        return done.stdout or done.stderr

    def troubles(self, before: str = "") -> list[tuple[str, str]]:
        """Return what the doctor finds wrong in that shell: kinds with remedies, in order."""
        first = f"{before} && " if before else ""
        printed = self.sh(f"{first}{RUNNER} doctor --json", code=None)
        assert "[\n" in printed, printed
        results = json.loads(printed[printed.index("[\n") :])
        return [(each["kind"], each["remedy"]) for each in results if each["state"] == "bad"]

    def values(self) -> set[tuple[str, ...]]:
        """Return every value in Vault, at any mount, and every local unseal key.

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
        pid = StackRecord.load(self.data_dir).services[service]["pid"]
        os.kill(int(pid), signal.SIGSTOP)


def _listed(op: VaultAdmin, path: str) -> list[str]:
    return [str(key) for key in op.request("LIST", path).get("data", {}).get("keys", [])]


def new_world(directory: Path) -> World:
    """Return a healthy stack in a folder, with values that are not seeded."""
    made = World(directory)
    made.begin()
    made.sh(f"{RUNNER} backup.keys")
    with made.op() as op:
        kv = Kv(op)
        for path in kv.paths():
            now = kv.read(path)
            own = {key: f"somebody's own {path} {key}" for key in now.data}
            kv.write(path, own, cas=now.version)
    assert made.troubles() == []
    return made


def back_to_health(world: World) -> None:
    """Repair what a state left besides its own kind, with the doctor's remedies."""
    with contextlib.suppress(OperatorError), world.op() as op:
        mounts = op.request("GET", "sys/mounts").get("data", {})
        if "ecommerce-transit/" in mounts:
            op.request("DELETE", "sys/mounts/ecommerce-transit")
    rounds = 0
    while found := world.troubles():
        world.sh(found[0][1])
        rounds += 1
        assert rounds < 6, found
    world.keep_root()
    if not world.root:
        world.sh(f"{RUNNER} root.generate")
        world.keep_root()
