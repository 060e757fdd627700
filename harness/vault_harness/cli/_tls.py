"""The certificates of a stack that speaks TLS (``up --tls``, ``up --client-certs``)."""

from __future__ import annotations

from vault_harness.cli._command import command
from vault_harness.cli._common import local_stack
from vault_harness.cli._console import say
from vault_harness.commands import named


@command(
    "tls.renew",
    group="operator",
    examples=("tls.renew", "tls.renew --ca"),
    help={
        "ca": "of a new authority; the one before stays trusted until the next renewal, that of "
        "clients until each server starts again",
        "dry-run": "show what would be done, change nothing",
    },
)
def renew(ca: bool = False, dry_run: bool = False) -> None:
    """Give the servers a new certificate while they run.

    They read it without a restart, and connections that are open stay. It is done when each of them
    shows it. Where Vault asks its clients for certificates, all of those are renewed too.
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
    say(f"whom to trust: {done.ca_cert}")
    if done.clients:
        say(f"new client certificates: {', '.join(done.clients)}")
    if ca:
        say("the authority before is trusted too until the next renewal; who read the file only at")
        say(f"its start must read it again, then {named('tls.renew')} takes the old one out")
    if ca and done.clients:
        say("the clients' authority before is trusted by each server until it starts again, after")
        say(f"that renewal: {named('restart')}, then {named('unseal')}")
