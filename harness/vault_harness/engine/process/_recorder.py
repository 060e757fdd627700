"""The HTTP recorder as a child process that outlives this one, between Toxiproxy and Vault."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

from vault_harness import files
from vault_harness.addresses import base_url
from vault_harness.engine._ports import PortLease
from vault_harness.engine.process._server import Server
from vault_harness.settings import PACKAGE_ROOT

CONFIGURATION_NAME = "recorder.json"
"""Its name on the command line marks the process as ours."""

LOG_NAME = "recorder.log"

_PROGRAM = "vault_harness.scenario.by_hand"


class ProcessRecorder:
    """An HTTP recorder that takes orders for faults; see `RecordingProvider`.

    Args:
        directory: Created 0700.
        upstream: ``host:port`` of Vault, or of the balancer before several.
        tls: The folder of the certificate that Vault shows; None for plain HTTP.
    """

    def __init__(self, *, directory: Path, upstream: str, tls: Path | None) -> None:
        files.private_directory(directory)
        self._leases = PortLease(), PortLease()
        self.listen, api = (lease.listen for lease in self._leases)
        self.api = base_url(api)
        self._configuration = directory / CONFIGURATION_NAME
        self._told = {
            "listen": self.listen,
            "api": api,
            "upstream": upstream,
            "tls": str(tls) if tls is not None else None,
        }
        # Also where the package is only on this process's path, as in a checkout under pytest.
        roots = [str(PACKAGE_ROOT), *filter(None, [os.environ.get("PYTHONPATH")])]
        self.server = Server(
            title="the HTTP recorder",
            command=(sys.executable, "-m", _PROGRAM, "-config", str(self._configuration)),
            log=directory / LOG_NAME,
            probe=f"{self.api}/",
            environment={"PYTHONPATH": os.pathsep.join(roots)},
            detached=True,
        )

    def start(self, *, timeout: float) -> None:
        """Start it and wait until it answers."""
        files.write_private(self._configuration, json.dumps(self._told))
        self.server.start(timeout=timeout)

    def close(self) -> None:
        """Give its ports back to it; it runs on."""
        for lease in self._leases:
            lease.release()
