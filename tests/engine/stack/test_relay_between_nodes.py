from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from vault_harness.errors import EngineError
from vault_harness.local.engine.process.links import Cut
from vault_harness.local.engine.process.own_program import Led, ProcessRelay, Relay


@pytest.fixture
def relay(tmp_path: Path) -> Iterator[Relay]:
    first = Led(configuration=str(tmp_path / "vault.json"))
    program = ProcessRelay(directory=tmp_path / "relay", nodes={"vault": first})
    program.start(timeout=30)
    yield Relay(program.api)
    program.server.stop(timeout=10)
    program.close()


def test_a_node_keeps_its_address_when_it_is_registered_again(relay: Relay, tmp_path: Path) -> None:
    led = Led(configuration=str(tmp_path / "vault-2.json"))
    at = relay.lead("vault-2", led)
    assert set(relay.state()["nodes"]) == {"vault", "vault-2"}

    relay.shut("vault-2", Cut())
    relay.shut("vault", Cut(hears=True))
    assert relay.state()["cut"] == {
        "vault-2": {"hears": False, "is_heard": False},
        "vault": {"hears": True, "is_heard": False},
    }
    again = Led(configuration=led.configuration, listen=at, upstream="127.0.0.1:1")
    assert relay.lead("vault-2", again) == at
    assert set(relay.state()["cut"]) == {"vault"}
    relay.open("vault")
    relay.open("vault")
    assert relay.state() == {"nodes": relay.state()["nodes"], "cut": {}, "held": 0}


def test_it_says_what_it_cannot_do(relay: Relay, tmp_path: Path) -> None:
    with pytest.raises(EngineError, match="refused an order: that is no order"):
        relay.shut("nobody", Cut())
    with socket.create_server(("127.0.0.1", 0)) as taken:
        led = Led(
            configuration=str(tmp_path / "vault-2.json"),
            listen=f"127.0.0.1:{taken.getsockname()[1]}",
        )
        with pytest.raises(EngineError, match=os.strerror(98).lower()):
            relay.lead("vault-2", led)
    assert set(relay.state()["nodes"]) == {"vault"}
