"""A program of this package, run beside the servers as a detached process."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Any

from vault_harness import files
from vault_harness.addresses import base_url
from vault_harness.local.engine.ports import PortLease
from vault_harness.local.engine.process.places import configuration_name, log_name, title_of
from vault_harness.local.engine.process.server import Server
from vault_harness.settings import PACKAGE_ROOT


class OwnProgram:
    """A module that reads a configuration file and takes orders over HTTP.

    `told` is what the configuration contains besides addresses, as plain data.
    """

    def __init__(self, name: str, module: str, *, directory: Path, **told: Any) -> None:
        files.private_directory(directory)
        self._configuration = directory / configuration_name(name)
        self._told = told
        self._leases: list[PortLease] = []
        self.api = base_url(self._address("api"))
        # The package may be importable only from this process, as in a checkout under pytest.
        roots = [str(PACKAGE_ROOT), *filter(None, [os.environ.get("PYTHONPATH")])]
        self.server = Server(
            title=title_of(name),
            command=(sys.executable, "-P", "-m", module, "-config", str(self._configuration)),
            log=directory / log_name(name),
            probe=f"{self.api}/",
            environment={"PYTHONPATH": os.pathsep.join(roots)},
            detached=True,
        )

    def _address(self, key: str) -> str:
        """Reserve a free ``host:port`` and put it into the configuration under a key."""
        lease = PortLease()
        self._leases.append(lease)
        self._told[key] = lease.listen
        return lease.listen

    def start(self, *, timeout: float) -> None:
        """Start it and wait until it answers."""
        files.write_private(self._configuration, json.dumps(self._told))
        self.server.start(timeout=timeout)

    def close(self) -> None:
        """Release its ports; the process goes on."""
        for lease in self._leases:
            lease.release()
