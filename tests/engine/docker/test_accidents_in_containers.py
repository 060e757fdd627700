r"""A cluster in containers under load, with accidents of its network: no confirmed write is lost.

Load, ledger and sequence are those of tests/engine/stack/test_random_accidents.py. A seed repeats a
run:

    ACCIDENTS_SEED=17 ACCIDENTS_STEPS=50 HARNESS_ENGINE=docker \
        pytest -m slow tests/engine/docker/test_accidents_in_containers.py

A node is killed, frozen, or taken off the shared network, so that neither nodes nor clients reach
it. Or a kernel rule in its network, which only root can set, drops what comes from the other nodes
or goes to them, while clients still reach it. `node.cut` cuts a node off from everything.
"""

from __future__ import annotations

import contextlib
import os
import shutil
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from tests.engine.accidents.load import prepared
from tests.engine.accidents.sequence import Loss, nothing_is_lost
from tests.running import ran
from vault_harness.local.engine.docker.compose import LABEL_PROJECT, LABEL_SERVICE, project_name
from vault_harness.local.engine.docker_client import connected
from vault_harness.local.stack.local import LocalStack
from vault_harness.local.stack.nodes import Nodes

pytestmark = [pytest.mark.docker, pytest.mark.slow]

_PLACES = f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin"
"""PATH with the folders of iptables, which some users lack."""


class Wires:
    """The network of a stack in containers: removes nodes from it, or cuts one direction."""

    def __init__(self, stack: LocalStack) -> None:
        self._project = project_name(stack.data_dir)
        self._names = [node.name for node in stack.endpoints().nodes]
        self._rules: list[tuple[str, ...]] = []

    def freeze(self, name: str) -> None:
        with self._container(name) as container:
            container.pause()

    def thaw(self, name: str) -> None:
        with self._container(name) as container:
            container.unpause()

    def take_off(self, name: str) -> None:
        with self._container(name) as container, self._network() as network:
            network.disconnect(container)

    def put_back(self, name: str) -> None:
        """Undo `take_off`, with the node's former name."""
        with self._container(name) as container, self._network() as network:
            network.connect(container, aliases=[name])

    def shut(self, name: str, *, hears: bool = False, is_heard: bool = False) -> None:
        """Drop all packets between a node and the others in one direction."""
        others = [self._address(other) for other in self._names if other != name]
        incoming = [("INPUT", "-s", address) for address in others]
        outgoing = [("OUTPUT", "-d", address) for address in others]
        for rule in (*(incoming if not hears else ()), *(outgoing if not is_heard else ())):
            self._iptables(name, "-A", *rule)
            self._rules.append(rule)

    def open(self, name: str) -> None:
        while self._rules:
            self._iptables(name, "-D", *self._rules[-1])
            self._rules.pop()

    def can_shut(self) -> bool:
        missing = [tool for tool in ("iptables", "nsenter") if not shutil.which(tool, path=_PLACES)]
        if missing or os.geteuid() != 0:
            return False
        for name in self._names:
            with self._container(name) as container:
                if not _is_here(container):
                    return False
        return True

    def _iptables(self, name: str, verb: str, *rule: str) -> None:
        with self._container(name) as container:
            pid = str(container.attrs["State"]["Pid"])
        answer = ran(
            ["nsenter", "-t", pid, "-n", "iptables", "-w", verb, *rule, "-j", "DROP"],
            env=os.environ | {"PATH": _PLACES},
        )
        assert answer.returncode == 0, answer.stderr

    def _address(self, name: str) -> str:
        with self._container(name) as container:
            (network,) = container.attrs["NetworkSettings"]["Networks"].values()
            return str(network["IPAddress"])

    @contextlib.contextmanager
    def _container(self, name: str) -> Iterator[Any]:
        labels = [f"{LABEL_PROJECT}={self._project}", f"{LABEL_SERVICE}={name}"]
        with connected() as client:
            (found,) = client.containers.list(all=True, filters={"label": labels})
            yield found

    @contextlib.contextmanager
    def _network(self) -> Iterator[Any]:
        with connected() as client:
            (found,) = client.networks.list(filters={"label": f"{LABEL_PROJECT}={self._project}"})
            yield found


def _is_here(container: Any) -> bool:
    """Return True if the container's process id is valid on this machine."""
    try:
        command = Path(f"/proc/{container.attrs['State']['Pid']}/cmdline").read_bytes()
    except OSError:
        return False
    return b"server\0-config=" in command


def test_nothing_confirmed_is_lost(stack: LocalStack) -> None:
    load, nodes, wires = prepared(stack), Nodes(stack), Wires(stack)
    losses = [
        Loss(name="is killed", ends="is started", begin=nodes.kill, end=nodes.start, brief=False),
        Loss(name="stands still", ends="goes on", begin=wires.freeze, end=wires.thaw),
        Loss(
            name="is off the network",
            ends="is on the network again",
            begin=wires.take_off,
            end=wires.put_back,
        ),
    ]
    nothing_is_lost(stack, load, losses)


def test_nothing_confirmed_is_lost_in_partitions(stack: LocalStack) -> None:
    load, nodes, wires = prepared(stack), Nodes(stack), Wires(stack)
    ways: list[tuple[str, Callable[[str], object], Callable[[str], object]]] = [
        ("is cut off from the others", nodes.cut, nodes.join)
    ]
    if wires.can_shut():
        ways += [
            ("hears none of the others", partial(wires.shut, is_heard=True), wires.open),
            ("is heard by none of the others", partial(wires.shut, hears=True), wires.open),
        ]
    losses = [
        Loss(name=name, ends="is back", begin=begin, end=end, alone=True)
        for name, begin, end in ways
    ]
    nothing_is_lost(stack, load, losses)
