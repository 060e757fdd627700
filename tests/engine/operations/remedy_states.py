from __future__ import annotations

import os
import signal
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from tests.engine.operations.remedy_worlds import RUNNER, World
from vault_harness.errors import OperatorError
from vault_harness.local.engine.ports import PortLease
from vault_harness.local.stack.record import StackRecord
from vault_harness.local.toxiproxy.client import Toxiproxy
from vault_harness.local.toxiproxy.toxics import Latency
from vault_harness.local.vault import approle
from vault_harness.local.vault.keyring import Keyring
from vault_harness.local.vault.kv import Kv
from vault_harness.local.vault.tokens import operator_token
from vault_harness.waiting import wait_until

Make = Callable[[World], None]
STATES: dict[str, Make] = {}


def makes(kind: str) -> Callable[[Make], Make]:
    def register(make: Make) -> Make:
        STATES[kind] = make
        return make

    return register


def request(world: World, method: str, path: str, **body: object) -> None:
    with world.op() as op:
        op.request(method, path, **body)


def fail_logins(world: World) -> None:
    with world.op() as op:
        role_id = approle.role_id(op, "backend")
        for _ in range(6):
            with pytest.raises(OperatorError), op.asking("log in") as client:
                client.auth.approle.login(role_id, "wrong", use_token=False)


def files_of(world: World) -> tuple[Path, Path]:
    return approle.credential_files("backend", world.data_dir)


def without_token(world: World) -> None:
    """Revoke root and delete the operator's token; keep what `restore.keys` will bring back."""
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


@makes("closed-to-owner")
def _(world: World) -> None:
    (world.data_dir / "init.json").chmod(0)
    world.data_dir.chmod(0o500)


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


@makes("address-of-environment")
def _(world: World) -> None:
    world.variables["VAULT_ADDR"] = "http://127.0.0.1:1"


@makes("mount-missing")
def _(world: World) -> None:
    request(world, "DELETE", "sys/mounts/ecommerce")


@makes("mount-moved")
def _(world: World) -> None:
    move_away(world)


@makes("mount-unversioned")
def _(world: World) -> None:
    put_other_mount(world, type="kv", options={"version": "1"})
    request(world, "POST", "ecommerce/own", A="somebody's own")


@makes("mount-other")
def _(world: World) -> None:
    put_other_mount(world, type="transit")
    request(world, "POST", "ecommerce/keys/somebodys-own")


def move_away(world: World, to: str = "elsewhere") -> None:
    with world.op() as op:
        op.request("POST", "sys/remount", **{"from": "ecommerce", "to": to})
        moved = lambda: f"{to}/" in op.request("GET", "sys/mounts")["data"]  # noqa: E731
        wait_until(moved, "the mount to be moved", timeout=10)


def put_other_mount(world: World, **body: object) -> None:
    request(world, "DELETE", "sys/mounts/ecommerce")
    request(world, "POST", "sys/mounts/ecommerce", **body)


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


# Kinds whose state has a test of its own.
APART = {
    *("never-started", "uninitialised", "no-token", "audit-off", "audit-off-by-configuration"),
    *("engine-away", "image-missing", "image-outdated", "data-gone", "certificate", "not-vault"),
    *("data-replaced", "clock", "ids-of-nobody", "refused-elsewhere"),
    *("certificate-ends", "certificate-ends-elsewhere"),
    *("certificate-early", "certificate-early-elsewhere"),
    *("client-certificate-missing", "client-certificate-ends"),
    *("restore-half-done", "restore-not-compared", "keyring-never-kept"),
    *("seal-half-migrated", "node-cut", "node-sealed", "no-leader", "refuses"),
    *("frozen-without-keys", "frozen-elsewhere", "image-outdated-without-keys"),
    *("mount-unseen",),
    *("namespaces-none", "namespace-missing", "namespace-elsewhere", "namespace-sealed"),
}
