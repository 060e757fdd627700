"""The Vault that holds the seal's key of a scenario's Vault, behind a proxy of its own."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from vault_harness.addresses import base_url
from vault_harness.blueprint import Blueprint
from vault_harness.files import private_directory
from vault_harness.scenario.environment import Environment
from vault_harness.stack import launch, transit_seal
from vault_harness.toxiproxy import Proxy

_TOKEN = "holder-token"  # noqa: S105 - the name of its file


class KeyHolder:
    """A second, empty Vault with a key in its transit engine.

    Args:
        environment: Its engine and its Toxiproxy.
        name: Of its proxy and its server.
        directory: For its files.
        client: Where the Vault whose key it holds keeps its files: its token is among them.
        closing: Told how it ends.

    Attributes:
        seal: The seal stanza of the Vault whose key it holds.
    """

    def __init__(
        self,
        environment: Environment,
        name: str,
        *,
        directory: Path,
        client: Path,
        closing: ExitStack,
    ) -> None:
        empty = Blueprint(name="key-holder", mounts={})
        holder = closing.enter_context(
            launch(environment.engine, empty, directory=directory, name=name)
        )
        self._proxy: Proxy = environment.toxiproxy.create(
            name,
            listen=environment.listen(),
            upstream=holder.node.upstream,
        )
        closing.callback(self._proxy.delete)
        stanza = transit_seal(
            holder.operator,
            private_directory(client) / _TOKEN,
            address=base_url(environment.reachable_from_nodes(self._proxy.listen)),
        )
        # By its name alone: a container knows that directory, where its server runs, by another.
        self.seal: Mapping[str, Any] = {"transit": {**stanza, "token": f"file://{_TOKEN}"}}

    @contextmanager
    def away(self) -> Iterator[None]:
        """Nobody reaches it: connections are refused, and those that there are end."""
        with self._proxy.disabled():
            yield
