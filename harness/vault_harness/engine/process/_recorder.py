"""The HTTP recorder as a child process that outlives this one, between Toxiproxy and Vault."""

from __future__ import annotations

from pathlib import Path

from vault_harness.engine._provider import RECORDER_NAME
from vault_harness.engine.process._own_program import OwnProgram

_PROGRAM = "vault_harness.scenario.by_hand"


class ProcessRecorder(OwnProgram):
    """An HTTP recorder that takes orders for faults; see `RecordingProvider`.

    Args:
        directory: Created 0700.
        upstream: ``host:port`` of Vault, or of the balancer before several.
        tls: The folder of the certificate that Vault shows; None for plain HTTP.
    """

    def __init__(self, *, directory: Path, upstream: str, tls: Path | None) -> None:
        shown = str(tls) if tls is not None else None
        super().__init__(RECORDER_NAME, _PROGRAM, directory=directory, upstream=upstream, tls=shown)
        self.listen = self._address("listen")
