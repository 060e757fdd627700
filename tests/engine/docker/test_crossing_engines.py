from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from vault_harness.local.blueprint import Blueprint
from vault_harness.local.engine.docker.engine import DockerEngine
from vault_harness.local.engine.process.engine import ProcessEngine
from vault_harness.local.engine.shape import Engine, NodeSpec
from vault_harness.local.stack.launching import Stack, launch
from vault_harness.local.vault.admin import VaultAdmin
from vault_harness.operator.backup import (
    Keys,
    Lock,
    Opener,
    drill,
    make_backup,
    new_identity,
    restore,
)
from vault_harness.settings import Settings

pytestmark = [pytest.mark.docker, pytest.mark.slow]

PRIVATE, PUBLIC = new_identity()
LOCK, OPENER = Lock(recipients=(PUBLIC,)), Opener(identities=(PRIVATE,))


@pytest.fixture(scope="module")
def process(settings: Settings, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Engine]:
    """The process engine, with the product of the image."""
    with ProcessEngine(settings, directory=tmp_path_factory.mktemp("process")) as opened:
        yield opened


@pytest.fixture
def seeded(tmp_path: Path) -> Callable[[Engine], Stack]:
    def make(engine: Engine) -> Stack:
        directory = tmp_path / f"seeded-{engine.name}"
        return launch(engine, Blueprint.default(), NodeSpec(directory=directory, storage="raft"))

    return make


@pytest.mark.parametrize("there_and_back", [False, True], ids=["to docker", "to processes"])
def test_a_backup_crosses(
    process: Engine,
    engine: DockerEngine,
    seeded: Callable[[Engine], Stack],
    tmp_path: Path,
    there_and_back: bool,
) -> None:
    source, target = (engine, process) if there_and_back else (process, engine)
    with seeded(source) as stack:
        backup = make_backup(
            stack.operator, Keys(stack.keyring), tmp_path / "b", LOCK, mounts=["ecommerce"]
        )
    opened = backup.open(OPENER)
    node = target.node(NodeSpec(name="empty", directory=tmp_path / "empty", storage="raft"))
    node.start()
    op = VaultAdmin(node.address)
    keyring = op.init()
    path = tmp_path / "vault-data" / "init.json"
    path.parent.mkdir(mode=0o700)
    keyring.save(path)
    op.unseal(keyring)
    restored = restore([op], path, opened)
    assert restored.comparison.different == ()
    assert restored.comparison.same == len(opened.contents.secrets) >= 12
    assert node.audit_path is not None
    assert node.audit_path.read_text(), "the audit device goes on, under the same name"
    op.close()


@pytest.mark.parametrize("live", ["process", "docker"])
def test_a_drill_in_containers(
    process: Engine,
    engine: DockerEngine,
    seeded: Callable[[Engine], Stack],
    tmp_path: Path,
    live: str,
) -> None:
    with seeded(process if live == "process" else engine) as stack:
        report = drill(stack.operator, Keys(stack.keyring), engine, stack.blueprint, tmp_path / "d")
    assert report.problems == []
