"""The program between nodes that can be cut off: what it is told, and what it tells."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from vault_harness.engine.process._links import Cut
from vault_harness.engine.process._relay import Led, ProcessRelay, Relay
from vault_harness.errors import EngineError


@pytest.fixture
def relay(tmp_path: Path) -> Iterator[Relay]:
    """One that leads to a node from its start on."""
    first = Led(configuration=str(tmp_path / "vault.json"))
    program = ProcessRelay(directory=tmp_path / "relay", nodes={"vault": first})
    program.start(timeout=30)
    yield Relay(program.api)
    program.server.stop(timeout=10)
    program.close()


def test_it_tells_what_it_was_told(relay: Relay, tmp_path: Path) -> None:
    """Each node by one address for good; a cut of a node ends when that is led to anew."""
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
    """A node that it does not know, an address that is taken; and it goes on."""
    with pytest.raises(EngineError, match="took no order: that is no order"):
        relay.shut("nobody", Cut())
    with socket.create_server(("127.0.0.1", 0)) as taken:
        led = Led(
            configuration=str(tmp_path / "vault-2.json"),
            listen=f"127.0.0.1:{taken.getsockname()[1]}",
        )
        with pytest.raises(EngineError, match=os.strerror(98).lower()):
            relay.lead("vault-2", led)
    assert set(relay.state()["nodes"]) == {"vault"}
