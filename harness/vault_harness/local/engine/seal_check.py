"""Let a server test a cloud seal before the stack is touched."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Protocol

from vault_harness.errors import CapabilityMissing, EngineError, ServerDied, named
from vault_harness.local.dialect import Dialect
from vault_harness.local.engine.cloud_seal import PLUGIN_VARIABLE, plugin_of
from vault_harness.local.engine.folders import run_directory
from vault_harness.local.engine.ports import ask, seal_status_url
from vault_harness.local.engine.provider import SealCheck
from vault_harness.local.engine.shape import Node, NodeSpec

_UNKNOWN = "unknown wrapper"
_PLUGIN = "start plugin client"
_UNREADABLE = "error loading configuration"


class SealCheckNode(Node, Protocol):
    """A node whose configuration file can be read."""

    @property
    def configuration_path(self) -> Path:
        """The file that the server starts with."""


def check_seal(
    stanza: Mapping[str, Any],
    make: Callable[[NodeSpec], SealCheckNode],
    dialect: Dialect,
    origin: str,
) -> SealCheck:
    """Start a throw-away server with a stanza, and remove it again."""
    kind = next(iter(stanza))
    with run_directory() as directory:
        node = make(
            NodeSpec(
                name="check",
                directory=directory / "check",
                audit=False,
                extra={"seal": dict(stanza)},
            )
        )
        try:
            try:
                node.start()
            except ServerDied:
                raise _refused(kind, dialect, origin, node.logs()) from None
            answer = ask(seal_status_url(node.address))
            status = json.loads(answer.body) if answer is not None else {}
            return SealCheck(
                seal=str(status.get("type") or ""),
                server=origin,
                configuration=node.configuration_path.read_text(),
            )
        finally:
            node.kill()
            node.close()


def _refused(kind: str, dialect: Dialect, origin: str, log: str) -> EngineError:
    lines = [line.strip() for line in log.splitlines() if line.strip()]
    said = next((line for line in lines if line.lower().startswith("error")), "nothing")
    looked_at = f"{origin}, which said: {said}"
    if _UNKNOWN in said:
        return CapabilityMissing(
            f"this {dialect.title} does not know the seal {kind}",
            looked_at=looked_at,
            remedy="OpenBao 2.7 and newer know the seals of clouds by a plugin only: set "
            f"{PLUGIN_VARIABLE} to {plugin_of(kind)}; or take HashiCorp Vault, which has them "
            f"built in (HARNESS_VAULT_BINARY, VAULT_IMAGE); or {named('up', '--seal', 'transit')}, "
            "whose key is here",
        )
    if _UNREADABLE in said.lower():
        return EngineError(
            f"{dialect.title} cannot read the configuration of the seal {kind}",
            looked_at=looked_at,
            remedy="correct the variable that it speaks of",
        )
    if _PLUGIN in said:
        return EngineError(
            f"{dialect.title} cannot start the plugin for the seal {kind}",
            looked_at=looked_at,
            remedy=f"see that {PLUGIN_VARIABLE} is {plugin_of(kind)}, built for this machine",
        )
    return EngineError(
        f"{dialect.title} knows the seal {kind}, and cannot use its key",
        looked_at=looked_at,
        remedy="see that the key is there, that its cloud can be reached, and that the variables "
        "of its SDK name somebody who may use it",
    )
