"""Asks a server what it makes of a seal by a cloud, before anything of a stack is touched."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Mapping
from typing import Any

from vault_harness.commands import named
from vault_harness.engine._cloud_seal import PLUGIN_VARIABLE, SealCheck, plugin_of, with_cloud_seal
from vault_harness.engine._folders import run_directory
from vault_harness.engine._probe import ask, seal_status_url
from vault_harness.engine._shape import NodeSpec
from vault_harness.engine.process._node import ProcessNode
from vault_harness.errors import CapabilityMissing, EngineError, ServerDied
from vault_harness.programs import Program, find_vault
from vault_harness.settings import Settings

_UNKNOWN = "unknown wrapper"
_PLUGIN = "start plugin client"
_UNREADABLE = "error loading configuration"


def check_seal(stanza: Mapping[str, Any], settings: Settings) -> SealCheck:
    """Start a server with a stanza, and storage that ends with it; nothing is left of either.

    Args:
        stanza: Seals and their parameters.
        settings: Which server, and its plugin.

    Raises:
        CapabilityMissing: It does not know that seal.
        EngineError: It does not take the stanza, or does not get at the key.
    """
    program = find_vault(settings)
    kind = next(iter(stanza))
    with run_directory() as directory:
        spec = NodeSpec(
            name="check", directory=directory / "check", audit=False, extra={"seal": dict(stanza)}
        )
        node = ProcessNode(
            with_cloud_seal(spec, settings), program, start_timeout=settings.start_timeout
        )
        with contextlib.closing(node):
            try:
                node.start()
            except ServerDied:
                raise _refused(kind, program, node.logs()) from None
            answer = ask(seal_status_url(node.address))
            status = json.loads(answer.body) if answer is not None else {}
            return SealCheck(
                seal=str(status.get("type") or ""),
                server=str(program.path),
                configuration=node.configuration_path.read_text(),
            )


def _refused(kind: str, program: Program, log: str) -> EngineError:
    """What a server said when it ended, in our words."""
    lines = [line.strip() for line in log.splitlines() if line.strip()]
    said = next((line for line in lines if line.lower().startswith("error")), "nothing")
    looked_at = f"{program.path}, which said: {said}"
    if _UNKNOWN in said:
        return CapabilityMissing(
            f"this {program.dialect.title} does not know the seal {kind}",
            looked_at=looked_at,
            remedy="OpenBao 2.7 and newer know the seals of clouds by a plugin only: set "
            f"{PLUGIN_VARIABLE} to {plugin_of(kind)}; or HARNESS_VAULT_BINARY to HashiCorp Vault, "
            f"which has them built in; or {named('up', '--seal', 'transit')}, whose key is here",
        )
    if _UNREADABLE in said.lower():
        return EngineError(
            f"{program.dialect.title} cannot read the configuration of the seal {kind}",
            looked_at=looked_at,
            remedy="correct the variable that it speaks of",
        )
    if _PLUGIN in said:
        return EngineError(
            f"{program.dialect.title} cannot start the plugin for the seal {kind}",
            looked_at=looked_at,
            remedy=f"see that {PLUGIN_VARIABLE} is {plugin_of(kind)}, built for this machine",
        )
    return EngineError(
        f"{program.dialect.title} knows the seal {kind}, and cannot use its key",
        looked_at=looked_at,
        remedy="see that the key is there, that its cloud can be reached, and that the variables "
        "of its SDK name somebody who may use it",
    )
