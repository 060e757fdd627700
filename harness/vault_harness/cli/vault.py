"""Run vault or bao against the stack."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING

from vault_harness.cli.command import command
from vault_harness.cli.common import local_stack
from vault_harness.errors import named

if TYPE_CHECKING:
    from vault_harness.local.vault.admin import VaultAdmin


@command(
    "vault",
    group="operator",
    passes_on=True,
    examples=(
        "vault kv list ecommerce/",
        "vault kv get ecommerce/backend/django",
        "vault kv get -field=SECRET_KEY ecommerce/backend/django",
    ),
)
def vault() -> None:
    """Run the real command line (vault or bao) against the stack.

    All words after the task's name belong to it; invoke needs -- between them. Address, token and
    namespace are set in its environment only. The task exits with its exit code.
    """
    from vault_harness.errors import SettingsError
    from vault_harness.local.programs import find_vault

    # context.remainder joins the words with blanks and loses quoting.
    words = sys.argv[sys.argv.index("--") + 1 :] if "--" in sys.argv else []
    if not words:
        raise SettingsError(
            "no command was given",
            looked_at="what follows the task's name",
            remedy=f"for example: {named('vault', '--', 'kv', 'list', 'ecommerce/')}",
        )
    stack = local_stack()
    program = str(find_vault(stack.settings).path)
    with closing(stack.operator(there=False)) as op:  # the namespace may not exist yet
        # VAULT_CACERT may belong to another server, or be gone.
        environment = environment_for(op, os.environ, ca_cert=op.ca_cert)
    sys.stdout.flush()
    os.execve(program, [program, *words], environment)  # noqa: S606 -- no shell is wanted


_PREFIXES = ("VAULT", "BAO")
_OURS = ("TOKEN", "ADDR", "NAMESPACE")
# Each overrides or reroutes the address, even loopback: an agent, a proxy (newer name first), a DNS
# look-up.
_ELSEWHERE = ("AGENT_ADDR", "PROXY_ADDR", "HTTP_PROXY", "SRV_LOOKUP")
# Another server's: a wrong name or file would stop every request, and without the check any
# listener would get the token.
_TLS = (
    *("CACERT", "CACERT_BYTES", "CAPATH", "CLIENT_CERT", "CLIENT_KEY"),
    *("TLS_SERVER_NAME", "SKIP_VERIFY"),
)


def environment_for(
    op: VaultAdmin, environ: Mapping[str, str], *, ca_cert: Path | None = None
) -> dict[str, str]:
    """Return the caller's environment with an operator's address, token and namespace.

    No variable may lead the operator's token through another server. OpenBao's command line prefers
    ``BAO_*``, HashiCorp's knows ``VAULT_*``.
    """
    from vault_harness.certificates import shown_beside

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
