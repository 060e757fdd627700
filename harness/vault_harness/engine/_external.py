"""The external engine: a Vault that is already there and belongs to somebody else."""

from __future__ import annotations

import time
from pathlib import Path
from types import TracebackType
from typing import Self
from urllib.parse import urlsplit

import requests

from vault_harness.engine._ports import LOOPBACK
from vault_harness.engine._process_toxiproxy import ProcessToxiproxy
from vault_harness.engine._programs import find_toxiproxy
from vault_harness.engine._shape import Capability, EngineName, NodeSpec
from vault_harness.errors import CapabilityMissing, DeadlineExceeded, SettingsError
from vault_harness.settings import Settings

_CAPABILITIES = frozenset({Capability.DURABLE})


class ExternalNode:
    """A Vault that is talked to, and never started, stopped, paused or read from disk."""

    def __init__(self, name: str, address: str, *, ca_cert: Path | None = None) -> None:
        self._name = name
        self._address = address.rstrip("/")
        self._verify: str | bool = str(ca_cert) if ca_cert is not None else True

    def __repr__(self) -> str:
        return f"<ExternalNode {self.name} {self.address}>"

    @property
    def name(self) -> str:
        """Unique within one stack."""
        return self._name

    @property
    def address(self) -> str:
        """Base URL, as ``VAULT_ADDR`` gives it."""
        return self._address

    @property
    def upstream(self) -> str:
        """``host:port`` for Toxiproxy."""
        parts = urlsplit(self._address)
        return f"{parts.hostname}:{parts.port or (443 if parts.scheme == 'https' else 80)}"

    @property
    def capabilities(self) -> frozenset[Capability]:
        """Its data outlives us; nothing else can be promised."""
        return _CAPABILITIES

    @property
    def audit_path(self) -> Path | None:
        """None: its audit log is not ours to read."""
        return None

    @property
    def server_audit_path(self) -> str | None:
        """None."""
        return None

    def start(self, *, timeout: float = 15.0) -> None:
        """Wait until it answers; it cannot be started from here."""
        deadline = time.monotonic() + timeout
        while not self.is_running():
            if time.monotonic() >= deadline:
                raise DeadlineExceeded(
                    f"the external Vault did not answer within {timeout:.1f} s",
                    looked_at=f"GET {self._address}/v1/sys/seal-status",
                    remedy="check VAULT_ADDR (VAULT_CACERT for https), and that this Vault runs",
                )
            time.sleep(0.05)  # between two looks at the condition, bounded by the deadline

    def stop(self, *, timeout: float = 10.0) -> None:  # noqa: ARG002 -- the shape has it
        """Never: raises `CapabilityMissing`."""
        raise self._cannot("be stopped")

    def kill(self) -> None:
        """Never: raises `CapabilityMissing`."""
        raise self._cannot("be killed")

    def pause(self) -> None:
        """Never: raises `CapabilityMissing`."""
        raise self._cannot("be paused")

    def resume(self) -> None:
        """Nothing to undo."""

    def restart(self, *, timeout: float = 15.0) -> None:  # noqa: ARG002 -- the shape has it
        """Never: raises `CapabilityMissing`."""
        raise self._cannot("be restarted")

    def reload(self) -> None:
        """Never: raises `CapabilityMissing`."""
        raise self._cannot("be told to reload")

    def is_running(self) -> bool:
        """Whether it answers."""
        try:
            answer = requests.get(
                f"{self._address}/v1/sys/seal-status",
                timeout=2.0,
                verify=self._verify,
                allow_redirects=False,
            )
        except requests.RequestException:
            return False
        return bool(answer.status_code == 200)

    def logs(self, *, tail: int | None = None) -> str:  # noqa: ARG002 -- the shape has it
        """Nothing: its log is not ours to read."""
        return ""

    def _cannot(self, verb: str) -> CapabilityMissing:
        return CapabilityMissing(
            f"an external Vault cannot {verb} from here",
            looked_at=f"HARNESS_ENGINE=external, VAULT_ADDR={self._address}",
            remedy="use HARNESS_ENGINE=process or docker for that",
        )


class ExternalEngine:
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
        return _CAPABILITIES

    def node(self, spec: NodeSpec) -> ExternalNode:
        """The Vault that is there, whatever the specification asks for."""
        return ExternalNode(spec.name, self.address, ca_cert=self.settings.vault_cacert)

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

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()
