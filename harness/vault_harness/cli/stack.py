"""The everyday tasks: start, fill, show and stop Vault and Toxiproxy."""

from __future__ import annotations

import contextlib
import functools
import os
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, get_args

from vault_harness.addresses import leads_to_one_of, without_password
from vault_harness.cli.command import command, option
from vault_harness.cli.common import (
    DRY_RUN,
    LEAVE_SEALED,
    local_stack,
    one_of,
    say_pending_migration,
    seal_kind,
    use_engine,
    wrong,
)
from vault_harness.cli.printing import (
    complain,
    confirmed,
    plural,
    say,
    say_json,
    say_on,
    table,
)
from vault_harness.errors import HarnessError, SettingsError, named
from vault_harness.interrupts import telling_what_is_left, until_ctrl_c

if TYPE_CHECKING:
    from collections.abc import Sequence

    from vault_harness.local.blueprint import Blueprint
    from vault_harness.local.engine.seal import SealKind
    from vault_harness.local.stack.local import LocalStack
    from vault_harness.local.stack.status import RestoreStatus, StackStatus
    from vault_harness.local.vault.apply import Change, What


@dataclass(frozen=True)
class Shape:
    """What a stack is from now on."""

    ha: bool = option(
        "three nodes with a load balancer (HAProxy) in front; stays so", default=False
    )
    tls: bool = option("Vault uses TLS, with its own authority; stays so", default=False)
    client_certs: bool = option(
        "Vault refuses clients without a certificate of the stack; implies --tls; stays so",
        default=False,
    )
    cuttable: bool = option(
        "with --ha: nodes can be cut off from each other (node.cut); stays so", default=False
    )


@command(
    "up",
    group="every day",
    examples=(
        *("up", "up --ha", "up --ha --cuttable", "up --tls", "up --client-certs"),
        *("up --seal static", "up --ha --seal transit", "up --seal awskms --check"),
    ),
    help={
        "seal": "for a new Vault: shamir, or a seal that opens itself: static (OpenBao; key in a "
        "file), transit (key in a second Vault), awskms or azurekeyvault (key in a cloud)",
        "check": "start nothing; let the server check the configuration of a cloud's seal",
        "engine": "process, or docker for containers; default docker where it can be used",
    },
)
def up(
    shape: Shape, seal: str | None = None, check: bool = False, engine: str | None = None
) -> None:
    """Start Vault, unsealed, and Toxiproxy in front of it.

    The task is safe to repeat. A new Vault is initialised, and its unseal keys and root token
    (together: the keyring) go into vault-data/init.json. Addresses are printed, keys never.
    """
    use_engine(engine)
    stack = local_stack()
    kind = seal_kind(seal) if seal else None
    if check:
        _check_seal(stack, kind)
        return
    say_pending_migration(stack)
    before = _running(stack)
    with telling_what_is_left(lambda: _left_running(stack, before), but=(HarnessError,)):
        stack.up(
            ha=shape.ha,
            tls=shape.tls,
            client_certs=shape.client_certs,
            cuttable=shape.cuttable,
            seal=kind,
        )
    status = stack.status()
    say(f"Vault is up and unsealed: {_product(status)}, {status.engine} engine ({status.choice})")
    _say_nodes(status)
    _say_obstacles(status)
    say(f"next: {status.next_step}")


def _running(stack: LocalStack) -> set[str]:

    try:
        return {service.name for service in stack.provider().describe() if service.running}
    except HarnessError:
        return set()


def _left_running(stack: LocalStack, before: set[str]) -> str:
    """Return what an interrupted `up` leaves running."""
    if not (_running(stack) - before):
        return ""
    up_, down_ = named("up"), named("down")
    return f"its servers run on, and Vault may be sealed: {up_} goes on, {down_} ends them"


@dataclass(frozen=True)
class Seed:
    """What of a blueprint is written, over what."""

    blueprint: str | None = option(
        "a blueprint file; else the one applied last, at first the e-commerce one"
    )
    only: str | None = option("access: policies and AppRoles alone, no secret is read or written")
    overwrite: bool = option(
        "write everything as the blueprint has it, with new generated values; asks first",
        default=False,
    )
    new_values: bool = option(
        "make new values even if another mount has the blueprint's secrets", default=False
    )
    adopt: str | None = option(
        "only this: accept the policy of that name as Vault has it, instead of the blueprint's"
    )
    dry_run: bool = option(DRY_RUN, default=False)
    yes: bool = option("do not ask before values are overwritten", default=False)


@command(
    "seed",
    group="every day",
    examples=("seed", "seed --dry-run", "seed --only access", "seed --blueprint my.toml"),
)
def seed(how: Seed) -> None:
    """Fill Vault from the blueprint, write AppRole ids to files.

    Existing content stays, even if it differs from the blueprint. --only access and --overwrite
    replace what differs; vault-data/replaced keeps a copy of each policy and role.
    """
    from vault_harness.local.blueprint import Blueprint
    from vault_harness.local.vault.apply import Applying, What, values_replaced

    stack = local_stack()
    plan = Blueprint.load(Path(how.blueprint)) if how.blueprint else _applied_last(stack)
    known: tuple[What, ...] = get_args(What)
    what = one_of(known, how.only or "everything", f"there is no --only {how.only}")
    if how.adopt is not None:
        _adopt(stack, how.adopt, plan, dry_run=how.dry_run)
        return
    applying = Applying(what=what, overwrite=how.overwrite)
    apply = functools.partial(stack.seed, plan, new_values=how.new_values)
    if how.dry_run or (how.overwrite and not how.yes):
        planned = apply(replace(applying, dry=True))
        replaced = values_replaced(planned)
        if how.dry_run:
            say(_changes(planned))
            say(f"would replace {plural(replaced, 'value')}; dry run: nothing was changed")
            return
        if replaced:
            say(table((c.kind, c.name, ", ".join(c.replaces)) for c in planned if c.replaces))
            if not confirmed(f"replace {plural(replaced, 'value')} in Vault by other ones?"):
                complain("nothing was changed")
                raise SystemExit(1)
    changes = apply(applying)
    say(_changes(changes))
    counts = [
        f"{sum(change.action == action for change in changes)} {action}"
        for action in ("created", "changed", "unchanged")
    ]
    say(f"{plan.name}: {', '.join(counts)}")
    services = ", ".join(plan.services)
    env = f"{named('env', 'SERVICE')}, for one of {services}"
    say(f"next: {env if services else named('status')}")


def _adopt(stack: LocalStack, policy: str, blueprint: Blueprint, *, dry_run: bool) -> None:
    if dry_run:
        say(f"would adopt the policy {policy} as Vault has it; dry run: nothing was changed")
        return
    file = stack.adopt(policy, blueprint)
    say(f"the policy {policy} counts as Vault has it; nothing in Vault was changed")
    say(f"its copy: {file}" if file else "it is the blueprint's")
    say(f"next: {named('doctor')}")


def _applied_last(stack: LocalStack) -> Blueprint:
    """Return the blueprint that doctor and status check.

    If its file is missing, another blueprint would be applied over it.
    """
    if lost := stack.lost_blueprint():
        raise SettingsError(
            "the blueprint that was applied last is not there any more",
            looked_at=lost,
            remedy=f"put it back, or name another one: {named('seed', '--blueprint', 'FILE')}",
        )
    return stack.blueprint()


@command(
    "status", group="every day", examples=("status", "status --json"), help={"json": "for programs"}
)
def status(json: bool = False) -> None:
    """Show what runs, where, sealed or not, and what is broken."""
    stack = local_stack()
    found = stack.status()
    if json:
        say_json(found.to_json())
        return
    on_the_way = f", on its way to {found.migrating_to}" if found.migrating_to else ""
    rows = [
        ("state", found.state),
        ("engine", f"{found.engine} ({found.choice})"),
        ("version", _product(found) if found.version else "unknown while it does not answer"),
        ("initialised", _yes(found.initialised)),
        ("sealed", _yes(found.sealed)),
        (
            "seeded",
            f"yes, {found.blueprint}" if found.seeded and found.blueprint else _yes(found.seeded),
        ),
        *([("namespace", _namespace(found))] if found.namespace else ()),
        ("seal", found.seal + on_the_way),
        *([("restore", _restoring(found.restoring))] if found.restoring else ()),
        (
            "unseal keys" if found.seal == "shamir" else "recovery keys",
            "here" if found.keyring else found.keyring_trouble or "not here",
        ),
        *((name, detail or "does not run") for name, detail in found.services.items()),
    ]
    say(table(rows))
    _say_nodes(found)
    for proxy in found.proxies:
        state = "enabled" if proxy.enabled else "disabled"
        say(f"  proxy {proxy.name}: {proxy.listen} -> {proxy.upstream}, {state}")
        for toxic in proxy.toxics:
            values = ", ".join(f"{name}={value}" for name, value in toxic.attributes.items())
            say(
                f"    toxic {toxic.name}: {toxic.type} {toxic.stream} x {toxic.toxicity:g} {values}"
            )
    for fault in found.recorder.faults if found.recorder else ():
        came = f"acted on {fault.acted} of {fault.seen} so far" + (", over" if fault.over else "")
        say(f"  fault of requests: {fault.text}; {came}")
    _say_obstacles(found)
    for name in found.replaced:
        say(f"{name} has other data than is in its folder, which was replaced while it ran")
    if stack.settings.engine != "external":  # there it is the tasks' own
        _say_led_elsewhere(found)
    say(f"next: {found.next_step}")


@command(
    "env",
    group="every day",
    examples=('eval "$(env backend)"', "env backend --direct", "env backend --json"),
    help={
        "service": "as the blueprint names it, such as backend or celery_beat, or an AppRole",
        "reveal": "print the ids themselves instead of the paths of their files",
        "direct": "Vault's own address instead of the one through Toxiproxy",
        "json": "the variables as an object, for programs",
    },
)
def env(service: str, reveal: bool = False, direct: bool = False, json: bool = False) -> None:
    """Print the export lines of one service's variables.

    A last line unsets this shell's variables of another stack and those that would override these.
    """
    from vault_harness.local.stack.env import export_lines, service_environment

    given = service_environment(local_stack(), service, reveal=reveal, direct=direct)
    if json:
        say_json(given)
    else:
        say(export_lines(given, os.environ))


@command(
    "restart",
    group="break it",
    examples=("restart", "restart --leave-sealed"),
    help={"leave-sealed": LEAVE_SEALED},
)
def restart(leave_sealed: bool = False) -> None:
    """Restart Vault: it comes back sealed, or unseals itself.

    This is what a crash or an upgrade does.
    """
    stack = local_stack()
    if stack.restart(leave_sealed=leave_sealed):
        say("Vault was restarted, and has unsealed itself")
    else:
        say(f"Vault was restarted and is sealed\nnext: {stack.status().next_step}")


@command(
    "logs",
    group="every day",
    takes=("service",),
    examples=("logs", "logs toxiproxy", "logs audit --follow"),
    help={
        "service": "vault (the default), toxiproxy, audit, or another server: a node of a cluster, "
        "balancer, relay, holder, recorder",
        "tail": "only the last lines, 50 by default, 0 for all",
        "follow": "go on until Ctrl-C",
    },
)
def logs(service: str | None = None, tail: int = 50, follow: bool = False) -> None:
    """Show what a server printed, or the audit log."""
    stack = local_stack()
    name = one_of(stack.log_names(), service or "vault", f"there is no log of {service}")
    with until_ctrl_c() if follow else contextlib.nullcontext():
        for line in stack.logs(name, tail=tail or None, follow=follow):
            say_on(line)


@command("down", group="every day", examples=("down",))
def down() -> None:
    """Stop the servers; data and keys stay.

    It also stops what a crashed task has left running.
    """
    from vault_harness.local.engine.docker.labels import sweep_leftovers

    stack = local_stack()
    lost = stack.lost_by_ending()
    replaced = [service.name for service in stack.provider().describe() if service.replaced]
    ended = stack.down()
    if leftovers := sweep_leftovers():
        ended.append(str(leftovers))
    say(f"ended {', '.join(ended)}" if ended else "nothing was running")
    for name in replaced:
        say(f"{name} had other data than is in its folder, which was replaced while it ran: lost")
    if lost is not None:
        say(f"its data stays, and {named('up')} cannot open it as things are: {lost}")


@command(
    "destroy",
    group="every day",
    examples=("destroy", "destroy --dry-run", "destroy --yes"),
    help={"yes": "do not ask", "dry-run": "only say what would be deleted"},
)
def destroy(yes: bool = False, dry_run: bool = False) -> None:
    """Stop the servers and delete data and keys. Asks first."""
    from vault_harness.local.engine.provider import HOLDER_NAME

    stack = local_stack()
    if dry_run:
        there = stack.destroy(dry=True)
        say("\n".join(f"would remove {what}" for what in there) or "nothing is there")
        return
    if (holder := stack.data_dir / HOLDER_NAME).is_dir():  # no backup has its content
        say(f"backups of a Vault with the seal transit open only with {holder},")
        say("which is deleted too: to restore one of them you need a copy of that folder")
    if not yes and not confirmed(f"delete Vault's data and unseal keys in {stack.data_dir}?"):
        complain("nothing was deleted")
        raise SystemExit(1)
    removed = stack.destroy()
    say("\n".join(f"removed {what}" for what in removed) or "nothing was there")


def _check_seal(stack: LocalStack, kind: SealKind | None) -> None:
    from vault_harness.local.engine.seal import CLOUD_SEALS

    if kind is None:
        raise wrong(
            "--check tests a seal, and none is named",
            f"give --seal {' or --seal '.join(CLOUD_SEALS)} too",
        )
    done = stack.check_seal(kind)
    say(done.configuration.rstrip())
    say(f"{done.server} takes this, has the seal {done.seal} with it, and can use its key")
    say(f"next: {named('up', '--seal', kind)}")


def _changes(changes: Sequence[Change]) -> str:
    return table((change.action, change.kind, change.name, change.detail) for change in changes)


def _say_nodes(found: StackStatus) -> None:
    rows = [
        (
            node.name,
            node.role,
            {True: "voter", False: "no voter", None: ""}[node.voter],
            "" if node.lag is None else f"{node.lag} behind",
            "cut off" if node.cut else "",
            node.address,
        )
        for node in found.nodes
    ]
    if rows:
        say(table(rows))
    say(_addresses(found))


def _say_obstacles(found: StackStatus) -> None:
    for line in found.obstacles:
        say(f"in the way of clients: {line}")


def _say_led_elsewhere(found: StackStatus) -> None:
    """Say if clients of this shell go elsewhere; tasks do not."""
    wanted = os.environ.get("VAULT_ADDR", "")
    ways = [found.proxy, found.address, *(node.address for node in found.nodes)]
    known = [way for way in ways if way]
    if wanted and known and not leads_to_one_of(wanted, known):
        say(f"clients in this shell go to {without_password(wanted)}, not here: unset VAULT_ADDR")


def _product(found: StackStatus) -> str:
    title = "OpenBao" if found.product == "openbao" else "HashiCorp Vault"
    return f"{title} {found.version}"


def _namespace(found: StackStatus) -> str:
    trouble = found.namespace_trouble
    return f"{found.namespace} ({trouble})" if trouble else found.namespace


def _restoring(unfinished: RestoreStatus) -> str:
    of = f" of {unfinished.source}" if unfinished.source else ""
    left = "not compared yet" if unfinished.keys_here else "its backup's keys are not here yet"
    return f"begun{of}, and not done: {left}"


def _yes(answer: bool | None) -> str:
    return "unknown" if answer is None else "yes" if answer else "no"


def _addresses(found: StackStatus) -> str:
    if found.address is None:
        return "  it has no addresses yet"
    trusted = [("CA certificate", found.ca_cert)] if found.ca_cert else []
    return table(
        [
            ("Vault", found.address),
            ("Vault through Toxiproxy", found.proxy or ""),
            ("Toxiproxy's API", found.toxiproxy or ""),
            *trusted,
        ]
    )
