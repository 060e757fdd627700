"""A drill's copy reaches nothing that it could harm: it would end leases of the real Vault."""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from vault_harness.local.engine.choice import open_engine
from vault_harness.local.engine.docker.compose import project_name
from vault_harness.local.engine.docker.engine import DockerEngine
from vault_harness.local.engine.docker_client import connected
from vault_harness.local.engine.seal import seal_stanza
from vault_harness.local.engine.shape import NodeSpec
from vault_harness.local.stack.local import LocalStack
from vault_harness.operator.backup.seal_drill import let_copy_reach_key

pytestmark = [pytest.mark.docker, pytest.mark.slow]

Objects = dict[str, set[str]]


@contextlib.contextmanager
def copy_of(stack: LocalStack, *, outward: bool) -> Iterator[tuple[DockerEngine, Any]]:
    directory = stack.data_dir.parent / "drill"
    with open_engine(stack.settings, directory=directory / "engine", outward=outward) as engine:
        assert isinstance(engine, DockerEngine)
        let_copy_reach_key(engine, stack.provider(), seal_stanza(stack.data_dir))
        node = engine.node(NodeSpec(name="copy", directory=directory / "copy", storage="raft"))
        node.start()
        with connected() as client:
            yield engine, client.containers.get(node.container_name)


def reaches(container: Any, address: str) -> bool:
    """Return True if a server's own program reaches another server from its container."""
    (program,) = container.attrs["Config"]["Entrypoint"]
    code, _ = container.exec_run(
        [program, "status", f"-address={address}"],
        environment={"VAULT_CLIENT_TIMEOUT": "3", "VAULT_MAX_RETRIES": "0"},
    )
    return code in {0, 2}  # unsealed or sealed


@contextlib.contextmanager
def service(stack: LocalStack, name: str) -> Iterator[tuple[Any, str]]:
    project = project_name(stack.data_dir)
    labels = [f"com.docker.compose.project={project}", f"com.docker.compose.service={name}"]
    with connected() as client:
        (found,) = client.containers.list(filters={"label": labels})
        networks = found.attrs["NetworkSettings"]["Networks"]
        yield found, str(networks[f"{project}_vault"]["IPAddress"])


def test_a_copy_reaches_the_holder_of_its_key_and_nothing_else_of_the_stack(
    local: LocalStack, objects_of: Callable[[str], Objects]
) -> None:
    local.up(seal="transit")
    with service(local, "vault") as (vault, address), service(local, "toxiproxy") as (_, way):
        forbidden = [f"http://{address}:8200", f"http://{way}:8201"]
        assert all(reaches(vault, each) for each in forbidden), "nobody is there"
        with copy_of(local, outward=False) as (engine, copy):
            assert reaches(copy, "http://127.0.0.1:8200"), "it cannot be asked"
            assert reaches(copy, "http://holder:8200")
            assert [each for each in forbidden if reaches(copy, each)] == []
            assert not reaches(copy, "http://vault:8200")
            network = engine.network.name
    with service(local, "holder") as (holder, _):
        assert network not in holder.attrs["NetworkSettings"]["Networks"]
    assert network not in objects_of("vault-harness.run")["networks"]
    assert local.restart(), "it unseals itself with that holder"


@pytest.mark.parametrize("outward", [True, False])
def test_a_copy_does_not_reach_what_this_machine_does(local: LocalStack, outward: bool) -> None:
    """A copy reaches no database of this machine or behind it; other servers of runs do."""
    local.up()
    label = f"com.docker.compose.project={project_name(local.data_dir)}"
    with connected() as client:
        (network,) = client.networks.list(filters={"label": label})
        gateway = network.attrs["IPAM"]["Config"][0]["Gateway"].partition("/")[0]
    try:
        database = socket.create_server((gateway, 0))
    except OSError:
        pytest.skip("the engine is on another machine")
    with database, copy_of(local, outward=outward) as (_, copy):
        port = database.getsockname()[1]
        assert not reaches(copy, f"http://{gateway}:{port}"), "it never answers"
        database.settimeout(0.1)
        if outward:
            database.accept()[0].close()
        else:
            with pytest.raises(TimeoutError):
                database.accept()
