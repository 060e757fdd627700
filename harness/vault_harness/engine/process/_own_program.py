"""A program of this package beside the servers: a child process that outlives this one."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Any

from vault_harness import files
from vault_harness.addresses import base_url
from vault_harness.engine._ports import PortLease
from vault_harness.engine.process._places import configuration_name, log_name, title_of
from vault_harness.engine.process._server import Server
from vault_harness.settings import PACKAGE_ROOT


class OwnProgram:
    """A module that a file tells what to do, and that takes orders over HTTP.

    Args:
        name: Which server of a stack it is.
        module: What to run.
        directory: Created 0700.
        told: What its file says beside its addresses, as plain data.
    """

    def __init__(self, name: str, module: str, *, directory: Path, **told: Any) -> None:
        files.private_directory(directory)
        self._configuration = directory / configuration_name(name)
        self._told = told
        self._leases: list[PortLease] = []
        self.api = base_url(self._address("api"))
        # Also where the package is only on this process's path, as in a checkout under pytest.
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
        """A free ``host:port``, which its file has by that key; nobody else gets it meanwhile."""
        lease = PortLease()
        self._leases.append(lease)
        self._told[key] = lease.listen
        return lease.listen

    def start(self, *, timeout: float) -> None:
        """Start it and wait until it answers."""
        files.write_private(self._configuration, json.dumps(self._told))
        self.server.start(timeout=timeout)

    def close(self) -> None:
        """Give its ports back to it; it runs on."""
        for lease in self._leases:
            lease.release()
