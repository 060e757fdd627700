from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import pytest
from pydantic import SecretStr

from vault_harness.errors import (
    CapabilityMissing,
    DeadlineExceeded,
    OperatorError,
    SettingsError,
    VaultIsSealed,
)
from vault_harness.judge.faults.vault import VaultFaults
from vault_harness.local.blueprint import Blueprint
from vault_harness.local.engine.choice import open_engine
from vault_harness.local.engine.shape import Node, NodeSpec
from vault_harness.local.stack.launching import check_external, launch
from vault_harness.local.vault.admin import VaultAdmin
from vault_harness.recorder.history import History
from vault_harness.settings import Settings

Look = Callable[[str], None]


@pytest.fixture
def node(tmp_path: Path) -> Iterator[Node]:
    settings = Settings(engine="process", start_timeout=60)
    with open_engine(settings, directory=tmp_path / "engine") as engine:
        made = engine.node(NodeSpec(name="theirs", directory=tmp_path / "theirs"))
        made.start()
        yield made


@pytest.fixture
def look(node: Node) -> Look:
    def check(token: str) -> None:
        check_external(
            Settings(engine="external", vault_addr=node.address, vault_token=SecretStr(token)),
            timeout=1.0,
        )

    return check


def test_its_states_are_distinguished(node: Node, look: Look) -> None:
    with pytest.raises(VaultIsSealed, match="it is not initialised"):
        look("hvs.any")
    with closing(VaultAdmin(node.address)) as operator:
        keyring = operator.init()
        operator.unseal(keyring)
    with pytest.raises(OperatorError, match="rejects VAULT_TOKEN") as caught:
        look("hvs.wrong")
    assert "hvs.wrong" not in str(caught.value)
    look(keyring.root_token)
    with closing(VaultAdmin(node.address, keyring.root_token)) as operator:
        operator.request("PUT", "sys/seal")
    with pytest.raises(VaultIsSealed, match="it is sealed"):
        look(keyring.root_token)
    node.stop()
    with pytest.raises(DeadlineExceeded, match="did not answer within") as late:
        look(keyring.root_token)
    assert node.address in late.value.looked_at


def test_it_is_neither_sealed_nor_put_back(node: Node, tmp_path: Path) -> None:
    """That could not be undone here."""
    with closing(VaultAdmin(node.address)) as operator:
        keyring = operator.init()
        operator.unseal(keyring)
    settings = Settings(
        engine="external", vault_addr=node.address, vault_token=SecretStr(keyring.root_token or "")
    )
    history = History()
    with (
        open_engine(settings, directory=tmp_path / "external") as engine,
        launch(engine, Blueprint.default(), NodeSpec(directory=tmp_path / "stack")) as stack,
    ):
        faults = VaultFaults(stack, history)
        with pytest.raises(CapabilityMissing, match="its keys are not here"):
            faults.sealed().__enter__()
        with pytest.raises(CapabilityMissing, match="others may have written"):
            faults.restored(b"a snapshot").__enter__()
        assert not stack.operator.client.sys.is_sealed()
    assert history.faults == []


def test_without_a_token_nothing_is_asked() -> None:
    with pytest.raises(SettingsError, match="VAULT_TOKEN"):
        check_external(Settings(engine="external", vault_addr="http://127.0.0.1:9"))
