"""The real command line, vault or bao, pointed at the stack."""

from __future__ import annotations

import os
import sys
from contextlib import closing

from vault_harness.cli._command import command
from vault_harness.cli._common import local_stack
from vault_harness.commands import named


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

    All words after the task's name are its own; invoke wants -- between the two. Address, token and
    namespace are set in its environment only. Its exit code is ours.
    """
    from vault_harness.errors import SettingsError
    from vault_harness.vault.command_line import environment_for, find_command_line

    # Not context.remainder, which joins the words with blanks and so loses quoting.
    words = sys.argv[sys.argv.index("--") + 1 :] if "--" in sys.argv else []
    if not words:
        raise SettingsError(
            "no command was given",
            looked_at="what follows the task's name",
            remedy=f"for example: {named('vault', '--', 'kv', 'list', 'ecommerce/')}",
        )
    stack = local_stack()
    program = find_command_line(stack.settings)
    with closing(stack.operator(there=False)) as op:  # it may be about to make the namespace
        # The stack's own alone: what VAULT_CACERT names is another server's, or not there any more.
        environment = environment_for(op, os.environ, ca_cert=op.ca_cert)
    sys.stdout.flush()
    os.execve(program, [program, *words], environment)  # noqa: S606 -- no shell is wanted
