"""Run the real command line, vault or bao, against the stack."""

from __future__ import annotations

import os
import sys
from contextlib import closing

from vault_harness.cli.command import command
from vault_harness.cli.common import local_stack
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

    All words after the task's name belong to it; invoke needs -- between them. Address, token and
    namespace are set in its environment only. The task exits with its exit code.
    """
    from vault_harness.errors import SettingsError
    from vault_harness.operator.command_line import environment_for, find_command_line

    # Not context.remainder, which joins the words with blanks and loses quoting.
    words = sys.argv[sys.argv.index("--") + 1 :] if "--" in sys.argv else []
    if not words:
        raise SettingsError(
            "no command was given",
            looked_at="what follows the task's name",
            remedy=f"for example: {named('vault', '--', 'kv', 'list', 'ecommerce/')}",
        )
    stack = local_stack()
    program = find_command_line(stack.settings)
    with closing(stack.operator(there=False)) as op:  # the namespace may not exist yet
        # The stack's own file: VAULT_CACERT may belong to another server, or be gone.
        environment = environment_for(op, os.environ, ca_cert=op.ca_cert)
    sys.stdout.flush()
    os.execve(program, [program, *words], environment)  # noqa: S606 -- no shell is wanted
