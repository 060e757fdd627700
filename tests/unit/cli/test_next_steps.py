from __future__ import annotations

from dataclasses import replace

import pytest

from vault_harness.local.stack.members import NodeStatus
from vault_harness.local.stack.status import RestoreStatus, StackStatus, State, cut_off

READY = StackStatus(
    state="ready",
    engine="process",
    choice="asked for",
    address="http://127.0.0.1:8200",
    proxy="http://127.0.0.1:8201",
    toxiproxy="http://127.0.0.1:8474",
    initialised=True,
    sealed=False,
    version="2.7.2",
    product="openbao",
    keyring=True,
    seeded=True,
    blueprint="ecommerce",
    proxies=(),
    services={},
    service="backend",
)


@pytest.mark.parametrize(
    ("state", "step"),
    [
        ("down", "invoke up"),
        ("partly up", "invoke up"),
        ("not initialised", "invoke up"),
        ("not answering", "invoke up"),
        ("sealed", "invoke unseal"),
        ("ready", "invoke env backend"),
    ],
)
def test_each_state_has_a_next_step(state: State, step: str) -> None:
    assert replace(READY, state=state).next_step.startswith(step)


@pytest.mark.parametrize("state", ["sealed", "ready"])
def test_keys_that_cannot_be_read(state: State) -> None:
    """The doctor tells a wrong mode from a broken file."""
    broken = replace(
        READY, state=state, keyring=False, keyring_trouble="init.json is not a keyring"
    )
    assert broken.next_step == "invoke doctor"


def test_no_step_restarts_a_frozen_node_without_keys() -> None:
    """It may still be unsealed."""
    step = replace(READY, state="not answering", keyring=False).next_step
    assert step.startswith("invoke up wakes")
    assert "invoke restore.keys" in step
    assert "invoke down" not in step
    by_itself = replace(READY, state="not answering", keyring=False, seal="static")
    assert "invoke down" in by_itself.next_step


def test_a_node_that_does_not_answer() -> None:
    """`up` starts or wakes it."""
    node = NodeStatus(name="vault-2", address="http://127.0.0.1:1", role="not answering")
    assert replace(READY, nodes=(node,)).next_step == "invoke up"


def test_a_service_of_the_blueprint() -> None:
    assert replace(READY, service="till").next_step == "invoke env till"
    assert replace(READY, service="").next_step == "invoke doctor"


def test_servers_whose_data_is_gone() -> None:
    """They must not be stopped."""
    step = replace(READY, state="forgotten", data=False).next_step

    assert step.startswith("put the data directory back")
    assert replace(READY, state="forgotten").next_step == "invoke up"


def test_if_no_client_reaches_vault_the_next_step_is_heal() -> None:
    assert replace(READY, obstacles=("the proxy vault is disabled",)).next_step == "invoke heal"


def test_a_cut_node_is_no_obstacle_to_clients() -> None:
    """A cut between nodes appears once, by the node's name."""
    cut = NodeStatus(name="vault-2", address="http://127.0.0.1:1", role="standby", cut=True)
    lines = ("the proxy vault is disabled", cut_off("vault-2"))
    status = replace(READY, nodes=(cut,), obstacles=lines)
    assert (status.cut_nodes, status.on_the_way) == (("vault-2",), lines[:1])


@pytest.mark.parametrize(("state", "step"), [("sealed", "go on"), ("down", "invoke up")])
def test_a_restore_that_is_not_done(state: State, step: str) -> None:
    """Vault's keys may not be the ones here."""
    restoring = RestoreStatus(source="", keys_here=False, remedy="go on with it")
    assert replace(READY, state=state, restoring=restoring).next_step.startswith(step)


def test_not_seeded() -> None:
    assert replace(READY, seeded=False).next_step == "invoke seed"


def test_sealed_without_keys() -> None:
    step = replace(READY, state="sealed", keyring=False).next_step

    assert "init.json" in step
    assert not step.startswith("invoke unseal")


@pytest.mark.parametrize("state", ["sealed", "ready"])
def test_left_by_an_up_that_was_ended(state: State) -> None:
    """The keys may never have been stored."""
    seeded = state == "sealed"  # what was last known
    step = replace(READY, state=state, keyring=False, begun=True, seeded=seeded).next_step
    assert step.startswith("invoke up")
    assert "restore.keys" not in step
