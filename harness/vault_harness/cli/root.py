"""Tasks that revoke the root token and generate a new one."""

from __future__ import annotations

from contextlib import closing

from vault_harness.cli.command import command
from vault_harness.cli.common import local_stack, whole_server
from vault_harness.cli.printing import say
from vault_harness.errors import named


@command(
    "root.revoke",
    group="operator",
    examples=("root.revoke --dry-run", "root.revoke"),
    help={"dry-run": "show what would be done, change nothing"},
)
def revoke(dry_run: bool = False) -> None:
    """Revoke the root token; the tasks go on without it.

    The tasks then use the operator's token, which has a narrow policy and lies in a file beside the
    keyring. root.generate makes a new root token when one is needed. Both tokens belong to the
    whole server; the operator's policy includes the namespace in which the tasks work.
    """
    from vault_harness.local.vault.admin import VaultAdmin
    from vault_harness.local.vault.keyring import Keyring
    from vault_harness.local.vault.root.generate import revoke_root
    from vault_harness.local.vault.root.operator_token import OPERATOR_TOKEN_NAME

    stack = local_stack()
    whole_server(stack, "the root token is")
    with stack.held():
        endpoints = stack.endpoints()
        address = endpoints.vault
        if not Keyring.load(stack.keyring_path).root_token:
            say("the keyring has no root token, it was revoked before; nothing was done")
            say(f"to see whether another one lives: {named('doctor', '--production')}")
            return
        if dry_run:
            say(f"would write an operator's token to {stack.data_dir / OPERATOR_TOKEN_NAME},")
            say(f"revoke the root token at {address}, and take it out of {stack.keyring_path}")
            return
        token = Keyring.load(stack.keyring_path).root_token
        with closing(VaultAdmin(address, token, endpoints.ca_cert)) as root:
            blueprint = stack.blueprint()
            done = revoke_root(
                root,
                stack.keyring_path,
                blueprint.mounts,
                stack.data_dir,
                namespace=stack.namespace(blueprint),
            )
    say("the root token was revoked before" if done.before else "the root token is revoked")
    if not done.acts:
        say(f"the tasks have no valid operator's token: {done.token_file}")
        say(f"next: {named('root.generate')}, then {named('root.revoke')}, which makes one")
        return
    say(f"the tasks act with the operator's token in {done.token_file}")
    say(f"when mounts, policies or roles must change: {named('root.generate')}")


@command(
    "root.generate",
    group="operator",
    examples=("root.generate",),
    help={
        "cancel": "end an attempt that another operator began",
        "dry-run": "show what would be done, change nothing",
    },
)
def generate(
    cancel: bool = False,
    dry_run: bool = False,
) -> None:
    """Make a new root token from the keys of the keyring.

    The token goes into the keyring, vault-data/init.json, and is never printed. Revoke it with
    root.revoke after use.
    """
    from vault_harness.local.vault.admin import VaultAdmin
    from vault_harness.local.vault.root.generate import generate_root
    from vault_harness.local.vault.root.operator_token import operator_token

    stack = local_stack()
    whole_server(stack, "the root token is")
    with stack.held():
        endpoints = stack.endpoints()
        address = endpoints.vault
        if dry_run:
            say(f"would give unseal keys to {address} and put the token into {stack.keyring_path}")
            return
        token = operator_token(stack.data_dir)
        with closing(VaultAdmin(address, token, endpoints.ca_cert)) as op:
            made = generate_root(op, stack.keyring_path, stack.data_dir, cancel=cancel)
    say("a new root token is in the keyring" if made else "the keyring has a good root token")
    if cancel and not made:
        say("no attempt to make another one is under way")
    say(f"when you are done with it: {named('root.revoke')}")
