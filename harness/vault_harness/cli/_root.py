"""The root token: ended, and made again."""

from __future__ import annotations

from contextlib import closing

from vault_harness.cli._command import command
from vault_harness.cli._common import local_stack, whole_server
from vault_harness.cli._console import say
from vault_harness.commands import named


@command(
    "root.revoke",
    group="operator",
    examples=("root.revoke --dry-run", "root.revoke"),
    help={"dry-run": "show what would be done, change nothing"},
)
def revoke(dry_run: bool = False) -> None:
    """End the root token; the tasks go on without it.

    They use the operator's token of a narrow policy, in a file beside the keyring. root.generate
    makes a root token again when one is needed. Both are the whole server's; the operator's policy
    reaches into the namespace that the tasks work in.
    """
    from vault_harness.vault import Keyring, Operator
    from vault_harness.vault.root import OPERATOR_TOKEN_NAME, revoke_root

    stack = local_stack()
    whole_server(stack, "the root token is")
    with stack.held():
        endpoints = stack.endpoints()
        address = endpoints.vault
        if not Keyring.load(stack.keyring_path).root_token:
            say("the keyring has no root token, it was revoked before; nothing was done")
            say(f"whether another one lives: {named('doctor', '--production')}")
            return
        if dry_run:
            say(f"would write an operator's token to {stack.data_dir / OPERATOR_TOKEN_NAME},")
            say(f"revoke the root token at {address}, and take it out of {stack.keyring_path}")
            return
        token = Keyring.load(stack.keyring_path).root_token
        with closing(Operator(address, token, endpoints.ca_cert)) as root:
            blueprint = stack.blueprint()
            done = revoke_root(
                root,
                stack.keyring_path,
                blueprint.mounts,
                stack.data_dir,
                namespace=stack.namespace(blueprint),
            )
    say("the root token had ended before" if done.before else "the root token is revoked")
    if not done.acts:
        say(f"the tasks have no operator's token that is good: {done.token_file}")
        say(f"next: {named('root.generate')}, then {named('root.revoke')}, which makes one")
        return
    say(f"the tasks act with the operator's token in {done.token_file}")
    say(f"when mounts, policies or roles must change: {named('root.generate')}")


@command(
    "root.generate",
    group="operator",
    examples=("root.generate",),
    help={
        "cancel": "end an attempt that somebody else began",
        "dry-run": "show what would be done, change nothing",
    },
)
def generate(
    cancel: bool = False,
    dry_run: bool = False,
) -> None:
    """Make a new root token from the keys of the keyring.

    It goes into the keyring, vault-data/init.json, and is never printed. Do what needs it, then end
    it with root.revoke.
    """
    from vault_harness.vault import Operator
    from vault_harness.vault.root import generate_root, operator_token

    stack = local_stack()
    whole_server(stack, "the root token is")
    with stack.held():
        endpoints = stack.endpoints()
        address = endpoints.vault
        if dry_run:
            say(f"would give unseal keys to {address} and put the token into {stack.keyring_path}")
            return
        token = operator_token(stack.data_dir)
        with closing(Operator(address, token, endpoints.ca_cert)) as op:
            made = generate_root(op, stack.keyring_path, stack.data_dir, cancel=cancel)
    say("a new root token is in the keyring" if made else "the keyring has a good root token")
    if cancel and not made:
        say("no attempt to make another one is under way")
    say(f"when you are done with it: {named('root.revoke')}")
