from __future__ import annotations

import base64
import contextlib
import json
import secrets
import shutil
import subprocess
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tests.engine.docker.by_hand import by_hand
from tests.engine.stack.seals import kept, put
from vault_harness.errors import ImageMissing, StackError
from vault_harness.local.blueprint import Blueprint
from vault_harness.local.engine.choice import open_engine
from vault_harness.local.engine.docker.cluster import DockerCluster
from vault_harness.local.engine.docker.compose import project_name
from vault_harness.local.engine.docker.state import require, require_balancer
from vault_harness.local.engine.docker_client import connected
from vault_harness.local.engine.ports import PortLease, answers
from vault_harness.local.engine.provider import HOLDER_NAME
from vault_harness.local.engine.seal import SealKind, seal_stanza, static_key_path
from vault_harness.local.stack.local import LocalStack
from vault_harness.local.stack.nodes import Nodes
from vault_harness.local.vault.admin import VaultAdmin
from vault_harness.local.vault.cluster import operators
from vault_harness.local.vault.keyring import Keyring
from vault_harness.operator.backup import (
    Keys,
    Lock,
    Opener,
    drill,
    make_backup,
    new_identity,
    restore,
)
from vault_harness.operator.backup.seal_drill import SealDrill, let_copy_reach_key, rehearse_on
from vault_harness.settings import Settings
from vault_harness.waiting import wait_until

pytestmark = [pytest.mark.docker, pytest.mark.slow]

Objects = dict[str, set[str]]

BLUEPRINT = Blueprint.default()


@pytest.fixture
def stack(local: LocalStack) -> LocalStack:
    """A stack that is not up yet, with the name that it has with processes."""
    return local


@contextlib.contextmanager
def containers(stack: LocalStack) -> Iterator[dict[str, Any]]:
    label = f"com.docker.compose.project={project_name(stack.data_dir)}"
    with connected() as client:
        found = client.containers.list(all=True, filters={"label": label})
        yield {each.labels["com.docker.compose.service"]: each for each in found}


def ended(container: Any) -> int:
    """Return how often the engine restarted a container that ended by itself."""
    container.reload()
    return int(container.attrs["RestartCount"])


def serves(stack: LocalStack) -> bool:
    with (
        closing(VaultAdmin(stack.endpoints().vault, timeout=2)) as op,
        contextlib.suppress(Exception),
    ):
        return op.health() == 200
    return False


@pytest.mark.parametrize("kind", ["static", "transit"])
def test_it_unseals_itself(
    stack: LocalStack, kind: SealKind, objects_of: Callable[[str], Objects]
) -> None:
    stack.up(seal=kind)
    put(stack, "of before")

    status = stack.status()
    assert (status.state, status.seal, status.obstacles) == ("ready", kind, ())
    assert Keyring.load(stack.keyring_path).kind == "recovery"
    assert stack.restart()
    with containers(stack) as found:
        found["vault"].restart(timeout=10)
    wait_until(lambda: serves(stack), "it to unseal itself", timeout=60)
    stack.down()
    stack.up()
    assert kept(stack) == "of before"

    stack.destroy()
    assert not stack.data_dir.exists()
    label = f"com.docker.compose.project={project_name(stack.data_dir)}"
    assert objects_of(label) == {"containers": set(), "networks": set(), "volumes": set()}


@pytest.mark.parametrize("kind", ["static", "transit"])
def test_a_start_of_three_that_is_broken_off(
    stack: LocalStack, kind: SealKind, monkeypatch: pytest.MonkeyPatch
) -> None:
    wait = DockerCluster._await_answers

    def broken_off(provider: DockerCluster, probes: Mapping[str, str]) -> None:
        if set(probes) != {HOLDER_NAME}:
            raise KeyboardInterrupt
        wait(provider, probes)

    with monkeypatch.context() as patch:
        patch.setattr(DockerCluster, "_await_answers", broken_off)
        with pytest.raises(KeyboardInterrupt):
            stack.up(ha=True, seal=kind)
    stack.down()
    stack.up(ha=True, seal=kind)
    assert stack.status().state == "ready"


@pytest.mark.parametrize("kind", ["static", "transit"])
def test_the_engine_knows_where_the_key_is_and_not_the_key(
    stack: LocalStack, kind: SealKind
) -> None:
    """The key is in no environment, argument, configuration or log, and its file is read-only."""
    stack.up(seal=kind)
    parameter = {"static": "current_key", "transit": "token"}[kind]
    key = Path(seal_stanza(stack.data_dir)[kind][parameter].removeprefix("file://"))
    secret = key.read_text().strip()
    assert key.stat().st_mode & 0o777 == 0o600

    with containers(stack) as found:
        for container in found.values():
            assert secret not in json.dumps(container.attrs)
            assert secret not in container.logs().decode(errors="replace")
            assert secret not in json.dumps(container.image.attrs)
        seen = {
            name: [mount["RW"] for mount in each.attrs["Mounts"] if mount["Source"] == str(key)]
            for name, each in found.items()
        }
    assert seen.pop("vault") == [False]
    assert not any(seen.values()), "nobody else has it"
    for path in stack.data_dir.rglob("*"):
        if path.is_file() and path.suffix in {".json", ".env"} and path.name != "init.json":
            assert secret not in path.read_text(), path


def test_a_holder_that_died_is_started_again(stack: LocalStack) -> None:
    """Vault runs on without its holder, cannot start without it, and `up` starts both."""
    stack.up(seal="transit", tls=True)
    put(stack, "of before")
    with containers(stack) as found:
        found["holder"].kill()
        found["holder"].wait(timeout=30)
    assert kept(stack) == "of before"
    assert [s.name for s in stack.provider().describe() if not s.running] == ["holder"]

    with containers(stack) as found:
        found["vault"].restart(timeout=10)
        wait_until(lambda: ended(found["vault"]) >= 3, "it to end again and again", timeout=90)
    stack.up()
    assert kept(stack) == "of before"
    assert {state.running for state in stack.provider().describe()} == {True}


def test_a_lost_key_is_never_made_again(stack: LocalStack) -> None:
    """Not even by the engine, which creates missing folders."""
    stack.up(seal="static")
    stack.down()
    key = static_key_path(stack.data_dir)
    kept = key.read_bytes()
    key.unlink()

    with pytest.raises(StackError, match="the key for that is not here"):
        stack.up()

    assert not key.exists()
    key.write_bytes(kept)
    stack.up()


@pytest.mark.parametrize("kind", ["static", "transit"])
def test_either_engine_goes_on_with_the_others(stack: LocalStack, kind: SealKind) -> None:
    settings = stack.settings.model_copy(update={"engine": "process"})
    processes = LocalStack(settings)
    try:
        processes.up(seal=kind)
        put(processes, "of a process")
        processes.down()
        stack.up()
        assert (stack.status().engine, stack.status().seal) == ("docker", kind)
        assert kept(stack) == "of a process"
        stack.down()
        processes.up()
        assert kept(processes) == "of a process"
        assert processes.restart()
    finally:
        processes.down()


def test_its_seal_is_exchanged(stack: LocalStack) -> None:
    stack.up()
    put(stack, "of before")
    token = Keyring.load(stack.keyring_path).root_token
    targets: tuple[SealKind, ...] = ("transit", "static", "shamir")
    for target in targets:
        done = stack.migrate_seal(target)
        assert (done.action, done.target) == ("changed", target)
        assert kept(stack) == "of before"
        with containers(stack) as found:
            assert ("holder" in found) is (target == "transit")
        assert stack.restart() is (target != "shamir")
        if target == "shamir":
            stack.unseal()
        assert kept(stack) == "of before"
    assert Keyring.load(stack.keyring_path).root_token == token
    env_file = (stack.data_dir / "compose.env").read_text()
    assert "holder" not in env_file


class EndedHere(Exception):
    """Raised in place of a kill."""


@pytest.mark.parametrize("where", ["wrote the stanza", "gave the keys", "put the old key aside"])
def test_an_exchange_that_was_ended_is_gone_on_with(stack: LocalStack, where: str) -> None:
    """The next `up` finishes an exchange, even without containers, and removes what is unused."""
    stack.up(seal="transit")
    put(stack, "of before")

    def checkpoint(step: str) -> None:
        if step == where:
            raise EndedHere

    with pytest.raises(EndedHere):
        stack.migrate_seal("static", checkpoint=checkpoint)
    stack.down()
    stack.up()

    assert stack.status().seal == "static"
    assert kept(stack) == "of before"
    with containers(stack) as found:
        assert sorted(found) == ["toxiproxy", "vault"]
    assert not (stack.data_dir / "compose.holder.json").exists()


def test_by_hand_on_the_stack_of_the_tasks(stack: LocalStack) -> None:
    endpoints = stack.up(seal="transit")
    put(stack, "of before")
    command = ["docker", "compose", "--env-file", str(stack.data_dir / "compose.env")]
    subprocess.run([*command, "down"], check=True, capture_output=True, timeout=120)
    subprocess.run([*command, "up", "-d"], check=True, capture_output=True, timeout=120)
    with containers(stack) as found:
        assert sorted(found) == ["holder", "toxiproxy", "vault"]

    assert stack.up() == endpoints

    assert kept(stack) == "of before"


def test_a_drill_opens_a_copy_with_the_key_of_the_backup(stack: LocalStack) -> None:
    stack.up(seal="static")
    stack.seed(BLUEPRINT, environ={})
    directory = stack.data_dir.parent / "drill"
    with (
        open_engine(stack.settings, directory=directory / "engine", outward=False) as engine,
        closing(stack.operator()) as op,
    ):
        report = drill(
            op,
            Keys(Keyring.load(stack.keyring_path), stack.static_key()),
            engine,
            BLUEPRINT,
            directory / "copy",
            seal=seal_stanza(stack.data_dir),
            then=SealDrill(engine=engine, target="transit", directory=directory / "seal"),
        )

    assert report.problems == []
    assert list(report.seals) == ["transit", "static"]


def test_a_drill_reaches_the_holder(
    stack: LocalStack, objects_of: Callable[[str], Objects]
) -> None:
    """The holder joins the drill's network for a while, so that the copy can use its key."""
    stack.up(seal="transit")
    stack.seed(BLUEPRINT, environ={})
    directory = stack.data_dir.parent / "drill"
    seal = seal_stanza(stack.data_dir)
    with (
        open_engine(stack.settings, directory=directory / "engine", outward=False) as engine,
        closing(stack.operator()) as op,
    ):
        let_copy_reach_key(engine, stack.provider(), seal)
        report = drill(
            op,
            Keys(Keyring.load(stack.keyring_path)),
            engine,
            BLUEPRINT,
            directory / "copy",
            seal=seal,
            then=SealDrill(engine=engine, target="shamir", directory=directory / "seal"),
        )

    assert report.problems == []
    assert list(report.seals) == ["shamir", "transit"]
    stack.down()
    label = f"com.docker.compose.project={project_name(stack.data_dir)}"
    assert objects_of(label)["networks"] == set()


def test_a_drill_of_three_that_unseal_themselves(stack: LocalStack) -> None:
    stack.up(seal="transit")
    stack.seed(BLUEPRINT, environ={})
    directory = stack.data_dir.parent / "drill"
    keys, seal = Keys(Keyring.load(stack.keyring_path)), seal_stanza(stack.data_dir)
    with (
        open_engine(stack.settings, directory=directory / "engine", outward=False) as engine,
        closing(stack.operator()) as op,
    ):
        let_copy_reach_key(engine, stack.provider(), seal)
        report = drill(op, keys, engine, BLUEPRINT, directory / "copy", seal=seal, nodes=3)

    assert report.problems == []
    assert report.live is not None
    assert report.live.different == ()


@pytest.mark.parametrize("kind", ["static", "transit"])
def test_three_are_restored_into(settings: Settings, stack: LocalStack, kind: SealKind) -> None:
    with connected() as client:
        try:
            require_balancer(client, settings)
        except ImageMissing as error:
            pytest.skip(error.cause)
    stack.up(ha=True, seal=kind)
    stack.seed(BLUEPRINT, environ={})
    put(stack, "of the backup")
    private, public = new_identity()
    keys = Keys(Keyring.load(stack.keyring_path), "", stack.static_key())
    to = stack.data_dir.parent / "backups"
    with closing(stack.operator()) as op:
        backup = make_backup(op, keys, to, Lock(recipients=(public,)), mounts=BLUEPRINT.mounts)
    stack.down()
    for path in (stack.data_dir / "vault", stack.data_dir / "nodes", stack.keyring_path):
        shutil.rmtree(path) if path.is_dir() else path.unlink()
    stack.up(ha=True, seal=kind)
    opened = replace(backup.open(Opener(identities=(private,))), keys=keys)

    endpoints = stack.endpoints()
    with operators(endpoints.addresses, ca_cert=endpoints.ca_cert) as nodes:
        done = restore(
            nodes,
            stack.keyring_path,
            opened,
            rehearse=lambda: rehearse_on(stack, opened),
            restart=stack.provider().restart_vault,
        )

    assert (done.comparison.different, done.nodes) == ((), 3)
    assert all_serve(stack, 3)
    assert kept(stack) == "of the backup"
    assert stack.restart()
    assert all_serve(stack, 3)
    assert kept(stack) == "of the backup"


@pytest.mark.parametrize("kind", ["static", "transit"])
def test_each_of_three_unseals_itself(
    settings: Settings, stack: LocalStack, kind: SealKind
) -> None:
    with connected() as client:
        try:
            require_balancer(client, settings)
        except ImageMissing as error:
            pytest.skip(error.cause)
    stack.up(ha=True, seal=kind)
    put(stack, "of before")
    nodes, provider = Nodes(stack), stack.provider()
    nodes.kill("vault-2")
    provider.start_node("vault-2")
    wait_until(lambda: all_serve(stack, 3), "it to come back by itself", timeout=60)
    nodes.add()
    assert all_serve(stack, 4)
    assert stack.restart()
    assert all_serve(stack, 4)
    stack.down()
    stack.up()
    assert all_serve(stack, 4)
    assert kept(stack) == "of before"


def all_serve(stack: LocalStack, count: int) -> bool:
    nodes = stack.status().nodes
    roles = sorted(node.role for node in nodes)
    return roles == ["leader", *["standby"] * (count - 1)] and all(node.voter for node in nodes)


def test_by_hand(settings: Settings, compose: tuple[str, ...], tmp_path: Path) -> None:
    with connected() as client:
        vault, _ = require(client, settings)
    program = vault.dialect.program
    if program != "bao":
        pytest.skip("the seal static is OpenBao's")
    lease = PortLease()
    lease.release()
    key = tmp_path / "static.key"
    key.touch(mode=0o600)
    key.write_bytes(base64.b64encode(secrets.token_bytes(32)))
    variables = {
        "VAULT_IMAGE": vault.name,
        "VAULT_PROGRAM": program,
        "VAULT_CONFIG": f"/vault/config/{program}.json",
        "VAULT_PORT": str(lease.port),
        "SEAL_KEY_FILE": str(key),
    }
    files = ("base", "vault", "seal-static")
    project = f"by-hand-{tmp_path.name[-20:]}".replace("_", "-")
    words = ["-p", project, *(word for name in files for word in ("-f", f"compose/{name}.yml"))]

    address = f"http://127.0.0.1:{lease.port}"
    try:
        by_hand(*words, "up", "-d", **variables)
        url = f"{address}/v1/sys/seal-status"
        wait_until(lambda: answers(url), "it to answer", timeout=60)
        with closing(VaultAdmin(address)) as op:
            keyring = op.init()
            op.wait_active(60)
            by_hand(*words, "restart", **variables)
            wait_until(lambda: answers(url), "it to answer", timeout=60)
            op.wait_active(60)
        assert keyring.kind == "recovery"
    finally:
        by_hand(*words, "down", "--volumes", **variables)
