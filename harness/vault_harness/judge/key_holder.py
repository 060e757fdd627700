"""A second Vault that holds the key of a scenario's auto-unsealed Vault, behind its own proxy."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from vault_harness.addresses import base_url
from vault_harness.files import private_directory
from vault_harness.judge.environment import Environment
from vault_harness.local.blueprint import Blueprint
from vault_harness.local.engine.shape import NodeSpec
from vault_harness.local.stack.key_holder import transit_seal
from vault_harness.local.stack.launching import launch
from vault_harness.local.toxiproxy.client import Proxy

_TOKEN = "holder-token"  # noqa: S105 - the name of its file


class KeyHolder:
    """A second, empty Vault with a key in its transit engine.

    Args:
        client: Folder of the Vault that is unsealed; the holder's token is stored there.
        closing: Ends the holder.

    Attributes:
        seal: The seal stanza of the Vault that is unsealed.
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
            launch(environment.engine, empty, NodeSpec(directory=directory, name=name))
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
        # A relative name, since a container sees the server's folder under another path.
        self.seal: Mapping[str, Any] = {"transit": {**stanza, "token": f"file://{_TOKEN}"}}

    @contextmanager
    def away(self) -> Iterator[None]:
        """Refuse new connections to the holder and end existing ones."""
        with self._proxy.disabled():
            yield
