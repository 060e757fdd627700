"""The external engine: a Vault that is already there, and a Toxiproxy of our own before it."""

from __future__ import annotations

from pathlib import Path

from vault_harness.closable import Closable
from vault_harness.engine._capabilities import OF_SOMEBODY_ELSE
from vault_harness.engine._ports import LOOPBACK
from vault_harness.engine._shape import Capability, EngineName, NodeSpec
from vault_harness.engine.external._node import ExternalNode
from vault_harness.engine.external._trust import external_trust
from vault_harness.engine.process import ProcessToxiproxy
from vault_harness.errors import SettingsError
from vault_harness.programs import find_toxiproxy
from vault_harness.settings import Settings


class ExternalEngine(Closable):
    """Hands out the one Vault of ``VAULT_ADDR``; see `vault_harness.engine.Engine`."""

    def __init__(self, settings: Settings, *, directory: Path) -> None:
        """Read address and token.

        Raises:
            SettingsError: ``VAULT_ADDR`` or ``VAULT_TOKEN`` is not set.
        """
        missing = [
            name
            for name, value in (
                ("VAULT_ADDR", settings.vault_addr),
                ("VAULT_TOKEN", settings.vault_token),
            )
            if value is None
        ]
        if missing or settings.vault_addr is None or settings.vault_token is None:
            raise SettingsError(
                f"HARNESS_ENGINE=external needs {' and '.join(missing)}",
                looked_at="the environment",
                remedy="set VAULT_ADDR to its URL and VAULT_TOKEN to an operator's token for it",
            )
        self.settings = settings
        self.address = settings.vault_addr
        self.token = settings.vault_token
        self.choice = f"external: the Vault at {self.address}"
        self._directory = directory
        self._toxiproxies: list[ProcessToxiproxy] = []

    @property
    def name(self) -> EngineName:
        """``external``."""
        return "external"

    @property
    def capabilities(self) -> frozenset[Capability]:
        """What can be done to a Vault of somebody else: hardly anything."""
        return OF_SOMEBODY_ELSE

    @property
    def dialect(self) -> None:
        """Not known: nobody has asked it yet."""
        return None

    def node(self, spec: NodeSpec) -> ExternalNode:
        """The Vault that is there, whatever the specification asks for.

        Raises:
            SettingsError: What is to be shown to it cannot be.
        """
        trusted = external_trust(self.settings, self._directory / "external-tls")
        return ExternalNode(spec.name, self.address, ca_cert=trusted)

    def toxiproxy(
        self, *, seed: int | None = None, port: int = 0, detached: bool = False
    ) -> ProcessToxiproxy:
        """A started Toxiproxy server on this machine."""
        server = ProcessToxiproxy(
            find_toxiproxy(self.settings),
            directory=self._directory / f"toxiproxy-{len(self._toxiproxies) + 1}",
            seed=seed,
            port=port,
            detached=detached,
        )
        self._toxiproxies.append(server)
        server.start(timeout=self.settings.start_timeout)
        return server

    def reachable_from_toxiproxy(self, port: int) -> str:
        """``host:port`` of a listener of this process."""
        return f"{LOOPBACK}:{port}"

    def bind_host(self) -> str:
        """Loopback."""
        return LOOPBACK

    def close(self) -> None:
        """End the Toxiproxy servers; the Vault is left as it is."""
        for server in self._toxiproxies:
            server.close()
        self._toxiproxies.clear()
