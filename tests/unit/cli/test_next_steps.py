"""`status` tells a person what to do next."""

from __future__ import annotations

from dataclasses import replace

import pytest

from vault_harness.stack import NodeStatus, StackStatus
from vault_harness.stack._status import RestoreStatus, State, cut_off

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
    """The task that leads on from there."""
    assert replace(READY, state=state).next_step.startswith(step)


def test_one_that_is_frozen_and_whose_keys_are_lost() -> None:
    """It may be open still, and nobody could open it again: nothing is proposed that ends it."""
    step = replace(READY, state="not answering", keyring=False).next_step
    assert step.startswith("invoke up wakes")
    assert "invoke restore.keys" in step
    assert "invoke down" not in step
    by_itself = replace(READY, state="not answering", keyring=False, seal="static")
    assert "invoke down" in by_itself.next_step


def test_a_node_that_does_not_answer() -> None:
    """The others serve; a paused one is woken."""
    node = NodeStatus(name="vault-2", address="http://127.0.0.1:1", role="not answering")
    assert replace(READY, nodes=(node,)).next_step == "invoke up"


def test_a_service_of_the_blueprint() -> None:
    """The example is one that there is; without any, the next look is a doctor's."""
    assert replace(READY, service="till").next_step == "invoke env till"
    assert replace(READY, service="").next_step == "invoke doctor"


def test_servers_whose_data_is_gone() -> None:
    """Whoever ended or restarted them would lose what they hold: the step says so first."""
    step = replace(READY, state="forgotten", data=False).next_step

    assert step.startswith("put the data directory back")
    assert replace(READY, state="forgotten").next_step == "invoke up"


def test_something_in_the_way() -> None:
    """A Vault that is ready and that no client reaches is healed first."""
    assert replace(READY, obstacles=("the proxy vault is disabled",)).next_step == "invoke heal"


def test_a_node_that_is_cut_off_is_no_obstacle_on_the_way() -> None:
    """It is between the nodes: whoever tells of it by name does not tell of it twice."""
    cut = NodeStatus(name="vault-2", address="http://127.0.0.1:1", role="standby", cut=True)
    lines = ("the proxy vault is disabled", cut_off("vault-2"))
    status = replace(READY, nodes=(cut,), obstacles=lines)
    assert (status.cut_nodes, status.on_the_way) == (("vault-2",), lines[:1])


@pytest.mark.parametrize(("state", "step"), [("sealed", "go on"), ("down", "invoke up")])
def test_a_restore_that_is_not_done(state: State, step: str) -> None:
    """Its Vault may have other keys than are here: no unseal opens that. It wants one that runs."""
    restoring = RestoreStatus(source="", keys_here=False, remedy="go on with it")
    assert replace(READY, state=state, restoring=restoring).next_step.startswith(step)


def test_not_seeded() -> None:
    """An empty Vault wants to be seeded."""
    assert replace(READY, seeded=False).next_step == "invoke seed"


def test_sealed_without_keys() -> None:
    """Unsealing is no advice when the keys are gone."""
    step = replace(READY, state="sealed", keyring=False).next_step

    assert "init.json" in step
    assert not step.startswith("invoke unseal")


@pytest.mark.parametrize("state", ["sealed", "ready"])
def test_left_by_an_up_that_was_ended(state: State) -> None:
    """Nobody may ever have had its keys, also of one that opened itself: `up` says so."""
    seeded = state == "sealed"  # what was last known
    step = replace(READY, state=state, keyring=False, begun=True, seeded=seeded).next_step
    assert step.startswith("invoke up")
    assert "restore.keys" not in step


def test_json_has_plain_names() -> None:
    """Programs read the same fields."""
    content = READY.to_json()

    for name in ("engine", "address", "initialised", "sealed", "version", "seeded", "proxies"):
        assert name in content
