"""Small tasks of an operator: vault, unseal, seal.migrate, unlock, root, tls and images."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING

from vault_harness.certificates import shown_beside
from vault_harness.cli.command import command
from vault_harness.cli.common import (
    DRY_RUN,
    local_stack,
    say_pending_migration,
    seal_kind,
    see_that_all_answered,
    settings,
    whole_server,
)
from vault_harness.cli.printing import say, table
from vault_harness.errors import SettingsError, named

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


@command("unseal", group="operator", examples=("unseal",))
def unseal() -> None:
    """Unseal Vault with the keys in vault-data/init.json.

    A Vault that unseals itself needs this only after it was sealed by hand. For a cluster the task
    names the opened nodes, and exits with 5 if a node did not answer.
    """
    stack = local_stack()
    say_pending_migration(stack)
    done = stack.unseal()
    opened = ""
    if len(done.opened) + len(done.before) + len(done.silent) > 1:
        opened = f": opened {', '.join(done.opened)}" if done.opened else ": none was sealed"
        opened += f"; {', '.join(done.before)} served before" if done.before else ""
    say(f"Vault is unsealed{opened}")
    see_that_all_answered(done, stack)


@command(
    "seal.migrate",
    group="operator",
    examples=("seal.migrate static", "seal.migrate transit", "seal.migrate shamir"),
    help={
        "seal": "shamir (keys unseal it), or a seal that opens itself: static (OpenBao; key in a "
        "file), transit (key in a second Vault), awskms or azurekeyvault (key in a cloud)",
        "dry-run": DRY_RUN,
    },
)
def migrate_seal(seal: str, dry_run: bool = False) -> None:
    """Change Vault's seal; data and tokens stay.

    The keys in vault-data/init.json stay the same: they unseal with Shamir's seal, and are recovery
    keys with the others. Vault is away for some seconds. After an interruption, the same command
    goes on, and so does up.
    """
    stack = local_stack()
    kind = seal_kind(seal)
    say_pending_migration(stack)
    if dry_run:
        present = stack.check_seal_migration(kind)
        say(f"would exchange the seal {present} for {kind}" if present != kind else f"has {kind}")
        return
    done = stack.migrate_seal(kind)
    if done.action == "unchanged":
        say(f"Vault has the seal {done.target} already")
        return
    say(f"Vault had the seal {done.source}, has {done.target} now, and is unsealed")
    unseals = done.target == "shamir"
    say(f"{stack.keyring_path}: the keys {'unseal it' if unseals else 'are recovery keys now'}")
    if done.key_aside is not None:
        say(f"backups from before open only with the old seal's key, which stays: {done.key_aside}")
    say(f"next: {named('backup')}; earlier backups need the seal {done.source}")


@command(
    "unlock",
    group="operator",
    examples=("unlock backend",),
    help={
        "role": "the AppRole, for example backend",
        "dry-run": "only say whether it is locked",
    },
)
def unlock(role: str, dry_run: bool = False) -> None:
    """Unlock an AppRole that five bad secret-ids locked.

    Without this it unlocks by itself after 15 minutes.
    """
    from vault_harness.local.vault import approle

    stack = local_stack()
    with closing(stack.operator()) as op:
        role_id = approle.role_id(op, role)
        if dry_run:
            locked = any(each.role_id == role_id for each in approle.locked(op))
            say(f"{role} is {'locked' if locked else 'not locked'}")
            return
        done = approle.unlock(op, role_id)
    say(f"{role} is unlocked" if done else f"{role} was not locked")
    say(f"next: {named('doctor')}, to find who has the bad secret-id")


@command(
    "root.revoke",
    group="operator",
    examples=("root.revoke --dry-run", "root.revoke"),
    help={"dry-run": DRY_RUN},
)
def revoke(dry_run: bool = False) -> None:
    """Revoke the root token; the tasks go on without it.

    The tasks then use the operator's token, which has a narrow policy and lies in a file beside the
    keyring. root.generate makes a new root token when one is needed. Both tokens belong to the
    whole server; the operator's policy includes the namespace in which the tasks work.
    """
    from vault_harness.local.vault.admin import VaultAdmin
    from vault_harness.local.vault.keyring import Keyring
    from vault_harness.local.vault.root import revoke_root
    from vault_harness.local.vault.tokens import OPERATOR_TOKEN_NAME

    stack = local_stack()
    whole_server(stack, "the root token is")
    with stack.held():
        endpoints = stack.endpoints()
        address = endpoints.vault
        token = Keyring.load(stack.keyring_path).root_token
        if not token:
            say("the keyring has no root token, it was revoked before; nothing was done")
            say(f"to see whether another one lives: {named('doctor', '--production')}")
            return
        if dry_run:
            say(f"would write an operator's token to {stack.data_dir / OPERATOR_TOKEN_NAME},")
            say(f"revoke the root token at {address}, and take it out of {stack.keyring_path}")
            return
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
        "dry-run": DRY_RUN,
    },
)
def generate(cancel: bool = False, dry_run: bool = False) -> None:
    """Make a new root token from the keys of the keyring.

    The token goes into the keyring, vault-data/init.json, and is never printed. Revoke it with
    root.revoke after use.
    """
    from vault_harness.local.vault.admin import VaultAdmin
    from vault_harness.local.vault.root import generate_root
    from vault_harness.local.vault.tokens import operator_token

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


@command(
    "tls.renew",
    group="operator",
    examples=("tls.renew", "tls.renew --ca"),
    help={
        "ca": "use a new authority; the old one stays trusted until the next renewal, the clients' "
        "old one until each server restarts",
        "dry-run": DRY_RUN,
    },
)
def renew(ca: bool = False, dry_run: bool = False) -> None:
    """Give the servers a new certificate while they run.

    They read it without a restart, and open connections stay. The task ends when each server shows
    the certificate. If Vault asks its clients for certificates, those are renewed too.
    """
    stack = local_stack()
    if dry_run:
        endpoints = stack.endpoints()
        of = "a new authority" if ca else "the stack's authority"
        say(f"would have {of} sign a new certificate, for {', '.join(endpoints.addresses)}")
        if clients := stack.client_certificates():
            say(f"and new ones for its clients: {', '.join(clients)}")
        return
    done = stack.renew_certificate(ca=ca)
    say(f"shown by {', '.join(done.nodes)}: {done.serial}, good until {done.ends:%Y-%m-%d}")
    if done.later:
        say(f"not running, so later: {', '.join(done.later)}")
    say(f"CA certificate to trust: {done.ca_cert}")
    if done.clients:
        say(f"new client certificates: {', '.join(done.clients)}")
    if ca:
        say("the old authority stays trusted until the next renewal; a client that reads the file")
        say(f"only at its start must restart, then {named('tls.renew')} removes the old one")
    if ca and done.clients:
        say("each server trusts the clients' old authority until it restarts after")
        say(f"that renewal: {named('restart')}, then {named('unseal')}")


@command(
    "images",
    group="operator",
    examples=("images", "images --rebuild"),
    help={"rebuild": "build unchanged images too"},
)
def images(rebuild: bool = False) -> None:
    """Build container images without a registry.

    They are made from programs on this machine. An unchanged image is not built again.
    """
    from vault_harness.local.engine.docker.state import inspect_docker
    from vault_harness.local.engine.docker_client import connected
    from vault_harness.local.images.build import build_images

    chosen = settings()
    with connected(timeout=300) as client:
        built = build_images(client, chosen, rebuild=rebuild, progress=say)
    say(table((one.action, one.tag, f"{one.megabytes} MB", one.contents) for one in built))
    say(inspect_docker(chosen, ask_registry=False).line)
