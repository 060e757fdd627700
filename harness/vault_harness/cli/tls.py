"""The task for a stack's certificates."""

from __future__ import annotations

from vault_harness.cli.command import command
from vault_harness.cli.common import local_stack
from vault_harness.cli.printing import say
from vault_harness.errors import named


@command(
    "tls.renew",
    group="operator",
    examples=("tls.renew", "tls.renew --ca"),
    help={
        "ca": "use a new authority; the old one stays trusted until the next renewal, the clients' "
        "old one until each server restarts",
        "dry-run": "show what would be done, change nothing",
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
