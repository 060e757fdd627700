"""``invoke vault -- ...``: the real command line, pointed at the stack."""

from __future__ import annotations

import os
import sys
from contextlib import closing

from invoke.context import Context
from invoke.tasks import task

from vault_harness.console import guarded
from vault_harness.operations._common import local_stack


@task
@guarded
def vault(context: Context) -> None:  # noqa: ARG001 -- invoke passes it to every task
    """Run the real command line (vault or bao) against the stack; all after -- is its own.

    Address and token are set in its environment only. Its exit code is ours.

    Example: invoke vault -- kv get ecommerce/backend/django
             invoke vault -- kv get -field=SECRET_KEY ecommerce/backend/django
    """
    from vault_harness.errors import SettingsError
    from vault_harness.vault.command_line import environment_for, find_command_line

    # Not context.remainder, which joins the words with blanks and so loses quoting.
    words = sys.argv[sys.argv.index("--") + 1 :] if "--" in sys.argv else []
    if not words:
        raise SettingsError(
            "no command was given",
            looked_at="what follows --",
            remedy="For example: invoke vault -- kv list ecommerce/",
        )
    stack = local_stack()
    program = find_command_line(stack.settings)
    with closing(stack.operator()) as op:
        environment = environment_for(op, os.environ, ca_cert=stack.settings.vault_cacert)
    sys.stdout.flush()
    os.execve(program, [program, *words], environment)  # noqa: S606 -- no shell is wanted
