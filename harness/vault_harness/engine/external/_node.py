"""A Vault that is already there and belongs to somebody else."""

from __future__ import annotations

import time
from pathlib import Path
from urllib.parse import urlsplit

from vault_harness.addresses import joined
from vault_harness.certificates import client_context
from vault_harness.engine._capabilities import OF_SOMEBODY_ELSE
from vault_harness.engine._probe import answers, seal_status_url
from vault_harness.engine._shape import Capability
from vault_harness.errors import CapabilityMissing, DeadlineExceeded


class ExternalNode:
    """A Vault that is talked to, and never started, stopped, paused or read from disk."""

    def __init__(self, name: str, address: str, *, ca_cert: Path | None = None) -> None:
        self._name = name
        self._address = address.rstrip("/")
        self._ca_cert = ca_cert
        self._tls = client_context(ca_cert) if address.startswith("https:") else None

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
    def inner_address(self) -> str:
        """The same: nothing else of it is known."""
        return self._address

    @property
    def cluster_address(self) -> str:
        """Unknown: its other nodes are somebody else's business."""
        return ""

    @property
    def hosts(self) -> tuple[str, ...]:
        """The host of ``VAULT_ADDR``."""
        return (urlsplit(self._address).hostname or "",)

    @property
    def ca_cert(self) -> Path | None:
        """As given; what is shown to it lies beside."""
        return self._ca_cert

    @property
    def upstream(self) -> str:
        """``host:port`` for Toxiproxy."""
        return joined(self._address)

    @property
    def capabilities(self) -> frozenset[Capability]:
        """Its data outlives us; nothing else can be promised."""
        return OF_SOMEBODY_ELSE

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
                    looked_at=f"GET {seal_status_url(self._address)}",
                    remedy="check VAULT_ADDR (VAULT_CACERT for https; VAULT_CLIENT_CERT and "
                    "VAULT_CLIENT_KEY if it asks for a certificate), and that this Vault runs",
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

    def disconnect(self) -> None:
        """Never: raises `CapabilityMissing`."""
        raise self._cannot("be cut off")

    def reconnect(self) -> None:
        """Nothing to undo."""

    def is_running(self) -> bool:
        """Whether it answers."""
        return answers(seal_status_url(self._address), timeout=2.0, tls=self._tls)

    def logs(self, *, tail: int | None = None) -> str:  # noqa: ARG002 -- the shape has it
        """Nothing: its log is not ours to read."""
        return ""

    def _cannot(self, verb: str) -> CapabilityMissing:
        return CapabilityMissing(
            f"an external Vault cannot {verb} from here",
            looked_at=f"HARNESS_ENGINE=external, VAULT_ADDR={self._address}",
            remedy="use HARNESS_ENGINE=process or docker for that",
        )
