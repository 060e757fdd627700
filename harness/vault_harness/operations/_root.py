"""The tasks ``root.revoke`` and ``root.generate``."""

from __future__ import annotations

from contextlib import closing

from invoke.context import Context
from invoke.tasks import task

from vault_harness.console import guarded, say
from vault_harness.operations._common import local_stack


@task(name="revoke", help={"dry-run": "show what would be done, change nothing"})
@guarded
def root_revoke(context: Context, dry_run: bool = False) -> None:  # noqa: ARG001 -- invoke passes it
    """End the root token. The tasks go on with an operator's token of a narrow policy.

    Example: invoke root.revoke
    Back:    invoke root.generate
    """
    from vault_harness.vault import Keyring, Operator
    from vault_harness.vault.root import OPERATOR_TOKEN_NAME, revoke_root

    stack = local_stack()
    with stack.held():
        address = stack.endpoints().vault
        if not Keyring.load(stack.keyring_path).root_token:
            say("there is no root token, it was revoked before; nothing was done")
            return
        if dry_run:
            say(f"would write an operator's token to {stack.data_dir / OPERATOR_TOKEN_NAME},")
            say(f"revoke the root token at {address}, and take it out of {stack.keyring_path}")
            return
        with closing(Operator(address, Keyring.load(stack.keyring_path).root_token)) as root:
            done = revoke_root(root, stack.keyring_path, stack.blueprint().mounts, stack.data_dir)
    say("the root token had ended before" if done.before else "the root token is revoked")
    say(f"the tasks act with the operator's token in {done.token_file}")
    say("when mounts, policies or roles must change: invoke root.generate")


@task(
    name="generate",
    help={
        "cancel": "end an attempt that somebody else began",
        "dry-run": "show what would be done, change nothing",
    },
)
@guarded
def root_generate(
    context: Context,  # noqa: ARG001 -- as above
    cancel: bool = False,
    dry_run: bool = False,
) -> None:
    """Make a new root token from the unseal keys, into the keyring. It is never printed.

    Example: invoke root.generate
    Then:    invoke seed, or whatever needs it, and invoke root.revoke
    """
    from vault_harness.vault import Operator
    from vault_harness.vault.root import generate_root, operator_token

    stack = local_stack()
    with stack.held():
        address = stack.endpoints().vault
        if dry_run:
            say(f"would give unseal keys to {address} and put the token into {stack.keyring_path}")
            return
        with closing(Operator(address, operator_token(stack.data_dir))) as op:
            made = generate_root(op, stack.keyring_path, stack.data_dir, cancel=cancel)
    say("a new root token is in the keyring" if made else "the keyring has a good root token")
    say("when you are done with it: invoke root.revoke")
