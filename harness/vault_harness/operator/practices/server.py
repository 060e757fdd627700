"""Practices about the servers."""

from __future__ import annotations

import contextlib
from datetime import timedelta

from vault_harness.certificates import NEAR, end_of, shown_beside, shown_by
from vault_harness.errors import HarnessError, OperatorError, named
from vault_harness.local.vault import tokens
from vault_harness.local.vault.admin import VaultAdmin
from vault_harness.local.vault.cluster import peers
from vault_harness.local.vault.keyring import Keyring
from vault_harness.operator.backup import KEYRING, SNAPSHOT, cluster_id, list_backups
from vault_harness.operator.doctor.check import CheckResult, Deployment, bad, good, unknown

AUDIT_DEVICES = 2
"""Vault refuses every request if no device can write."""

VOTERS = 3
"""So many survive the loss of one."""

SHARES, THRESHOLD = 5, 3
"""Vault's defaults for ``operator init``: two people alone cannot unseal."""

BACKUP_AGE = timedelta(days=1)

CLOCKS = timedelta(minutes=5)
"""The clock of the backup's maker may be this far ahead."""

MOST_TOKENS = 2000
"""Above this, accessors are not looked up one by one."""

MOST_NAMED = 10
"""In a message."""


def root_token(deployment: Deployment) -> CheckResult:
    name, where = "root token", "auth/token/accessors, each looked up"
    # Even if the stack uses another namespace.
    with contextlib.closing(deployment.operator.within("")) as op:
        living = tokens.living(op)
        if len(living) > MOST_TOKENS:
            seen = f"{len(living)} tokens are too many to look up one by one"
            return unknown(name, where, seen)
        roots = [
            accessor
            for accessor in living
            if "root" in ((tokens.look_up(op, accessor) or {}).get("policies") or ())
        ]
        if not roots:
            return good(name, where, f"none of {len(living)} tokens is root")
        own, acting = _accessor(op, _root_token(deployment)), _accessor(op)
    count = "one token is" if len(roots) == 1 else f"{len(roots)} tokens are"
    seen = f"{count} root, usable by anybody who finds it"
    strays = sorted((each for each in roots if each != own), key=lambda each: each == acting)
    if strays:
        seen += f": accessor {', '.join(strays[:MOST_NAMED])}"
        seen += f" and {len(strays) - MOST_NAMED} more" if len(strays) > MOST_NAMED else ""
        seen += ", and the one in the keyring" if own in roots else ""
    commands = _commands_to_end(
        strays, own=own in roots, acting=acting in roots, namespace=deployment.operator.namespace
    )
    return bad(name, where, seen, ", then ".join(commands))


def _commands_to_end(strays: list[str], *, own: bool, acting: bool, namespace: str) -> list[str]:
    """Return the commands that end root tokens; `root.revoke` ends only the keyring's.

    ``strays`` are the accessors of the others, an acting one last. They belong to the root
    namespace, while the tasks act in ``namespace``.
    """
    where = ["-namespace=root"] if namespace else []
    commands = [
        named("vault", "--", "token", "revoke", *where, "-accessor", accessor)
        for accessor in strays[:MOST_NAMED]
    ]
    if own:
        return [*commands, named("root.revoke")]
    if acting:  # an external Vault's
        return commands
    return [named("root.generate"), *commands, named("root.revoke")]


def _root_token(deployment: Deployment) -> str:
    try:
        return Keyring.load(deployment.keyring).root_token
    except HarnessError:
        return ""


def _accessor(op: VaultAdmin, token: str | None = None) -> str:
    """Return the accessor of a token, or of the acting one for None; "" if it is not valid."""
    if token == "":
        return ""
    with contextlib.ExitStack() as closing:
        asking = (
            op if token is None else closing.enter_context(contextlib.closing(op.with_token(token)))
        )
        try:
            found = asking.request("GET", "auth/token/lookup-self").get("data") or {}
        except OperatorError:
            return ""
    return str(found.get("accessor") or "")


def audit(deployment: Deployment) -> CheckResult:
    """Check for two audit devices, so that a full one does not stop Vault."""
    where = "sys/audit"
    devices = sorted(deployment.operator.request("GET", where).get("data") or {})
    if len(devices) >= AUDIT_DEVICES:
        return good("audit", where, f"{len(devices)} devices: {', '.join(devices)}")
    seen = f"one device: {devices[0]}" if devices else "no device"
    remedy = (
        "enable another device, on another disk or of another kind: a second audit block in "
        "OpenBao's configuration, `vault audit enable` for HashiCorp Vault"
    )
    return bad("audit", where, seen, remedy)


def tls(deployment: Deployment) -> CheckResult:
    plain = [address for address in deployment.addresses if not address.startswith("https://")]
    where = ", ".join(deployment.addresses)
    if plain:
        keys = f"{named('restore.keys')} first, then " if deployment.lost_by_ending else ""
        remedy = (
            "give the listener a certificate (tls_cert_file, tls_key_file) instead of tls_disable; "
            f"of a stack here: {keys}{named('down')}, then {named('up', '--tls')}"
        )
        return bad("TLS", where, f"tokens and secrets travel in the clear to {plain[0]}", remedy)
    try:
        ca_cert = deployment.operator.ca_cert
        ends = min(shown_by(each, ca_cert=ca_cert).ends for each in deployment.addresses)
        own = end_of(shown) if (shown := shown_beside(ca_cert)) is not None else None
    except OSError as error:
        return unknown("TLS", where, f"the TLS handshake failed: {type(error).__name__}")
    day = f"{ends:%Y-%m-%d}"
    if ends - deployment.now < NEAR:
        remedy = f"renew it; of a stack here: {named('tls.renew')}"
        return bad("TLS", where, f"a certificate ends on {day}", remedy)
    if own is not None and own - deployment.now < NEAR:
        remedy = f"renew it; of a stack here: {named('tls.renew')}"
        return bad("TLS", where, f"the tasks' own certificate ends on {own:%Y-%m-%d}", remedy)
    seen = f"all addresses are https, with certificates good until {day}"
    if own is not None:
        seen += f"; clients show theirs, the tasks one that is good until {own:%Y-%m-%d}"
    return good("TLS", where, seen)


def high_availability(deployment: Deployment) -> CheckResult:
    where = "sys/storage/raft/configuration"
    try:
        voters = [peer.node_id for peer in peers(deployment.operator) if peer.voter]
    except HarnessError as error:
        return _by_ha_status(deployment, error)
    if len(voters) >= VOTERS:
        return good("HA", where, f"{len(voters)} voters: {', '.join(voters)}")
    seen = "one voter" if len(voters) == 1 else f"{len(voters)} voters"
    remedy = "run three nodes with raft storage in three places, joined by retry_join"
    return bad("HA", where, f"{seen}: the loss of one node stops everything", remedy)


def _by_ha_status(deployment: Deployment, error: HarnessError) -> CheckResult:
    """Judge a storage other than raft, which does not say which node may be lost."""
    where = "sys/ha-status"
    try:
        nodes = deployment.operator.request("GET", where).get("data", {}).get("nodes") or []
    except HarnessError:
        return unknown("HA", f"{error.looked_at}; {where}", error.cause)
    if len(nodes) > 1:
        return good("HA", where, f"{len(nodes)} nodes on a storage that is not raft")
    remedy = "use a storage that several nodes can share: raft, on three of them"
    return bad("HA", where, "one node, and a storage that others cannot share", remedy)


def unseal_keys(deployment: Deployment) -> CheckResult:
    op = deployment.operator
    where = f"{op.address}/v1/sys/seal-status, {deployment.keyring}"
    status = op.seal_status()
    try:
        keyring: Keyring | None = Keyring.load(deployment.keyring)
    except HarnessError:
        keyring = None
    # With auto-unseal these are recovery keys, which make a root token.
    if status.shares < SHARES or status.threshold < THRESHOLD:
        seen = f"{status.threshold} of {status.shares} keys are enough"
        remedy = (
            f"rekey to {SHARES} shares of which {THRESHOLD} are needed: bao operator rotate-keys; "
            "it prints the new keys once, and after that the old ones open nothing"
        )
        return bad("key shares", where, seen, remedy)
    if keyring is not None and keyring.shares >= status.threshold:
        seen = f"{keyring.shares} of {status.shares} keys lie together on this machine"
        remedy = (
            f"{named('backup.keys')}, take the result to another place, and give each share to "
            f"another person; then no machine has {status.threshold} of them"
        )
        return bad("key shares", where, seen, remedy)
    return good("key shares", where, f"{status.threshold} of {status.shares}, not kept here")


def auto_unseal(deployment: Deployment) -> CheckResult:
    where = f"{deployment.operator.address}/v1/sys/seal-status"
    kind = str(deployment.operator.request("GET", "sys/seal-status").get("type") or "")
    if not kind:
        return unknown("auto-unseal", where, "the server does not say how it is sealed")
    if kind != "shamir":
        return good("auto-unseal", where, f"the seal is {kind}")
    remedy = (
        f"{named('seal.migrate', 'transit')}; elsewhere a seal block in the server's "
        'configuration: seal "transit", "awskms", ...'
    )
    return bad("auto-unseal", where, "a restarted node waits for people with keys", remedy)


def backups(deployment: Deployment) -> CheckResult:
    where = str(deployment.backups)
    every = [each for each in list_backups(deployment.backups) if each.has(SNAPSHOT)]
    vault = cluster_id(deployment.operator)
    found = [each for each in every if each.vault == vault]  # stacks may share a folder
    if not found:
        seen = "there is no backup of this Vault, only of others" if every else "there is no backup"
        return bad("backups", where, seen, named("backup"))
    # A clock was or is wrong: the age of a backup from the future is unknown.
    dated = [each for each in found if each.made - deployment.now <= CLOCKS]
    if not dated:
        seen = f"the newest is dated after now: {found[0].made:%Y-%m-%d %H:%M} UTC"
        return bad("backups", where, seen, f"set the clock that is wrong; {named('backup')}")
    age = deployment.now - dated[0].made
    hours = max(age.total_seconds(), 0.0) / 3600
    seen = f"the newest is {hours:.0f} h old" if hours >= 1 else "the newest is of this hour"
    if age > BACKUP_AGE:
        return bad("backups", where, seen, f"{named('backup')}, once a day from a timer")
    if dated[0].has(KEYRING):
        return good("backups", where, f"{seen}, encrypted, with its keys")
    return good("backups", where, f"{seen}, encrypted; its keys are kept elsewhere")


def monitoring(deployment: Deployment) -> CheckResult:
    where = "sys/config/state/sanitized"
    data = deployment.operator.request("GET", where).get("data") or {}
    telemetry = data.get("telemetry") or {}
    if telemetry.get("prometheus_retention_time"):
        return good("monitoring", where, "telemetry is on, for Prometheus to fetch")
    others = [
        name for name in ("statsd_addr", "statsite_addr", "dogstatsd_addr") if telemetry.get(name)
    ]
    if others:
        return good("monitoring", where, f"telemetry goes to {', '.join(others)}")
    remedy = 'telemetry { prometheus_retention_time = "30s" } in the server\'s configuration'
    return bad("monitoring", where, "telemetry is off: nobody learns that it is sealed", remedy)
